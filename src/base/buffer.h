/*
 * A growing byte buffer that carries its length and a maximum. data is always NUL-terminated behind length,
 * so that text can be passed on as a string. Not for secrets (see secret/).
 */
#pragma once
#include <stdarg.h>
#include <stddef.h>

#include "base/error.h"

struct buffer {
    char *data; /* NULL while empty */
    size_t length;
    size_t capacity;
    size_t maximum; /* bytes; 0 means BUFFER_DEFAULT_MAXIMUM */
};

#define BUFFER_DEFAULT_MAXIMUM ((size_t)16 << 20)

/* Append bytes. ERR_NO_MEMORY past the maximum or when memory runs out; the buffer is then unchanged. */
must_check enum error_code buffer_append(struct buffer *buffer, const void *bytes, size_t length,
                                         struct error *reterr);

/* Append formatted text, same errors. */
must_check enum error_code buffer_printf(struct buffer *buffer, struct error *reterr, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Free the memory; the buffer is empty and usable afterwards. Accepts an all-zero buffer. */
void buffer_done(struct buffer *buffer);
