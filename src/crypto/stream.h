/*
 * Long things sealed piece by piece (libsodium's secretstream: XChaCha20-Poly1305): pieces open in the order
 * they were sealed and no other, and the last one says that it is. What was cut short, moved or changed is
 * ERR_WRONG_KEY. Nothing here blocks.
 */
#pragma once
#include "secret/secret.h"

#define STREAM_KEY_SIZE 32
#define STREAM_HEADER_SIZE 24 /* drawn at random, in the clear before the pieces */
#define STREAM_TAG_SIZE 17    /* a sealed piece is this much longer */

struct stream;

must_check enum error_code stream_begin_sealing(const struct secret *key,
                                                uint8_t ret_header[STREAM_HEADER_SIZE],
                                                struct stream **ret_stream, struct error *reterr);
must_check enum error_code stream_begin_opening(const struct secret *key,
                                                const uint8_t header[STREAM_HEADER_SIZE],
                                                struct stream **ret_stream, struct error *reterr);
void stream_free(struct stream *stream); /* NULL is fine */

enum stream_piece { STREAM_MORE, STREAM_LAST };

/* sealed has room for length + STREAM_TAG_SIZE. */
must_check enum error_code stream_seal(struct stream *stream, enum stream_piece piece, const void *associated,
                                       size_t associated_length, const void *plaintext, size_t length,
                                       uint8_t *sealed, struct error *reterr);
/* plaintext has room for length - STREAM_TAG_SIZE. */
must_check enum error_code stream_open(struct stream *stream, const void *associated,
                                       size_t associated_length, const uint8_t *sealed, size_t length,
                                       void *plaintext, enum stream_piece *ret_piece, struct error *reterr);
