/*
 * Taking the key out of the kernel, and naming what keeps files of the vault open. The kernel says only that
 * something does: which inodes are the vault's is asked of each used inode itself, through a path that opens
 * it, so that other mount namespaces and chroots hide nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>

#include "base/text.h"
#include "vault/store.h"

enum { ATTEMPTS = 20, PAUSE_MS = 50, NAMED_USES = 50 };

static bool is_encrypted(const char *path, dev_t device)
{
    struct statx status;
    struct stat plain;
    if (stat(path, &plain) < 0 || plain.st_dev != device ||
        !(S_ISREG(plain.st_mode) || S_ISDIR(plain.st_mode)))
        return false;
    return statx(AT_FDCWD, path, 0, STATX_INO, &status) == 0 &&
           (status.stx_attributes & STATX_ATTR_ENCRYPTED);
}

/* Symlinks and special files keep no key. */
static bool is_of_vault(const struct vault *vault, const char *path)
{
    if (!path || !is_encrypted(path, vault->filesystem->device))
        return false;
    _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOATIME | O_CLOEXEC);
    enum fscrypt_policy_state state = FSCRYPT_PLAIN;
    struct fscrypt_identifier identifier;
    if (fd < 0 || fscrypt_get_policy(fd, &state, &identifier, NULL) || state != FSCRYPT_HUSK_POLICY)
        return false;
    struct fscrypt_identifier identifiers[VAULT_IDENTIFIERS_MAXIMUM];
    size_t count;
    vault_find_identifiers(vault, identifiers, &count);
    for (size_t i = 0; i < count; i++)
        if (!memcmp(&identifier, &identifiers[i], sizeof(identifier)))
            return true;
    return false;
}

/* The file as its user calls it. */
static void show_use(const struct busy_use *use, char shown[TEXT_SHOW_SIZE])
{
    char target[PATH_MAX];
    ssize_t length = readlink(use->path, target, sizeof(target) - 1);
    if (length > 0)
        target[length] = '\0';
    text_show(shown, TEXT_SHOW_SIZE, length > 0 ? target : use->path);
}

/* Mounts inside protected directories keep files open as well; the other things told about mounts do not
 * matter here. */
static enum error_code name_mounts(const struct vault *vault, struct finding_list *findings,
                                   struct error *reterr)
{
    struct finding_list found = {0};
    enum error_code code = OK;
    for (size_t i = 0; i < vault->directory_count && !code; i++)
        code = filesystem_check_mounts(vault->filesystem, vault->directories[i].path, &found, reterr);
    for (size_t i = 0; i < found.count && !code; i++) {
        const struct finding *finding = &found.items[i];
        if (!strncmp(finding->kind, "busy-", 5))
            finding_add(findings, FINDING_TELLS, finding->kind, finding->subject, finding->remedy, "%s",
                        finding->cause);
    }
    finding_list_done(&found);
    return code;
}

static enum error_code name_users(const struct vault *vault, struct finding_list *findings,
                                  size_t *ret_inodes, struct error *reterr)
{
    struct busy_set *set = NULL;
    enum error_code code = busy_set_new(vault->filesystem->device, &set, reterr);
    if (code)
        return code;
    size_t count = 0, inodes = 0, named = 0;
    uint64_t last_inode = 0;
    const struct busy_use *uses = busy_set_all(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (!is_of_vault(vault, uses[i].path))
            continue;
        inodes += inodes == 0 || uses[i].inode != last_inode;
        last_inode = uses[i].inode;
        char shown[TEXT_SHOW_SIZE];
        show_use(&uses[i], shown);
        if (named++ < NAMED_USES)
            finding_add(findings, FINDING_TELLS, uses[i].kind, shown, uses[i].remedy, "%s", uses[i].what);
    }
    busy_set_free(set);
    code = name_mounts(vault, findings, reterr);
    if (!code)
        *ret_inodes = inodes;
    return code;
}

