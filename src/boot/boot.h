/*
 * Opening what a host needs to boot (design §8), in the initramfs, with the root mounted at at: the vaults
 * whose directories a system cannot start without. Authorities and people at the consoles are asked side by
 * side, and the first whose answer opens wins. Says on the consoles what it does, waits and why: they are
 * what a booting machine has for an error message.
 *
 * Never returns with some of it open and some not. What it changed (the mount's being writable, the network,
 * the terminals) is as before when it returns, secrets are zeroed.
 */
#pragma once
#include <stddef.h>

#include "base/finding.h"
#include "vault/vault.h"

struct boot_options {
    const char *at;
    const char *const *consoles; /* paths of terminals; none: the kernel's active consoles */
    size_t console_count;
    const char *dhcp; /* a program that configures the network by DHCP where what is recorded does not do;
                         NULL: none */
    enum { BOOT_NETWORK_AS_IT_IS, BOOT_NETWORK_RECORDED } network;
};

/*
 * BOOT_NOTHING: the host has no vault that its boot needs. BOOT_OPENED: all are open. BOOT_SHELL: a person
 * typed that word, to look for themselves. Where a vault is erased, or nothing can open one, it stays and
 * says so until somebody asks for that shell or switches the machine off. Blocks as long as it takes.
 */
enum boot_end { BOOT_NOTHING, BOOT_OPENED, BOOT_SHELL };
must_check enum error_code boot_run(const struct boot_options *options, enum boot_end *ret_end,
                                    struct error *reterr);

#define BOOT_NETWORK_NOT_COMPARED "network-not-compared"

/* Rehearse it on the running system: what would keep the next boot from opening what it needs is a blocking
 * finding, of convert/root.h, of vault_check_recorded(), or "vault-erased", "vault-locked",
 * "vault-unreadable", "no-way-in", "authority-unknown", "authority-unreachable", "network-changed",
 * "network-not-recorded". On another machine than the host's its network is not compared, which is told.
 * Changes nothing; asks the authorities, some seconds where one does not answer. */
must_check enum error_code boot_check(const char *at, struct finding_list *findings, struct error *reterr);

/* Whether a boot of the root at at cannot do without this vault: it holds what a system starts from. */
bool boot_needs(const char *at, const struct vault *vault);
