/* From the running kernel to network.json. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "network/netlink.h"

#define HUSK_DIRECTORY ".husk"
enum { ADDRESS_TEXT = 128, MAC_SIZE = 6, STACK_MAXIMUM = 4 };

enum error_code netlink_error(struct error *reterr, int status, const char *doing, const char *what)
{
    const enum error_code code = status == -NLE_PERM || status == -NLE_NOACCESS ? ERR_DENIED : ERR_FAILED;
    return error_set(reterr, code, 0, "%s %s: %s", doing, what, nl_geterror(status));
}

enum error_code netlink_connect(struct nl_sock **ret_socket, struct error *reterr)
{
    _cleanup_(nl_socket_freep) struct nl_sock *socket = nl_socket_alloc();
    if (!socket)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    const int status = nl_connect(socket, NETLINK_ROUTE);
    if (status < 0)
        return netlink_error(reterr, status, "cannot ask", "the kernel for its network");
    *ret_socket = TAKE(socket);
    return OK;
}

static bool is_lasting(struct rtnl_addr *address, int link)
{
    const unsigned fleeting = IFA_F_TEMPORARY | IFA_F_DEPRECATED | IFA_F_DADFAILED;
    const int scope = rtnl_addr_get_scope(address);
    return rtnl_addr_get_ifindex(address) == link && !(rtnl_addr_get_flags(address) & fleeting) &&
           (scope == RT_SCOPE_UNIVERSE || scope == RT_SCOPE_SITE);
}

static enum error_code add_addresses(struct nl_cache *addresses, int link, json_t *object,
                                     struct error *reterr)
{
    char text[ADDRESS_TEXT];
    json_t *array = json_array();
    for (struct nl_object *each = nl_cache_get_first(addresses); each; each = nl_cache_get_next(each)) {
        struct rtnl_addr *address = (struct rtnl_addr *)each;
        if (!is_lasting(address, link))
            continue;
        _cleanup_(nl_addr_putp) struct nl_addr *local = nl_addr_clone(rtnl_addr_get_local(address));
        if (local && rtnl_addr_get_peer(address)) /* the prefix is the peer's */
            nl_addr_set_prefixlen(local, (int)nl_addr_get_len(local) * 8);
        json_array_append_new(array, json_string(nl_addr2str(local, text, sizeof(text))));
    }
    return json_set_new(object, "addresses", array, reterr);
}

/* The other end of an address: the way to it is the kernel's own route, which comes with the address only
 * where both are set together. */
static bool is_to_peer(struct nl_cache *addresses, int link, struct nl_addr *target)
{
    for (struct nl_object *each = nl_cache_get_first(addresses); each; each = nl_cache_get_next(each)) {
        struct nl_addr *peer = rtnl_addr_get_peer((struct rtnl_addr *)each);
        if (peer && is_lasting((struct rtnl_addr *)each, link) && nl_addr_get_prefixlen(target) > 0 &&
            !nl_addr_cmp_prefix(peer, target))
            return true;
    }
    return false;
}

/* What an administrator, DHCP or a router set; the kernel makes its own with the addresses. */
static bool is_wanted(struct nl_cache *addresses, int link, struct rtnl_route *route)
{
    return rtnl_route_get_table(route) == RT_TABLE_MAIN && rtnl_route_get_type(route) == RTN_UNICAST &&
           (rtnl_route_get_protocol(route) != RTPROT_KERNEL ||
            is_to_peer(addresses, link, rtnl_route_get_dst(route)));
}

static void add_hop(json_t *array, struct rtnl_route *route, struct rtnl_nexthop *hop, uint32_t metric)
{
    char to[ADDRESS_TEXT], via[ADDRESS_TEXT];
    struct nl_addr *gateway = rtnl_route_nh_get_gateway(hop), *target = rtnl_route_get_dst(route);
    const bool is_six = rtnl_route_get_family(route) == AF_INET6;
    if (nl_addr_get_prefixlen(target) == 0)
        snprintf(to, sizeof(to), "%s", is_six ? "::/0" : "0.0.0.0/0");
    else
        nl_addr2str(target, to, sizeof(to));
    json_array_append_new(array, json_pack("{s:s, s:s?, s:b, s:I}", "to", to, "via",
                                           gateway ? nl_addr2str(gateway, via, sizeof(via)) : NULL, "onlink",
                                           (rtnl_route_nh_get_flags(hop) & RTNH_F_ONLINK) != 0, "metric",
                                           (json_int_t)metric));
}

