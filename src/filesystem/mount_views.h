/*
 * Every mount namespace as seen from every root directory in use in it, each once: a chrooted process is
 * shown only the mounts below its root. The own view comes first.
 */
#pragma once
#include <stdint.h>

#include "filesystem/mountinfo.h"

struct mount_view {
    uint64_t namespace_inode;
    dev_t root_device;
    uint64_t root_inode;
    pid_t pid; /* a process in it; 0 for the own view */
};
struct mount_views {
    struct mount_view *items; /* owned */
    size_t count, capacity;
};
must_check enum error_code mount_views_read(struct mount_views *ret_views, struct error *reterr);
void mount_views_done(struct mount_views *views);

/* The mounts of a view. ERR_NOT_FOUND when its process is gone. */
must_check enum error_code mount_view_table(const struct mount_view *view, struct mount_table *ret_table,
                                            struct error *reterr);

/* Open path as the process of the view sees it, symlinks included. -1 with errno. */
int mount_view_open(const struct mount_view *view, const char *path);
