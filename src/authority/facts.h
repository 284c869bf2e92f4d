/*
 * What hosts report of their boots, for people who approve. A tampered boot can lie, so nothing is decided by
 * it. The facts of the boot that was let in last are the host's: those of its request, and from then on those
 * of its heartbeats, which know of a kernel or initramfs that was installed meanwhile.
 */
#pragma once
#include "authority/requests.h"

/* Those of a heartbeat; the host's only from the boot that this authority let in. */
must_check enum error_code facts_keep(struct clerk *clerk, struct job *job, const struct host *host,
                                      const uint8_t boot[POLICY_TOKEN_SIZE], struct error *reterr);

/* Those of a request that is granted are the host's. */
must_check enum error_code facts_accept(struct clerk *clerk, const struct request *request,
                                        struct error *reterr);

/* Add to object "reported_facts" of the request, "accepted_facts" of the boot that was let in last (null:
 * none was), and "changed_facts": the names of those that both report and that differ. */
must_check enum error_code facts_show(struct clerk *clerk, const struct request *request, json_t *object,
                                      struct error *reterr);
