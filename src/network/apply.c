/* From network.json to the kernel, and back. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/magic.h>
#include <linux/rtnetlink.h>
#include <sys/vfs.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "network/netlink.h"

/* Once one has a carrier, the others' is waited for a little. */
enum { LOOK_AGAIN_MS = 20, OTHERS_PATIENCE_S = 3 };

/* A link as it was before anything was done to it. */
struct known_link {
    int index;
    unsigned mtu;
    struct nl_addr *mac; /* owned; may be NULL */
    bool up;
    bool made; /* by network_apply */
    bool set;  /* by it too: even one that did not come up may have the other MTU and MAC */
};

struct network {
    struct nl_sock *socket; /* owned */
    struct known_link links[NETWORK_KNOWN_MAXIMUM];
    size_t count;
};

static enum error_code list_links(struct nl_sock *socket, struct nl_cache **ret_links, struct error *reterr)
{
    const int status = rtnl_link_alloc_cache(socket, AF_UNSPEC, ret_links);
    return status < 0 ? netlink_error(reterr, status, "cannot list", "the kernel's links") : OK;
}

static void network_freep(struct network **network)
{
    if (*network) {
        for (size_t i = 0; i < (*network)->count; i++)
            nl_addr_put((*network)->links[i].mac);
        nl_socket_free((*network)->socket);
    }
    free(*network);
    *network = NULL;
}

static void know(struct network *network, struct rtnl_link *link, bool made)
{
    struct nl_addr *mac = rtnl_link_get_addr(link);
    if (network->count < NETWORK_KNOWN_MAXIMUM)
        network->links[network->count++] = (struct known_link){.index = rtnl_link_get_ifindex(link),
                                                               .mtu = rtnl_link_get_mtu(link),
                                                               .mac = mac ? nl_addr_get(mac) : NULL,
                                                               .up = rtnl_link_get_flags(link) & IFF_UP,
                                                               .made = made};
}

enum error_code network_open(struct network **ret_network, struct error *reterr)
{
    _cleanup_(network_freep) struct network *network = calloc(1, sizeof(*network));
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    if (!network)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = netlink_connect(&network->socket, reterr);
    if (!code)
        code = list_links(network->socket, &links, reterr);
    if (code)
        return code;
    if (nl_cache_nitems(links) > NETWORK_KNOWN_MAXIMUM)
        return error_set(reterr, ERR_UNSUPPORTED, 0,
                         "this machine has more than %d links: its network is not touched",
                         NETWORK_KNOWN_MAXIMUM);
    for (struct nl_object *each = nl_cache_get_first(links); each; each = nl_cache_get_next(each))
        know(network, (struct rtnl_link *)each, false);
    *ret_network = TAKE(network);
    return OK;
}

/* NULL: it came since. */
static const struct known_link *find_before(const struct network *network, int index)
{
    for (size_t i = 0; i < network->count; i++)
        if (network->links[i].index == index)
            return &network->links[i];
    return NULL;
}

static void note_set(struct network *network, int index)
{
    for (size_t i = 0; i < network->count; i++)
        network->links[i].set |= network->links[i].index == index;
}

/* Whether somebody else had it up. Links that came later were down. */
static bool was_up(const struct network *network, int index)
{
    const struct known_link *before = find_before(network, index);
    return before && before->up;
}

/* An MTU of 0 and a MAC of NULL stay as they are. Some cards take another MAC only while they are down. */
static enum error_code change_link(struct nl_sock *socket, struct rtnl_link *link, unsigned mtu,
                                   struct nl_addr *mac, bool up, struct error *reterr)
{
    struct rtnl_link *change = rtnl_link_alloc();
    if (!change)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (mtu)
        rtnl_link_set_mtu(change, mtu);
    if (mac)
        rtnl_link_set_addr(change, mac);
    if (up)
        rtnl_link_set_flags(change, IFF_UP);
    else
        rtnl_link_unset_flags(change, IFF_UP);
    const int status = rtnl_link_change(socket, link, change, 0);
    rtnl_link_put(change);
    return status < 0 ? netlink_error(reterr, status, up ? "cannot set up" : "cannot take down",
                                      rtnl_link_get_name(link))
                      : OK;
}

