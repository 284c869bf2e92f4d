/* Links that are made of others: VLANs and bonds, from the kernel to network.json and back. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netlink/route/link/bonding.h>
#include <netlink/route/link/vlan.h>
#include <stdio.h>

#include "base/file.h"
#include "base/text.h"
#include "network/netlink.h"

enum { SYSFS_TEXT = 64, VLAN_MOST = 4094, PORTS_MAXIMUM = 16 };
enum { LACP_DISTRIBUTING = 1 << 5 }; /* of the state of a port */

/* The kernel has them as files; the mode comes first, what it does not go with is refused and left out. */
static const char *const bond_options[] = {"mode",    "miimon",    "xmit_hash_policy", "lacp_rate",
                                           "updelay", "downdelay", "ad_select"};

static bool read_sysfs(const char *link, const char *file, char text[SYSFS_TEXT])
{
    char path[128];
    snprintf(path, sizeof(path), "/sys/class/net/%s/%s", link, file);
    _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : read(fd, text, SYSFS_TEXT - 1);
    if (got <= 0)
        return false;
    text[got] = '\0';
    text[strcspn(text, " \n")] = '\0'; /* of "802.3ad 4" the word */
    return text[0] != '\0';
}

static bool write_sysfs(const char *link, const char *file, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "/sys/class/net/%s/bonding/%s", link, file);
    _cleanup_(close_fdp) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

bool link_is_card(struct rtnl_link *link)
{
    const char *type = rtnl_link_get_type(link);
    return !(rtnl_link_get_flags(link) & IFF_LOOPBACK) && rtnl_link_get_master(link) == 0 &&
           (!type || !strcmp(type, "veth")) && rtnl_link_get_addr(link) &&
           nl_addr_get_len(rtnl_link_get_addr(link)) == 6;
}

bool link_is_type(struct rtnl_link *link, const char *wanted)
{
    const char *type = rtnl_link_get_type(link);
    return type && !strcmp(type, wanted);
}

/* /sys shows the network namespace it was mounted in: elsewhere another link may have that name. */
static bool is_in_sysfs(struct rtnl_link *link)
{
    char index[SYSFS_TEXT], shown[SYSFS_TEXT], mac[SYSFS_TEXT];
    snprintf(index, sizeof(index), "%d", rtnl_link_get_ifindex(link));
    return read_sysfs(rtnl_link_get_name(link), "ifindex", shown) && !strcmp(shown, index) &&
           read_sysfs(rtnl_link_get_name(link), "address", shown) && rtnl_link_get_addr(link) &&
           !strcmp(shown, nl_addr2str(rtnl_link_get_addr(link), mac, sizeof(mac)));
}

static enum error_code record_bond(struct nl_cache *links, struct rtnl_link *bond, json_t *object,
                                   struct error *reterr)
{
    char text[SYSFS_TEXT], file[SYSFS_TEXT];
    if (!is_in_sysfs(bond))
        return error_set(reterr, ERR_NOT_FOUND, 0, "the bond %s is not to be seen in /sys",
                         rtnl_link_get_name(bond));
    json_t *ports = json_array(), *options = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(bond_options); i++) {
        snprintf(file, sizeof(file), "bonding/%s", bond_options[i]);
        if (read_sysfs(rtnl_link_get_name(bond), file, text))
            (void)json_object_set_new(options, bond_options[i], json_string(text));
    }
    /* While they are ports they have the bond's MAC. */
    for (struct nl_object *each = nl_cache_get_first(links); each; each = nl_cache_get_next(each)) {
        struct rtnl_link *port = (struct rtnl_link *)each;
        if (rtnl_link_get_master(port) == rtnl_link_get_ifindex(bond) &&
            read_sysfs(rtnl_link_get_name(port), "bonding_slave/perm_hwaddr", text))
            (void)json_array_append_new(ports, json_string(text));
    }
    enum error_code code = json_set_new(object, "options", options, reterr);
    if (code) {
        json_decref(ports);
        return code;
    }
    code = json_set_new(object, "ports", ports, reterr);
    if (!code && (json_array_size(ports) == 0 || !json_object_get(options, "mode")))
        code = error_set(reterr, ERR_NOT_FOUND, 0, "the ports of the bond %s are not known",
                         rtnl_link_get_name(bond));
    return code;
}

enum error_code stacked_record(struct nl_cache *links, struct rtnl_link *link, json_t *object,
                               struct error *reterr)
{
    enum error_code code = json_set_new(object, "kind", json_string(rtnl_link_get_type(link)), reterr);
    if (code || link_is_type(link, "bond"))
        return code ? code : record_bond(links, link, object, reterr);
    char parent[IFNAMSIZ] = "";
    if (!rtnl_link_i2name(links, rtnl_link_get_link(link), parent, sizeof(parent)))
        return error_set(reterr, ERR_NOT_FOUND, 0, "what the VLAN %s is on is not known",
                         rtnl_link_get_name(link));
    code = json_set_new(object, "parent", json_string(parent), reterr);
    if (!code)
        code = json_set_new(object, "id", json_integer(rtnl_link_vlan_get_id(link)), reterr);
    if (!code)
        code = json_set_new(object, "protocol",
                            json_integer(ntohs((uint16_t)rtnl_link_vlan_get_protocol(link))), reterr);
    return code;
}

