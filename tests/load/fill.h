/* Writes hosts into an authority's directory as enrolling, a first message and binding one keyslot each would
 * leave them: with the authority's own functions, many to a transaction. No huskd may run on it. */
#pragma once
#include "base/error.h"

/* count hosts from number first on, in a group that is made with this unlock ("auto", "ticket", "approve")
 * where there is none. The descriptor goes to descriptor_path, for player_start. Blocks. */
must_check enum error_code fill(const char *directory, const char *group, const char *unlock,
                                unsigned long long first, unsigned long long count,
                                const char *descriptor_path, struct error *reterr);
