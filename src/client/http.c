/* One POST, one answer, one connection. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "base/interrupt.h"
#include "base/text.h"
#include "client/wire.h"

enum { CONNECT_S = 5, SEND_S = 10 };

static enum error_code unreachable(const char *url, int os_errno, const char *what, struct error *reterr)
{
    error_set(reterr, ERR_UNREACHABLE, os_errno, "%s: %s", text_shown(url), what);
    return error_remedy(reterr, "see that the authority runs and can be reached, then try again");
}

static enum error_code stranger(const char *url, struct error *reterr)
{
    error_set(reterr, ERR_UNREACHABLE, 0, "%s: something else than an authority answers", text_shown(url));
    return error_remedy(reterr, "look at the address and its port: a server answers there that is not huskd");
}

static enum error_code wait_for(int fd, short events, int64_t deadline_ns, const char *url,
                                struct error *reterr)
{
    struct pollfd waited = {.fd = fd, .events = events};
    const int64_t left_ns = deadline_ns - clock_monotonic_ns();
    const int ready = left_ns > 0 ? interrupt_poll(&waited, 1, left_ns) : 0;
    if (ready > 0)
        return OK;
    if (ready == 0)
        return unreachable(url, 0, "no answer in time", reterr);
    return interrupt_check(reterr)
               ?: error_set(reterr, ERR_FAILED, errno, "cannot wait for %s", text_shown(url));
}

static enum error_code connect_to(const struct client_socket_address *address, int64_t deadline_ns,
                                  const char *url, int *ret_fd, struct error *reterr)
{
    const int one = 1;
    int os_errno = 0;
    socklen_t size = sizeof(os_errno);
    _cleanup_(close_fdp) int fd =
        socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return unreachable(url, errno, "cannot make a socket", reterr);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&address->address, address->length) < 0) {
        if (errno != EINPROGRESS)
            return unreachable(url, errno, "cannot connect", reterr);
        enum error_code code = wait_for(fd, POLLOUT, deadline_ns, url, reterr);
        if (code)
            return code;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &os_errno, &size) < 0 || os_errno)
            return unreachable(url, os_errno, "cannot connect", reterr);
    }
    *ret_fd = TAKE_FD(fd);
    return OK;
}

static enum error_code connect_any(const struct url *parsed, const char *url, json_t *names, int *ret_fd,
                                   struct error *reterr)
{
    struct client_socket_address addresses[CLIENT_SOCKETS_MAXIMUM];
    size_t count = 0;
    enum error_code code = client_resolve(parsed, clock_monotonic_ns() + CONNECT_S * CLOCK_NS_PER_S, names,
                                          addresses, &count, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < count; i++) {
        code =
            connect_to(&addresses[i], clock_monotonic_ns() + CONNECT_S * CLOCK_NS_PER_S, url, ret_fd, reterr);
        if (code != ERR_UNREACHABLE)
            return code;
    }
    return code;
}

static enum error_code send_all(int fd, const void *bytes, size_t length, int64_t deadline_ns,
                                const char *url, struct error *reterr)
{
    const char *next = bytes;
    while (length > 0) {
        const ssize_t sent = send(fd, next, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return unreachable(url, errno, "cannot send", reterr);
        if (sent < 0) {
            enum error_code code = wait_for(fd, POLLOUT, deadline_ns, url, reterr);
            if (code)
                return code;
            continue;
        }
        next += sent;
        length -= (size_t)sent;
    }
    return OK;
}

static enum error_code send_request(int fd, const struct url *parsed, const char *url, const void *bytes,
                                    size_t length, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer request = {0};
    const bool is_six = strchr(parsed->host, ':') != NULL;
    enum error_code code = buffer_printf(
        &request, reterr,
        "POST %s/v1/message HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: husk/" HUSK_VERSION
        "\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
        parsed->path, is_six ? "[" : "", parsed->host, is_six ? "]" : "", parsed->port, length);
    if (!code)
        code = buffer_append(&request, bytes, length, reterr);
    return code ? code
                : send_all(fd, request.data, request.length, clock_monotonic_ns() + SEND_S * CLOCK_NS_PER_S,
                           url, reterr);
}

/* More of the answer: at most as much as is missing. */
static enum error_code receive(int fd, int64_t deadline_ns, const char *url, size_t most,
                               struct buffer *answer, struct error *reterr)
{
    char block[4096];
    for (;;) {
        const ssize_t got = recv(fd, block, most < sizeof(block) ? most : sizeof(block), 0);
        if (got > 0)
            return buffer_append(answer, block, (size_t)got, reterr);
        if (got == 0)
            return unreachable(url, 0, "the answer was cut short", reterr);
        if (errno != EAGAIN && errno != EINTR)
            return unreachable(url, errno, "cannot read the answer", reterr);
        enum error_code code = wait_for(fd, POLLIN, deadline_ns, url, reterr);
        if (code)
            return code;
    }
}

static enum error_code receive_answer(int fd, int64_t deadline_ns, const char *url, struct buffer *body,
                                      struct error *reterr)
{
    struct client_head head = {0};
    _cleanup_(buffer_done) struct buffer answer = {.maximum = CLIENT_HEAD_MAXIMUM + MESSAGE_MAXIMUM};
    enum error_code code = ERR_PENDING;
    while (code == ERR_PENDING) {
        code = receive(fd, deadline_ns, url, CLIENT_HEAD_MAXIMUM - answer.length, &answer, reterr);
        if (!code)
            code = client_head_parse(answer.data, answer.length, &head, reterr);
    }
    while (!code && answer.length < head.size + head.body_size)
        code = receive(fd, deadline_ns, url, head.size + head.body_size - answer.length, &answer, reterr);
    if (code == ERR_CORRUPT)
        code = stranger(url, reterr);
    if (!code && head.status >= 500) /* a proxy before it, say */
        code = error_set(reterr, ERR_UNREACHABLE, 0, "%s: HTTP status %u", text_shown(url), head.status);
    if (!code && head.status != 200)
        code = stranger(url, reterr);
    return code ? code : buffer_append(body, answer.data + head.size, head.body_size, reterr);
}

enum error_code client_post(const char *url, json_t *names, const void *bytes, size_t length,
                            unsigned timeout_s, struct buffer *body, struct error *reterr)
{
    struct url parsed;
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = url_parse(url, &parsed, reterr);
    if (!code)
        code = connect_any(&parsed, url, names, &fd, reterr);
    if (!code)
        code = send_request(fd, &parsed, url, bytes, length, reterr);
    return code ? code
                : receive_answer(fd, clock_monotonic_ns() + timeout_s * CLOCK_NS_PER_S, url, body, reterr);
}

enum error_code client_sleep(int64_t ns, struct error *reterr)
{
    const int64_t until = clock_monotonic_ns() + ns;
    for (int64_t left = ns; left > 0; left = until - clock_monotonic_ns())
        if (interrupt_poll(NULL, 0, left) < 0 && interrupt_requested())
            return interrupt_check(reterr);
    return OK;
}
