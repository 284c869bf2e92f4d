#include "crypto/sign.h"

#include <sodium.h>

_Static_assert(SIGN_PUBLIC_SIZE == crypto_sign_ed25519_PUBLICKEYBYTES, "key size");
_Static_assert(SIGN_KEY_SIZE == crypto_sign_ed25519_SECRETKEYBYTES, "key size");
_Static_assert(SIGN_SIGNATURE_SIZE == crypto_sign_ed25519_BYTES, "signature size");

static enum error_code join(const char *kind, const void *bytes, size_t length, struct buffer *ret_joined,
                            struct error *reterr)
{
    enum error_code code = buffer_append(ret_joined, kind, strlen(kind) + 1, reterr);
    return code ? code : buffer_append(ret_joined, bytes, length, reterr);
}

static enum error_code check_key(const struct secret *key, struct error *reterr)
{
    return key->length == SIGN_KEY_SIZE
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0, "a signing key of %zu bytes", key->length);
}

enum error_code sign_key_new(struct secret **ret_key, uint8_t ret_public[SIGN_PUBLIC_SIZE],
                             struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *key = NULL;
    enum error_code code = secret_new(SIGN_KEY_SIZE, &key, reterr);
    if (!code && crypto_sign_ed25519_keypair(ret_public, key->bytes) != 0)
        code = error_set(reterr, ERR_FAILED, 0, "cannot make a signing key");
    if (!code)
        *ret_key = TAKE(key);
    return code;
}

enum error_code sign_public_key(const struct secret *key, uint8_t ret_public[SIGN_PUBLIC_SIZE],
                                struct error *reterr)
{
    enum error_code code = check_key(key, reterr);
    if (!code && crypto_sign_ed25519_sk_to_pk(ret_public, key->bytes) != 0)
        code = error_set(reterr, ERR_FAILED, 0, "cannot read a signing key");
    return code;
}

enum error_code sign_bytes(const struct secret *key, const char *kind, const void *bytes, size_t length,
                           uint8_t ret_signature[SIGN_SIGNATURE_SIZE], struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer joined = {0};
    enum error_code code = check_key(key, reterr);
    if (!code)
        code = join(kind, bytes, length, &joined, reterr);
    if (!code && crypto_sign_ed25519_detached(ret_signature, NULL, (const uint8_t *)joined.data,
                                              joined.length, key->bytes) != 0)
        code = error_set(reterr, ERR_FAILED, 0, "cannot sign");
    return code;
}

enum error_code sign_append(const struct secret *key, const char *kind, const void *bytes, size_t length,
                            struct buffer *wire, struct error *reterr)
{
    uint8_t signature[SIGN_SIGNATURE_SIZE];
    enum error_code code = sign_bytes(key, kind, bytes, length, signature, reterr);
    if (!code)
        code = buffer_append(wire, signature, sizeof(signature), reterr);
    return code ? code : buffer_append(wire, bytes, length, reterr);
}

enum error_code sign_verify(const uint8_t public_key[SIGN_PUBLIC_SIZE], const char *kind, const void *bytes,
                            size_t length, const uint8_t signature[SIGN_SIGNATURE_SIZE], struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer joined = {0};
    enum error_code code = join(kind, bytes, length, &joined, reterr);
    if (!code && crypto_sign_ed25519_verify_detached(signature, (const uint8_t *)joined.data, joined.length,
                                                     public_key) != 0)
        code = error_set(reterr, ERR_CORRUPT, 0, "a signature that does not fit");
    return code;
}

enum error_code sign_open(const uint8_t public_key[SIGN_PUBLIC_SIZE], const char *kind, const void *wire,
                          size_t length, const char **ret_text, size_t *ret_length, struct error *reterr)
{
    if (length <= SIGN_SIGNATURE_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "a signed text of %zu bytes", length);
    const char *text = (const char *)wire + SIGN_SIGNATURE_SIZE;
    const size_t text_length = length - SIGN_SIGNATURE_SIZE;
    enum error_code code = sign_verify(public_key, kind, text, text_length, wire, reterr);
    if (code)
        return code;
    *ret_text = text;
    *ret_length = text_length;
    return OK;
}
