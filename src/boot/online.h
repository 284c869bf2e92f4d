/*
 * The network a boot asks its authorities over: as it was recorded while the host ran, and where that does
 * not do, DHCP. Not for other rooms.
 */
#pragma once
#include "boot/boot.h"
#include "client/client.h"
#include "network/network.h"

struct online {
    const struct boot_options *options;
    struct network *network; /* owned; NULL where the network is left as it is */
    bool tried_recorded, tried_dhcp;
    bool has_recorded; /* what was recorded was set up, and DHCP was not tried then */
    int64_t tried_ns;  /* the end of the last try */
};

#define ONLINE_TRYING_DHCP "no authority can be reached so far; trying DHCP"

/* Look at the cards before anything is done to them. */
must_check enum error_code online_begin(const struct boot_options *options, struct online *ret_online,
                                        struct error *reterr);

/* Whether that way is there and was not tried yet. */
bool online_may_try_recorded(const struct online *online);
bool online_may_try_dhcp(const struct online *online);

/* Whether what was recorded is to be set up again. Once behind DHCP, which may have put another address,
 * route or name server in its place and leads nowhere either. And where both have left the machine without an
 * address for five minutes, both again: a DHCP server or a card may be back. Else a network that is there is
 * not disturbed while its authority is away. */
bool online_may_try_again(struct online *online);

/* Try it. Blocks, up to minutes for DHCP; ERR_INTERRUPTED. What is wrong is for telling: whoever asks over
 * the network will see whether it does. */
must_check enum error_code online_try_recorded(struct online *online, struct error *reterr);
must_check enum error_code online_try_dhcp(struct online *online, struct error *reterr);

/* This host's side towards its authorities, whose names stand for what was recorded where no name server
 * answers. Free with client_close. */
must_check enum error_code online_open_client(const char *at, struct client **ret_client,
                                              struct error *reterr);

/* Undo what was set. */
void online_end(struct online *online);
