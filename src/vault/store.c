/* Reading and writing a vault's directory. */
#include "vault/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/aead.h"

/* A directory that someone other than root can change proves nothing about what lies in it. */
static enum error_code check_owner(int fd, const char *shown_name, struct error *reterr)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat %s", shown_name);
    if (status.st_uid == 0 && (status.st_mode & 022) == 0)
        return OK;
    error_set(reterr, ERR_CORRUPT, 0, "%s can be changed by others than root (owner %u, mode %04o)",
              shown_name, status.st_uid, status.st_mode & 07777);
    error_remedy(reterr, "find out who made it; what lies in it is not to be trusted");
    return ERR_CORRUPT;
}

enum error_code vault_open_husk(const struct filesystem *filesystem, int *ret_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(filesystem->root_fd, HUSK_DIRECTORY, &fd, reterr);
    if (!code)
        code = check_owner(fd, HUSK_DIRECTORY, reterr);
    if (code)
        error_prefix(reterr, "%s", text_shown(filesystem->mount_point));
    else
        *ret_fd = TAKE_FD(fd);
    return code;
}

enum error_code vault_open_vaults(const struct filesystem *filesystem, int *ret_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    enum error_code code = vault_open_husk(filesystem, &husk_fd, reterr);
    return code ? code : directory_open(husk_fd, VAULT_VAULTS_NAME, ret_fd, reterr);
}

enum error_code vault_copy_filesystem(const struct filesystem *filesystem, struct filesystem **ret_copy,
                                      struct error *reterr)
{
    struct filesystem *copy = calloc(1, sizeof(*copy));
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory");
    *copy = *filesystem;
    copy->mount_point = strdup(filesystem->mount_point);
    copy->source = strdup(filesystem->source);
    copy->type = strdup(filesystem->type);
    copy->root_fd = fcntl(filesystem->root_fd, F_DUPFD_CLOEXEC, 0);
    int os_errno = errno;
    if (copy->root_fd >= 0 && copy->mount_point && copy->source && copy->type) {
        *ret_copy = copy;
        return OK;
    }
    bool no_descriptor = copy->root_fd < 0;
    filesystem_free(copy);
    return error_set(reterr, no_descriptor ? ERR_FAILED : ERR_NO_MEMORY, no_descriptor ? os_errno : 0,
                     "cannot open the root of the filesystem once more");
}

static enum error_code has_name(int fd, const char *name, bool *ret_there, struct error *reterr)
{
    struct stat status;
    if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return error_set(reterr, ERR_FAILED, errno, "cannot look for %s", name);
        *ret_there = false;
        return OK;
    }
    *ret_there = true;
    return OK;
}

enum error_code vault_read_mark(int vault_fd, enum vault_mark *ret_mark, struct error *reterr)
{
    bool erasing = false, erased = false;
    enum error_code code = has_name(vault_fd, VAULT_MARK_ERASING, &erasing, reterr);
    if (!code)
        code = has_name(vault_fd, VAULT_MARK_ERASED, &erased, reterr);
    if (!code)
        *ret_mark = erased ? VAULT_ERASED : erasing ? VAULT_ERASING : VAULT_ACTIVE;
    return code;
}

enum error_code vault_check_mark(const struct vault *vault, struct error *reterr)
{
    enum vault_mark mark = VAULT_ACTIVE;
    enum error_code code = vault_read_mark(vault->fd, &mark, reterr);
    if (code || mark == VAULT_ACTIVE)
        return code;
    error_set(reterr, ERR_ERASED, 0, "the vault %s %s: nothing opens it here any more", vault->name,
              mark == VAULT_ERASED ? "is erased" : "is being erased");
    if (mark == VAULT_ERASING)
        error_remedy(reterr, "finish it with husk erase %s --confirm %s", vault->name, vault->name);
    error_subject(reterr, "%s", vault->name);
    return ERR_ERASED;
}

static enum error_code read_header(struct vault *vault, struct error *reterr)
{
    struct buffer text = {.maximum = VAULT_FILE_MAXIMUM};
    enum error_code code = file_read(vault->fd, VAULT_FILE_NAME, VAULT_FILE_MAXIMUM, &text, reterr);
    if (code == ERR_NOT_FOUND) /* the directory is there, so it is not the vault that is missing */
        code = error_set(reterr, ERR_CORRUPT, 0, "%s is missing", VAULT_FILE_NAME);
    if (!code)
        code = vault_header_parse(text.data, text.length, vault->name, vault, reterr);
    buffer_done(&text);
    if (code == ERR_CORRUPT)
        error_remedy(reterr,
                     "put it back from a backup, as %s/" HUSK_DIRECTORY
                     "/vaults/%s/%s; the keyslots and the data are not touched by this",
                     strcmp(vault->filesystem->mount_point, "/") ? text_shown(vault->filesystem->mount_point)
                                                                 : "",
                     vault->name, VAULT_FILE_NAME);
    return code;
}

/* What is known without vault.json: the name, and from private/ which key belongs to the vault. */
static void read_damaged(struct vault *vault, const char *name, const struct error *damage)
{
    vault->damage = *damage;
    snprintf(vault->name, sizeof(vault->name), "%s", name);
    _cleanup_(close_fdp) int fd = -1;
    enum fscrypt_policy_state state;
    struct fscrypt_identifier identifier;
    if (directory_open(vault->fd, VAULT_PRIVATE_NAME, &fd, NULL) == OK &&
        fscrypt_get_policy(fd, &state, &identifier, NULL) == OK && state == FSCRYPT_HUSK_POLICY)
        vault->identifier = identifier;
}

