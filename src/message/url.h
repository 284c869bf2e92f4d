/* The address of an authority, as hosts use it: http://HOST[:PORT][/PATH], port 80 where there is none. */
#pragma once
#include "base/error.h"

#define URL_SIZE 256 /* of the text, with its NUL */

struct url {
    char host[URL_SIZE]; /* a name or an address, IPv6 without brackets */
    char port[6];
    char path[URL_SIZE]; /* "" or "/..." without a slash at its end */
};

/* ERR_UNSUPPORTED for https, ERR_USAGE for what is no URL; both say what to write instead. */
must_check enum error_code url_parse(const char *text, struct url *ret_url, struct error *reterr);
