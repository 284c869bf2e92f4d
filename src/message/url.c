#include "message/url.h"

#include "base/text.h"

static enum error_code no_url(const char *text, struct error *reterr)
{
    error_set(reterr, ERR_USAGE, 0, "%s is no address of an authority", text_shown(text));
    return error_remedy(reterr, "give it as http://HOST[:PORT][/PATH]");
}

/* HOST or [ADDRESS]; *ret_rest is what follows it. */
static enum error_code parse_host(const char *text, struct url *url, const char **ret_rest)
{
    const char *start = text[0] == '[' ? text + 1 : text;
    size_t length = strcspn(start, text[0] == '[' ? "]" : ":/");
    if (length == 0 || length >= sizeof(url->host) || (text[0] == '[' && start[length] != ']'))
        return ERR_USAGE;
    for (size_t i = 0; i < length; i++)
        if (start[i] <= ' ' || start[i] >= 0x7f || strchr("@?#%\\\"'", start[i]))
            return ERR_USAGE;
    snprintf(url->host, sizeof(url->host), "%.*s", (int)length, start);
    *ret_rest = start + length + (text[0] == '[');
    return OK;
}

static enum error_code parse_port(const char **rest, struct url *url)
{
    uint64_t port = 80;
    if (**rest == ':') {
        char digits[8];
        size_t length = strcspn(++*rest, "/");
        if (length == 0 || length >= sizeof(digits))
            return ERR_USAGE;
        snprintf(digits, sizeof(digits), "%.*s", (int)length, *rest);
        if (text_parse_u64(digits, 65535, &port, NULL) || port == 0)
            return ERR_USAGE;
        *rest += length;
    }
    snprintf(url->port, sizeof(url->port), "%u", (unsigned)port);
    return OK;
}

static enum error_code parse_path(const char *rest, struct url *url)
{
    size_t length = strlen(rest);
    if (length >= sizeof(url->path) || (length > 0 && rest[0] != '/'))
        return ERR_USAGE;
    for (size_t i = 0; i < length; i++)
        if (rest[i] <= ' ' || rest[i] >= 0x7f || rest[i] == '#' || rest[i] == '?')
            return ERR_USAGE;
    while (length > 0 && rest[length - 1] == '/')
        length--;
    snprintf(url->path, sizeof(url->path), "%.*s", (int)length, rest);
    return OK;
}

enum error_code url_parse(const char *text, struct url *ret_url, struct error *reterr)
{
    struct url url = {0};
    const char *rest = NULL;
    if (!strncmp(text, "https://", 8)) {
        error_set(reterr, ERR_UNSUPPORTED, 0, "%s: a host speaks plain HTTP, its messages protect themselves",
                  text_shown(text));
        return error_remedy(reterr, "use the http:// address of the authority or of its proxy");
    }
    if (strncmp(text, "http://", 7) != 0 || strlen(text) >= URL_SIZE || parse_host(text + 7, &url, &rest) ||
        parse_port(&rest, &url) || parse_path(rest, &url))
        return no_url(text, reterr);
    *ret_url = url;
    return OK;
}
