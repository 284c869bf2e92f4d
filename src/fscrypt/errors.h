/* errno of the fscrypt ioctls, turned into what to do. One table per ioctl. */
#pragma once
#include <stddef.h>

#include "base/error.h"

struct fscrypt_case {
    int os_errno;
    enum error_code code;
    const char *cause; /* follows "cannot ...: " */
    const char *remedy;
};

/* Fill reterr from the row for os_errno, then from the rows all ioctls share, else with strerror. Returns the
 * code. doing is e.g. "cannot add the key". */
enum error_code fscrypt_error(struct error *reterr, int os_errno, const char *doing,
                              const struct fscrypt_case *cases, size_t case_count);