static enum error_code add_address(struct nl_sock *socket, int index, const char *text, struct error *reterr)
{
    _cleanup_(nl_addr_putp) struct nl_addr *local = NULL;
    struct rtnl_addr *address = rtnl_addr_alloc();
    int status = nl_addr_parse(text, AF_UNSPEC, &local);
    if (status >= 0) {
        rtnl_addr_set_ifindex(address, index);
        rtnl_addr_set_local(address, local);
        /* It was this host's until a moment ago: nobody else is asked first. */
        if (nl_addr_get_family(local) == AF_INET6)
            rtnl_addr_set_flags(address, IFA_F_NODAD);
        status = rtnl_addr_add(socket, address, NLM_F_REPLACE);
    }
    rtnl_addr_put(address);
    return status < 0 && status != -NLE_EXIST ? netlink_error(reterr, status, "cannot set the address", text)
                                              : OK;
}

struct wanted_route {
    const char *to, *via;
    bool onlink;
    int64_t metric;
};

static enum error_code read_route(json_t *object, struct wanted_route *ret_route, struct error *reterr)
{
    struct wanted_route route = {0};
    enum error_code code = json_get_string(object, "to", &route.to, reterr);
    if (!code && json_object_get(object, "via") && !json_is_null(json_object_get(object, "via")))
        code = json_get_string(object, "via", &route.via, reterr);
    if (!code)
        code = json_get_boolean(object, "onlink", &route.onlink, reterr);
    if (!code)
        code = json_get_integer(object, "metric", 0, UINT32_MAX, &route.metric, reterr);
    if (!code)
        *ret_route = route;
    return code;
}

static enum error_code add_route(struct nl_sock *socket, int index, const struct wanted_route *wanted,
                                 struct error *reterr)
{
    _cleanup_(nl_addr_putp) struct nl_addr *to = NULL, *via = NULL;
    struct rtnl_route *route = rtnl_route_alloc();
    struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
    int status = nl_addr_parse(wanted->to, AF_UNSPEC, &to);
    if (status >= 0 && wanted->via)
        status = nl_addr_parse(wanted->via, AF_UNSPEC, &via);
    if (status >= 0) {
        rtnl_route_set_family(route, (uint8_t)nl_addr_get_family(to));
        rtnl_route_set_dst(route, to);
        rtnl_route_set_table(route, RT_TABLE_MAIN);
        rtnl_route_set_protocol(route, RTPROT_BOOT);
        rtnl_route_set_scope(route, via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK);
        rtnl_route_set_priority(route, (uint32_t)wanted->metric);
        rtnl_route_nh_set_ifindex(hop, index);
        if (via)
            rtnl_route_nh_set_gateway(hop, via);
        if (wanted->onlink)
            rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
        rtnl_route_add_nexthop(route, hop);
        hop = NULL;
        status = rtnl_route_add(socket, route, NLM_F_REPLACE);
    }
    if (hop)
        rtnl_route_nh_free(hop);
    rtnl_route_put(route);
    return status < 0 && status != -NLE_EXIST
               ? netlink_error(reterr, status, "cannot set the route to", wanted->to)
               : OK;
}

/* Those without a gateway first: the others' gateways may only be reached by them. */
static enum error_code add_routes(struct nl_sock *socket, int index, json_t *routes, struct error *reterr)
{
    enum error_code code = OK;
    for (int gateways = 0; gateways < 2; gateways++)
        for (size_t i = 0; !code && i < json_array_size(routes); i++) {
            struct wanted_route wanted;
            code = read_route(json_array_get(routes, i), &wanted, reterr);
            if (!code && (wanted.via != NULL) == gateways)
                code = add_route(socket, index, &wanted, reterr);
        }
    return code;
}

