/* Short secrets, side by side in pages that are locked, kept out of dumps and guarded as a whole: to lock
 * pages for each takes longer than all an unlock does with them. Writing past the end of one is noticed when
 * it is freed, and ends the process. */
#pragma once
#include "secret/secret.h"

enum { PACKED_MAXIMUM = 112 };

/* ERR_NO_MEMORY, with what to do. */
must_check enum error_code secret_not_locked(size_t length, int os_errno, struct error *reterr);

/* secret_new of 1 to PACKED_MAXIMUM bytes, and secret_free of those. */
must_check enum error_code packed_new(size_t length, struct secret **ret_secret, struct error *reterr);
void packed_free(struct secret *secret);
