/* The kernel's links, addresses and routes, and network.json between. Not for other rooms. */
#pragma once
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>

#include "network/network.h"
#include "json/json.h"

enum {
    NETWORK_VERSION = 1,
    NETWORK_FILE_MAXIMUM = 256 << 10,
    NETWORK_LINKS_MAXIMUM = 64,
    NETWORK_ADDRESSES_MAXIMUM = 64,
    NETWORK_ROUTES_MAXIMUM = 256,
    NETWORK_SERVERS_MAXIMUM = 8
};

/* Connected to the kernel. Free with nl_socket_free. */
must_check enum error_code netlink_connect(struct nl_sock **ret_socket, struct error *reterr);

/* ERR_FAILED, or ERR_DENIED, with what libnl says. */
enum error_code netlink_error(struct error *reterr, int status, const char *doing, const char *what);

static inline void nl_socket_freep(struct nl_sock **socket)
{
    nl_socket_free(*socket);
    *socket = NULL;
}
static inline void nl_cache_freep(struct nl_cache **cache)
{
    nl_cache_free(*cache);
    *cache = NULL;
}
static inline void nl_addr_putp(struct nl_addr **address)
{
    nl_addr_put(*address);
    *address = NULL;
}

/* What the kernel has now, as network.json holds it. */
must_check enum error_code network_read_kernel(json_t **ret_object, struct finding_list *findings,
                                               struct error *reterr);

/* What is kept in at/.husk. ERR_NOT_FOUND, ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code network_read_kept(const char *at, json_t **ret_object, struct error *reterr);