enum error_code link_wait(struct nl_sock *socket, const struct link_key *key, int64_t deadline_ns,
                          struct nl_cache **ret_links, struct rtnl_link **ret_link, struct error *reterr)
{
    for (;;) {
        _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
        enum error_code code = list_links(socket, &links, reterr);
        if (code)
            return code;
        struct rtnl_link *link = link_find(links, key);
        if (link) {
            *ret_links = TAKE(links);
            *ret_link = link;
            return OK;
        }
        if (clock_monotonic_ns() >= deadline_ns)
            return error_set(reterr, ERR_NOT_FOUND, 0, "a network card that was recorded is not there");
        if (interrupt_poll(NULL, 0, LOOK_AGAIN_MS * (CLOCK_NS_PER_S / 1000)) < 0 && interrupt_requested())
            return interrupt_check(reterr);
    }
}

/* A recorded link. */
struct wanted_link {
    struct link_key key;
    int64_t mtu;
    json_t *addresses, *routes; /* of the object it was read from */
};

static enum error_code read_link(json_t *object, struct wanted_link *ret_link, struct error *reterr)
{
    struct wanted_link link = {0};
    enum error_code code = json_get_integer(object, "mtu", 0, 1 << 20, &link.mtu, reterr);
    if (!code)
        code = json_get_array(object, "addresses", NETWORK_ADDRESSES_MAXIMUM, &link.addresses, reterr);
    if (!code)
        code = json_get_array(object, "routes", NETWORK_ROUTES_MAXIMUM, &link.routes, reterr);
    if (!code)
        code = link_key_read(object, &link.key, reterr);
    if (!code)
        *ret_link = link;
    return code;
}

/* A card is waited for. A VLAN or bond is made; one that is there although nobody had it before was made with
 * the module's being loaded, and is another one. */
static enum error_code bring_about(struct network *network, json_t *recorded, json_t *object,
                                   const struct link_key *key, int64_t deadline_ns,
                                   struct nl_cache **ret_links, struct rtnl_link **ret_link,
                                   struct error *reterr)
{
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    struct error why = ERROR_NONE;
    enum error_code code = OK;
    if (key->kind) {
        code = list_links(network->socket, &links, reterr);
        struct rtnl_link *there = code ? NULL : link_find(links, key);
        if (!there || !find_before(network, rtnl_link_get_ifindex(there))) {
            if (there)
                (void)rtnl_link_delete(network->socket, there);
            if (!code)
                code = stacked_make(network->socket, recorded, object, key, deadline_ns, &why);
        }
    }
    if (why.code)
        return error_set(reterr, why.code, 0, "%s", why.message);
    return code ? code : link_wait(network->socket, key, deadline_ns, ret_links, ret_link, reterr);
}

/* Whether it has a carrier or not: that may come later. */
static enum error_code set_link(struct network *network, const struct wanted_link *wanted,
                                struct rtnl_link *link, struct error *reterr)
{
    struct nl_addr *set_mac = wanted->key.set_mac;
    if (set_mac && !nl_addr_cmp(set_mac, rtnl_link_get_addr(link)))
        set_mac = NULL; /* it was given to it before */
    const int index = rtnl_link_get_ifindex(link);
    enum error_code code = change_link(network->socket, link, (unsigned)wanted->mtu, set_mac, true, reterr);
    for (size_t i = 0; !code && i < json_array_size(wanted->addresses); i++) {
        const char *address = json_string_value(json_array_get(wanted->addresses, i));
        code = address ? add_address(network->socket, index, address, reterr)
                       : error_set(reterr, ERR_CORRUPT, 0, NETWORK_FILE ": an address that is no string");
    }
    return code ? code : add_routes(network->socket, index, wanted->routes, reterr);
}

