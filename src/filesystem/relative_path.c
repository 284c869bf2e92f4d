/*
 * The path of a directory inside its filesystem. Its file handle is opened again below the root of the
 * filesystem, so that the kernel names it from there: through whatever bind mount, chroot or private clone it
 * was reached. Needs CAP_DAC_READ_SEARCH.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "filesystem/filesystem.h"
#include "filesystem/mountinfo.h"
#include "filesystem/relative_path.h"

/* ext4's handles have 8 bytes, the largest of any filesystem 128. */
struct directory_handle {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
};

static enum error_code open_from_root(int directory_fd, int root_fd, int *ret_fd, struct error *reterr)
{
    struct directory_handle handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int mount_id;
    if (name_to_handle_at(directory_fd, "", &handle.head, &mount_id, AT_EMPTY_PATH) < 0)
        return error_set(reterr, errno == EOPNOTSUPP ? ERR_UNSUPPORTED : ERR_FAILED, errno,
                         "cannot get the handle of a directory");
    int fd = open_by_handle_at(root_fd, &handle.head, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr,
                         errno == EPERM    ? ERR_DENIED
                         : errno == ESTALE ? ERR_NOT_FOUND
                                           : ERR_FAILED,
                         errno, "cannot open a directory from the root of its filesystem");
    *ret_fd = fd;
    return OK;
}

/* The kernel's name of what is behind fd. text has room for PATH_MAX bytes. */
static enum error_code read_kernel_path(int fd, char *text, struct error *reterr)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, text, PATH_MAX - 1);
    if (length < 0)
        return error_set(reterr, errno == ENAMETOOLONG ? ERR_UNSUPPORTED : ERR_FAILED, errno,
                         "cannot read the path of a directory");
    text[length] = '\0';
    return OK;
}

enum error_code filesystem_relative_path_in(const struct filesystem *filesystem, int directory_fd,
                                            struct buffer *buffer, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = open_from_root(directory_fd, filesystem->root_fd, &fd, reterr);
    if (code)
        return code;
    char root[PATH_MAX], path[PATH_MAX];
    code = read_kernel_path(filesystem->root_fd, root, reterr);
    if (!code)
        code = read_kernel_path(fd, path, reterr);
    if (code)
        return code;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat a directory");
    if (status.st_nlink == 0)
        return error_set(reterr, ERR_NOT_FOUND, 0, "the directory %s was removed", text_shown(path));
    const char *relative = path_below(path, root);
    if (!relative)
        return error_set(reterr, ERR_FAILED, 0, "the directory %s cannot be reached from %s",
                         text_shown(path), text_shown(root));
    return buffer_append(buffer, relative, strlen(relative), reterr);
}

/* Other filesystems may know no handles. They are only looked at to be refused, so the name will do. */
static enum error_code path_by_name(const struct filesystem *filesystem, int directory_fd,
                                    struct buffer *buffer, struct error *reterr)
{
    char path[PATH_MAX];
    enum error_code code = read_kernel_path(directory_fd, path, reterr);
    if (code)
        return code;
    const char *relative = path_below(path, filesystem->mount_point);
    if (!relative)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "the directory %s lies on %s, not on ext4",
                         text_shown(path), text_shown(filesystem->type));
    return buffer_append(buffer, relative, strlen(relative), reterr);
}

enum error_code filesystem_relative_path(int directory_fd, struct buffer *buffer, struct error *reterr)
{
    struct filesystem *filesystem;
    enum error_code code = filesystem_of(directory_fd, &filesystem, reterr);
    if (code)
        return code;
    if (strcmp(filesystem->type, "ext4"))
        code = path_by_name(filesystem, directory_fd, buffer, reterr);
    else
        code = filesystem_relative_path_in(filesystem, directory_fd, buffer, reterr);
    filesystem_free(filesystem);
    return code;
}
