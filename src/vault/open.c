/*
 * Opening a vault with its secret. The order is the point: what is on disk is believed only after its MAC
 * fits, the directories are compared with it before the key is added, and only then does anything become
 * readable.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "vault/store.h"

int vault_open_beneath(int root_fd, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

/* What a recorded directory is now. */
enum state { FOUND_SAME, FOUND_OTHER_NONCE, FOUND_MISSING, FOUND_PLAIN, FOUND_FOREIGN };
struct found {
    enum state state;
    bool is_covered; /* by a mount, which hides it and changes nothing of it */
    struct fscrypt_nonce nonce;
};

/* The filesystem without what is mounted in it. */
static int open_uncovered(int root_fd)
{
    return (int)syscall(SYS_open_tree, root_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

static enum error_code look_at(const struct vault *vault, const struct vault_directory *directory,
                               struct found *ret_found, struct error *reterr)
{
    struct found found = {.state = FOUND_MISSING};
    _cleanup_(close_fdp) int uncovered = -1;
    _cleanup_(close_fdp) int fd = vault_open_beneath(vault->filesystem->root_fd, directory->path);
    if (fd < 0 && errno == EXDEV) {
        found.is_covered = true;
        uncovered = open_uncovered(vault->filesystem->root_fd);
        fd = uncovered < 0 ? -1 : vault_open_beneath(uncovered, directory->path);
    }
    if (fd < 0) {
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
            return error_set(reterr, ERR_FAILED, errno, "cannot open %s", text_shown(directory->path));
        *ret_found = found;
        return OK;
    }
    enum fscrypt_policy_state policy = FSCRYPT_PLAIN;
    struct fscrypt_identifier identifier = {0};
    enum error_code code = fscrypt_get_policy(fd, &policy, &identifier, reterr);
    if (code)
        return code;
    if (policy != FSCRYPT_HUSK_POLICY || memcmp(&identifier, &vault->identifier, sizeof(identifier))) {
        found.state = policy == FSCRYPT_PLAIN ? FOUND_PLAIN : FOUND_FOREIGN;
    } else {
        code = fscrypt_get_nonce(fd, &found.nonce, reterr);
        found.state =
            memcmp(&found.nonce, &directory->nonce, sizeof(found.nonce)) ? FOUND_OTHER_NONCE : FOUND_SAME;
    }
    if (!code)
        *ret_found = found;
    return code;
}

static const char *const causes[] = {
    [FOUND_OTHER_NONCE] = "it is another directory of this vault than the one recorded",
    [FOUND_MISSING] = "it is not there any more, or is no directory",
    [FOUND_PLAIN] = "it is not encrypted: what is read and written there is in the clear",
    [FOUND_FOREIGN] = "it is encrypted under another key",
};

static const char remedy[] =
    "find out who changed it and put it back as it was; to take what is there now as "
    "right, unlock with --accept-changes and a passphrase or recovery key (a keyfile where the vault has "
    "neither)";

enum error_code vault_check_directories(const struct vault *vault, struct finding_list *findings,
                                        struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; i < vault->directory_count && !code; i++) {
        struct found found;
        char shown[TEXT_SHOW_SIZE * 2];
        code = look_at(vault, &vault->directories[i], &found, reterr);
        if (code || (found.state == FOUND_SAME && !found.is_covered))
            continue;
        const char *mount_point = vault->filesystem->mount_point;
        snprintf(shown, sizeof(shown), "%s/%s", strcmp(mount_point, "/") ? text_shown(mount_point) : "",
                 text_shown(vault->directories[i].path));
        if (found.state == FOUND_SAME)
            finding_add(
                findings, FINDING_TELLS, "directory-covered", shown,
                "unmount it, unless it is meant to be there",
                "something is mounted over it or above it: what is written there now is not the vault's");
        else
            finding_add(findings, FINDING_BLOCKS,
                        found.state == FOUND_MISSING ? "directory-missing" : "directory-replaced", shown,
                        remedy, "%s", causes[found.state]);
    }
    return code;
}

static bool symlink_is_same(int root_fd, const struct vault_symlink *symlink)
{
    struct stat status;
    char target[PATH_MAX];
    if (fstatat(root_fd, symlink->path, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(status.st_mode))
        return false;
    ssize_t length = readlinkat(root_fd, symlink->path, target, sizeof(target) - 1);
    if (length < 0)
        return false;
    target[length] = '\0';
    return !strcmp(target, symlink->target) && status.st_uid == symlink->uid &&
           status.st_gid == symlink->gid && (status.st_mode & 07777) == symlink->mode;
}

static void check_symlinks(const struct vault *vault, struct finding_list *findings)
{
    for (size_t i = 0; i < vault->symlink_count; i++) {
        const struct vault_symlink *symlink = &vault->symlinks[i];
        if (!symlink_is_same(vault->filesystem->root_fd, symlink))
            finding_add(findings, FINDING_BLOCKS, "symlink-changed", text_shown(symlink->path), remedy,
                        "it is not the symlink to %s that was recorded", text_shown(symlink->target));
    }
}

static void check_keyslots(const struct vault *vault, struct finding_list *findings)
{
    for (size_t i = 0; i < vault->keyslot_count; i++) {
        struct keyslot keyslot;
        struct error why = ERROR_NONE;
        char id[2 * sizeof(struct keyslot_id) + 1];
        text_format_hex(id, vault->keyslots[i].bytes, sizeof(vault->keyslots[i].bytes));
        enum error_code code = vault_read_keyslot(vault, &vault->keyslots[i], &keyslot, &why);
        if (code)
            finding_add(findings, FINDING_TELLS,
                        code == ERR_NOT_FOUND ? "keyslot-missing" : "keyslot-damaged", id,
                        "make another keyslot of its kind and remove this one", "%s", why.message);
    }
}

static bool is_pinned(const struct vault_pins *pins, const struct authority_id *id)
{
    for (size_t i = 0; i < pins->count; i++)
        if (!memcmp(&pins->ids[i], id, sizeof(*id)))
            return true;
    return false;
}

/* An authority that is gone while the host trusts another was swapped; a host without any may be a rescue
 * system. */
static void check_authorities(const struct vault *vault, const struct vault_pins *pins,
                              struct finding_list *findings)
{
    for (size_t i = 0; pins && i < vault->authority_count; i++) {
        char id[2 * sizeof(struct authority_id) + 1];
        if (is_pinned(pins, &vault->authorities[i]))
            continue;
        text_format_hex(id, vault->authorities[i].bytes, sizeof(vault->authorities[i].bytes));
        if (pins->count > 0)
            finding_add(findings, FINDING_BLOCKS, "authority-changed", id, remedy,
                        "the vault is bound to this authority, and this host trusts another one instead");
        else
            finding_add(findings, FINDING_TELLS, "authority-missing", id, "husk enroll, where this is meant",
                        "the vault is bound to this authority, and this host is enrolled at none");
    }
}

enum error_code vault_check_recorded(const struct vault *vault, const struct vault_pins *pins,
                                     struct finding_list *findings, struct error *reterr)
{
    enum error_code code = vault_check_directories(vault, findings, reterr);
    if (code)
        return code;
    check_symlinks(vault, findings);
    check_authorities(vault, pins, findings);
    check_keyslots(vault, findings);
    return OK;
}

static enum error_code check_manifest(const struct vault *vault, const struct secret *mac_key,
                                      const struct vault_pins *pins, struct finding_list *findings,
                                      struct error *reterr)
{
    enum error_code code = mac_verify(mac_key, vault->body.data, vault->body.length, vault->mac, reterr);
    if (code == ERR_CORRUPT) {
        finding_add(findings, FINDING_BLOCKS, "manifest-changed", vault->name, remedy,
                    "%s is not as husk wrote it: its MAC does not fit", VAULT_FILE_NAME);
        code = OK;
    }
    return code ? code : vault_check_recorded(vault, pins, findings, reterr);
}

static enum error_code refuse(const struct vault *vault, const struct finding_list *findings,
                              struct error *reterr)
{
    struct error first = ERROR_NONE;
    (void)!finding_refusal(findings, &first);
    error_set(reterr, ERR_CHANGED, 0, "the vault %s is not as it was left: %s", vault->name, first.message);
    error_subject(reterr, "%s", first.subject);
    error_remedy(reterr, "%s", first.remedy);
    return ERR_CHANGED;
}

static void keep_pinned(struct vault *vault, const struct vault_pins *pins)
{
    size_t kept = 0;
    for (size_t i = 0; i < vault->authority_count; i++)
        if (!pins || pins->count == 0 || is_pinned(pins, &vault->authorities[i]))
            vault->authorities[kept++] = vault->authorities[i];
    vault->authority_count = kept;
}

/* Of a history whose MAC did not fit nothing is to be signed as true. */
static enum error_code doubt_history(const struct vault *vault, const struct secret *mac_key,
                                     struct vault *next, struct error *reterr)
{
    enum error_code code = mac_verify(mac_key, vault->body.data, vault->body.length, vault->mac, reterr);
    if (code != ERR_CORRUPT)
        return code;
    next->born_encrypted = false;
    if (next->key_copies_forgotten < INT64_MAX)
        next->key_copies_forgotten++;
    return OK;
}

/* The manifest says from now on what is there: directories of this vault with their nonces, authorities this
 * host trusts, nothing else. */
static enum error_code accept_changes(struct vault *vault, const struct secret *mac_key,
                                      const struct vault_pins *pins, struct error *reterr)
{
    struct vault next = *vault;
    enum error_code code = doubt_history(vault, mac_key, &next, reterr);
    if (code)
        return code;
    keep_pinned(&next, pins);
    next.directory_count = next.symlink_count = 0;
    next.symlinks = NULL;
    next.directories = calloc(vault->directory_count + 1, sizeof(*next.directories));
    code = next.directories ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "no memory");
    for (size_t i = 0; i < vault->directory_count && !code; i++) {
        struct found found;
        struct vault_directory directory = vault->directories[i];
        code = look_at(vault, &vault->directories[i], &found, reterr);
        if (code || (found.state != FOUND_SAME && found.state != FOUND_OTHER_NONCE))
            continue;
        directory.nonce = found.nonce;
        directory.path = strdup(directory.path);
        if (directory.path)
            next.directories[next.directory_count++] = directory;
        else
            code = error_set(reterr, ERR_NO_MEMORY, 0, "no memory");
    }
    if (code) {
        vault_directories_free(next.directories, next.directory_count);
        return code;
    }
    return vault_write_directories(vault, &next, mac_key, reterr);
}

static enum error_code prime(const struct vault *vault, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = vault_open_private(vault, &fd, reterr);
    return code ? code : fscrypt_prime(fd, reterr);
}

/* Add the key; where something goes wrong behind that it is taken away again, unless it was there before. */
static enum error_code add_key(struct vault *vault, const struct secret *vault_secret,
                               const struct secret *mac_key, const struct vault_pins *pins,
                               enum vault_acceptance accept, struct finding_list *findings,
                               struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *master_key = NULL;
    struct fscrypt_identifier identifier, recorded = vault->identifier;
    bool repaired = false;
    bool changed = finding_count_blocking(findings) > 0;
    enum fscrypt_key_state before = FSCRYPT_KEY_ABSENT;
    enum error_code code = fscrypt_key_state(vault->fd, &recorded, &before, reterr);
    if (!code)
        code = vault_derive_master_key(vault_secret, &master_key, reterr);
    if (!code)
        code = fscrypt_add_key(vault->fd, master_key, &identifier, reterr);
    if (code)
        return code;
    /* Who erases marks first and takes the key away afterwards: whatever came between is seen by one of both.
     */
    code = vault_check_mark(vault, reterr);
    if (code == ERR_ERASED)
        before = FSCRYPT_KEY_ABSENT;
    if (!code && memcmp(&identifier, &recorded, sizeof(identifier)) && accept != VAULT_ACCEPT_CHANGES)
        code = error_set(reterr, ERR_CORRUPT, 0, "the key of the vault %s is not the one %s names",
                         vault->name, VAULT_FILE_NAME);
    vault->identifier = identifier;
    if (!code)
        code = vault_ensure_private(vault->fd, &identifier, mac_key, &repaired, reterr);
    if (!code && changed && accept == VAULT_ACCEPT_CHANGES)
        code = accept_changes(vault, mac_key, pins, reterr);
    if (!code)
        code = prime(vault, reterr);
    if (code) {
        enum fscrypt_removal removal;
        if (before != FSCRYPT_KEY_PRESENT)
            (void)!fscrypt_remove_key(vault->fd, &identifier, &removal, NULL);
        vault->identifier = recorded;
        return code;
    }
    if (repaired)
        finding_add(findings, FINDING_TELLS, "private-repaired", vault->name, "",
                    "the vault's own directory or its key for the manifest was missing or damaged; it is "
                    "written anew");
    return OK;
}

enum error_code vault_unlock(struct vault *vault, const struct secret *vault_secret,
                             const struct vault_pins *pins, enum vault_acceptance accept,
                             struct finding_list *findings, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *mac_key = NULL;
    struct finding_list found = {0};
    enum error_code code = vault->damage.code ? vault->damage.code : vault_check_mark(vault, reterr);
    if (vault->damage.code && reterr)
        *reterr = vault->damage;
    if (!code)
        code = vault_derive_mac_key(vault_secret, &mac_key, reterr);
    if (!code)
        code = check_manifest(vault, mac_key, pins, &found, reterr);
    if (!code && finding_count_blocking(&found) > 0 && accept == VAULT_ACCEPT_NOTHING)
        code = refuse(vault, &found, reterr);
    if (!code)
        code = add_key(vault, vault_secret, mac_key, pins, accept, &found, reterr);
    finding_move_all(findings, &found);
    return code;
}