static enum error_code apply_link(struct network *network, json_t *recorded, json_t *object,
                                  int64_t deadline_ns, struct error *reterr)
{
    struct wanted_link wanted;
    struct rtnl_link *link = NULL;
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    enum error_code code = read_link(object, &wanted, reterr);
    if (code)
        return code;
    code = bring_about(network, recorded, object, &wanted.key, deadline_ns, &links, &link, reterr);
    if (!code && !was_up(network, rtnl_link_get_ifindex(link))) {
        if (!find_before(network, rtnl_link_get_ifindex(link)))
            know(network, link, wanted.key.kind != NULL); /* or it is a card that came since */
        note_set(network, rtnl_link_get_ifindex(link));
        code = set_link(network, &wanted, link, reterr);
    }
    link_key_done(&wanted.key);
    return code;
}

/* Of the links that are up: how many were set up here, how many of these have a carrier, by how many of them
 * something passes, and how many of others have one. */
struct carriers {
    size_t set, with, passing, others;
};

static enum error_code count_carriers(const struct network *network, struct carriers *ret_carriers,
                                      struct error *reterr)
{
    struct carriers carriers = {0};
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    enum error_code code = list_links(network->socket, &links, reterr);
    if (code)
        return code;
    for (struct nl_object *each = nl_cache_get_first(links); each; each = nl_cache_get_next(each)) {
        struct rtnl_link *link = (struct rtnl_link *)each;
        const unsigned flags = rtnl_link_get_flags(link);
        const bool is_ours = !was_up(network, rtnl_link_get_ifindex(link));
        if (flags & IFF_LOOPBACK || !(flags & IFF_UP) || rtnl_link_get_master(link) != 0)
            continue;
        carriers.set += is_ours;
        carriers.with += is_ours && (flags & IFF_LOWER_UP);
        carriers.passing += is_ours && (flags & IFF_LOWER_UP) && !stacked_negotiates(links, link);
        carriers.others += !is_ours && (flags & IFF_LOWER_UP);
    }
    *ret_carriers = carriers;
    return OK;
}

bool network_awaits_carrier(const struct network *network)
{
    struct carriers carriers;
    return network && count_carriers(network, &carriers, NULL) == OK && carriers.set > 0 &&
           carriers.with + carriers.others == 0;
}

/* For one of those that were set up, and a little longer for all. One by which nothing passes until its time
 * is up is as good: the other side may not speak LACP. ERR_NOT_FOUND: none has one. */
static enum error_code wait_for_carrier(const struct network *network, int64_t deadline_ns,
                                        struct error *reterr)
{
    for (bool has_one = false;;) {
        struct carriers carriers;
        enum error_code code = count_carriers(network, &carriers, reterr);
        if (code || carriers.passing == carriers.set)
            return code;
        const int64_t now_ns = clock_monotonic_ns();
        if (!has_one && carriers.passing > 0 && deadline_ns > now_ns + OTHERS_PATIENCE_S * CLOCK_NS_PER_S)
            deadline_ns = now_ns + OTHERS_PATIENCE_S * CLOCK_NS_PER_S;
        has_one = carriers.passing > 0;
        if (now_ns >= deadline_ns)
            return carriers.with + carriers.others > 0
                       ? OK
                       : error_set(reterr, ERR_NOT_FOUND, 0, "a network card has no carrier");
        if (interrupt_poll(NULL, 0, LOOK_AGAIN_MS * (CLOCK_NS_PER_S / 1000)) < 0 && interrupt_requested())
            return interrupt_check(reterr);
    }
}

/* Cards that are there first: one that is missing is waited for, and a bond for its ports. */
static size_t apply_links(struct network *network, json_t *links, int64_t deadline_ns, struct error *why)
{
    bool is_set[NETWORK_LINKS_MAXIMUM] = {false};
    size_t count = 0;
    for (int waits = 0; waits < 2; waits++)
        for (size_t i = 0; i < json_array_size(links) && why->code != ERR_INTERRUPTED; i++) {
            json_t *object = json_array_get(links, i);
            if (is_set[i] || (!waits && json_object_get(object, "kind")))
                continue;
            is_set[i] = apply_link(network, links, object, waits ? deadline_ns : 0, why) == OK;
            count += is_set[i];
        }
    return count;
}

