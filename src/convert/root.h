/*
 * The root of a host as something to convert: which directories it consists of, and whether a boot would find
 * its way into them afterwards. Reads only. What is copied and exchanged is the machine's (convert.h).
 *
 * The root stands below at, on a disk attached from outside or as "/". Everything on that host is looked at
 * as the host would see it: symlinks stay below at.
 */
#pragma once
#include <stddef.h>

#include "base/finding.h"

/* The directories at the top of the root filesystem, but /boot, /lost+found, /.husk, where the kernel's own
 * filesystems are mounted (/dev, /proc, /run, /sys) and what /etc/fstab mounts. */
struct convert_root {
    char **paths; /* owned; absolute, sorted */
    size_t count;
};

/* ERR_USAGE when at is not the root of its filesystem or holds no /etc; ERR_LOCKED when it is encrypted
 * already and locked, so that nothing can be told. */
must_check enum error_code convert_root_look(const char *at, struct convert_root *ret_root,
                                             struct error *reterr);
void convert_root_done(struct convert_root *root);

/* What is done about lines of /etc/fstab that swap in the clear. */
enum convert_root_swap { CONVERT_SWAP_LEAVE, CONVERT_SWAP_OFF, CONVERT_SWAP_ENCRYPT };

/* Blocking findings for what would not boot, or would write the vault's plaintext elsewhere: "separate-usr",
 * "boot-not-mounted", "no-room-in-boot", "unknown-initramfs", "no-boot-hook", "no-initramfs",
 * "initramfs-without-husk", "initramfs-with-older-husk", "boot-entry-without-initramfs", "unknown-loader",
 * "old-loader", "swap", "hibernation", "kdump", "left-plain". With one of CONVERT_SWAP_OFF and _ENCRYPT the
 * lines that convert_root_swap() would change only tell, as do files at the top and what is mounted there
 * ("left-plain"). */
must_check enum error_code convert_root_check(const char *at, enum convert_root_swap swap,
                                              struct finding_list *findings, struct error *reterr);

/* Blocking findings for what shows on the running system, before it is encrypted, alone: "unknown-loader"
 * where it was not GRUB that loaded the kernel, whatever lies on the disk. */
must_check enum error_code convert_root_check_running(struct finding_list *findings, struct error *reterr);

/* A blocking finding "initramfs-without-links" for each initramfs that could not make VLANs and bonds. */
must_check enum error_code convert_root_check_stacked(const char *at, struct finding_list *findings,
                                                      struct error *reterr);

/* Change those lines of the host's /etc/fstab, before the conversion begins. CONVERT_SWAP_OFF gives them
 * "noauto": without any line systemd would swap to the partition by its type. CONVERT_SWAP_ENCRYPT has them
 * swap to a mapping of /etc/crypttab whose key is drawn at each boot. What stood there stays in a comment
 * above. Each file is replaced as a whole, crypttab first; nothing happens twice. *ret_changed is only set.
 * ERR_UNSUPPORTED for what the check refuses. */
must_check enum error_code convert_root_swap(const char *at, enum convert_root_swap swap, bool *ret_changed,
                                             struct error *reterr);

/* A finding "swap-changed" where that was done: who gives the conversion up keeps it. */
void convert_root_tell_swap(const char *at, struct finding_list *findings);
