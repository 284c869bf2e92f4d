#include "secret/packed.h"

#include <errno.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define SECRET_LENGTH_MAXIMUM ((size_t)1 << 20)

static enum error_code forbid_core_dumps(struct error *reterr)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make this process non-dumpable");
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot forbid core dumps");
    return OK;
}

enum error_code secret_start(struct error *reterr)
{
    if (sodium_init() < 0)
        return error_set(reterr, ERR_FAILED, 0, "cannot start libsodium: no source of random bytes");
    enum error_code code = forbid_core_dumps(reterr);
    if (code)
        return code;

    struct rlimit locked;
    if (getrlimit(RLIMIT_MEMLOCK, &locked) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the limit of locked memory");
    locked.rlim_cur = locked.rlim_max;
    if (setrlimit(RLIMIT_MEMLOCK, &locked) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot raise the limit of locked memory");
    return OK;
}

enum error_code secret_not_locked(size_t length, int os_errno, struct error *reterr)
{
    error_set(reterr, ERR_NO_MEMORY, os_errno, "cannot lock %zu bytes of memory for a secret", length);
    error_remedy(reterr, "raise the limit of locked memory (ulimit -l, or LimitMEMLOCK= of the unit) or "
                         "run as root");
    return ERR_NO_MEMORY;
}

enum error_code secret_new(size_t length, struct secret **ret_secret, struct error *reterr)
{
    if (length == 0 || length > SECRET_LENGTH_MAXIMUM)
        return error_set(reterr, ERR_FAILED, 0, "a secret of %zu bytes: only 1 to %zu are possible", length,
                         SECRET_LENGTH_MAXIMUM);
    if (length <= PACKED_MAXIMUM)
        return packed_new(length, ret_secret, reterr);
    _cleanup_(secret_freep) struct secret *secret = calloc(1, sizeof(*secret));
    if (!secret)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    secret->bytes = sodium_malloc(length);
    if (!secret->bytes)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory for a secret of %zu bytes", length);
    /* sodium_malloc locks too, but does not tell when that failed. Locking twice counts once. */
    if (sodium_mlock(secret->bytes, length) < 0)
        return secret_not_locked(length, errno, reterr);
    sodium_memzero(secret->bytes, length);
    secret->length = length;
    *ret_secret = TAKE(secret);
    return OK;
}

enum error_code secret_new_random(size_t length, struct secret **ret_secret, struct error *reterr)
{
    struct secret *secret;
    enum error_code code = secret_new(length, &secret, reterr);
    if (code)
        return code;
    randombytes_buf(secret->bytes, length);
    *ret_secret = secret;
    return OK;
}

enum error_code secret_new_copy(const void *bytes, size_t length, struct secret **ret_secret,
                                struct error *reterr)
{
    struct secret *secret;
    enum error_code code = secret_new(length, &secret, reterr);
    if (code)
        return code;
    memcpy(secret->bytes, bytes, length);
    *ret_secret = secret;
    return OK;
}

void secret_shorten(struct secret *secret, size_t length)
{
    if (length >= secret->length)
        return;
    sodium_memzero(secret->bytes + length, secret->length - length);
    secret->length = length;
}

void secret_free(struct secret *secret)
{
    if (!secret)
        return;
    if (secret->is_packed) {
        packed_free(secret);
        return;
    }
    sodium_free(secret->bytes); /* wipes, also what secret_shorten cut off; takes NULL */
    free(secret);
}
