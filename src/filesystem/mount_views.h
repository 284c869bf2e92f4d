/*
 * Every mount namespace as seen from every root directory in use in it, each once: a chrooted process is
 * shown only the mounts below its root. Namespaces without a process, kept by a mount of their own (as snapd
 * keeps them), are among them. The own view comes first. Reads only.
 */
#pragma once
#include <stdint.h>

#include "filesystem/mountinfo.h"

struct mount_view {
    uint64_t namespace_inode;
    dev_t root_device;
    uint64_t root_inode;
    pid_t pid; /* a process in it; 0 for the own view and for kept namespaces */
    struct kept_namespace *kept;
};
struct mount_views {
    struct mount_view *items; /* owned */
    size_t count, capacity;
    size_t hidden;      /* processes the kernel does not let us look at */
    pid_t hidden_first; /* one of them */
};
must_check enum error_code mount_views_read(struct mount_views *ret_views, struct error *reterr);
void mount_views_done(struct mount_views *views);

/* The mounts of a view. ERR_NOT_FOUND when its process is gone. */
must_check enum error_code mount_view_table(const struct mount_view *view, struct mount_table *ret_table,
                                            struct error *reterr);

/* Open path as the view sees it, symlinks included. -1 with errno. */
int mount_view_open(const struct mount_view *view, const char *path);

/* True for the view of the calling process. */
bool mount_view_is_own(const struct mount_view *view);

/* "in the mount namespace of NAME (pid 7)"; empty for the own view. Returns text. */
#define MOUNT_VIEW_TEXT_SIZE 400
const char *mount_view_describe(const struct mount_view *view, char text[MOUNT_VIEW_TEXT_SIZE]);
