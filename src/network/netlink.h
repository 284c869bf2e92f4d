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
    NETWORK_KNOWN_MAXIMUM = 1024,
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

/* A card: nothing that is made of others, and no port of such. (veth is the card of a network namespace.) */
bool link_is_card(struct rtnl_link *link);
bool link_is_type(struct rtnl_link *link, const char *wanted);

/* How a recorded link is known: a card by its MAC, whatever it is called now; what is made of others by its
 * kind, "vlan" or "bond", and name. The strings belong to the object it was read from. */
struct link_key {
    const char *name, *kind; /* kind is NULL for a card */
    struct nl_addr *mac;     /* owned; a card's permanent one, where it has one */
    struct nl_addr *set_mac; /* owned; NULL, or another one that the card is given */
};
must_check enum error_code link_key_read(json_t *object, struct link_key *ret_key, struct error *reterr);
static inline void link_key_done(struct link_key *key)
{
    nl_addr_putp(&key->mac);
    nl_addr_putp(&key->set_mac);
}
struct rtnl_link *link_find(struct nl_cache *links, const struct link_key *key); /* NULL: not there */

/* Wait for a link. *ret_link belongs to *ret_links. ERR_NOT_FOUND, ERR_INTERRUPTED.
 */
must_check enum error_code link_wait(struct nl_sock *socket, const struct link_key *key, int64_t deadline_ns,
                                     struct nl_cache **ret_links, struct rtnl_link **ret_link,
                                     struct error *reterr);

/* Put into object what a VLAN or bond is made of: "kind", and "parent", "id", "protocol", or "options",
 * "ports". ERR_NOT_FOUND where that cannot be seen. */
must_check enum error_code stacked_record(struct nl_cache *links, struct rtnl_link *link, json_t *object,
                                          struct error *reterr);

/* Make the VLAN or bond of object, of what is recorded beside it; it is down then. */
must_check enum error_code stacked_make(struct nl_sock *socket, json_t *recorded, json_t *object,
                                        const struct link_key *key, int64_t deadline_ns,
                                        struct error *reterr);

/* Whether what is sent by a link is lost as yet: it is a bond that speaks LACP, or on one, of which no port
 * has come to terms with a partner. */
bool stacked_negotiates(struct nl_cache *links, struct rtnl_link *link);

/* What the kernel has now, as network.json holds it. */
must_check enum error_code network_read_kernel(json_t **ret_object, struct finding_list *findings,
                                               struct error *reterr);

/* What is kept in at/.husk. ERR_NOT_FOUND, ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code network_read_kept(const char *at, json_t **ret_object, struct error *reterr);
