/* A private view of a filesystem: what mount points hide is visible, nothing is mounted inside, reading
 * changes no times. */
#pragma once
#include "base/error.h"

/* Clone the mount that root_fd (the root directory of a filesystem) lies on, without what is mounted in it
 * (open_tree), as a detached mount with noatime where the kernel can (5.12). Close the descriptor to give it
 * back. */
must_check enum error_code tree_clone_mount(int root_fd, int *ret_fd, struct error *reterr);

/* Open a directory by its path relative to the clone's root, beneath it and through no symlink and no other
 * mount (openat2). ERR_NOT_FOUND, ERR_CHANGED when a component is a symlink or no directory. */
must_check enum error_code tree_open_directory(int clone_fd, const char *path, int *ret_fd,
                                               struct error *reterr);
