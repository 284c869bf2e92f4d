/* XChaCha20-Poly1305 (libsodium's IETF construction) for wrapping 32-byte secrets, and the MAC of manifests.
 */
#pragma once
#include "secret/secret.h"

#define AEAD_KEY_SIZE 32
#define AEAD_NONCE_SIZE 24
#define AEAD_TAG_SIZE 16

/* ciphertext has room for plaintext->length + AEAD_TAG_SIZE. The nonce is drawn at random and written to
 * nonce. */
must_check enum error_code aead_seal(const struct secret *key, const void *associated,
                                     size_t associated_length, const struct secret *plaintext,
                                     uint8_t nonce[AEAD_NONCE_SIZE], uint8_t *ciphertext,
                                     struct error *reterr);

/* ERR_WRONG_KEY when the tag does not fit. */
must_check enum error_code aead_open(const struct secret *key, const void *associated,
                                     size_t associated_length, const uint8_t nonce[AEAD_NONCE_SIZE],
                                     const uint8_t *ciphertext, size_t ciphertext_length,
                                     struct secret **ret_plaintext, struct error *reterr);

/* The same into a secret that is there; its length is that of the plaintext. What it holds after an error is
 * not said. */
must_check enum error_code aead_open_into(const struct secret *key, const void *associated,
                                          size_t associated_length, const uint8_t nonce[AEAD_NONCE_SIZE],
                                          const uint8_t *ciphertext, struct secret *plaintext,
                                          struct error *reterr);

#define MAC_SIZE 32

/* HMAC-SHA-512-256 (RFC 2104, SHA-512 cut to 32 bytes; libsodium's crypto_auth). key is 32 bytes. */
must_check enum error_code mac_compute(const struct secret *key, const void *bytes, size_t length,
                                       uint8_t ret_mac[MAC_SIZE], struct error *reterr);

/* ERR_CORRUPT when it does not fit; compared in constant time. */
must_check enum error_code mac_verify(const struct secret *key, const void *bytes, size_t length,
                                      const uint8_t mac[MAC_SIZE], struct error *reterr);
