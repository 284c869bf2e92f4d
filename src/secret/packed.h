/* Between secret.c and packed.c. */
#pragma once
#include "secret/secret.h"

/* ERR_NO_MEMORY, with what to do. */
must_check enum error_code secret_not_locked(size_t length, int os_errno, struct error *reterr);

/* secret_free of one of secret_new_packed. */
void secret_free_packed(struct secret *secret);
