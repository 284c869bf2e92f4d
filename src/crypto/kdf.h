/*
 * Key derivation: HKDF-SHA256 (RFC 5869) and Argon2id (RFC 9106, libsodium's, one lane). Secrets in, secrets
 * out. Limit: Argon2id's own 64 to 256 MiB are libsodium's and not locked, so on a machine with plain swap
 * they can reach the disk while it runs.
 */
#pragma once
#include "secret/secret.h"

#define KDF_HKDF_MAXIMUM (255 * 32)

/* RFC 5869 §2: extract with salt, expand with info (a NUL-terminated label, without its NUL) to length bytes
 * (1 to KDF_HKDF_MAXIMUM). salt may be NULL with length 0. */
must_check enum error_code kdf_hkdf_sha256(const struct secret *key, const void *salt, size_t salt_length,
                                           const char *info, size_t length, struct secret **ret_secret,
                                           struct error *reterr);

struct kdf_argon2_parameters {
    uint32_t passes;
    uint64_t memory_bytes;
    uint8_t salt[16];
};

#define KDF_ARGON2_MEMORY_LEAST (UINT64_C(64) << 20)
#define KDF_ARGON2_MEMORY_MOST (UINT64_C(256) << 20)
#define KDF_ARGON2_PASSES_LEAST 3
#define KDF_ARGON2_PASSES_MOST 16

/* A quarter of machine_memory_bytes within the bounds above, rounded down to whole MiB, three passes, a
 * random salt. ERR_NO_MEMORY where even the least is not a quarter of the machine's memory. */
must_check enum error_code kdf_argon2_choose(uint64_t machine_memory_bytes,
                                             struct kdf_argon2_parameters *ret_parameters,
                                             struct error *reterr);

/* The machine's memory in bytes: the smaller of MemTotal and the cgroup's limit where there is one. */
must_check enum error_code kdf_machine_memory(uint64_t *ret_bytes, struct error *reterr);

/* 32 bytes from a passphrase. Parameters outside the bounds are ERR_CORRUPT; too little free memory is
 * ERR_NO_MEMORY with how much is needed. Blocks for about a second. */
must_check enum error_code kdf_argon2id(const struct secret *passphrase,
                                        const struct kdf_argon2_parameters *parameters,
                                        struct secret **ret_key, struct error *reterr);
