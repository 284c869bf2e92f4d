/*
 * Names become addresses by c-ares: the C library's own resolver loads shared objects at run time, which a
 * static program cannot have.
 */
#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>

#include "base/interrupt.h"
#include "base/text.h"
#include "client/wire.h"

struct resolving {
    bool done;
    int status;
    struct client_socket_address *addresses;
    size_t count;
};

static void add_address(struct client_socket_address *addresses, size_t *count,
                        const struct sockaddr *address, socklen_t length)
{
    if (*count == CLIENT_SOCKETS_MAXIMUM || length > sizeof(addresses->address))
        return;
    memcpy(&addresses[*count].address, address, length);
    addresses[(*count)++].length = length;
}

static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *result)
{
    struct resolving *resolving = context;
    (void)timeouts;
    resolving->done = true;
    resolving->status = status;
    for (struct ares_addrinfo_node *node = result ? result->nodes : NULL; node; node = node->ai_next)
        if (node->ai_family == AF_INET || node->ai_family == AF_INET6)
            add_address(resolving->addresses, &resolving->count, node->ai_addr, node->ai_addrlen);
    if (result)
        ares_freeaddrinfo(result);
}

static enum error_code no_answer(const struct url *url, const char *why, struct error *reterr)
{
    return error_set(reterr, ERR_UNREACHABLE, 0, "cannot find the address of %s: %s", text_shown(url->host),
                     why);
}

/* One turn: wait for the sockets of c-ares, or for its next timeout. */
static enum error_code turn(ares_channel channel, int64_t left_ns, struct error *reterr)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd waited[ARES_GETSOCK_MAXNUM];
    nfds_t count = 0;
    const int bits = ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        short events = (short)((ARES_GETSOCK_READABLE((unsigned)bits, i) ? POLLIN : 0) |
                               (ARES_GETSOCK_WRITABLE((unsigned)bits, i) ? POLLOUT : 0));
        if (events)
            waited[count++] = (struct pollfd){.fd = sockets[i], .events = events};
    }
    struct timeval most = {.tv_sec = left_ns / CLOCK_NS_PER_S, .tv_usec = left_ns % CLOCK_NS_PER_S / 1000};
    struct timeval next;
    const struct timeval *timeout = ares_timeout(channel, &most, &next);
    const int64_t timeout_ns = timeout->tv_sec * CLOCK_NS_PER_S + timeout->tv_usec * 1000;
    if (interrupt_poll(waited, count, timeout_ns) < 0)
        return interrupt_check(reterr) ?: error_set(reterr, ERR_FAILED, errno, "cannot wait for an answer");
    for (nfds_t i = 0; i < count; i++)
        ares_process_fd(channel, waited[i].revents & ~POLLOUT ? waited[i].fd : ARES_SOCKET_BAD,
                        waited[i].revents & POLLOUT ? waited[i].fd : ARES_SOCKET_BAD);
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    return OK;
}

static enum error_code ask(ares_channel channel, const struct url *url, int64_t deadline_ns,
                           struct resolving *resolving, struct error *reterr)
{
    const struct ares_addrinfo_hints hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NUMERICSERV};
    ares_getaddrinfo(channel, url->host, url->port, &hints, on_answer, resolving);
    while (!resolving->done) {
        const int64_t left_ns = deadline_ns - clock_monotonic_ns();
        if (left_ns <= 0)
            return no_answer(url, "no name server answers in time", reterr);
        enum error_code code = turn(channel, left_ns, reterr);
        if (code)
            return code;
    }
    if (resolving->status != ARES_SUCCESS || resolving->count == 0)
        return no_answer(url, ares_strerror(resolving->status ? resolving->status : ARES_ENODATA), reterr);
    return OK;
}

static enum error_code resolve_name(const struct url *url, int64_t deadline_ns, struct resolving *resolving,
                                    struct error *reterr)
{
    struct ares_options options = {.timeout = 2000, .tries = 2};
    ares_channel channel = NULL;
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status)
        return no_answer(url, ares_strerror(status), reterr);
    status = ares_init_options(&channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    enum error_code code = status ? no_answer(url, ares_strerror(status), reterr)
                                  : ask(channel, url, deadline_ns, resolving, reterr);
    if (channel)
        ares_destroy(channel); /* calls on_answer for what is still asked */
    ares_library_cleanup();
    return code;
}

static bool is_literal(const struct url *url, struct client_socket_address *addresses, size_t *count)
{
    uint64_t port = 0;
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    if (text_parse_u64(url->port, 65535, &port, NULL))
        return false;
    four.sin_port = six.sin6_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, url->host, &four.sin_addr) == 1)
        add_address(addresses, count, (const struct sockaddr *)&four, sizeof(four));
    else if (inet_pton(AF_INET6, url->host, &six.sin6_addr) == 1)
        add_address(addresses, count, (const struct sockaddr *)&six, sizeof(six));
    return *count > 0;
}

/* Sorted, so that what name servers give in turn is the same. */
static int compare(const void *left, const void *right)
{
    return memcmp(left, right, INET6_ADDRSTRLEN);
}

static void learn(json_t *names, const struct url *url, const struct resolving *resolving)
{
    char texts[CLIENT_SOCKETS_MAXIMUM][INET6_ADDRSTRLEN] = {0};
    json_t *array = json_array();
    for (size_t i = 0; i < resolving->count; i++) {
        const struct sockaddr_storage *address = &resolving->addresses[i].address;
        const void *bytes = address->ss_family == AF_INET
                                ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                                : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
        if (!inet_ntop(address->ss_family, bytes, texts[i], sizeof(texts[i])))
            texts[i][0] = '\0';
    }
    qsort(texts, resolving->count, sizeof(texts[0]), compare);
    for (size_t i = 0; i < resolving->count; i++)
        if (texts[i][0] != '\0')
            json_array_append_new(array, json_string(texts[i]));
    (void)json_object_set_new(names, url->host, array); /* without memory it is not remembered */
}

/* True where something is remembered. */
static bool remember(const json_t *names, const struct url *url, struct resolving *resolving)
{
    const json_t *array = json_object_get(names, url->host);
    resolving->count = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct url literal = *url;
        const char *text = json_string_value(json_array_get(array, i));
        snprintf(literal.host, sizeof(literal.host), "%s", text ? text : "");
        (void)is_literal(&literal, resolving->addresses, &resolving->count);
    }
    return resolving->count > 0;
}

enum error_code client_resolve(const struct url *url, int64_t deadline_ns, json_t *names,
                               struct client_socket_address addresses[CLIENT_SOCKETS_MAXIMUM],
                               size_t *ret_count, struct error *reterr)
{
    struct resolving resolving = {.addresses = addresses};
    enum error_code code = OK;
    if (!is_literal(url, addresses, &resolving.count)) {
        code = resolve_name(url, deadline_ns, &resolving, reterr);
        if (!code && names)
            learn(names, url, &resolving);
        else if (code == ERR_UNREACHABLE && remember(names, url, &resolving))
            code = OK;
    }
    if (!code)
        *ret_count = resolving.count;
    return code;
}