/* The ways of a route that has several become routes of their cards, one behind the other. */
static enum error_code add_routes(struct nl_cache *routes, struct nl_cache *addresses, int link,
                                  json_t *object, struct error *reterr)
{
    json_t *array = json_array();
    for (struct nl_object *each = nl_cache_get_first(routes); each; each = nl_cache_get_next(each)) {
        struct rtnl_route *route = (struct rtnl_route *)each;
        const int hops = is_wanted(addresses, link, route) ? rtnl_route_get_nnexthops(route) : 0;
        for (int i = 0; i < hops; i++) {
            struct rtnl_nexthop *hop = rtnl_route_nexthop_n(route, i);
            if (rtnl_route_nh_get_ifindex(hop) == link)
                add_hop(array, route, hop, rtnl_route_get_priority(route) + (uint32_t)i);
        }
    }
    return json_set_new(object, "routes", array, reterr);
}

/* What the kernel has, and what is recorded of it. */
struct recording {
    struct nl_cache *links, *addresses, *routes; /* owned */
    json_t *recorded;
    struct finding_list *findings;
};

static void recording_done(struct recording *recording)
{
    nl_cache_freep(&recording->links);
    nl_cache_freep(&recording->addresses);
    nl_cache_freep(&recording->routes);
}

static bool is_recorded(const struct recording *recording, const char *name)
{
    for (size_t i = 0; i < json_array_size(recording->recorded); i++)
        if (!strcmp(json_string_value(json_object_get(json_array_get(recording->recorded, i), "name")), name))
            return true;
    return false;
}

static void not_recorded(struct recording *recording, const char *name, const char *why)
{
    finding_add(recording->findings, FINDING_TELLS, "network-not-recorded", name,
                "have the authority reachable another way as well, or open it at the console",
                "it is not set up in the initramfs: %s", why);
}

/* What a card is known by before anybody gave it another one. False where the kernel does not know: a virtual
 * one. */
static bool read_permanent_mac(const char *name, char text[ADDRESS_TEXT])
{
    union {
        struct ethtool_perm_addr request;
        uint8_t bytes[sizeof(struct ethtool_perm_addr) + MAC_SIZE];
    } asked = {.request = {.cmd = ETHTOOL_GPERMADDR, .size = MAC_SIZE}};
    static const uint8_t none[MAC_SIZE];
    struct ifreq request = {.ifr_data = (void *)&asked};
    const uint8_t *mac = asked.bytes + sizeof(struct ethtool_perm_addr);
    _cleanup_(close_fdp) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0 || asked.request.size != MAC_SIZE ||
        !memcmp(mac, none, MAC_SIZE))
        return false;
    _cleanup_(nl_addr_putp) struct nl_addr *address = nl_addr_build(AF_LLC, mac, MAC_SIZE);
    if (address)
        nl_addr2str(address, text, ADDRESS_TEXT);
    return address;
}

/* A card is known by its permanent MAC, the one it has at the next boot too, and gets the other one then. */
static enum error_code add_macs(struct rtnl_link *link, json_t *object, struct error *reterr)
{
    char mac[ADDRESS_TEXT], permanent[ADDRESS_TEXT];
    nl_addr2str(rtnl_link_get_addr(link), mac, sizeof(mac));
    const bool has_other = link_is_card(link) && read_permanent_mac(rtnl_link_get_name(link), permanent) &&
                           strcmp(permanent, mac) != 0;
    enum error_code code = json_set_new(object, "mac", json_string(has_other ? permanent : mac), reterr);
    if (!code && has_other)
        code = json_set_new(object, "set_mac", json_string(mac), reterr);
    return code;
}

static enum error_code add_link(struct recording *recording, struct rtnl_link *link, struct error *reterr)
{
    const int index = rtnl_link_get_ifindex(link);
    const char *name = rtnl_link_get_name(link);
    struct error why = ERROR_NONE;
    _cleanup_(json_freep) json_t *object = json_object();
    enum error_code code = json_set_new(object, "name", json_string(name), reterr);
    if (!code && !link_is_card(link) &&
        stacked_record(recording->links, link, object, &why) == ERR_NOT_FOUND) {
        not_recorded(recording, name, why.message);
        return OK;
    }
    if (!code && why.code)
        return error_set(reterr, why.code, 0, "%s", why.message);
    if (!code)
        code = add_macs(link, object, reterr);
    if (!code)
        code = json_set_new(object, "mtu", json_integer(rtnl_link_get_mtu(link)), reterr);
    if (!code)
        code = add_addresses(recording->addresses, index, object, reterr);
    if (!code)
        code = add_routes(recording->routes, recording->addresses, index, object, reterr);
    if (!code && json_array_append(recording->recorded, object) < 0)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return code;
}

/* A link behind what it is made of: a VLAN may be on a VLAN on a bond. Bridges, and tunnels of containers and
 * VPNs, have addresses too, and are no way out. */
