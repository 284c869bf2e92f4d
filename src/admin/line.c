#include "admin/line.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/text.h"

/* False when the time is over. */
static bool wait_for(int fd, short events, int64_t until_ns)
{
    for (;;) {
        int64_t left_ns = until_ns - clock_monotonic_ns();
        if (until_ns && left_ns <= 0)
            return false;
        struct pollfd ready = {.fd = fd, .events = events};
        int count = poll(&ready, 1, until_ns ? (int)(left_ns / 1000000) + 1 : -1);
        if (count > 0)
            return true;
        if (count < 0 && errno != EINTR)
            return false;
    }
}

enum error_code line_read(int fd, size_t maximum, int64_t until_ns, struct buffer *line, struct error *reterr)
{
    for (;;) {
        char bytes[16384];
        if (!wait_for(fd, POLLIN, until_ns))
            return error_set(reterr, ERR_UNREACHABLE, 0, "no line in time");
        ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            return error_set(reterr, ERR_UNREACHABLE, errno, "cannot read");
        if (got == 0)
            return line->length > 0 ? error_set(reterr, ERR_CORRUPT, 0, "the line has no end")
                                    : error_set(reterr, ERR_UNREACHABLE, 0, "nothing came");
        const char *end = memchr(bytes, '\n', (size_t)got);
        size_t length = end ? (size_t)(end - bytes) : (size_t)got;
        if (line->length + length + 1 > maximum)
            return error_set(reterr, ERR_CORRUPT, 0, "the line is longer than %zu bytes", maximum);
        if (end && length + 1 != (size_t)got)
            return error_set(reterr, ERR_CORRUPT, 0, "there is more than one line");
        enum error_code code = buffer_append(line, bytes, length, reterr);
        if (code || end)
            return code;
    }
}

static enum error_code write_all(int fd, const char *bytes, size_t length, int64_t until_ns,
                                 struct error *reterr)
{
    while (length > 0) {
        if (!wait_for(fd, POLLOUT, until_ns))
            return error_set(reterr, ERR_UNREACHABLE, 0, "nobody reads");
        ssize_t done = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (done < 0)
            return error_set(reterr, ERR_UNREACHABLE, errno, "cannot write");
        bytes += done;
        length -= (size_t)done;
    }
    return OK;
}

enum error_code line_write(int fd, const struct buffer *line, int64_t until_ns, struct error *reterr)
{
    enum error_code code = write_all(fd, line->data ? line->data : "", line->length, until_ns, reterr);
    return code ? code : write_all(fd, "\n", 1, until_ns, reterr);
}

enum error_code admin_address(const char *directory, const char *name, struct sockaddr_un *ret_address,
                              struct error *reterr)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", directory, name);
    if (length < 0 || (size_t)length >= sizeof(address.sun_path))
        return error_set(reterr, ERR_USAGE, 0, "%s is too long a path for a socket", text_shown(directory));
    *ret_address = address;
    return OK;
}
