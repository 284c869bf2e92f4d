/*
 * An order to erase the whole host, of which its agent left something for later: what was in use. Where the
 * host was off since and what was left is erased now, the order is carried out.
 */
#pragma once
#include "client/client.h"
#include "vault/vault.h"

enum erase_ordered {
    ERASE_NOT_ORDERED,
    ERASE_ORDERED_MORE, /* than these vaults, or nothing tells whether */
    ERASE_ORDERED_THESE /* everything else was erased when the agent reported: erase_host may answer it */
};

/* What the orders that are not answered yet left, as far as this host's disk tells; vaults are erased. */
enum erase_ordered erase_look_ordered(struct client *client, struct vault *const *vaults, size_t count);
