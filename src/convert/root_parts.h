/* The parts of convert_root_check(). Not for other rooms. */
#pragma once
#include "convert/root.h"

struct root_checking {
    const char *at;
    int at_fd, boot_fd;     /* boot_fd is -1 where there is no /boot */
    bool boot_is_apart;     /* /etc/fstab mounts it */
    bool boot_is_unmounted; /* and it is not there now, which is told */
    enum convert_root_swap swap;
    struct finding_list *findings;
};

#define root_blocks(checking, kind, subject, remedy, ...)                                                    \
    finding_add((checking)->findings, FINDING_BLOCKS, kind, subject, remedy, __VA_ARGS__)

/* "unknown-loader", "old-loader", "boot-entry-without-initramfs", and "hibernation" in entries of GRUB. */
must_check enum error_code root_check_loader(struct root_checking *checking, struct error *reterr);

/* "swap": what /etc/fstab, units of systemd and, on the running system, the kernel swap to. */
must_check enum error_code root_check_swap(struct root_checking *checking, struct error *reterr);

/* "left-plain": files at the top, and directories that something is mounted into; those that hold files of
 * the root below that block. */
must_check enum error_code root_tell_left(int at_fd, struct finding_list *findings, struct error *reterr);

/* "swap" to a partition that only its type names. Only where /etc/fstab names none at all. */
must_check enum error_code root_check_gpt(struct root_checking *checking, struct error *reterr);

/* "hibernation" in the settings of initramfs-tools and update-grub. */
must_check enum error_code root_check_hibernation(struct root_checking *checking, struct error *reterr);

/* Whether words, parted by blanks, quotes and commas, have one that begins so. */
bool root_has_word(const char *words, const char *beginning);
