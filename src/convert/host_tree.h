/* Looking at the files of a host below its root, as it sees them itself: symlinks and ".." stay inside. Not
 * for other rooms. */
#pragma once
#include <stdbool.h>
#include <stdio.h>

#include "base/buffer.h"

/* Open for reading; -1 with errno. */
int host_tree_open(int at_fd, const char *path, int flags);
bool host_tree_has(int at_fd, const char *path);

/* Each line of a text file of at most HOST_TREE_LINES_MAXIMUM bytes; a file that is not there has none, nor
 * has a directory. False from each ends it. */
#define HOST_TREE_FILE_MAXIMUM ((size_t)4 << 20)
must_check enum error_code host_tree_lines(int at_fd, const char *path,
                                           bool (*each)(char *line, void *context), void *context,
                                           struct error *reterr);

/* Each entry of /etc/fstab; where is "none" or "swap" for swap, and ends with no slash. False from each ends
 * it. */
struct host_tree_mount {
    const char *device, *where, *type, *options; /* options may be empty */
};
/* One line of it, which is cut into the mount's words. False for one that is none. */
bool host_tree_parse_mount(char *line, struct host_tree_mount *ret_mount);
must_check enum error_code host_tree_fstab(int at_fd,
                                           bool (*each)(const struct host_tree_mount *mount, void *context),
                                           void *context, struct error *reterr);
