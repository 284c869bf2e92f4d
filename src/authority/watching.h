/* Checkpoints that hosts have kept of this ledger, compared with it as it is. In the clerk's transaction. */
#pragma once
#include "authority/hosts.h"

/* The member "checkpoint" of a heartbeat, or none. One that this ledger does not have, though this authority
 * signed it, says that the ledger was cut, written anew, or is an old copy: that goes into the ledger once
 * per host, and stays in the metrics. Never an error of the host's. */
must_check enum error_code watching_compare(struct clerk *clerk, const struct host *host,
                                            const json_t *checkpoint, struct error *reterr);
