#include "authority/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { USER_SIZE = 64 };

static void show_user(uid_t uid, char text[USER_SIZE])
{
    const struct passwd *user = getpwuid(uid);
    if (user)
        snprintf(text, USER_SIZE, "%s", user->pw_name);
    else
        snprintf(text, USER_SIZE, "%u", (unsigned)uid);
}

/* The directory (name ".") or a file in it is there, and this process may not open it. */
static enum error_code refuse_owner(const char *directory, const char *name, struct error *reterr)
{
    struct stat status;
    char owner[USER_SIZE], own[USER_SIZE];
    _cleanup_(freep) char *path = NULL;
    enum error_code code = directory_path(directory, name, &path, reterr);
    if (code)
        return code;
    error_set(reterr, ERR_FAILED, EACCES, "cannot open %s", text_shown(strcmp(name, ".") ? path : directory));
    if (stat(path, &status) < 0 && stat(directory, &status) < 0)
        return error_remedy(reterr, "see that the user that runs huskd may enter the directories above it");
    show_user(status.st_uid, owner);
    show_user(geteuid(), own);
    return error_remedy(reterr,
                        "it belongs to %s, and this huskd runs as %s: run it as %s, or chown -R %s: %s",
                        owner, own, owner, own, text_shown(directory));
}

/* Whoever can write there can put another database in the place of this one. */
static enum error_code check_mode(const char *directory, int fd, struct error *reterr)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at %s", text_shown(directory));
    if (!(status.st_mode & (S_IWGRP | S_IWOTH)))
        return OK;
    error_set(reterr, ERR_DENIED, 0, "others than its owner can write into %s (mode %04o)",
              text_shown(directory), (unsigned)(status.st_mode & 07777));
    return error_remedy(reterr, "chmod go-w %s", text_shown(directory));
}

enum error_code directory_check_database(const char *directory, int directory_fd, struct error *reterr)
{
    if (faccessat(directory_fd, DIRECTORY_DATABASE, R_OK | W_OK, AT_EACCESS) == 0)
        return OK;
    if (errno == EACCES)
        return refuse_owner(directory, DIRECTORY_DATABASE, reterr);
    if (errno != ENOENT)
        return OK; /* who opens it says what is wrong */
    error_set(reterr, ERR_NOT_FOUND, 0, "there is no authority in %s: it has no %s", text_shown(directory),
              DIRECTORY_DATABASE);
    return error_remedy(reterr, "huskd init makes one there, huskd restore one from a backup; --dir names "
                                "another directory");
}

enum error_code directory_lock(const char *directory, int *ret_directory_fd, int *ret_lock_fd,
                               struct error *reterr)
{
    _cleanup_(close_fdp) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        const int os_errno = errno;
        if (os_errno == EACCES)
            return refuse_owner(directory, ".", reterr);
        error_set(reterr, os_errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, os_errno, "cannot open %s",
                  text_shown(directory));
        return error_remedy(reterr, "make an authority there with huskd init");
    }
    enum error_code code = check_mode(directory, fd, reterr);
    if (code)
        return code;
    _cleanup_(close_fdp) int lock_fd = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock_fd < 0) {
        const int os_errno = errno;
        if (os_errno == EACCES)
            return refuse_owner(directory, "lock", reterr);
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
