#include "admin/line.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

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

void line_files_close(struct line_files *files)
{
    for (unsigned i = 0; i < files->count; i++)
        close(files->fds[i]);
    files->count = 0;
}

/* Room for one more than there may be, so that too many are seen. */
union control {
    struct cmsghdr header;
    char space[CMSG_SPACE((LINE_FILES_MAXIMUM + 1) * sizeof(int))];
};

/* False when there are too many: those that came are closed. */
static bool take_files(struct msghdr *message, struct line_files *files)
{
    bool fit = !(message->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
            if (files->count < LINE_FILES_MAXIMUM) {
                files->fds[files->count++] = fd;
            } else {
                close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

/* Without files, those that come are not taken out of the socket. */
static ssize_t receive(int fd, char *bytes, size_t length, struct line_files *files, bool *ret_fit)
{
    union control control;
    struct iovec part = {bytes, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (!files)
        return recv(fd, bytes, length, MSG_DONTWAIT);
    message.msg_control = &control;
    message.msg_controllen = sizeof(control);
    const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got >= 0)
        *ret_fit = take_files(&message, files);
    return got;
}

enum error_code line_read(int fd, size_t maximum, int64_t until_ns, struct buffer *line, struct error *reterr)
{
    return line_read_with_files(fd, maximum, until_ns, line, NULL, reterr);
}

enum error_code line_read_with_files(int fd, size_t maximum, int64_t until_ns, struct buffer *line,
                                     struct line_files *files, struct error *reterr)
{
    for (;;) {
        char bytes[16384];
        bool fit = true;
        if (!wait_for(fd, POLLIN, until_ns))
            return error_set(reterr, ERR_UNREACHABLE, 0, "no line in time");
        ssize_t got = receive(fd, bytes, sizeof(bytes), files, &fit);
        if (!fit)
            return error_set(reterr, ERR_CORRUPT, 0, "more than %d files come with the line",
                             LINE_FILES_MAXIMUM);
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

/* With the first byte of the line. */
static enum error_code send_files(int fd, const char *byte, const struct line_files *files, int64_t until_ns,
                                  struct error *reterr)
{
    union control control = {0};
    char first = *byte;
    struct iovec part = {&first, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(files->count * sizeof(int))};
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(files->count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), files->fds, files->count * sizeof(int));
    for (;;) {
        if (!wait_for(fd, POLLOUT, until_ns))
            return error_set(reterr, ERR_UNREACHABLE, 0, "nobody reads");
        if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
            return OK;
        if (errno != EINTR && errno != EAGAIN)
            return error_set(reterr, ERR_UNREACHABLE, errno, "cannot write");
    }
}

enum error_code line_write_with_files(int fd, const struct buffer *line, const struct line_files *files,
                                      int64_t until_ns, struct error *reterr)
{
    if (files->count == 0 || line->length == 0)
        return line_write(fd, line, until_ns, reterr);
    enum error_code code = send_files(fd, line->data, files, until_ns, reterr);
    if (!code)
        code = write_all(fd, line->data + 1, line->length - 1, until_ns, reterr);
    return code ? code : write_all(fd, "\n", 1, until_ns, reterr);
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