static enum error_code read_into(struct vault *vault, const struct filesystem *filesystem, const char *name,
                                 enum vault_reading reading, struct error *reterr)
{
    _cleanup_(close_fdp) int vaults_fd = -1;
    enum error_code code = vault_copy_filesystem(filesystem, &vault->filesystem, reterr);
    if (!code)
        code = vault_open_vaults(filesystem, &vaults_fd, reterr);
    if (!code)
        code = directory_open(vaults_fd, name, &vault->fd, reterr);
    if (!code)
        code = check_owner(vault->fd, name, reterr);
    if (!code)
        code = vault_read_mark(vault->fd, &vault->mark, reterr);
    if (code)
        return code;
    struct error damage = ERROR_NONE;
    snprintf(vault->name, sizeof(vault->name), "%s", name);
    code = read_header(vault, &damage);
    if (!code)
        return OK;
    error_prefix(&damage, "vault %s", name);
    error_subject(&damage, "%s", name);
    if (reading == VAULT_READ_STRICT && vault->mark == VAULT_ACTIVE) {
        if (reterr)
            *reterr = damage;
        return code;
    }
    read_damaged(vault, name, &damage);
    return OK;
}

enum error_code vault_read_as(const struct filesystem *filesystem, const char *name,
                              enum vault_reading reading, struct vault **ret_vault, struct error *reterr)
{
    enum error_code code = vault_check_name(name, reterr);
    if (code)
        return code;
    _cleanup_(vault_freep) struct vault *vault = calloc(1, sizeof(*vault));
    if (!vault)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the vault %s", name);
    vault->fd = -1;
    code = read_into(vault, filesystem, name, reading, reterr);
    if (code)
        return code;
    *ret_vault = TAKE(vault);
    return OK;
}

enum error_code vault_read(const struct filesystem *filesystem, const char *name, struct vault **ret_vault,
                           struct error *reterr)
{
    return vault_read_as(filesystem, name, VAULT_READ_STRICT, ret_vault, reterr);
}

enum error_code vault_read_even_damaged(const struct filesystem *filesystem, const char *name,
                                        struct vault **ret_vault, struct error *reterr)
{
    return vault_read_as(filesystem, name, VAULT_READ_EVEN_DAMAGED, ret_vault, reterr);
}

void vault_free(struct vault *vault)
{
    if (!vault)
        return;
    vault_header_done(vault);
    filesystem_free(vault->filesystem);
    close_fdp(&vault->fd);
    free(vault);
}

/* What is on disk must be what this vault was read from: else another husk wrote it in between. */
static enum error_code check_unchanged(const struct vault *vault, struct error *reterr)
{
    struct buffer text = {.maximum = VAULT_FILE_MAXIMUM};
    struct vault there = {.fd = -1};
    enum error_code code = file_read(vault->fd, VAULT_FILE_NAME, VAULT_FILE_MAXIMUM, &text, reterr);
    if (code == ERR_NOT_FOUND && vault->sequence == 0) { /* being made */
        buffer_done(&text);
        return OK;
    }
    if (!code)
        code = vault_header_parse(text.data, text.length, vault->name, &there, reterr);
    if (!code && (memcmp(there.mac, vault->mac, sizeof(there.mac)) || there.sequence != vault->sequence)) {
        code =
            error_set(reterr, ERR_CHANGED, 0, "%s was changed by something else meanwhile", VAULT_FILE_NAME);
        error_remedy(reterr, "run the same command again");
    }
    vault_header_done(&there);
    buffer_done(&text);
    return code;
}

static enum error_code write_next(struct vault *next, const struct secret *mac_key, struct error *reterr)
{
    struct buffer file = {.maximum = VAULT_FILE_MAXIMUM};
    enum error_code code = vault_check(next, next->name, reterr);
    if (!code)
        code = vault_body_format(next, &next->body, reterr);
    if (!code)
        code = mac_compute(mac_key, next->body.data, next->body.length, next->mac, reterr);
    if (!code)
        code = vault_file_format(&next->body, next->mac, &file, reterr);
    int injected = code ? 0 : fault("vault.manifest.write");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write %s", VAULT_FILE_NAME);
    if (!code)
        code = file_write_durable(next->fd, VAULT_FILE_NAME, 0600, file.data, file.length, reterr);
    if (!code)
        (void)fault("vault.manifest.written");
    buffer_done(&file);
    return code;
}

enum error_code vault_write(struct vault *vault, const struct secret *mac_key, struct error *reterr)
{
    struct vault next = *vault;
    next.body = (struct buffer){.maximum = VAULT_FILE_MAXIMUM};
    next.sequence++;
    memcpy(next.filesystem_uuid, vault->filesystem->uuid, sizeof(next.filesystem_uuid));
    enum error_code code = check_unchanged(vault, reterr);
    if (!code)
        code = write_next(&next, mac_key, reterr);
    if (code) {
        buffer_done(&next.body);
        error_prefix(reterr, "vault %s", vault->name);
        return code;
    }
    buffer_done(&vault->body);
    *vault = next;
    return OK;
}
