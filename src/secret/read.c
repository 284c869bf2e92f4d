/* Reading a secret: every byte goes from read(2) straight into locked memory. */
#include <errno.h>
#include <sodium.h>

#include "base/interrupt.h"
#include "secret/packed.h"

/* Most keyfiles are short. */
enum { FIRST_CAPACITY = PACKED_MAXIMUM, SECOND_CAPACITY = 4096 };

/* read(2) that goes on after signals, unless one of them asked to stop. *ret_got is 0 at the end of file. */
static enum error_code read_some(int fd, uint8_t *bytes, size_t room, const char *shown_name, size_t *ret_got,
                                 struct error *reterr)
{
    for (;;) {
        ssize_t got = read(fd, bytes, room);
        if (got >= 0) {
            *ret_got = (size_t)got;
            return OK;
        }
        if (errno != EINTR)
            return error_set(reterr, ERR_FAILED, errno, "cannot read %s", shown_name);
        enum error_code code = interrupt_check(reterr);
        if (code)
            return code;
    }
}

/* Move what is there into more locked memory, at most maximum bytes. */
static enum error_code grow(struct secret **secret, size_t maximum, struct error *reterr)
{
    size_t used = (*secret)->length;
    struct secret *larger;
    const size_t wanted = used < SECOND_CAPACITY ? SECOND_CAPACITY : used * 2;
    enum error_code code = secret_new(wanted < maximum ? wanted : maximum, &larger, reterr);
    if (code)
        return code;
    memcpy(larger->bytes, (*secret)->bytes, used);
    secret_free(*secret);
    *secret = larger;
    return OK;
}

/* After maximum bytes there must be no more. */
static enum error_code expect_end(int fd, size_t maximum, const char *shown_name, struct error *reterr)
{
    uint8_t extra;
    size_t got = 0;
    enum error_code code = read_some(fd, &extra, 1, shown_name, &got, reterr);
    sodium_memzero(&extra, 1);
    if (!code && got)
        code = error_set(reterr, ERR_USAGE, 0, "%s is longer than %zu bytes", shown_name, maximum);
    return code;
}

enum error_code secret_read_fd(int fd, size_t minimum, size_t maximum, const char *shown_name,
                               struct secret **ret_secret, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *secret = NULL;
    enum error_code code = secret_new(maximum < FIRST_CAPACITY ? maximum : FIRST_CAPACITY, &secret, reterr);
    size_t length = 0;
    while (!code) {
        if (length == secret->length && length < maximum)
            code = grow(&secret, maximum, reterr);
        else if (length == maximum)
            code = expect_end(fd, maximum, shown_name, reterr);
        if (code || length == maximum)
            break;
        size_t got = 0;
        code = read_some(fd, secret->bytes + length, secret->length - length, shown_name, &got, reterr);
        if (!code && got == 0)
            break;
        length += got;
    }
    if (code)
        return code;
    if (length < minimum)
        return error_set(reterr, ERR_USAGE, 0, "%s is too short: %zu bytes where at least %zu are needed",
                         shown_name, length, minimum);
    secret_shorten(secret, length);
    *ret_secret = TAKE(secret);
    return OK;
}
