#include "listen.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { SYSTEMD_FIRST_FD = 3, BACKLOG = 4096 };

static enum error_code parse(const char *where, struct sockaddr_storage *ret_address, socklen_t *ret_length,
                             struct error *reterr)
{
    char host[64];
    const char *colon = strrchr(where, ':');
    uint64_t port = 0;
    bool brackets = where[0] == '[' && colon && colon > where && colon[-1] == ']';
    size_t skip = brackets ? 1 : 0;
    size_t length = colon ? (size_t)(colon - where) - 2 * skip : sizeof(host);
    bool good = length < sizeof(host) && text_parse_u64(colon + 1, UINT16_MAX, &port, NULL) == OK;
    if (good) {
        memcpy(host, where + skip, length);
        host[length] = '\0';
    }
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_storage address = {0};
    if (good && !brackets && inet_pton(AF_INET, host, &ipv4.sin_addr) == 1) {
        memcpy(&address, &ipv4, sizeof(ipv4));
        *ret_length = sizeof(ipv4);
    } else if (good && brackets && inet_pton(AF_INET6, host, &ipv6.sin6_addr) == 1) {
        memcpy(&address, &ipv6, sizeof(ipv6));
        *ret_length = sizeof(ipv6);
    } else {
        return error_set(reterr, ERR_USAGE, 0,
                         "%s is no address and port: write it as 192.0.2.1:4875 or "
                         "[2001:db8::1]:4875",
                         text_shown(where));
    }
    *ret_address = address;
    return OK;
}

static enum error_code add(struct listeners *listeners, int fd, struct error *reterr)
{
    if (listeners->count == HTTP_LISTENERS_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "there can be %d listeners", HTTP_LISTENERS_MAXIMUM);
    listeners->fds[listeners->count++] = fd;
    return OK;
}

enum error_code listen_at(struct listeners *listeners, const char *where, struct error *reterr)
{
    struct sockaddr_storage address;
    socklen_t length;
    enum error_code code = parse(where, &address, &length, reterr);
    if (code)
        return code;
    _cleanup_(close_fdp) int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (address.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, (const struct sockaddr *)&address, length) < 0 || listen(fd, BACKLOG) < 0) {
        int why = errno;
        error_set(reterr, ERR_FAILED, why, "cannot listen at %s", text_shown(where));
        if (why == EADDRINUSE)
            error_remedy(reterr, "end what listens there, or choose another port with --listen");
        return ERR_FAILED;
    }
    code = add(listeners, fd, reterr);
    if (!code)
        fd = -1;
    return code;
}

static enum error_code check_handed_over(int fd, struct error *reterr)
{
    int type = 0, listens = 0;
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(type), address_length = sizeof(address);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &address_length) < 0 || type != SOCK_STREAM ||
        !listens || (address.ss_family != AF_INET && address.ss_family != AF_INET6))
        return error_set(reterr, ERR_USAGE, 0,
                         "descriptor %d, handed over by systemd, is no listening TCP socket", fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot prepare descriptor %d", fd);
    return OK;
}

enum error_code listen_from_systemd(struct listeners *listeners, struct error *reterr)
{
    const char *pid_text = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
    uint64_t pid = 0, count = 0;
    bool meant = pid_text && count_text && text_parse_u64(pid_text, INT32_MAX, &pid, NULL) == OK &&
                 (pid_t)pid == getpid();
    if (meant && text_parse_u64(count_text, HTTP_LISTENERS_MAXIMUM, &count, NULL))
        return error_set(reterr, ERR_USAGE, 0, "LISTEN_FDS is %s, at most %d sockets can be handed over",
                         text_shown(count_text), HTTP_LISTENERS_MAXIMUM);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    enum error_code code = OK;
    for (int fd = SYSTEMD_FIRST_FD; !code && fd < SYSTEMD_FIRST_FD + (int)count; fd++) {
        code = check_handed_over(fd, reterr);
        if (!code)
            code = add(listeners, fd, reterr);
    }
    return code;
}

enum error_code listen_usual(struct listeners *listeners, struct error *reterr)
{
    enum error_code code = listen_at(listeners, "0.0.0.0:4875", reterr);
    struct error why = ERROR_NONE;
    if (!code && listen_at(listeners, "[::]:4875", &why) && why.os_errno != EAFNOSUPPORT &&
        why.os_errno != EADDRNOTAVAIL) {
        *reterr = why;
        code = why.code;
    }
    return code;
}

void listen_format(int fd, char text[LISTEN_TEXT_SIZE])
{
    struct sockaddr_storage address = {0};
    struct address shown;
    socklen_t length = sizeof(address);
    snprintf(text, LISTEN_TEXT_SIZE, "?");
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        !address_of((const struct sockaddr *)&address, &shown))
        return;
    char host[ADDRESS_TEXT_SIZE];
    address_format(&shown, host);
    in_port_t port;
    static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "port");
    memcpy(&port, (const char *)&address + offsetof(struct sockaddr_in, sin_port), sizeof(port));
    bool ipv6 = address.ss_family == AF_INET6;
    snprintf(text, LISTEN_TEXT_SIZE, "%s%s%s:%u", ipv6 ? "[" : "", host, ipv6 ? "]" : "", ntohs(port));
}

void listeners_done(struct listeners *listeners)
{
    for (unsigned i = 0; i < listeners->count; i++)
        close(listeners->fds[i]);
    listeners->count = 0;
}
