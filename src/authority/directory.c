#include "authority/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum error_code directory_lock(const char *directory, int *ret_directory_fd, int *ret_lock_fd,
                               struct error *reterr)
{
    _cleanup_(close_fdp) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        const int os_errno = errno;
        error_set(reterr, os_errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, os_errno, "cannot open %s",
                  text_shown(directory));
        return error_remedy(reterr, "make an authority there with huskd init");
    }
    _cleanup_(close_fdp) int lock_fd = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock_fd < 0) {
        const int os_errno = errno;
        return error_set(reterr, ERR_FAILED, os_errno, "cannot open %s/lock", text_shown(directory));
    }
    if (flock(lock_fd, LOCK_EX | LOCK_NB) < 0) {
        const int os_errno = errno;
        if (os_errno != EWOULDBLOCK)
            return error_set(reterr, ERR_FAILED, os_errno, "cannot lock %s", text_shown(directory));
        error_set(reterr, ERR_BUSY, 0, "another process has the authority in %s", text_shown(directory));
        return error_remedy(reterr, "one huskd serves a directory: stop the other one first");
    }
    *ret_directory_fd = TAKE_FD(fd);
    *ret_lock_fd = TAKE_FD(lock_fd);
    return OK;
}

enum error_code directory_path(const char *directory, const char *name, char **ret_path, struct error *reterr)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    *ret_path = path;
    return OK;
}

enum error_code directory_database(const char *directory, char **ret_path, struct error *reterr)
{
    return directory_path(directory, DIRECTORY_DATABASE, ret_path, reterr);
}