static enum error_code add_stack(struct recording *recording, struct rtnl_link *top, struct error *reterr)
{
    struct rtnl_link *stack[STACK_MAXIMUM] = {top};
    size_t depth = 1;
    enum error_code code = OK;
    while (link_is_type(stack[depth - 1], "vlan") && depth < STACK_MAXIMUM) {
        struct rtnl_link *below = rtnl_link_get(recording->links, rtnl_link_get_link(stack[depth - 1]));
        if (!below)
            break;
        stack[depth++] = below;
    }
    struct rtnl_link *lowest = stack[depth - 1];
    if (link_is_card(lowest) || link_is_type(lowest, "bond")) {
        for (size_t i = depth; !code && i-- > 0;)
            if (!is_recorded(recording, rtnl_link_get_name(stack[i])))
                code = add_link(recording, stack[i], reterr);
    } else if (depth > 1) {
        not_recorded(recording, rtnl_link_get_name(top), "what the VLAN is on is neither a card nor a bond");
    }
    for (size_t i = 1; i < depth; i++)
        rtnl_link_put(stack[i]);
    return code;
}

static bool has_address(const struct recording *recording, int link)
{
    for (struct nl_object *each = nl_cache_get_first(recording->addresses); each;
         each = nl_cache_get_next(each))
        if (is_lasting((struct rtnl_addr *)each, link))
            return true;
    return false;
}

bool network_has_address(void)
{
    _cleanup_(nl_socket_freep) struct nl_sock *socket = NULL;
    _cleanup_(recording_done) struct recording recording = {0};
    if (netlink_connect(&socket, NULL) || rtnl_link_alloc_cache(socket, AF_UNSPEC, &recording.links) < 0 ||
        rtnl_addr_alloc_cache(socket, &recording.addresses) < 0)
        return false;
    for (struct nl_object *each = nl_cache_get_first(recording.links); each; each = nl_cache_get_next(each)) {
        struct rtnl_link *link = (struct rtnl_link *)each;
        const unsigned flags = rtnl_link_get_flags(link);
        if (!(flags & IFF_LOOPBACK) && (flags & IFF_LOWER_UP) &&
            has_address(&recording, rtnl_link_get_ifindex(link)))
            return true;
    }
    return false;
}

/* systemd-resolved's own address is of no use to a boot; what it asks is. */
static enum error_code add_name_servers(json_t *object, struct error *reterr)
{
    static const char *const paths[] = {"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"};
    json_t *array = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(paths) && json_array_size(array) == 0; i++) {
        char *save = NULL, server[64], block[4096];
        _cleanup_(close_fdp) int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, block, sizeof(block) - 1);
        if (got <= 0)
            continue;
        block[got] = '\0';
        for (char *line = strtok_r(block, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            if (sscanf(line, " nameserver %63s", server) == 1 && strncmp(server, "127.", 4) != 0 &&
                strcmp(server, "::1") != 0 && json_array_size(array) < NETWORK_SERVERS_MAXIMUM)
                json_array_append_new(array, json_string(server));
    }
    return json_set_new(object, "name_servers", array, reterr);
}

static enum error_code add_links(struct nl_sock *socket, json_t *links, struct finding_list *findings,
                                 struct error *reterr)
{
    _cleanup_(recording_done) struct recording recording = {.recorded = links, .findings = findings};
    int status = rtnl_link_alloc_cache(socket, AF_UNSPEC, &recording.links);
    if (status >= 0)
        status = rtnl_addr_alloc_cache(socket, &recording.addresses);
    if (status >= 0)
        status = rtnl_route_alloc_cache(socket, AF_UNSPEC, 0, &recording.routes);
    if (status < 0)
        return netlink_error(reterr, status, "cannot list", "the kernel's links, addresses and routes");
    enum error_code code = OK;
    for (struct nl_object *each = nl_cache_get_first(recording.links); !code && each;
         each = nl_cache_get_next(each)) {
        struct rtnl_link *link = (struct rtnl_link *)each;
        if ((rtnl_link_get_flags(link) & IFF_UP) && has_address(&recording, rtnl_link_get_ifindex(link)))
            code = add_stack(&recording, link, reterr);
    }
    return code;
}

enum error_code network_read_kernel(json_t **ret_object, struct finding_list *findings, struct error *reterr)
{
    _cleanup_(nl_socket_freep) struct nl_sock *socket = NULL;
    _cleanup_(json_freep) json_t *object = json_object();
    json_t *links = json_array();
    enum error_code code = json_set_new(object, "version", json_integer(NETWORK_VERSION), reterr);
    if (code) {
        json_decref(links);
        return code;
    }
    code = json_set_new(object, "links", links, reterr);
    if (!code)
        code = netlink_connect(&socket, reterr);
    if (!code)
        code = add_links(socket, links, findings, reterr);
    if (!code && json_array_size(links) == 0)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "no network card has an address");
    if (!code)
        code = add_name_servers(object, reterr);
    if (!code)
        *ret_object = TAKE(object);
    return code;
}

