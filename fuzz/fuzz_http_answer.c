/* The head of an HTTP answer, an address, a token: all from outside. */
#include "client/wire.h"
#include "target.h"

static void try_head(const char *bytes, size_t length)
{
    struct client_head head, shorter;
    enum error_code code = client_head_parse(bytes, length, &head, NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_PENDING);
    must_hold(code != ERR_PENDING || length < CLIENT_HEAD_MAXIMUM);
    if (code)
        return;
    must_hold(head.size <= length && head.size >= 4 && head.body_size <= MESSAGE_MAXIMUM);
    must_hold(!memcmp(bytes + head.size - 4, "\r\n\r\n", 4));
    /* It does not depend on what follows, and is not complete before its end. */
    must_hold(client_head_parse(bytes, head.size, &shorter, NULL) == OK && shorter.size == head.size);
    must_hold(client_head_parse(bytes, head.size - 1, &shorter, NULL) == ERR_PENDING);
}

static void try_text(const char *text)
{
    struct url url;
    struct client_token token;
    struct error error = ERROR_NONE;
    enum error_code code = url_parse(text, &url, &error);
    must_hold(code == OK || code == ERR_USAGE || code == ERR_UNSUPPORTED);
    if (!code)
        must_hold(url.host[0] && !strpbrk(url.host, "\r\n ") && !strpbrk(url.path, "\r\n ") &&
                  url.port[0] != '0');
    code = client_token_parse(text, &token, &error);
    must_hold(code == OK || code == ERR_USAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(freep) char *text = strndup((const char *)data, size);
    try_head((const char *)data, size);
    must_hold(text != NULL);
    try_text(text);
    return 0;
}
