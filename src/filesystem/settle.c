#include "filesystem/settle.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"

/* Since Linux 5.14; not in the uapi headers. */
#ifndef EXT4_IOC_CHECKPOINT
#define EXT4_IOC_CHECKPOINT _IOW('f', 43, uint32_t)
#endif

enum error_code filesystem_settle_by_freezing(const struct filesystem *filesystem, struct error *reterr)
{
    if (syncfs(filesystem->root_fd) < 0 || ioctl(filesystem->root_fd, FIFREEZE, 0) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot flush the journal of %s",
                         text_shown(filesystem->mount_point));
    if (ioctl(filesystem->root_fd, FITHAW, 0) < 0) {
        error_set(reterr, ERR_FAILED, errno, "cannot thaw %s", text_shown(filesystem->mount_point));
        error_remedy(reterr, "run: fsfreeze --unfreeze %s", text_shown(filesystem->mount_point));
        return ERR_FAILED;
    }
    return OK;
}

enum error_code filesystem_settle(const struct filesystem *filesystem, struct error *reterr)
{
    if (filesystem->read_only)
        return OK;
    uint32_t flags = 0;
    int injected = fault("filesystem.settle");
    if (!injected && ioctl(filesystem->root_fd, EXT4_IOC_CHECKPOINT, &flags) == 0)
        return OK;
    int os_errno = injected ? injected : errno;
    if (os_errno == ENODEV || os_errno == EOPNOTSUPP) /* no journal */
        return OK;
    if (os_errno == ENOTTY)
        return filesystem_settle_by_freezing(filesystem, reterr);
    return error_set(reterr, ERR_FAILED, os_errno, "cannot empty the journal of %s",
                     text_shown(filesystem->mount_point));
}
