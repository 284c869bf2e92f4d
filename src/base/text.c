#include "base/text.h"

#include <errno.h>

#include "base/cleanup.h"

/* Length of the valid, printable UTF-8 sequence at the start of bytes (RFC 3629 §4), or 0. */
static size_t utf8_length(const uint8_t *bytes, size_t available)
{
    uint8_t first = bytes[0];
    if (first >= 0x20 && first < 0x7f)
        return 1;
    size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                    : first >= 0xe0 && first <= 0xef ? 3
                    : first >= 0xf0 && first <= 0xf4 ? 4
                                                     : 0;
    if (length == 0 || length > available)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && bytes[1] < 0xa0) || (first == 0xed && bytes[1] > 0x9f) ||
        (first == 0xf0 && bytes[1] < 0x90) || (first == 0xf4 && bytes[1] > 0x8f))
        return 0;
    if (first == 0xc2 && bytes[1] < 0xa0) /* C1 control characters */
        return 0;
    /* Marks that turn the writing direction, and separators: they would let a name lie about itself. */
    if (first == 0xe2 && (bytes[1] == 0x80 || bytes[1] == 0x81) &&
        ((bytes[1] == 0x80 && bytes[2] >= 0xa8 && bytes[2] <= 0xae) ||
         (bytes[1] == 0x80 && (bytes[2] == 0x8e || bytes[2] == 0x8f)) ||
         (bytes[1] == 0x81 && bytes[2] >= 0xa6 && bytes[2] <= 0xa9)))
        return 0;
    return length;
}

/* How many bytes of input the next shown unit takes; out gets the unit, NUL-terminated. */
static size_t next_unit(const char *bytes, size_t available, char out[5])
{
    const uint8_t *raw = (const uint8_t *)bytes;
    size_t length = raw[0] == '\\' ? 0 : utf8_length(raw, available);
    if (length) {
        memcpy(out, bytes, length);
        out[length] = '\0';
        return length;
    }
    snprintf(out, 5, "\\x%02x", raw[0]);
    return 1;
}

enum error_code text_escape(struct buffer *buffer, const char *bytes, size_t length, struct error *reterr)
{
    for (size_t done = 0; done < length;) {
        char unit[5];
        done += next_unit(bytes + done, length - done, unit);
        enum error_code code = buffer_append(buffer, unit, strlen(unit), reterr);
        if (code)
            return code;
    }
    return buffer_append(buffer, "", 0, reterr);
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

enum error_code text_unescape(struct buffer *buffer, const char *text, struct error *reterr)
{
    for (; *text; text++) {
        char byte = *text;
        if (byte == '\\') {
            int high = text[1] == 'x' ? hex_digit(text[2]) : -1;
            int low = high >= 0 ? hex_digit(text[3]) : -1;
            if (low < 0 || (high == 0 && low == 0))
                return error_set(reterr, ERR_CORRUPT, 0, "malformed escape in \"%.64s\"", text);
            byte = (char)(high << 4 | low);
            text += 3;
        }
        enum error_code code = buffer_append(buffer, &byte, 1, reterr);
        if (code)
            return code;
    }
    return buffer_append(buffer, "", 0, reterr);
}

const char *text_show(char *out, size_t out_size, const char *bytes)
{
    size_t used = 0, length = strlen(bytes);
    for (size_t done = 0; done < length;) {
        char unit[5];
        done += next_unit(bytes + done, length - done, unit);
        size_t unit_length = strlen(unit);
        if (used + unit_length + 4 > out_size) {
            memcpy(out + used, "...", 4);
            return out;
        }
        memcpy(out + used, unit, unit_length + 1);
        used += unit_length;
    }
    out[used] = '\0';
    return out;
}

void text_format_hex(char *out, const uint8_t *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * length] = '\0';
}

enum error_code text_parse_hex(const char *text, uint8_t *ret_bytes, size_t length, struct error *reterr)
{
    if (strlen(text) != 2 * length)
        return error_set(reterr, ERR_CORRUPT, 0, "expected %zu hexadecimal digits", 2 * length);
    for (size_t i = 0; i < 2 * length; i++)
        if (hex_digit(text[i]) < 0)
            return error_set(reterr, ERR_CORRUPT, 0, "expected hexadecimal digits only");
    for (size_t i = 0; i < length; i++)
        ret_bytes[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return OK;
}

enum error_code text_append_bytes(struct buffer *buffer, const char *text, struct error *reterr)
{
    const size_t length = strlen(text) / 2;
    _cleanup_(freep) uint8_t *bytes = malloc(length + 1);
    if (!bytes)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = text_parse_hex(text, bytes, length, reterr);
    return code || length == 0 ? code : buffer_append(buffer, bytes, length, reterr);
}

enum error_code text_parse_u64(const char *text, uint64_t maximum, uint64_t *ret_value, struct error *reterr)
{
    uint64_t value = 0;
    const char *digit = text;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        uint64_t next;
        if (__builtin_mul_overflow(value, UINT64_C(10), &next) ||
            __builtin_add_overflow(next, (uint64_t)(*digit - '0'), &value))
            return error_set(reterr, ERR_USAGE, 0, "%s is too large a number", text);
    }
    if (digit == text || *digit || value > maximum)
        return error_set(reterr, ERR_USAGE, 0, "\"%.64s\" is not a number from 0 to %llu", text,
                         (unsigned long long)maximum);
    *ret_value = value;
    return OK;
}
