#include "base/buffer.h"

#include <stdint.h>

static enum error_code reserve(struct buffer *buffer, size_t extra, struct error *reterr)
{
    size_t maximum = buffer->maximum ? buffer->maximum : BUFFER_DEFAULT_MAXIMUM;
    if (extra > maximum || buffer->length > maximum - extra)
        return error_set(reterr, ERR_NO_MEMORY, 0, "more than %zu bytes where at most that many are expected",
                         maximum);
    size_t needed = buffer->length + extra + 1;
    if (needed <= buffer->capacity)
        return OK;
    size_t capacity = buffer->capacity ? buffer->capacity : 64;
    while (capacity < needed)
        capacity *= 2;
    char *data = realloc(buffer->data, capacity);
    if (!data)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory (%zu bytes)", capacity);
    buffer->data = data;
    buffer->capacity = capacity;
    return OK;
}

enum error_code buffer_append(struct buffer *buffer, const void *bytes, size_t length, struct error *reterr)
{
    enum error_code code = reserve(buffer, length, reterr);
    if (code)
        return code;
    if (length)
        memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
    return OK;
}

enum error_code buffer_printf(struct buffer *buffer, struct error *reterr, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    /* Mostly it fits into the room there is. */
    const size_t room = buffer->capacity - buffer->length;
    int length = vsnprintf(room ? buffer->data + buffer->length : NULL, room, format, arguments);
    va_end(arguments);
    enum error_code code = length < 0 ? error_set(reterr, ERR_FAILED, 0, "text that cannot be formatted")
                                      : reserve(buffer, (size_t)length, reterr);
    if (!code && (size_t)length >= room)
        vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, again);
    if (!code)
        buffer->length += (size_t)length;
    else if (room)
        buffer->data[buffer->length] = '\0';
    va_end(again);
    return code;
}

void buffer_done(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){.maximum = buffer->maximum};
}
