#include "tree/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/text.h"

enum error_code tree_clone_mount(int root_fd, int *ret_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int fd =
        (int)syscall(SYS_open_tree, root_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot clone the mount of the filesystem");
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOATIME, .attr_clr = MOUNT_ATTR__ATIME};
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0 &&
        errno != ENOSYS)
        return error_set(reterr, ERR_FAILED, errno, "cannot set noatime on the clone of the mount");
    /* open_tree gives a descriptor as O_PATH does, by which open_by_handle_at opens nothing. */
    _cleanup_(close_fdp) int root = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the clone of the mount");
    *ret_fd = TAKE_FD(root);
    return OK;
}

enum error_code tree_open_directory(int clone_fd, const char *path, int *ret_fd, struct error *reterr)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    int fd = (int)syscall(SYS_openat2, clone_fd, *path ? path : ".", &how, sizeof(how));
    if (fd < 0) {
        enum error_code code = errno == ENOENT                                        ? ERR_NOT_FOUND
                               : errno == ELOOP || errno == ENOTDIR || errno == EXDEV ? ERR_CHANGED
                                                                                      : ERR_FAILED;
        return error_set(reterr, code, errno, "cannot open the directory /%s of the filesystem",
                         text_shown(path));
    }
    *ret_fd = fd;
    return OK;
}
