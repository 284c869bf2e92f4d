#include "owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "verb.h"

static enum error_code make_directory(const char *directory, const struct passwd *user, struct error *reterr)
{
    if (mkdir(directory, 0700) < 0 || chown(directory, user->pw_uid, user->pw_gid) < 0 ||
        chmod(directory, 0710) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make %s", text_shown(directory));
    return OK;
}

enum error_code owner_become(const char *directory, struct error *reterr)
{
    if (geteuid() != 0)
        return OK;
    struct stat status;
    uid_t uid;
    gid_t gid;
    if (stat(directory, &status) == 0) {
        uid = status.st_uid;
        gid = status.st_gid;
    } else {
        const struct passwd *user = errno == ENOENT ? getpwnam(HUSKD_USER) : NULL;
        if (!user)
            return OK; /* whoever opens it tells what is wrong */
        enum error_code code = make_directory(directory, user, reterr);
        if (code)
            return code;
        uid = user->pw_uid;
        gid = user->pw_gid;
    }
    if (uid == 0)
        return OK;
    if (setgroups(0, NULL) < 0 || setegid(gid) < 0 || seteuid(uid) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot become the user of %s", text_shown(directory));
    return OK;
}

void owner_return(void)
{
    if (getuid() != 0 || geteuid() == 0)
        return;
    /* The saved user id is root's: what cannot fail. */
    if (seteuid(0) < 0 || setegid(0) < 0)
        abort();
}
