/*
 * Making a vault. Everything is written under NAME.new and becomes a vault by one rename:
 *
 *   NAME.new/ → keyslots/ID … → key into the kernel, private/ → vault.json → rename to NAME, synced
 *
 * Before the rename there is no vault, only remains that the next vault_create destroys. A failure destroys
 * them at once and takes the key out of the kernel again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "vault/store.h"

enum { NEW_NAME_SIZE = VAULT_NAME_MAXIMUM + 8 };

static enum error_code inject(int os_errno, const char *what, struct error *reterr)
{
    return os_errno ? error_set(reterr, ERR_FAILED, os_errno, "cannot write %s", what) : OK;
}

static enum error_code write_keyslots(int vault_fd, const struct keyslot *keyslots, size_t count,
                                      struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_make(vault_fd, VAULT_KEYSLOTS_NAME, 0700, &fd, reterr);
    for (size_t i = 0; i < count && !code; i++)
        code = vault_write_keyslot(fd, &keyslots[i], reterr);
    return code ? code : inject(fault("vault.create.keyslot"), "the keyslots", reterr);
}

/* On success the key is in the kernel and *ret_mac_key is what vault.json is authenticated with. */
static enum error_code make_private(struct vault *vault, const struct secret *vault_secret,
                                    struct secret **ret_mac_key, struct error *reterr)
{
    bool changed;
    _cleanup_(secret_freep) struct secret *master_key = NULL;
    _cleanup_(secret_freep) struct secret *mac_key = NULL;
    enum error_code code = vault_derive_master_key(vault_secret, &master_key, reterr);
    if (!code)
        code = vault_derive_mac_key(vault_secret, &mac_key, reterr);
    if (!code)
        code = fscrypt_add_key(vault->fd, master_key, &vault->identifier, reterr);
    if (code)
        return code;
    code = vault_ensure_private(vault->fd, &vault->identifier, mac_key, &changed, reterr);
    if (!code)
        code = inject(fault("vault.create.private"), VAULT_PRIVATE_NAME, reterr);
    if (code) {
        enum fscrypt_removal removal;
        (void)!fscrypt_remove_key(vault->fd, &vault->identifier, &removal, NULL);
        return code;
    }
    *ret_mac_key = TAKE(mac_key);
    return OK;
}

/* The members of a vault without directories. */
static enum error_code fill(struct vault *vault, const char *name, const struct vault_id *id,
                            const struct keyslot *keyslots, size_t count, const struct clock *clock,
                            struct error *reterr)
{
    snprintf(vault->name, sizeof(vault->name), "%s", name);
    vault->id = *id;
    vault->created_unix_s = clock_unix_s(clock);
    vault->born_encrypted = true;
    vault->keyslots = calloc(count, sizeof(*vault->keyslots));
    vault->key_copies = calloc(count, sizeof(*vault->key_copies));
    if (!vault->keyslots || !vault->key_copies)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the vault %s", name);
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&keyslots[i].vault, id, sizeof(*id)))
            return error_set(reterr, ERR_USAGE, 0, "a keyslot made for another vault");
        vault->keyslots[i] = keyslots[i].id;
        vault->key_copies[i] = (struct vault_key_copy){
            .id = keyslots[i].id, .kind = keyslots[i].kind, .created_unix_s = keyslots[i].created_unix_s};
        enum error_code code = vault_note_authority(vault, &keyslots[i], reterr);
        if (code)
            return code;
    }
    vault->keyslot_count = vault->key_copy_count = count;
    return OK;
}

static enum error_code check_absent(int vaults_fd, const char *name, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum vault_mark mark = VAULT_ACTIVE;
    enum error_code code = directory_open(vaults_fd, name, &fd, reterr);
    if (code == ERR_NOT_FOUND)
        return OK;
    if (!code)
        code = vault_read_mark(fd, &mark, reterr);
    if (code)
        return code;
    error_set(reterr, ERR_EXISTS, 0, "there is already a vault %s%s", name,
              mark == VAULT_ERASED    ? ", erased"
              : mark == VAULT_ERASING ? ", being erased"
                                      : "");
    error_subject(reterr, "%s", name);
    error_remedy(reterr, "choose another name");
    return ERR_EXISTS;
}

static enum error_code write_all(struct vault *vault, int vaults_fd, const char *new_name,
                                 const struct secret *vault_secret, const struct keyslot *keyslots,
                                 size_t keyslot_count, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *mac_key = NULL;
    enum error_code code = directory_make(vaults_fd, new_name, 0700, &vault->fd, reterr);
    if (!code)
        code = write_keyslots(vault->fd, keyslots, keyslot_count, reterr);
    if (!code)
        code = make_private(vault, vault_secret, &mac_key, reterr);
    if (!code)
        code = vault_write(vault, mac_key, reterr);
    if (!code)
        code = inject(fault("vault.create.header"), VAULT_FILE_NAME, reterr);
    return code;
}

