/* The root as the initramfs mounts it is read-only; here it becomes writable for a while. Not for other
 * rooms. */
#pragma once
#include <stdbool.h>

#include "base/error.h"

/* Make the mount at writable; *ret_was is whether it was before. */
must_check enum error_code writable_make(const char *at, bool *ret_was, struct error *reterr);

/* Back to read-only. */
must_check enum error_code writable_undo(const char *at, struct error *reterr);
