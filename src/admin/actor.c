#include "admin/actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/text.h"

#define NO_UID UINT32_MAX

/* A user who was given a range of numbers for containers (/etc/subuid) keeps their groups under each of them.
 * Where that cannot be looked up there is none. */
static bool is_account(uid_t uid)
{
    char space[4096];
    struct passwd entry, *found = NULL;
    const int os_errno = getpwuid_r(uid, &entry, space, sizeof(space), &found);
    return found || os_errno == ERANGE;
}

static void tell_name(struct authority_actor *actor, uid_t uid, const char *suffix)
{
    char space[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(uid, &entry, space, sizeof(space), &found) == 0 && found)
        snprintf(actor->name, sizeof(actor->name), "%.40s%s", entry.pw_name, suffix);
    else
        snprintf(actor->name, sizeof(actor->name), "uid %u%s", (unsigned)uid, suffix);
}

/* NO_UID where there is none, or it cannot be read. */
static uid_t login_uid(pid_t pid)
{
    char path[32], digits[16];
    snprintf(path, sizeof(path), "/proc/%d/loginuid", (int)pid);
    _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, digits, sizeof(digits) - 1) : -1;
    if (got <= 0)
        return NO_UID;
    digits[got] = '\0';
    digits[strcspn(digits, "\n")] = '\0';
    uint64_t uid = NO_UID;
    return text_parse_u64(digits, NO_UID, &uid, NULL) ? NO_UID : (uid_t)uid;
}

enum error_code actor_of(int fd, int64_t sudo_uid, struct authority_actor *ret_actor, struct error *reterr)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return error_set(reterr, ERR_DENIED, errno, "cannot see who asks");
    struct authority_actor actor = {.uid = peer.uid, .is_no_account = !is_account(peer.uid)};
    uid_t login = login_uid(peer.pid);
    if (login != NO_UID)
        tell_name(&actor, login, "");
    else if (peer.uid == 0 && sudo_uid >= 0)
        tell_name(&actor, (uid_t)sudo_uid, " (by sudo)");
    else
        tell_name(&actor, peer.uid, "");
    *ret_actor = actor;
    return OK;
}