/* Only where / is the initramfs: nobody else's file is touched. */
static void set_name_servers(json_t *object)
{
    struct statfs root;
    json_t *servers;
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int etc_fd = -1;
    if (statfs("/", &root) < 0 || (root.f_type != RAMFS_MAGIC && root.f_type != TMPFS_MAGIC) ||
        json_get_array(object, "name_servers", NETWORK_SERVERS_MAXIMUM, &servers, NULL))
        return;
    for (size_t i = 0; i < json_array_size(servers); i++) {
        const char *server = json_string_value(json_array_get(servers, i));
        if (server && buffer_printf(&text, NULL, "nameserver %s\n", server))
            return;
    }
    if (text.length > 0 && directory_open(AT_FDCWD, "/etc", &etc_fd, NULL) == OK)
        (void)!file_write_durable(etc_fd, "resolv.conf", 0644, text.data, text.length, NULL);
}

enum error_code network_apply(struct network *network, const char *at, unsigned patience_s,
                              struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    json_t *links;
    struct error why = ERROR_NONE;
    const int64_t deadline_ns = clock_monotonic_ns() + patience_s * CLOCK_NS_PER_S;
    enum error_code code = network_read_kept(at, &object, reterr);
    if (code == ERR_NOT_FOUND)
        return error_set(reterr, code, 0, "no network was recorded while this host ran");
    if (!code)
        code = json_get_array(object, "links", NETWORK_LINKS_MAXIMUM, &links, reterr);
    if (code)
        return code;
    const size_t applied = apply_links(network, links, deadline_ns, &why);
    set_name_servers(object);
    /* One that works may do: whoever asks over it will see. */
    if (applied > 0 && why.code != ERR_INTERRUPTED)
        return wait_for_carrier(network, deadline_ns, reterr);
    if (!why.code)
        return error_set(reterr, ERR_NOT_FOUND, 0, "no network card was recorded");
    if (reterr)
        *reterr = why;
    return why.code;
}

static void flush_addresses(struct nl_sock *socket, int index)
{
    _cleanup_(nl_cache_freep) struct nl_cache *addresses = NULL;
    if (rtnl_addr_alloc_cache(socket, &addresses) < 0)
        return;
    for (struct nl_object *each = nl_cache_get_first(addresses); each; each = nl_cache_get_next(each))
        if (rtnl_addr_get_ifindex((struct rtnl_addr *)each) == index)
            (void)rtnl_addr_delete(socket, (struct rtnl_addr *)each, 0);
}

/* VLANs go with what they are on. */
static void remove_made(struct network *network)
{
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    if (list_links(network->socket, &links, NULL))
        return;
    for (struct nl_object *each = nl_cache_get_first(links); each; each = nl_cache_get_next(each)) {
        struct rtnl_link *link = (struct rtnl_link *)each;
        const struct known_link *before = find_before(network, rtnl_link_get_ifindex(link));
        if ((link_is_type(link, "vlan") || link_is_type(link, "bond")) && (!before || before->made))
            (void)rtnl_link_delete(network->socket, link);
    }
}

static void undo_link(struct network *network, struct rtnl_link *link)
{
    const struct known_link *before = find_before(network, rtnl_link_get_ifindex(link));
    struct nl_addr *mac = before ? before->mac : NULL;
    const bool is_up = rtnl_link_get_flags(link) & IFF_UP;
    if (before && before->up)
        return;
    if (!is_up && !(before && before->set))
        return;
    flush_addresses(network->socket, rtnl_link_get_ifindex(link));
    (void)!change_link(network->socket, link, before ? before->mtu : 0, NULL, false, NULL);
    if (mac && nl_addr_cmp(mac, rtnl_link_get_addr(link)) != 0)
        (void)!change_link(network->socket, link, 0, mac, false, NULL);
}

void network_undo(struct network *network)
{
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    if (!network)
        return;
    remove_made(network);
    if (list_links(network->socket, &links, NULL) == OK)
        for (struct nl_object *each = nl_cache_get_first(links); each; each = nl_cache_get_next(each))
            undo_link(network, (struct rtnl_link *)each);
    network_freep(&network);
}
