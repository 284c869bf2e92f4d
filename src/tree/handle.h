/*
 * File handles of ext4: the number of an inode and its generation, which is another one for the next inode
 * that gets the number. Not for other rooms.
 */
#pragma once
#include <stdint.h>

struct tree_handle {
    uint32_t inode, generation;
};

/* Of a name below directory_fd, which is not followed, or of the descriptor itself with name "". 0, or -1
 * with errno; EOPNOTSUPP for handles of another form. */
int tree_handle_get(int directory_fd, const char *name, struct tree_handle *ret_handle);

/* A descriptor of the inode on the mount of mount_fd, or -1 with errno: ESTALE or ENOENT when it is gone. */
int tree_handle_open(int mount_fd, struct tree_handle handle, int flags);
