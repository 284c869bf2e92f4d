/* The key copies an erase cannot reach from here, each as a finding. */
#pragma once
#include "erase/mark.h"
#include "erase/verdict.h"

/* Name them; facts gets what the verdict needs of it. now is the end of the time a keyslot was on the
 * disk that nothing says was destroyed earlier. at may be NULL. */
must_check enum error_code erase_name_copies(const struct vault *vault, const char *at,
                                             const struct erase_progress *progress, int64_t now_unix_s,
                                             struct erase_facts *facts, struct finding_list *findings,
                                             struct error *reterr);
