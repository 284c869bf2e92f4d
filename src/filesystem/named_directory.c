/* Opening a directory by the path that somebody gave. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "filesystem/filesystem.h"

/* The first symlink on the way that is not root's: up to each slash, and to the end. */
static enum error_code check_symlinks(const char *path, struct error *reterr)
{
    _cleanup_(freep) char *prefix = strdup(path);
    if (!prefix)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t end = 1; prefix[end - 1]; end++) {
        struct stat status;
        if (path[end] != '/' && path[end] != '\0')
            continue;
        prefix[end] = '\0';
        if (lstat(prefix, &status) == 0 && S_ISLNK(status.st_mode) && status.st_uid != 0) {
            error_set(reterr, ERR_DENIED, 0, "%s leads through the symlink %s, which user %u made",
                      text_shown(path), text_shown(prefix), status.st_uid);
            return error_remedy(reterr, "look where it leads, and name the directory itself");
        }
        prefix[end] = path[end];
        if (!path[end])
            break;
    }
    return OK;
}

enum error_code filesystem_open_named(const char *path, int *ret_fd, struct error *reterr)
{
    const struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0 && errno == ELOOP) {
        enum error_code code = check_symlinks(path, reterr);
        if (code)
            return code;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd >= 0) {
        *ret_fd = fd;
        return OK;
    }
    enum error_code code = errno == ENOENT ? ERR_NOT_FOUND : errno == ENOTDIR ? ERR_USAGE : ERR_FAILED;
    error_set(reterr, code, errno, "cannot open the directory %s", text_shown(path));
    if (code == ERR_USAGE)
        error_remedy(reterr, "husk protects directories: name the one that holds it");
    else if (code == ERR_NOT_FOUND)
        error_remedy(reterr, "name a directory that is there, as this system names it, also with --at");
    return code;
}
