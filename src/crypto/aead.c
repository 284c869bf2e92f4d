#include "crypto/aead.h"

#include <sodium.h>

_Static_assert(AEAD_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key size");
_Static_assert(AEAD_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce size");
_Static_assert(AEAD_TAG_SIZE == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag size");
_Static_assert(MAC_SIZE == crypto_auth_hmacsha512256_BYTES, "MAC size");

static enum error_code check_key(const struct secret *key, size_t size, const char *what,
                                 struct error *reterr)
{
    if (key->length != size)
        return error_set(reterr, ERR_FAILED, 0, "%s of %zu bytes where %zu are needed", what, key->length,
                         size);
    return OK;
}

enum error_code aead_seal(const struct secret *key, const void *associated, size_t associated_length,
                          const struct secret *plaintext, uint8_t nonce[AEAD_NONCE_SIZE], uint8_t *ciphertext,
                          struct error *reterr)
{
    enum error_code code = check_key(key, AEAD_KEY_SIZE, "an encryption key", reterr);
    if (code)
        return code;
    unsigned long long length = 0;
    randombytes_buf(nonce, AEAD_NONCE_SIZE);
    if (crypto_aead_xchacha20poly1305_ietf_encrypt(ciphertext, &length, plaintext->bytes, plaintext->length,
                                                   associated, associated_length, NULL, nonce,
                                                   key->bytes) != 0 ||
        length != plaintext->length + AEAD_TAG_SIZE)
        return error_set(reterr, ERR_FAILED, 0, "cannot encrypt");
    return OK;
}

enum error_code aead_open_into(const struct secret *key, const void *associated, size_t associated_length,
                               const uint8_t nonce[AEAD_NONCE_SIZE], const uint8_t *ciphertext,
                               struct secret *plaintext, struct error *reterr)
{
    unsigned long long length = 0;
    enum error_code code = check_key(key, AEAD_KEY_SIZE, "a decryption key", reterr);
    if (code)
        return code;
    return crypto_aead_xchacha20poly1305_ietf_decrypt(plaintext->bytes, &length, NULL, ciphertext,
                                                      plaintext->length + AEAD_TAG_SIZE, associated,
                                                      associated_length, nonce, key->bytes) == 0 &&
                   length == plaintext->length
               ? OK
               : error_set(reterr, ERR_WRONG_KEY, 0, "the key does not open this");
}

enum error_code aead_open(const struct secret *key, const void *associated, size_t associated_length,
                          const uint8_t nonce[AEAD_NONCE_SIZE], const uint8_t *ciphertext,
                          size_t ciphertext_length, struct secret **ret_plaintext, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *plaintext = NULL;
    /* A secret is never empty, so there is something before the tag. */
    if (ciphertext_length <= AEAD_TAG_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "a ciphertext of %zu bytes is too short", ciphertext_length);
    enum error_code code = secret_new(ciphertext_length - AEAD_TAG_SIZE, &plaintext, reterr);
    if (!code)
        code = aead_open_into(key, associated, associated_length, nonce, ciphertext, plaintext, reterr);
    if (!code)
        *ret_plaintext = TAKE(plaintext);
    return code;
}

enum error_code mac_compute(const struct secret *key, const void *bytes, size_t length,
                            uint8_t ret_mac[MAC_SIZE], struct error *reterr)
{
    enum error_code code = check_key(key, crypto_auth_hmacsha512256_KEYBYTES, "a MAC key", reterr);
    if (code)
        return code;
    if (crypto_auth_hmacsha512256(ret_mac, bytes, length, key->bytes) != 0)
        return error_set(reterr, ERR_FAILED, 0, "cannot compute a MAC");
    return OK;
}

enum error_code mac_verify(const struct secret *key, const void *bytes, size_t length,
                           const uint8_t mac[MAC_SIZE], struct error *reterr)
{
    enum error_code code = check_key(key, crypto_auth_hmacsha512256_KEYBYTES, "a MAC key", reterr);
    if (code)
        return code;
    if (crypto_auth_hmacsha512256_verify(mac, bytes, length, key->bytes) != 0)
        return error_set(reterr, ERR_CORRUPT, 0, "the MAC does not fit");
    return OK;
}
