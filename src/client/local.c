/* From which addresses of this host its authorities are reached. */
#include <arpa/inet.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "client/wire.h"

enum { RESOLVE_S = 5 };

/* A datagram socket that is connected has the address that the kernel's routes choose; nothing is sent. */
static bool find_local(const struct client_socket_address *to, char text[CLIENT_ADDRESS_SIZE])
{
    struct sockaddr_storage from = {0};
    socklen_t length = sizeof(from);
    _cleanup_(close_fdp) int fd = socket(to->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to->address, to->length) < 0 ||
        getsockname(fd, (struct sockaddr *)&from, &length) < 0)
        return false;
    const void *address = from.ss_family == AF_INET6
                              ? (const void *)&((const struct sockaddr_in6 *)&from)->sin6_addr
                              : (const void *)&((const struct sockaddr_in *)&from)->sin_addr;
    return inet_ntop(from.ss_family, address, text, CLIENT_ADDRESS_SIZE) != NULL;
}

bool client_find_local(const struct client *client, const struct client_pin *pin,
                       bool (*is_it)(const char *address, void *context), void *context)
{
    for (size_t i = 0; i < pin->descriptor.address_count; i++) {
        struct client_socket_address addresses[CLIENT_SOCKETS_MAXIMUM];
        char text[CLIENT_ADDRESS_SIZE];
        struct url url;
        size_t count = 0;
        if (url_parse(pin->descriptor.addresses[i], &url, NULL) ||
            client_resolve(&url, clock_monotonic_ns() + RESOLVE_S * CLOCK_NS_PER_S, client->names, addresses,
                           &count, NULL))
            continue;
        for (size_t k = 0; k < count; k++)
            if (find_local(&addresses[k], text) && is_it(text, context))
                return true;
    }
    return false;
}