static enum error_code open_husk(const char *at, int *ret_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int at_fd = -1;
    enum error_code code = directory_open(AT_FDCWD, at, &at_fd, reterr);
    return code ? code : directory_open(at_fd, HUSK_DIRECTORY, ret_fd, reterr);
}

enum error_code network_read_kept(const char *at, json_t **ret_object, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(json_freep) json_t *object = NULL;
    enum error_code code = open_husk(at, &husk_fd, reterr);
    if (!code)
        code = file_read(husk_fd, NETWORK_FILE, NETWORK_FILE_MAXIMUM, &text, reterr);
    if (!code)
        code = json_parse_object(text.data, text.length, NETWORK_FILE, &object, reterr);
    if (!code)
        code = json_check_version(object, NETWORK_VERSION, NETWORK_FILE, reterr);
    if (!code)
        *ret_object = TAKE(object);
    return code;
}

enum error_code network_read_names(const char *at, json_t **ret_names, struct error *reterr)
{
    _cleanup_(json_freep) json_t *kept = NULL;
    json_t *names = NULL;
    enum error_code code = network_read_kept(at, &kept, reterr);
    if (code && code != ERR_NOT_FOUND)
        return code;
    if (kept && json_object_get(kept, "authorities"))
        code = json_get_object(kept, "authorities", &names, reterr);
    else
        code = OK;
    if (!code)
        *ret_names = names ? json_incref(names) : json_object();
    return code;
}

/* 0 where none has it. */
static int find_link_of(struct nl_sock *socket, struct nl_addr *wanted)
{
    _cleanup_(nl_cache_freep) struct nl_cache *addresses = NULL;
    if (rtnl_addr_alloc_cache(socket, &addresses) < 0)
        return 0;
    for (struct nl_object *each = nl_cache_get_first(addresses); each; each = nl_cache_get_next(each)) {
        struct nl_addr *local = rtnl_addr_get_local((struct rtnl_addr *)each);
        if (local && nl_addr_get_family(local) == nl_addr_get_family(wanted) &&
            nl_addr_get_len(local) == nl_addr_get_len(wanted) &&
            !memcmp(nl_addr_get_binary_addr(local), nl_addr_get_binary_addr(wanted), nl_addr_get_len(wanted)))
            return rtnl_addr_get_ifindex((struct rtnl_addr *)each);
    }
    return 0;
}

bool network_is_recorded(const char *at, const char *address)
{
    _cleanup_(nl_socket_freep) struct nl_sock *socket = NULL;
    _cleanup_(nl_addr_putp) struct nl_addr *wanted = NULL;
    _cleanup_(json_freep) json_t *kept = NULL;
    struct rtnl_link *leading = NULL;
    bool is_there = false;
    size_t index;
    json_t *link;
    if (nl_addr_parse(address, AF_UNSPEC, &wanted) < 0 || netlink_connect(&socket, NULL) ||
        network_read_kept(at, &kept, NULL))
        return true;
    const int number = find_link_of(socket, wanted);
    if (number == 0 || rtnl_link_get_kernel(socket, number, NULL, &leading) < 0)
        return true;
    json_array_foreach(json_object_get(kept, "links"), index, link)
    {
        const char *recorded = json_string_value(json_object_get(link, "name"));
        is_there |= recorded && !strcmp(recorded, rtnl_link_get_name(leading));
    }
    rtnl_link_put(leading);
    return is_there;
}

bool network_has_stacked(const char *at)
{
    _cleanup_(json_freep) json_t *kept = NULL;
    size_t index;
    json_t *link;
    if (network_read_kept(at, &kept, NULL))
        return false;
    json_array_foreach(json_object_get(kept, "links"), index, link)
    {
        if (json_object_get(link, "kind"))
            return true;
    }
    return false;
}

enum error_code network_record(const char *at, json_t *names, bool *ret_changed,
                               struct finding_list *findings, struct error *reterr)
{
    _cleanup_(json_freep) json_t *now = NULL, *kept = NULL;
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int husk_fd = -1;
    enum error_code code = network_read_kernel(&now, findings, reterr);
    if (!code && network_read_kept(at, &kept, NULL) == OK && !names)
        names = json_object_get(kept, "authorities");
    if (!code)
        code = json_set_new(now, "authorities", names ? json_incref(names) : json_object(), reterr);
    const bool changed = !code && (!kept || !json_equal(now, kept));
    if (changed)
        code = open_husk(at, &husk_fd, reterr);
    if (!code && changed)
        code = json_format(now, &text, reterr);
    if (!code && changed)
        code = file_write_durable(husk_fd, NETWORK_FILE, 0600, text.data, text.length, reterr);
    if (!code && ret_changed)
        *ret_changed = changed;
    return code;
}