enum error_code vault_is_used(const struct vault *vault, bool *ret_used, struct error *reterr)
{
    struct finding_list users = {0};
    size_t inodes = 0;
    enum error_code code = name_users(vault, &users, &inodes, reterr);
    if (!code)
        *ret_used = inodes > 0 || users.count > 0;
    finding_list_done(&users);
    return code;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static enum error_code evict(const struct vault *vault, const struct fscrypt_identifier *identifier,
                             enum fscrypt_removal *ret_removal, struct error *reterr)
{
    enum fscrypt_removal removal = FSCRYPT_WAS_ABSENT;
    bool had_key = false;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        enum error_code code = fscrypt_remove_key(vault->fd, identifier, &removal, reterr);
        if (code) {
            error_prefix(reterr, "vault %s", vault->name);
            return code;
        }
        if (removal != FSCRYPT_REMOVED_BUSY)
            break;
        had_key = true;
        pause_ms(PAUSE_MS); /* closed files go from the kernel's caches a moment later */
    }
    *ret_removal = removal == FSCRYPT_WAS_ABSENT && had_key ? FSCRYPT_REMOVED : removal;
    return OK;
}

enum error_code vault_evict(const struct vault *vault, enum fscrypt_removal *ret_removal,
                            struct error *reterr)
{
    struct fscrypt_identifier identifiers[VAULT_IDENTIFIERS_MAXIMUM];
    enum fscrypt_removal whole = FSCRYPT_WAS_ABSENT;
    enum error_code code = OK;
    size_t count;
    vault_find_identifiers(vault, identifiers, &count);
    if (count == 0) {
        code = error_set(reterr, ERR_CORRUPT, 0,
                         "neither vault.json nor private/ says which key belongs to the vault %s: it may be "
                         "unlocked",
                         vault->name);
        error_remedy(reterr, "unmount the filesystem or reboot: that takes every key out of the kernel");
    }
    for (size_t i = 0; !code && i < count; i++) {
        enum fscrypt_removal removal;
        code = evict(vault, &identifiers[i], &removal, reterr);
        if (!code && whole != FSCRYPT_REMOVED_BUSY && removal != FSCRYPT_WAS_ABSENT)
            whole = removal;
    }
    if (!code)
        *ret_removal = whole;
    return code;
}

enum error_code vault_lock(const struct vault *vault, bool *ret_changed, struct finding_list *findings,
                           struct error *reterr)
{
    if (syncfs(vault->fd) == 0)
        return vault_lock_unwritten(vault, ret_changed, findings, reterr);
    if (errno != EROFS) /* what is not on the disk yet would be lost */
        return error_set(reterr, ERR_FAILED, errno, "cannot write the filesystem of the vault %s to disk",
                         vault->name);
    finding_add(findings, FINDING_TELLS, "gone-read-only", text_shown(vault->filesystem->mount_point),
                "unmount it, run e2fsck on it, and look for disk errors (dmesg)",
                "the kernel has made the filesystem read-only: what was written last may not be on the disk");
    return vault_lock_unwritten(vault, ret_changed, findings, reterr);
}

enum error_code vault_lock_unwritten(const struct vault *vault, bool *ret_changed,
                                     struct finding_list *findings, struct error *reterr)
{
    enum fscrypt_removal removal;
    enum error_code code = vault_evict(vault, &removal, reterr);
    if (code)
        return code;
    if (removal != FSCRYPT_REMOVED_BUSY) {
        *ret_changed = removal == FSCRYPT_REMOVED;
        return OK;
    }
    size_t inodes = 0;
    code = name_users(vault, findings, &inodes, reterr);
    if (code)
        return code;
    if (inodes > 0)
        error_set(
            reterr, ERR_BUSY, 0,
            "the vault %s is only partly locked: the key is gone for new opens, %zu file%s keep%s theirs "
            "until closed",
            vault->name, inodes, inodes == 1 ? "" : "s", inodes == 1 ? "s" : "");
    else
        error_set(
            reterr, ERR_BUSY, 0,
            "the vault %s is only partly locked: the key is gone for new opens, the kernel still keeps the "
            "keys of some files and does not say for whom",
            vault->name);
    error_subject(reterr, "%s", vault->name);
    error_remedy(reterr, "close these files, then husk lock %s again", vault->name);
    return ERR_BUSY;
}
