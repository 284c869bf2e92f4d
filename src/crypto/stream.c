#include "crypto/stream.h"

#include <sodium.h>

typedef crypto_secretstream_xchacha20poly1305_state state_type;

struct stream {
    struct secret *state;
};

_Static_assert(STREAM_KEY_SIZE == crypto_secretstream_xchacha20poly1305_KEYBYTES, "stream.h");
_Static_assert(STREAM_HEADER_SIZE == crypto_secretstream_xchacha20poly1305_HEADERBYTES, "stream.h");
_Static_assert(STREAM_TAG_SIZE == crypto_secretstream_xchacha20poly1305_ABYTES, "stream.h");

static state_type *state_of(struct stream *stream)
{
    return (state_type *)(void *)stream->state->bytes;
}

void stream_free(struct stream *stream)
{
    if (!stream)
        return;
    secret_free(stream->state);
    free(stream);
}

static enum error_code stream_new(const struct secret *key, struct stream **ret_stream, struct error *reterr)
{
    if (key->length != STREAM_KEY_SIZE)
        return error_set(reterr, ERR_FAILED, 0, "a stream's key of %zu bytes", key->length);
    struct stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = secret_new(sizeof(state_type), &stream->state, reterr);
    if (code)
        stream_free(stream);
    else
        *ret_stream = stream;
    return code;
}

static enum error_code begun(struct stream *stream, int status, struct stream **ret_stream,
                             struct error *reterr)
{
    if (status != 0) {
        stream_free(stream);
        return error_set(reterr, ERR_FAILED, 0, "a stream could not be begun");
    }
    *ret_stream = stream;
    return OK;
}

enum error_code stream_begin_sealing(const struct secret *key, uint8_t ret_header[STREAM_HEADER_SIZE],
                                     struct stream **ret_stream, struct error *reterr)
{
    struct stream *stream = NULL;
    enum error_code code = stream_new(key, &stream, reterr);
    if (code || !stream)
        return code;
    const int status =
        crypto_secretstream_xchacha20poly1305_init_push(state_of(stream), ret_header, key->bytes);
    return begun(stream, status, ret_stream, reterr);
}

enum error_code stream_begin_opening(const struct secret *key, const uint8_t header[STREAM_HEADER_SIZE],
                                     struct stream **ret_stream, struct error *reterr)
{
    struct stream *stream = NULL;
    enum error_code code = stream_new(key, &stream, reterr);
    if (code || !stream)
        return code;
    const int status = crypto_secretstream_xchacha20poly1305_init_pull(state_of(stream), header, key->bytes);
    return begun(stream, status, ret_stream, reterr);
}

enum error_code stream_seal(struct stream *stream, enum stream_piece piece, const void *associated,
                            size_t associated_length, const void *plaintext, size_t length, uint8_t *sealed,
                            struct error *reterr)
{
    const uint8_t tag = piece == STREAM_LAST ? crypto_secretstream_xchacha20poly1305_TAG_FINAL
                                             : crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
    return crypto_secretstream_xchacha20poly1305_push(state_of(stream), sealed, NULL, plaintext, length,
                                                      associated, associated_length, tag) == 0
               ? OK
               : error_set(reterr, ERR_FAILED, 0, "cannot seal %zu bytes", length);
}

enum error_code stream_open(struct stream *stream, const void *associated, size_t associated_length,
                            const uint8_t *sealed, size_t length, void *plaintext,
                            enum stream_piece *ret_piece, struct error *reterr)
{
    uint8_t tag = 0;
    if (length < STREAM_TAG_SIZE ||
        crypto_secretstream_xchacha20poly1305_pull(state_of(stream), plaintext, NULL, &tag, sealed, length,
                                                   associated, associated_length) != 0)
        return error_set(reterr, ERR_WRONG_KEY, 0, "a piece does not open with this key in this place");
    *ret_piece = tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL ? STREAM_LAST : STREAM_MORE;
    return OK;
}
