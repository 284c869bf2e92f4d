#include "convert/host_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/file.h"

int host_tree_open(int at_fd, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, at_fd, path, &how, sizeof(how));
}

bool host_tree_has(int at_fd, const char *path)
{
    _cleanup_(close_fdp) int fd = host_tree_open(at_fd, path, O_PATH);
    return fd >= 0;
}

enum error_code host_tree_lines(int at_fd, const char *path, bool (*each)(char *line, void *context),
                                void *context, struct error *reterr)
{
    char block[4096], *save = NULL;
    ssize_t got;
    _cleanup_(buffer_done) struct buffer text = {.maximum = HOST_TREE_FILE_MAXIMUM};
    /* What is looked at stays as it is, its atime too, which is copied later; only root can ask for that. */
    _cleanup_(close_fdp) int fd = host_tree_open(at_fd, path, O_RDONLY | O_NONBLOCK | O_NOATIME);
    if (fd < 0 && errno == EPERM)
        fd = host_tree_open(at_fd, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return OK;
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open /%s of the host", path);
    enum error_code code = OK;
    while (!code && (got = read(fd, block, sizeof(block))) != 0) {
        if (got < 0 && errno == EISDIR)
            return OK;
        code = got < 0 ? error_set(reterr, ERR_FAILED, errno, "cannot read /%s of the host", path)
                       : buffer_append(&text, block, (size_t)got, reterr);
    }
    if (code || !text.data)
        return code;
    for (char *line = strtok_r(text.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (!each(line, context))
            break;
    return OK;
}

struct fstab {
    bool (*each)(const struct host_tree_mount *mount, void *context);
    void *context;
};

bool host_tree_parse_mount(char *line, struct host_tree_mount *ret_mount)
{
    char *save = NULL;
    struct host_tree_mount mount = {.device = strtok_r(line, " \t", &save)};
    if (!mount.device || *mount.device == '#')
        return false;
    char *where = strtok_r(NULL, " \t", &save);
    mount.type = strtok_r(NULL, " \t", &save);
    mount.options = strtok_r(NULL, " \t", &save);
    if (!where || !mount.type)
        return false;
    for (size_t length = strlen(where); length > 1 && where[length - 1] == '/';)
        where[--length] = '\0';
    mount.where = where;
    if (!mount.options)
        mount.options = "";
    *ret_mount = mount;
    return true;
}

static bool on_fstab_line(char *line, void *context)
{
    const struct fstab *fstab = context;
    struct host_tree_mount mount;
    return !host_tree_parse_mount(line, &mount) || fstab->each(&mount, fstab->context);
}

enum error_code host_tree_fstab(int at_fd, bool (*each)(const struct host_tree_mount *mount, void *context),
                                void *context, struct error *reterr)
{
    struct fstab fstab = {each, context};
    return host_tree_lines(at_fd, "etc/fstab", on_fstab_line, &fstab, reterr);
}
