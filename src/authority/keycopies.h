/* Key copies: what opens a host's vaults besides this authority, as the host reports it and as people declare
 * it destroyed. In the clerk's transaction. */
#pragma once
#include "authority/hosts.h"

#define KEYCOPIES_MAXIMUM 400 /* in one list of a host */

/* Whether the host h of a statement has reported its list, be it empty: a row without kind tells. */
#define KEYCOPIES_WERE_REPORTED "EXISTS(SELECT 1 FROM keycopies r WHERE r.host = h.id)"

/* The host's whole list, [{"kind","place"}]. What was in an earlier one and is not in this stays known: a
 * copy of the disk has it. ERR_CORRUPT. */
must_check enum error_code keycopies_take(struct clerk *clerk, const struct host *host, json_t *copies,
                                          struct error *reterr);
