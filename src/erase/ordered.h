/*
 * An order to erase the whole host, of which its agent left something for later: what was in use. Where the
 * host was off since and what was left is erased now, the order is carried out.
 *
 * The agent keeps what is left in the order's report: "at" is the root of the host, "left":
 * [{"name","filesystem"}...] a vault each by the mount point of its filesystem, "" where that cannot be told.
 */
#pragma once
#include "client/client.h"
#include "vault/vault.h"

enum erase_ordered {
    ERASE_NOT_ORDERED,
    ERASE_ORDERED_MORE, /* than these vaults, or nothing tells whether */
    ERASE_ORDERED_THESE /* everything else was erased: erase_host may answer it */
};

/* What is left behind one more run of erase --all: what earlier ones left (before; NULL or the report of the
 * last) and this one (document, as --json prints it) did not show to be whole, and what this one left. Owned
 * by the caller; NULL without memory. */
json_t *erase_find_left(const json_t *before, const json_t *document);

/* What the orders that are not answered yet left, as far as this host's disk tells; vaults are erased, and on
 * the filesystem of the root. */
enum erase_ordered erase_look_ordered(struct client *client, struct vault *const *vaults, size_t count);
