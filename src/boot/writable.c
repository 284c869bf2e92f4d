#include "boot/writable.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "base/text.h"

static const struct {
    unsigned long told, asked;
} kept[] = {
    {ST_NOSUID, MS_NOSUID},           {ST_NODEV, MS_NODEV},           {ST_NOEXEC, MS_NOEXEC},
    {ST_NOATIME, MS_NOATIME},         {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME},
    {ST_SYNCHRONOUS, MS_SYNCHRONOUS},
};

/* A remount has to name all that is to stay. */
static enum error_code remount(const char *at, bool read_only, bool *ret_was_read_only, struct error *reterr)
{
    struct statvfs status;
    unsigned long flags = MS_REMOUNT | (read_only ? MS_RDONLY : 0);
    if (statvfs(at, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the mount of %s", text_shown(at));
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (status.f_flag & kept[i].told)
            flags |= kept[i].asked;
    *ret_was_read_only = status.f_flag & ST_RDONLY;
    if (*ret_was_read_only == read_only)
        return OK;
    if (mount(NULL, at, NULL, flags, NULL) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot mount %s %s", text_shown(at),
                         read_only ? "read-only again" : "writable");
    return OK;
}

enum error_code writable_make(const char *at, bool *ret_was, struct error *reterr)
{
    bool was_read_only = false;
    enum error_code code = remount(at, false, &was_read_only, reterr);
    if (!code)
        *ret_was = !was_read_only;
    return code;
}

enum error_code writable_undo(const char *at, struct error *reterr)
{
    bool was_read_only;
    return remount(at, true, &was_read_only, reterr);
}