static enum error_code read_mac(const char *text, struct nl_addr **ret_mac, struct error *reterr)
{
    _cleanup_(nl_addr_putp) struct nl_addr *mac = NULL;
    if (nl_addr_parse(text, AF_LLC, &mac) < 0 || nl_addr_get_len(mac) != 6)
        return error_set(reterr, ERR_CORRUPT, 0, NETWORK_FILE ": %s is no MAC", text_shown(text));
    *ret_mac = TAKE(mac);
    return OK;
}

enum error_code link_key_read(json_t *object, struct link_key *ret_key, struct error *reterr)
{
    struct link_key key = {0};
    const char *mac = NULL, *set_mac = NULL, *kind = NULL;
    enum error_code code = json_get_string(object, "name", &key.name, reterr);
    if (!code)
        code = json_get_string(object, "mac", &mac, reterr);
    if (!code && json_object_get(object, "set_mac"))
        code = json_get_string(object, "set_mac", &set_mac, reterr);
    if (!code && json_object_get(object, "kind"))
        code = json_get_string(object, "kind", &kind, reterr);
    if (!code && (key.name[0] == '\0' || strlen(key.name) >= IFNAMSIZ || strpbrk(key.name, "/ ") ||
                  key.name[0] == '.'))
        code =
            error_set(reterr, ERR_CORRUPT, 0, NETWORK_FILE ": %s is no name of a link", text_shown(key.name));
    if (!code)
        code = read_mac(mac, &key.mac, reterr);
    if (!code && set_mac)
        code = read_mac(set_mac, &key.set_mac, reterr);
    if (!code && kind && strcmp(kind, "vlan") != 0 && strcmp(kind, "bond") != 0)
        code =
            error_set(reterr, ERR_UNSUPPORTED, 0, NETWORK_FILE ": a link of the kind %s", text_shown(kind));
    if (code) {
        link_key_done(&key);
        return code;
    }
    key.kind = kind;
    *ret_key = key;
    return OK;
}

static bool has_mac(struct rtnl_link *link, const struct link_key *key)
{
    return !nl_addr_cmp(rtnl_link_get_addr(link), key->mac) ||
           (key->set_mac && !nl_addr_cmp(rtnl_link_get_addr(link), key->set_mac));
}

struct rtnl_link *link_find(struct nl_cache *links, const struct link_key *key)
{
    for (struct nl_object *each = nl_cache_get_first(links); each; each = nl_cache_get_next(each)) {
        struct rtnl_link *link = (struct rtnl_link *)each;
        if (key->kind ? link_is_type(link, key->kind) && !strcmp(rtnl_link_get_name(link), key->name)
                      : link_is_card(link) && has_mac(link, key))
            return link;
    }
    return NULL;
}

static json_t *link_named(json_t *recorded, const char *name)
{
    for (size_t i = 0; i < json_array_size(recorded); i++) {
        const char *each = json_string_value(json_object_get(json_array_get(recorded, i), "name"));
        if (each && !strcmp(each, name))
            return json_array_get(recorded, i);
    }
    return NULL;
}

static enum error_code add_link(struct nl_sock *socket, struct rtnl_link *link, const struct link_key *key,
                                struct error *reterr)
{
    rtnl_link_set_name(link, key->name);
    if (!strcmp(key->kind, "bond"))
        rtnl_link_set_addr(link, key->mac); /* a VLAN's is its parent's */
    const int status = rtnl_link_add(socket, link, NLM_F_CREATE | NLM_F_EXCL);
    return status < 0 ? netlink_error(reterr, status, "cannot make the link", key->name) : OK;
}

static enum error_code make_vlan(struct nl_sock *socket, json_t *recorded, json_t *object,
                                 const struct link_key *key, int64_t deadline_ns, struct error *reterr)
{
    const char *parent_name = NULL;
    int64_t id = 0, protocol = 0;
    _cleanup_(link_key_done) struct link_key parent_key = {0};
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    struct rtnl_link *parent = NULL;
    enum error_code code = json_get_string(object, "parent", &parent_name, reterr);
    if (!code)
        code = json_get_integer(object, "id", 0, VLAN_MOST, &id, reterr);
    if (!code)
        code = json_get_integer(object, "protocol", 0, UINT16_MAX, &protocol, reterr);
    json_t *parent_object = code ? NULL : link_named(recorded, parent_name);
    if (!code && !parent_object)
        code =
            error_set(reterr, ERR_CORRUPT, 0, NETWORK_FILE ": nothing is named %s", text_shown(parent_name));
    if (!code)
        code = link_key_read(parent_object, &parent_key, reterr);
    if (!code)
        code = link_wait(socket, &parent_key, deadline_ns, &links, &parent, reterr);
    if (code)
        return code;
    struct rtnl_link *vlan = rtnl_link_vlan_alloc();
    if (!vlan)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    rtnl_link_set_link(vlan, rtnl_link_get_ifindex(parent));
    rtnl_link_vlan_set_id(vlan, (uint16_t)id);
    rtnl_link_vlan_set_protocol(vlan, htons((uint16_t)protocol));
    code = add_link(socket, vlan, key, reterr);
    rtnl_link_put(vlan);
    return code;
}

