/*
 * What an erase at the authority does not reach, as far as the authority knows: orders that no agent has
 * answered, copies of the authority itself, key copies that hosts reported and nobody declared destroyed.
 */
#pragma once
#include "authority/hosts.h"

/* Add to the result of an erase, of one host (its id), or with NULL of all hosts of the group that are
 * erased: "keyslots", how many had their scalar destroyed; "key_destruction", "INCOMPLETE" or "UNKNOWN", as
 * no authority sees the disks; "not_reached": [{"kind","subject","cause","remedy"}]. */
must_check enum error_code unreached_add(struct clerk *clerk, const uint8_t *host, int64_t group_id,
                                         const char *subject, json_t *result, struct error *reterr);
