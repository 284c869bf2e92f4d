/* Names with any byte, and numbers and hexadecimal from outside. */
#include "base/text.h"
#include "target.h"

/* Escaped bytes show nothing that moves a terminal's cursor, and come back. */
static void escape(const char *bytes, size_t size)
{
    struct buffer escaped = {0}, again = {0};
    must_hold(text_escape(&escaped, bytes, size, NULL) == OK);
    for (size_t i = 0; i < escaped.length; i++)
        must_hold((uint8_t)escaped.data[i] >= 0x20 && (uint8_t)escaped.data[i] != 0x7f);
    enum error_code code = text_unescape(&again, escaped.data, NULL);
    if (memchr(bytes, '\0', size)) {
        must_hold(code == ERR_CORRUPT);
    } else {
        must_hold(code == OK && again.length == size);
        must_hold(size == 0 || !memcmp(again.data, bytes, size));
    }
    buffer_done(&escaped);
    buffer_done(&again);
}

/* What text unescapes to, escaped, unescapes to the same. */
static void unescape(const char *text)
{
    struct buffer bytes = {0};
    if (text_unescape(&bytes, text, NULL) == OK) {
        must_hold(memchr(bytes.data, '\0', bytes.length) == NULL);
        escape(bytes.data, bytes.length);
    }
    buffer_done(&bytes);
}

static void show(const char *text)
{
    for (size_t size = 8; size <= 64; size += 7) {
        char *out = malloc(size); /* of just this size, so that a byte too many is seen */
        must_hold(out != NULL);
        must_hold(text_show(out, size, text) == out && strlen(out) < size);
        free(out);
    }
}

static void parse_numbers(const char *text, size_t length)
{
    uint64_t value = 0;
    if (text_parse_u64(text, UINT64_MAX, &value, NULL) == OK) {
        char again[24];
        snprintf(again, sizeof(again), "%llu", (unsigned long long)value);
        must_hold(!strcmp(again, text + strspn(text, "0")) || value == 0);
    }
    uint8_t bytes[256];
    char hex[513];
    if (length / 2 <= sizeof(bytes) && text_parse_hex(text, bytes, length / 2, NULL) == OK) {
        text_format_hex(hex, bytes, length / 2);
        must_hold(!strcasecmp(hex, text));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    escape((const char *)data, size);
    char *text = strndup((const char *)data, size);
    must_hold(text != NULL);
    unescape(text);
    show(text);
    parse_numbers(text, strlen(text));
    free(text);
    return 0;
}
