/*
 * A strict reader for the head of one HTTP/1.1 answer with Content-Length. No maintained parser is packaged
 * with a static library, and this is all a host ever reads: no chunks, no continuation lines, no
 * intermediate answers; anything else is refused, since whatever stands between a host and its authority can
 * be configured not to send it.
 */
#include <strings.h>

#include "base/text.h"
#include "client/wire.h"

static enum error_code refuse(const char *what, struct error *reterr)
{
    return error_set(reterr, ERR_CORRUPT, 0, "an answer that is not HTTP as husk takes it: %s", what);
}

/* "HTTP/1.x NNN" and a space or the end of the line. */
static enum error_code parse_status(const char *line, size_t length, unsigned *ret_status,
                                    struct error *reterr)
{
    unsigned status = 0;
    if (length < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
        line[8] != ' ' || (length > 12 && line[12] != ' '))
        return refuse("no status line", reterr);
    for (size_t i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return refuse("no status line", reterr);
        status = status * 10 + (unsigned)(line[i] - '0');
    }
    *ret_status = status;
    return OK;
}

static bool is_field(const char *line, size_t length, const char *name)
{
    return length == strlen(name) && !strncasecmp(line, name, length);
}

static enum error_code parse_length(const char *value, size_t length, uint64_t *ret_size,
                                    struct error *reterr)
{
    char digits[16];
    while (length > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        length--;
    }
    while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t'))
        length--;
    if (length == 0 || length >= sizeof(digits) || memchr(value, '\0', length))
        return refuse("no length", reterr);
    snprintf(digits, sizeof(digits), "%.*s", (int)length, value);
    if (text_parse_u64(digits, MESSAGE_MAXIMUM, ret_size, NULL))
        return refuse("its length is no number or too large", reterr);
    return OK;
}

static enum error_code parse_field(const char *line, size_t length, bool *has_size, struct client_head *head,
                                   struct error *reterr)
{
    uint64_t size = 0;
    const char *colon = memchr(line, ':', length);
    const size_t name_length = colon ? (size_t)(colon - line) : 0;
    if (name_length == 0 || memchr(line, ' ', name_length) || memchr(line, '\t', name_length))
        return refuse("a field without a name", reterr);
    if (is_field(line, name_length, "transfer-encoding"))
        return refuse("a transfer encoding", reterr);
    if (!is_field(line, name_length, "content-length"))
        return OK;
    if (*has_size)
        return refuse("two lengths", reterr);
    enum error_code code = parse_length(colon + 1, length - name_length - 1, &size, reterr);
    head->body_size = (size_t)size;
    *has_size = true;
    return code;
}

enum error_code client_head_parse(const char *bytes, size_t length, struct client_head *ret_head,
                                  struct error *reterr)
{
    struct client_head head = {0};
    bool has_size = false;
    for (size_t at = 0; at < length;) {
        const char *line = bytes + at, *end = memmem(line, length - at, "\r\n", 2);
        if (!end)
            break;
        const size_t line_length = (size_t)(end - line);
        enum error_code code = OK;
        if (at == 0)
            code = parse_status(line, line_length, &head.status, reterr);
        else if (line_length > 0)
            code = parse_field(line, line_length, &has_size, &head, reterr);
        if (code)
            return code;
        at += line_length + 2;
        if (line_length > 0)
            continue;
        if (!has_size)
            return refuse("no length", reterr);
        head.size = at;
        *ret_head = head;
        return OK;
    }
    if (length >= CLIENT_HEAD_MAXIMUM)
        return refuse("its head has no end", reterr);
    return error_set(reterr, ERR_PENDING, 0, "the head is not complete");
}
