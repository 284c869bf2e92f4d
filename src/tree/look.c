#include "tree/look.h"

#include <errno.h>
#include <fcntl.h>

#include "tree/handle.h"

static int get_generation(int directory_fd, const char *name, struct statx *status)
{
    struct tree_handle handle;
    if (tree_handle_get(directory_fd, name, &handle) < 0)
        return errno == EOPNOTSUPP || errno == EOVERFLOW ? 0 : -1; /* no ext4 */
    if (handle.inode != status->stx_ino) {
        errno = ESTALE;
        return -1;
    }
    status->stx_btime.tv_sec = -1 - (int64_t)handle.generation;
    return 0;
}

int tree_look(int directory_fd, const char *name, struct statx *ret_status)
{
    struct statx status;
    if (statx(directory_fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
              STATX_BASIC_STATS | STATX_BTIME, &status) < 0)
        return -1;
    if (tree_ns(status.stx_btime) == 0 && get_generation(directory_fd, name, &status) < 0)
        return -1;
    *ret_status = status;
    return 0;
}
