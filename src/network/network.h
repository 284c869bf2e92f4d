/*
 * The network a host has while it runs, for the time in its next boot when nothing has set one up yet:
 * recorded from the kernel, set over netlink, undone. So addresses with gateways off their subnet, /32, MTU
 * and several cards come out as they were, whoever configures them later, and nothing has to be written down
 * by hand.
 *
 * DIR/.husk/network.json: {"version":1,"links":[{"name","mac","mtu","addresses":["10.0.0.2/24",...],
 * "routes":[{"to","via","onlink","metric"},...]},...],"name_servers":[...],"authorities":{NAME:[ADDRESS,...]}}.
 * Cards are known by their MAC, the permanent one where the kernel tells it; one that runs with another has
 * that as "set_mac", and is given it. A VLAN has also "kind":"vlan","parent":NAME,"id","protocol"; a bond
 * "kind":"bond","options":{...}, "ports":[MAC,...]; what they are made of stands before them. No bridge or
 * tunnel is recorded.
 */
#pragma once
#include <stdbool.h>

#include "base/finding.h"
#include "json/json.h"

#define NETWORK_FILE "network.json"

/* Look at the running system and keep what is there in at/.husk, where that differs from what is kept, with
 * what the names of authorities stand for (an object; NULL: as they are kept). *ret_changed (may be NULL)
 * tells. ERR_NOT_FOUND when no card has an address: what is kept stays then. Links
 * that lead somewhere but cannot be recorded are findings (tell, "network-not-recorded"). */
must_check enum error_code network_record(const char *at, json_t *names, bool *ret_changed,
                                          struct finding_list *findings, struct error *reterr);

/* What the names of authorities stood for when that was recorded; an empty object where nothing was. */
must_check enum error_code network_read_names(const char *at, json_t **ret_names, struct error *reterr);

/* Whether a VLAN or a bond is recorded, for which the kernel needs modules. False where nothing can be read.
 */
bool network_has_stacked(const char *at);

/* Whether the link that has this address (without a prefix) is one of those that are recorded: by its name.
 * True also where it cannot be told. */
bool network_is_recorded(const char *at, const char *address);

/* Whether what is kept would still do, writing nothing: ERR_CHANGED where a card, its MTU, an address, a
 * route or a name server that is kept is there no longer. What came since does not matter. */
must_check enum error_code network_compare(const char *at, struct finding_list *findings,
                                           struct error *reterr);

/* Whether anything is kept that can be read. */
bool network_is_kept(const char *at);

/* Whether something is kept, and no card with an address here is one of it: this is another machine than the
 * host of at. */
bool network_is_elsewhere(const char *at);

/* The links of the machine as they are before anything is done to them. ERR_UNSUPPORTED where there are more
 * than a thousand: what is not known could not be left as it is. */
struct network;
must_check enum error_code network_open(struct network **ret_network, struct error *reterr);

/* Set what at/.husk/network.json says on the cards that are there and down, then wait up to patience_s for
 * those that are missing, and until one has a carrier, a bond by LACP also a partner; the others' is waited
 * for a few seconds more. Those that are up already are somebody else's and stay as they are. In an initramfs
 * the name servers are put into /etc/resolv.conf. ERR_NOT_FOUND where nothing is kept or no card of it is
 * there, or has a carrier: then it is set up for when that comes. Blocks; ERR_INTERRUPTED. May be called
 * again: what was set stays as it is.
 */
must_check enum error_code network_apply(struct network *network, const char *at, unsigned patience_s,
                                         struct error *reterr);

/* Whether network_apply has set up cards and neither these nor others have a carrier yet. */
bool network_awaits_carrier(const struct network *network);

/* Whether any link that has a carrier has an address that leads out of its own network. Those of other
 * namespaces and of lo do not count. */
bool network_has_address(void);

/* Run a program that sets the network up in its own way, and wait for its end. It is told to end when a
 * signal comes, with all of its process group, which is killed 5 s later: ERR_INTERRUPTED. */
must_check enum error_code network_run(const char *program, struct error *reterr);

/* Every VLAN and bond that was made since network_open goes. Every link that was down then and is up now:
 * its addresses go, its MTU is as before, and it is down. NULL is fine. */
void network_undo(struct network *network);
static inline void network_undop(struct network **network)
{
    network_undo(*network);
    *network = NULL;
}
