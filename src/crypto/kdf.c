#include "crypto/kdf.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>

#include "crypto/memory.h"

enum { HASH_SIZE = crypto_auth_hmacsha256_BYTES, ARGON2_KEY_SIZE = 32 };
#define MIB (UINT64_C(1) << 20)
/* What the rest of this process and of the machine may want while Argon2id runs. */
#define ARGON2_HEADROOM (8 * MIB)

_Static_assert(sizeof(((struct kdf_argon2_parameters *)NULL)->salt) == crypto_pwhash_argon2id_SALTBYTES,
               "salt size");

/* What HKDF has on the stack; wiped on every way out. */
struct hkdf {
    crypto_auth_hmacsha256_state state;
    uint8_t extracted[HASH_SIZE];
    uint8_t block[HASH_SIZE];
};

static void hkdf_done(struct hkdf *hkdf)
{
    sodium_memzero(hkdf, sizeof(*hkdf));
}

/* RFC 5869 §2.2. A missing salt is HashLen zeros, for HMAC the same as an empty key. */
static bool extract(struct hkdf *hkdf, const struct secret *key, const uint8_t *salt, size_t salt_length)
{
    static const uint8_t none[1]; /* the library may not be given NULL, however short it is */
    return crypto_auth_hmacsha256_init(&hkdf->state, salt ? salt : none, salt_length) == 0 &&
           crypto_auth_hmacsha256_update(&hkdf->state, key->bytes, key->length) == 0 &&
           crypto_auth_hmacsha256_final(&hkdf->state, hkdf->extracted) == 0;
}

/* T(number) of RFC 5869 §2.3 into hkdf->block, which holds the one before. */
static bool expand(struct hkdf *hkdf, const char *info, uint8_t number)
{
    return crypto_auth_hmacsha256_init(&hkdf->state, hkdf->extracted, HASH_SIZE) == 0 &&
           (number == 1 || crypto_auth_hmacsha256_update(&hkdf->state, hkdf->block, HASH_SIZE) == 0) &&
           crypto_auth_hmacsha256_update(&hkdf->state, (const uint8_t *)info, strlen(info)) == 0 &&
           crypto_auth_hmacsha256_update(&hkdf->state, &number, 1) == 0 &&
           crypto_auth_hmacsha256_final(&hkdf->state, hkdf->block) == 0;
}

enum error_code kdf_hkdf_sha256(const struct secret *key, const void *salt, size_t salt_length,
                                const char *info, size_t length, struct secret **ret_secret,
                                struct error *reterr)
{
    if (length == 0 || length > KDF_HKDF_MAXIMUM)
        return error_set(reterr, ERR_FAILED, 0, "HKDF gives 1 to %d bytes, not %zu", KDF_HKDF_MAXIMUM,
                         length);
    _cleanup_(secret_freep) struct secret *derived = NULL;
    enum error_code code = secret_new(length, &derived, reterr);
    if (code)
        return code;
    _cleanup_(hkdf_done) struct hkdf hkdf = {0};
    bool done = extract(&hkdf, key, salt, salt_length);
    for (size_t at = 0; done && at < length; at += HASH_SIZE) {
        done = expand(&hkdf, info, (uint8_t)(at / HASH_SIZE + 1));
        memcpy(derived->bytes + at, hkdf.block, length - at < HASH_SIZE ? length - at : HASH_SIZE);
    }
    if (!done)
        return error_set(reterr, ERR_FAILED, 0, "cannot derive a key");
    *ret_secret = TAKE(derived);
    return OK;
}

enum error_code kdf_argon2_choose(uint64_t machine_memory_bytes, struct kdf_argon2_parameters *ret_parameters,
                                  struct error *reterr)
{
    uint64_t quarter = machine_memory_bytes / 4 / MIB * MIB;
    if (quarter < KDF_ARGON2_MEMORY_LEAST) {
        error_set(reterr, ERR_NO_MEMORY, 0,
                  "this machine has %llu MiB of memory; a passphrase needs %llu MiB",
                  (unsigned long long)(machine_memory_bytes / MIB),
                  (unsigned long long)(4 * KDF_ARGON2_MEMORY_LEAST / MIB));
        error_remedy(reterr, "use a key file or a recovery key instead");
        return ERR_NO_MEMORY;
    }
    struct kdf_argon2_parameters parameters = {
        .passes = KDF_ARGON2_PASSES_LEAST,
        .memory_bytes = quarter < KDF_ARGON2_MEMORY_MOST ? quarter : KDF_ARGON2_MEMORY_MOST,
    };
    randombytes_buf(parameters.salt, sizeof(parameters.salt));
    *ret_parameters = parameters;
    return OK;
}

static enum error_code read_memory(struct memory *ret_memory, struct error *reterr)
{
    _cleanup_(close_fdp) int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open /");
    return memory_read(root_fd, ret_memory, reterr);
}

enum error_code kdf_machine_memory(uint64_t *ret_bytes, struct error *reterr)
{
    struct memory memory;
    enum error_code code = read_memory(&memory, reterr);
    if (!code)
        *ret_bytes = memory.total_bytes;
    return code;
}

static enum error_code out_of_memory(uint64_t needed_bytes, struct error *reterr)
{
    error_set(reterr, ERR_NO_MEMORY, 0, "trying a passphrase needs %llu MiB of free memory",
              (unsigned long long)(needed_bytes / MIB));
    error_remedy(reterr, "stop something that uses memory, or open with a key file or the recovery key");
    return ERR_NO_MEMORY;
}

/* libsodium touches all the memory at once: where it is not there, the kernel would end a process instead. */
static enum error_code check_free_memory(uint64_t needed_bytes, struct error *reterr)
{
    struct memory memory;
    if (read_memory(&memory, NULL) != OK || memory.available_bytes >= needed_bytes + ARGON2_HEADROOM)
        return OK;
    enum error_code code = out_of_memory(needed_bytes, reterr);
    error_prefix(reterr, "only %llu MiB are free", (unsigned long long)(memory.available_bytes / MIB));
    return code;
}

enum error_code kdf_argon2id(const struct secret *passphrase, const struct kdf_argon2_parameters *parameters,
                             struct secret **ret_key, struct error *reterr)
{
    if (parameters->passes < KDF_ARGON2_PASSES_LEAST || parameters->passes > KDF_ARGON2_PASSES_MOST ||
        parameters->memory_bytes < KDF_ARGON2_MEMORY_LEAST ||
        parameters->memory_bytes > KDF_ARGON2_MEMORY_MOST || parameters->memory_bytes % MIB)
        return error_set(reterr, ERR_CORRUPT, 0,
                         "Argon2id with %u passes and %llu bytes of memory: outside what husk allows",
                         parameters->passes, (unsigned long long)parameters->memory_bytes);
    _cleanup_(secret_freep) struct secret *key = NULL;
    enum error_code code = secret_new(ARGON2_KEY_SIZE, &key, reterr);
    if (!code)
        code = check_free_memory(parameters->memory_bytes, reterr);
    if (code)
        return code;
    if (crypto_pwhash_argon2id(key->bytes, key->length, (const char *)passphrase->bytes, passphrase->length,
                               parameters->salt, parameters->passes, (size_t)parameters->memory_bytes,
                               crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0)
        return out_of_memory(parameters->memory_bytes, reterr);
    *ret_key = TAKE(key);
    return OK;
}
