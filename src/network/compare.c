/* Whether the network of the running system is still the one that was recorded. */
#include "base/cleanup.h"
#include "network/netlink.h"
#include "network/network.h"

static bool array_has(const json_t *array, const json_t *wanted)
{
    size_t i;
    json_t *each;
    json_array_foreach(array, i, each) if (json_equal(each, wanted)) return true;
    return false;
}

static bool array_has_all(const json_t *array, const json_t *wanted)
{
    size_t i;
    json_t *each;
    json_array_foreach(wanted, i, each) if (!array_has(array, each)) return false;
    return true;
}

static bool is_same(const json_t *left, const json_t *right, const char *member)
{
    const json_t *one = json_object_get(left, member), *other = json_object_get(right, member);
    return one && other ? json_equal(one, other) : one == other;
}

/* A VLAN has the MAC of what it is on. */
static const json_t *find_same(const json_t *links, const json_t *kept)
{
    size_t i;
    json_t *link;
    json_array_foreach(links, i, link)
    {
        if (is_same(link, kept, "mac") && is_same(link, kept, "kind") && is_same(link, kept, "id") &&
            is_same(link, kept, "protocol") && is_same(link, kept, "options"))
            return link;
    }
    return NULL;
}

/* Another address, route or card that came since takes nothing from what was recorded. */
static bool still_has(const json_t *now, const json_t *kept)
{
    size_t i;
    json_t *link;
    json_array_foreach(json_object_get(kept, "links"), i, link)
    {
        const json_t *there = find_same(json_object_get(now, "links"), link);
        if (!there || !is_same(there, link, "set_mac") || !is_same(there, link, "mtu") ||
            !array_has_all(json_object_get(there, "addresses"), json_object_get(link, "addresses")) ||
            !array_has_all(json_object_get(there, "routes"), json_object_get(link, "routes")) ||
            !array_has_all(json_object_get(there, "ports"), json_object_get(link, "ports")))
            return false;
    }
    return array_has_all(json_object_get(now, "name_servers"), json_object_get(kept, "name_servers"));
}

enum error_code network_compare(const char *at, struct finding_list *findings, struct error *reterr)
{
    _cleanup_(json_freep) json_t *now = NULL, *kept = NULL;
    enum error_code code = network_read_kernel(&now, findings, reterr);
    if (!code)
        code = network_read_kept(at, &kept, reterr);
    if (!code && !still_has(now, kept))
        code = error_set(reterr, ERR_CHANGED, 0,
                         "the network no longer has all that was recorded for the next boot");
    return code;
}

bool network_is_kept(const char *at)
{
    _cleanup_(json_freep) json_t *kept = NULL;
    return network_read_kept(at, &kept, NULL) == OK;
}

bool network_is_elsewhere(const char *at)
{
    _cleanup_(json_freep) json_t *now = NULL, *kept = NULL;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    size_t i, k;
    json_t *link, *here;
    if (network_read_kept(at, &kept, NULL))
        return false;
    const enum error_code code = network_read_kernel(&now, &findings, NULL);
    if (code)
        return code == ERR_NOT_FOUND; /* no card has one */
    const json_t *links = json_object_get(kept, "links");
    json_array_foreach(links, i, link)
    {
        json_array_foreach(json_object_get(now, "links"), k, here)
        {
            if (is_same(here, link, "mac"))
                return false;
        }
    }
    return json_array_size(links) > 0;
}