static enum error_code put_into_place(int vaults_fd, const char *new_name, const char *name,
                                      struct error *reterr)
{
    int injected = fault("vault.create.rename");
    if (injected || renameat2(vaults_fd, new_name, vaults_fd, name, RENAME_NOREPLACE) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno,
                         "cannot put the vault %s into place", name);
    enum error_code code = file_sync(vaults_fd, name, reterr);
    if (code && renameat2(vaults_fd, name, vaults_fd, new_name, RENAME_NOREPLACE) < 0)
        error_remedy(reterr, "husk erase %s --confirm %s, then make it again", name, name);
    if (!code)
        (void)fault("vault.create.renamed");
    return code;
}

static enum error_code open_vaults(struct filesystem *filesystem, int *ret_vaults_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    enum error_code code = vault_open_husk(filesystem, &husk_fd, reterr);
    return code ? code : directory_make(husk_fd, VAULT_VAULTS_NAME, 0700, ret_vaults_fd, reterr);
}

enum error_code vault_create(struct filesystem *filesystem, const char *name, const struct vault_id *id,
                             const struct secret *vault_secret, const struct keyslot *keyslots,
                             size_t keyslot_count, const struct clock *clock, struct vault **ret_vault,
                             struct error *reterr)
{
    char new_name[NEW_NAME_SIZE];
    snprintf(new_name, sizeof(new_name), "%s.new", name);
    _cleanup_(close_fdp) int vaults_fd = -1;
    _cleanup_(vault_freep) struct vault *vault = calloc(1, sizeof(*vault));
    if (!vault)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the vault %s", name);
    vault->fd = -1;
    if (keyslot_count == 0 || keyslot_count > VAULT_KEYSLOTS_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "a vault needs 1 to %d keyslots", VAULT_KEYSLOTS_MAXIMUM);
    enum error_code code = vault_check_name(name, reterr);
    if (!code)
        code = open_vaults(filesystem, &vaults_fd, reterr);
    if (!code)
        code = check_absent(vaults_fd, name, reterr);
    if (!code)
        code = vault_destroy_remains(vaults_fd, new_name, reterr);
    if (!code)
        code = fill(vault, name, id, keyslots, keyslot_count, clock, reterr);
    if (code)
        return code;
    vault->filesystem = filesystem;
    code = filesystem_settle(filesystem, reterr); /* from here on encrypted directories need the feature */
    if (!code)
        code = write_all(vault, vaults_fd, new_name, vault_secret, keyslots, keyslot_count, reterr);
    if (!code)
        code = put_into_place(vaults_fd, new_name, name, reterr);
    if (code) {
        vault->filesystem = NULL; /* stays the caller's */
        (void)!vault_destroy_remains(vaults_fd, new_name, NULL);
        error_prefix(reterr, "cannot make the vault %s", name);
        return code;
    }
    *ret_vault = TAKE(vault);
    return OK;
}

enum error_code vault_destroy_unfinished(const struct vault *vault, struct error *reterr)
{
    char new_name[NEW_NAME_SIZE];
    snprintf(new_name, sizeof(new_name), "%s.new", vault->name);
    _cleanup_(close_fdp) int vaults_fd = -1;
    enum error_code code = vault_open_vaults(vault->filesystem, &vaults_fd, reterr);
    return code ? code : vault_destroy_remains(vaults_fd, new_name, reterr);
}

enum error_code vault_discard(struct vault *vault, struct error *reterr)
{
    if (vault->directory_count > 0) {
        error_set(reterr, ERR_DENIED, 0, "the vault %s protects %zu directories", vault->name,
                  vault->directory_count);
        error_remedy(reterr, "husk unprotect %s first, or husk erase %s --confirm %s", vault->name,
                     vault->name, vault->name);
        return ERR_DENIED;
    }
    char new_name[NEW_NAME_SIZE];
    snprintf(new_name, sizeof(new_name), "%s.new", vault->name);
    _cleanup_(close_fdp) int vaults_fd = -1;
    enum error_code code = vault_destroy_unfinished(vault, reterr);
    if (!code)
        code = vault_open_vaults(vault->filesystem, &vaults_fd, reterr);
    if (code)
        return code;
    if (renameat2(vaults_fd, vault->name, vaults_fd, new_name, RENAME_NOREPLACE) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot rename the vault %s", vault->name);
    code = file_sync(vaults_fd, vault->name, reterr);
    return code ? code : vault_destroy_remains(vaults_fd, new_name, reterr);
}