static void set_options(const struct link_key *key, json_t *options)
{
    for (size_t i = 0; i < ARRAY_SIZE(bond_options); i++) {
        const char *value = json_string_value(json_object_get(options, bond_options[i]));
        if (value)
            (void)write_sysfs(key->name, bond_options[i], value);
    }
    /* One that asks for ARP answers to know its ports looks at their carriers here. */
    char text[SYSFS_TEXT];
    if (!read_sysfs(key->name, "bonding/miimon", text) || !strcmp(text, "0"))
        (void)write_sysfs(key->name, "miimon", "100");
}

static enum error_code add_port(struct nl_sock *socket, int bond, const char *mac, int64_t deadline_ns,
                                struct error *reterr)
{
    struct link_key key = {.name = "port"};
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    struct rtnl_link *card = NULL;
    if (!mac || nl_addr_parse(mac, AF_LLC, &key.mac) < 0)
        return error_set(reterr, ERR_CORRUPT, 0, NETWORK_FILE ": a port that is no MAC");
    enum error_code code = link_wait(socket, &key, deadline_ns, &links, &card, reterr);
    if (!code) {
        const int status = rtnl_link_enslave_ifindex(socket, bond, rtnl_link_get_ifindex(card));
        if (status < 0)
            code = netlink_error(reterr, status, "cannot make a port of a bond of", rtnl_link_get_name(card));
    }
    link_key_done(&key);
    return code;
}

/* A port that is missing is what a bond is for. */
static enum error_code make_bond(struct nl_sock *socket, json_t *object, const struct link_key *key,
                                 int64_t deadline_ns, struct error *reterr)
{
    json_t *options = NULL, *ports = NULL;
    size_t added = 0;
    _cleanup_(nl_cache_freep) struct nl_cache *links = NULL;
    struct rtnl_link *made = NULL;
    struct error why = ERROR_NONE;
    enum error_code code = json_get_object(object, "options", &options, reterr);
    if (!code)
        code = json_get_array(object, "ports", PORTS_MAXIMUM, &ports, reterr);
    if (code)
        return code;
    struct rtnl_link *bond = rtnl_link_bond_alloc();
    if (!bond)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    code = add_link(socket, bond, key, reterr);
    rtnl_link_put(bond);
    if (!code)
        code = link_wait(socket, key, deadline_ns, &links, &made, reterr);
    if (code)
        return code;
    if (!is_in_sysfs(made))
        return error_set(reterr, ERR_FAILED, 0, "the bond %s is not to be seen in /sys", key->name);
    set_options(key, options);
    error_set(&why, ERR_NOT_FOUND, 0, NETWORK_FILE ": a bond without ports");
    for (size_t i = 0; i < json_array_size(ports) && why.code != ERR_INTERRUPTED; i++)
        added += add_port(socket, rtnl_link_get_ifindex(made), json_string_value(json_array_get(ports, i)),
                          deadline_ns, &why) == OK;
    if (added > 0 && why.code != ERR_INTERRUPTED)
        return OK;
    return error_set(reterr, why.code, 0, "%s", why.message);
}

enum error_code stacked_make(struct nl_sock *socket, json_t *recorded, json_t *object,
                             const struct link_key *key, int64_t deadline_ns, struct error *reterr)
{
    return !strcmp(key->kind, "vlan") ? make_vlan(socket, recorded, object, key, deadline_ns, reterr)
                                      : make_bond(socket, object, key, deadline_ns, reterr);
}

static bool bond_negotiates(struct nl_cache *links, struct rtnl_link *bond)
{
    char text[SYSFS_TEXT];
    bool is_known = false;
    if (!is_in_sysfs(bond) || !read_sysfs(rtnl_link_get_name(bond), "bonding/mode", text) ||
        strcmp(text, "802.3ad") != 0)
        return false;
    for (struct nl_object *each = nl_cache_get_first(links); each; each = nl_cache_get_next(each)) {
        struct rtnl_link *port = (struct rtnl_link *)each;
        if (rtnl_link_get_master(port) != rtnl_link_get_ifindex(bond) ||
            !read_sysfs(rtnl_link_get_name(port), "bonding_slave/ad_actor_oper_port_state", text))
            continue;
        if (strtoul(text, NULL, 10) & LACP_DISTRIBUTING)
            return false;
        is_known = true;
    }
    return is_known;
}

bool stacked_negotiates(struct nl_cache *links, struct rtnl_link *link)
{
    if (link_is_type(link, "bond"))
        return bond_negotiates(links, link);
    struct rtnl_link *below =
        link_is_type(link, "vlan") ? rtnl_link_get(links, rtnl_link_get_link(link)) : NULL;
    const bool negotiates = below && stacked_negotiates(links, below);
    rtnl_link_put(below);
    return negotiates;
}
