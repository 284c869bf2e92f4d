#include "base/text.h"
#include "client/client.h"

#define TOKEN_PREFIX "husk1."
enum { TOKEN_LENGTH = sizeof(TOKEN_PREFIX) - 1 + 2 * CLIENT_ID_SIZE + 1 + 2 * CLIENT_ID_SIZE };

static enum error_code parse_half(const char *text, uint8_t ret_bytes[CLIENT_ID_SIZE])
{
    char digits[CLIENT_ID_TEXT_SIZE];
    snprintf(digits, sizeof(digits), "%.*s", 2 * CLIENT_ID_SIZE, text);
    return text_parse_hex(digits, ret_bytes, CLIENT_ID_SIZE, NULL);
}

enum error_code client_token_parse(const char *text, struct client_token *ret_token, struct error *reterr)
{
    const size_t prefix = sizeof(TOKEN_PREFIX) - 1;
    struct client_token token;
    /* Not shown: it is a secret until it was used. */
    if (strlen(text) != TOKEN_LENGTH || memcmp(text, TOKEN_PREFIX, prefix) != 0 ||
        text[prefix + 2 * CLIENT_ID_SIZE] != '.' || parse_half(text + prefix, token.token) ||
        parse_half(text + prefix + 2 * CLIENT_ID_SIZE + 1, token.fingerprint)) {
        error_set(reterr, ERR_USAGE, 0, "that is no token of an authority");
        return error_remedy(reterr, "huskd token create makes one: husk1. and two groups of 32 digits");
    }
    *ret_token = token;
    return OK;
}
