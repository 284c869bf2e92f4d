/*
 * Erases that were begun, gone on with at boot. Where an authority ordered the host erased and nothing of it
 * is left now, that is the end of the host. The network is brought up only where an authority still has to
 * destroy its part or to be told; what is done and what is not is said on the consoles. Nothing here opens
 * anything. Not for other rooms.
 */
#pragma once
#include "boot/consoles.h"
#include "boot/online.h"
#include "vault/vault.h"

struct erasing {
    const struct boot_options *options;
    struct consoles *consoles;
    struct vault *const *vaults; /* not owned */
    size_t count;
    struct online online;
    bool waits;               /* for an authority: erasing_go_on can do more later */
    struct finding_list said; /* owned: what was said is not said again */
};

/* Nothing is done yet. A network that cannot be looked at is said, and left as it is. */
void erasing_begin(const struct boot_options *options, struct consoles *consoles, struct vault *const *vaults,
                   size_t count, struct erasing *ret_erasing);

/* Go on with every one of the vaults that is marked erasing, tell what became of it, by each way to a network
 * there is, and say how it ended. To be called again while waits. Blocks for some seconds, and the first time
 * as long as the network takes. */
void erasing_go_on(struct erasing *erasing);

/* Undo the network. */
void erasing_end(struct erasing *erasing);
