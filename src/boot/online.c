#include "boot/online.h"

#include "base/clock.h"
#include "base/fault.h"

/* For a card to appear and to have a carrier; until a network that did not come is tried again. */
enum { NETWORK_PATIENCE_S = 15, AGAIN_S = 300 };

enum error_code online_begin(const struct boot_options *options, struct online *ret_online,
                             struct error *reterr)
{
    struct online online = {.options = options};
    enum error_code code =
        options->network == BOOT_NETWORK_RECORDED ? network_open(&online.network, reterr) : OK;
    if (!code)
        *ret_online = online;
    return code;
}

bool online_may_try_recorded(const struct online *online)
{
    return online->network && !online->tried_recorded;
}

bool online_may_try_dhcp(const struct online *online)
{
    return online->network && online->options->dhcp && !online->tried_dhcp;
}

bool online_may_try_again(struct online *online)
{
    if (!online->network || !online->tried_recorded)
        return false;
    if (online->tried_dhcp && online->has_recorded) { /* what DHCP did may have taken its place */
        online->tried_recorded = online->has_recorded = false;
        return true;
    }
    const bool is_time =
        clock_monotonic_ns() - online->tried_ns >= AGAIN_S * CLOCK_NS_PER_S || fault("boot.network.again");
    if (!is_time || network_has_address())
        return false;
    online->tried_recorded = online->tried_dhcp = false;
    return true;
}

enum error_code online_try_recorded(struct online *online, struct error *reterr)
{
    enum error_code code = network_apply(online->network, online->options->at, NETWORK_PATIENCE_S, reterr);
    online->has_recorded = !code && !online->tried_dhcp;
    online->tried_recorded = true;
    online->tried_ns = clock_monotonic_ns();
    return code;
}

enum error_code online_try_dhcp(struct online *online, struct error *reterr)
{
    enum error_code code = network_run(online->options->dhcp, reterr);
    online->tried_dhcp = true;
    online->tried_ns = clock_monotonic_ns();
    return code;
}

enum error_code online_open_client(const char *at, struct client **ret_client, struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    _cleanup_(json_freep) json_t *names = NULL;
    enum error_code code = client_open(at, &client, reterr);
    if (!code && network_read_names(at, &names, NULL) == OK) /* of a damaged record the network tells */
        code = client_names_give(client, names, reterr);
    if (code)
        return code;
    client->is_early = true;
    *ret_client = TAKE(client);
    return OK;
}

void online_end(struct online *online)
{
    network_undo(online->network);
    online->network = NULL;
}
