#include "crypto/kdf.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>

#include "crypto/hkdf.h"
#include "crypto/memory.h"

enum { ARGON2_KEY_SIZE = 32 };
#define MIB (UINT64_C(1) << 20)
/* What the rest of this process and of the machine may want while Argon2id runs. */
#define ARGON2_HEADROOM (8 * MIB)

_Static_assert(sizeof(((struct kdf_argon2_parameters *)NULL)->salt) == crypto_pwhash_argon2id_SALTBYTES,
               "salt size");

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
    const struct hkdf_piece key_piece = {key->bytes, key->length}, info_piece = {info, strlen(info)};
    _cleanup_(hkdf_key_wipe) struct hkdf_key extracted;
    bool done = hkdf_key_extract(salt, salt_length, &key_piece, 1, &extracted) &&
                hkdf_expand(&extracted, &info_piece, 1, derived->bytes, length);
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
        error_remedy(reterr, "use a keyfile or a recovery key instead");
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
    error_remedy(reterr, "stop something that uses memory, or open with a keyfile or the recovery key");
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
