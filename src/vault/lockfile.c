/* .husk and its lock. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"
#include "vault/store.h"

/* Who holds a flock on the inode, from /proc/locks ("1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF"); 0
 * when it is not told. */
static pid_t find_holder(int lock_fd)
{
    struct stat status;
    struct buffer text = {0};
    pid_t holder = 0;
    char wanted[64];
    if (fstat(lock_fd, &status) < 0 ||
        file_read(AT_FDCWD, "/proc/locks", BUFFER_DEFAULT_MAXIMUM, &text, NULL))
        return 0;
    snprintf(wanted, sizeof(wanted), " %02x:%02x:%" PRIu64 " ", major(status.st_dev), minor(status.st_dev),
             (uint64_t)status.st_ino);
    const char *place = text.data ? strstr(text.data, wanted) : NULL;
    if (place) {
        while (place > text.data && place[-1] >= '0' && place[-1] <= '9')
            place--;
        holder = (pid_t)strtol(place, NULL, 10);
    }
    buffer_done(&text);
    return holder;
}

static enum error_code take(int lock_fd, const struct filesystem *filesystem, struct error *reterr)
{
    if (flock(lock_fd, LOCK_EX | LOCK_NB) == 0)
        return OK;
    if (errno != EWOULDBLOCK)
        return error_set(reterr, ERR_FAILED, errno, "cannot lock %s/%s", text_shown(filesystem->mount_point),
                         HUSK_DIRECTORY);
    char who[64] = "another husk";
    pid_t holder = find_holder(lock_fd);
    if (holder > 0)
        snprintf(who, sizeof(who), "another husk (pid %d)", (int)holder);
    error_set(reterr, ERR_BUSY, 0, "%s is changing something on %s", who,
              text_shown(filesystem->mount_point));
    error_subject(reterr, "%s", text_shown(filesystem->mount_point));
    error_remedy(reterr, "wait until it is done, then run the same command again");
    return ERR_BUSY;
}

/* A mount that is read-only shows the same file, whose lock is the same. It cannot be made there: where it is
 * missing and nobody can make it, .husk itself stands for it. */
static enum error_code open_lock(const struct filesystem *filesystem, int husk_fd, int *ret_lock_fd,
                                 struct error *reterr)
{
    enum { HOW = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC };
    int fd = openat(husk_fd, VAULT_LOCK_NAME, O_RDWR | O_CREAT | HOW, 0600);
    if (fd < 0 && errno == EROFS) {
        fd = openat(husk_fd, VAULT_LOCK_NAME, O_RDONLY | HOW);
        int os_errno = errno;
        if (fd < 0 && filesystem_is_unchangeable(filesystem))
            fd = openat(husk_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        else
            errno = os_errno;
    }
    if (fd < 0) {
        bool missing = errno == ENOENT;
        error_set(reterr, ERR_FAILED, errno, "cannot open %s/%s/%s", text_shown(filesystem->mount_point),
                  HUSK_DIRECTORY, VAULT_LOCK_NAME);
        if (missing)
            error_remedy(reterr, "use a mount of the filesystem that is writable: husk makes it there");
        return ERR_FAILED;
    }
    *ret_lock_fd = fd;
    return OK;
}

enum error_code vault_take_lock(const struct filesystem *filesystem, enum vault_lock_mode mode,
                                int *ret_lock_fd, int *ret_husk_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    enum error_code code = vault_open_husk(filesystem, &husk_fd, reterr);
    if (code == ERR_NOT_FOUND && mode == VAULT_LOCK_MAKE) {
        code = directory_make(filesystem->root_fd, HUSK_DIRECTORY, 0700, &husk_fd, reterr);
        if (code)
            error_prefix(reterr, "%s", text_shown(filesystem->mount_point));
    }
    if (code)
        return code;
    _cleanup_(close_fdp) int lock_fd = -1;
    code = open_lock(filesystem, husk_fd, &lock_fd, reterr);
    if (!code)
        code = take(lock_fd, filesystem, reterr);
    if (code)
        return code;
    *ret_lock_fd = TAKE_FD(lock_fd);
    *ret_husk_fd = TAKE_FD(husk_fd);
    return OK;
}
