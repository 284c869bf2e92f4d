/*
 * Ed25519 signatures (RFC 8032; libsodium's, which refuses keys and points of small order and s that is not
 * canonical). What is signed always has its kind in front, so that a signature under one kind is none under
 * another: kind, a NUL byte, the bytes. Nothing here blocks.
 */
#pragma once
#include "base/buffer.h"
#include "secret/secret.h"

#define SIGN_PUBLIC_SIZE 32
#define SIGN_SIGNATURE_SIZE 64
#define SIGN_KEY_SIZE 64 /* a private key: seed and public key */

/* A random key pair. */
must_check enum error_code sign_key_new(struct secret **ret_key, uint8_t ret_public[SIGN_PUBLIC_SIZE],
                                        struct error *reterr);

/* The public key of a private one of SIGN_KEY_SIZE bytes; ERR_CORRUPT for another size. */
must_check enum error_code sign_public_key(const struct secret *key, uint8_t ret_public[SIGN_PUBLIC_SIZE],
                                           struct error *reterr);

/* kind is a short constant such as "husk descriptor v1". */
must_check enum error_code sign_bytes(const struct secret *key, const char *kind, const void *bytes,
                                      size_t length, uint8_t ret_signature[SIGN_SIGNATURE_SIZE],
                                      struct error *reterr);

/* The same, signature and bytes appended to wire: how everything signed travels and is kept. */
must_check enum error_code sign_append(const struct secret *key, const char *kind, const void *bytes,
                                       size_t length, struct buffer *wire, struct error *reterr);

/* ERR_CORRUPT when it is not the signature of these bytes under that kind and key. */
must_check enum error_code sign_verify(const uint8_t public_key[SIGN_PUBLIC_SIZE], const char *kind,
                                       const void *bytes, size_t length,
                                       const uint8_t signature[SIGN_SIGNATURE_SIZE], struct error *reterr);

/* Check such a wire; *ret_text is where its bytes begin, *ret_length how many they are. ERR_CORRUPT. */
must_check enum error_code sign_open(const uint8_t public_key[SIGN_PUBLIC_SIZE], const char *kind,
                                     const void *wire, size_t length, const char **ret_text,
                                     size_t *ret_length, struct error *reterr);
