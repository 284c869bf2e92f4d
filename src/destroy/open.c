#include "destroy/open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sodium.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/text.h"

enum { HOLDING_FLAGS = FS_IMMUTABLE_FL | FS_APPEND_FL };

int open_beneath(int directory_fd, const char *name, int flags)
{
    const struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
                                 .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    for (;;) {
        long fd = syscall(SYS_openat2, directory_fd, name, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) /* EAGAIN: raced with a rename */
            return (int)fd;
    }
}

int flags_clear(int fd)
{
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & HOLDING_FLAGS))
        return 0;
    int without = flags & ~HOLDING_FLAGS;
    return ioctl(fd, FS_IOC_SETFLAGS, &without) < 0 ? 0 : flags & HOLDING_FLAGS;
}

void flags_restore(int fd, int cleared_flags)
{
    int flags = 0;
    if (!cleared_flags || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return;
    flags |= cleared_flags;
    (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* The inode behind an O_PATH descriptor, opened for real: its type cannot change any more. */
static int reopen(int path_fd, int flags)
{
    char proc[64];
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path_fd);
    return open(proc, flags | O_CLOEXEC | O_NONBLOCK | O_NOATIME);
}

static bool is_verity(int fd)
{
    int flags = 0;
    return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & FS_VERITY_FL;
}

/* Writing was refused with EPERM: flags that forbid it go; a file under fs-verity stays readable only. */
static int reopen_refused(int path_fd, struct opened_file *file)
{
    _cleanup_(close_fdp) int readable = reopen(path_fd, O_RDONLY);
    if (readable < 0)
        return -1;
    file->cleared_flags = flags_clear(readable);
    int fd = reopen(path_fd, O_RDWR);
    if (fd < 0 && errno == EPERM && is_verity(readable)) {
        file->writable = false;
        return TAKE_FD(readable);
    }
    if (fd < 0) {
        int os_errno = errno;
        flags_restore(readable, file->cleared_flags);
        errno = os_errno;
    }
    return fd;
}

static enum error_code describe_open(int os_errno, const char *name, struct error *reterr)
{
    switch (os_errno) {
    case ENOENT:
        return error_set(reterr, ERR_NOT_FOUND, 0, "%s is gone", text_shown(name));
    case ELOOP:
        return error_set(reterr, ERR_CORRUPT, 0, "%s is a symlink", text_shown(name));
    case EXDEV:
        return error_set(reterr, ERR_DENIED, 0, "%s is a mount point", text_shown(name));
    case ETXTBSY:
        return error_set(reterr, ERR_BUSY, 0, "%s is a running program or a swap file", text_shown(name));
    case EWOULDBLOCK:
        return error_set(reterr, ERR_BUSY, 0, "%s is leased by another process", text_shown(name));
    case ENOKEY:
        return error_set(reterr, ERR_LOCKED, 0, "%s is encrypted and its key is missing", text_shown(name));
    default:
        return error_set(reterr, ERR_FAILED, os_errno, "cannot open %s for overwriting", text_shown(name));
    }
}

enum error_code open_for_destroying(int directory_fd, const char *name, struct opened_file *ret_file,
                                    struct error *reterr)
{
    struct opened_file file = {.fd = -1, .writable = true};
    int injected = fault("destroy.open");
    _cleanup_(close_fdp) int path_fd = injected ? -1 : open_beneath(directory_fd, name, O_PATH);
    if (path_fd < 0)
        return describe_open(injected ? injected : errno, name, reterr);
    if (fstat(path_fd, &file.status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat %s", text_shown(name));
    if (!S_ISREG(file.status.st_mode))
        return error_set(reterr, ERR_CORRUPT, 0, "%s is not a regular file", text_shown(name));
    file.fd = reopen(path_fd, O_RDWR);
    if (file.fd < 0 && errno == EPERM)
        file.fd = reopen_refused(path_fd, &file);
    if (file.fd < 0)
        return describe_open(errno, name, reterr);
    *ret_file = file;
    return OK;
}

static void fill_name(char *name, size_t length)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567"; /* 32 of them */
    randombytes_buf(name, length);
    for (size_t i = 0; i < length; i++)
        name[i] = letters[(unsigned char)name[i] % 32];
    name[length] = '\0';
}

int rename_at_random(int directory_fd, char **name, int target_fd)
{
    enum { TRIES = 8, LONGER = 8 };
    size_t length = strlen(*name);
    _cleanup_(freep) char *random_name = malloc(length + LONGER + 1);
    if (!random_name)
        return ENOMEM;
    int os_errno = EEXIST;
    for (unsigned try = 0; try < TRIES && os_errno == EEXIST; try++) {
        /* Of very short names all may be taken. */
        fill_name(random_name, try < TRIES / 2 || length + LONGER > NAME_MAX ? length : length + LONGER);
        int injected = fault("destroy.rename");
        os_errno = injected ? injected : 0;
        if (!injected && renameat2(directory_fd, *name, target_fd, random_name, RENAME_NOREPLACE) < 0)
            os_errno = errno;
    }
    if (os_errno)
        return os_errno;
    free(*name);
    *name = TAKE(random_name);
    return 0;
}

int directory_make_at_random(int directory_fd)
{
    enum { NAME_LENGTH = 24 };
    char name[NAME_LENGTH + 1];
    fill_name(name, NAME_LENGTH);
    int injected = fault("destroy.tree.aside");
    if (injected || mkdirat(directory_fd, name, 0700) < 0) {
        errno = injected ? injected : errno;
        return -1;
    }
    int fd = open_beneath(directory_fd, name, O_RDONLY | O_DIRECTORY);
    int flags = 0;
    /* Where a project is handed down, directories of others could not be moved in. */
    if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & FS_PROJINHERIT_FL) {
        flags &= ~FS_PROJINHERIT_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    return fd;
}
