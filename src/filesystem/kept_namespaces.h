/* Namespaces that live on without a process, because they are mounted on a file. */
#pragma once
#include <stdint.h>

#include "filesystem/mountinfo.h"

/* A mount namespace from within: its mounts as text, and its root directory. */
struct kept_namespace {
    char *path; /* owned; what keeps it, e.g. "/run/snapd/ns/lxd.mnt" */
    uint64_t inode;
    char *mountinfo; /* owned */
    size_t mountinfo_length;
    int root_fd; /* O_PATH */
};
void kept_namespace_free(struct kept_namespace *kept);

/* The number in "mnt:[4026532181]" when the entry keeps a namespace of this kind ("mnt", "net"), else 0. */
uint64_t kept_namespace_inode(const struct mount_entry *entry, const char *kind);

/* Enter it in a thread of its own and read it. ERR_NOT_FOUND when it is gone, ERR_DENIED when it cannot be
 * entered. */
must_check enum error_code kept_namespace_read(const struct mount_entry *entry, uint64_t inode,
                                               struct kept_namespace **ret_kept, struct error *reterr);
