#include "destroy/journal.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "destroy/destroy.h"

/* Linux 5.14, fs/ext4/ext4.h; in no installed header of the distributions husk is built on. */
#define CHECKPOINT_IOCTL _IOW('f', 43, uint32_t)
#define CHECKPOINT_FLAG_ZEROOUT UINT32_C(2)

int journal_checkpoint(int fd, enum journal_content content)
{
    uint32_t flags = content == JOURNAL_ZERO ? CHECKPOINT_FLAG_ZEROOUT : 0;
    return ioctl(fd, CHECKPOINT_IOCTL, &flags) < 0 ? errno : 0;
}

/*
 * Before: the journal holds copies of metadata blocks (names, short symlink targets, inline data; all
 * contents under data=journal), also of those that were destroyed since. The kernel commits and checkpoints
 * all of it, then zeroes every journal block behind its superblock. A crash in between leaves an empty
 * journal with some blocks not zeroed: doing it again zeroes them all.
 */
enum error_code destroy_journal(int fd, struct error *reterr)
{
    if (syncfs(fd) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot write the filesystem to disk");
    int os_errno = fault("destroy.journal");
    if (!os_errno)
        os_errno = journal_checkpoint(fd, JOURNAL_ZERO);
    switch (os_errno) {
    case 0:
    case ENODEV: /* no journal: nothing of it on disk */
        return OK;
    case ENOTTY:
    case EOPNOTSUPP:
    case EINVAL:
        error_set(reterr, ERR_UNSUPPORTED, os_errno, "this kernel cannot zero the journal of the filesystem");
        error_remedy(reterr, "Linux 5.14 or later can");
        return ERR_UNSUPPORTED;
    default:
        return error_set(reterr, ERR_FAILED, os_errno, "cannot zero the journal");
    }
}
