/* Vaults as directories on disk, for the files of this room. */
#pragma once
#include "vault/header.h"

/* What damage to vault.json means to whoever reads. */
enum vault_reading { VAULT_READ_STRICT, VAULT_READ_EVEN_DAMAGED };

/* Open .husk; it must be root's alone to write. Open .husk/vaults. ERR_NOT_FOUND, ERR_CORRUPT. */
must_check enum error_code vault_open_husk(const struct filesystem *filesystem, int *ret_fd,
                                           struct error *reterr);
must_check enum error_code vault_open_vaults(const struct filesystem *filesystem, int *ret_fd,
                                             struct error *reterr);

/* A copy with a root descriptor of its own. */
must_check enum error_code vault_copy_filesystem(const struct filesystem *filesystem,
                                                 struct filesystem **ret_copy, struct error *reterr);

must_check enum error_code vault_read_as(const struct filesystem *filesystem, const char *name,
                                         enum vault_reading reading, struct vault **ret_vault,
                                         struct error *reterr);

/* The marks as they are on disk now. */
must_check enum error_code vault_read_mark(int vault_fd, enum vault_mark *ret_mark, struct error *reterr);
/* ERR_ERASED when there is one. */
must_check enum error_code vault_check_mark(const struct vault *vault, struct error *reterr);

/* Format, MAC and write vault.json durably, one sequence on; vault->body, mac and sequence change on success
 * only. */
must_check enum error_code vault_write(struct vault *vault, const struct secret *mac_key,
                                       struct error *reterr);

/* private/ by its name, whatever state the vault is in. ERR_CHANGED when it is not encrypted under this
 * vault. */
must_check enum error_code vault_open_private_locked(const struct vault *vault, int *ret_fd,
                                                     struct error *reterr);
/* Make private/ with manifest.key, or what of them is missing or differs. The key must be in the kernel.
 * *ret_changed tells whether anything had to be done. */
must_check enum error_code vault_ensure_private(int vault_fd, const struct fscrypt_identifier *identifier,
                                                const struct secret *mac_key, bool *ret_changed,
                                                struct error *reterr);
/* The MAC key from private/. ERR_LOCKED. */
must_check enum error_code vault_read_mac_key(const struct vault *vault, struct secret **ret_mac_key,
                                              struct error *reterr);
/* The same for whoever is about to write the manifest: what stands there now must be right, or the new MAC
 * would make a change of it good. ERR_ERASED, ERR_CHANGED. */
must_check enum error_code vault_take_mac_key(const struct vault *vault, struct secret **ret_mac_key,
                                              struct error *reterr);
must_check enum error_code vault_derive_mac_key(const struct secret *vault_secret,
                                                struct secret **ret_mac_key, struct error *reterr);

/* Write the manifest with the directories of next and the symlinks that lead into them; both lists of next
 * are taken over or freed. */
must_check enum error_code vault_write_directories(struct vault *vault, struct vault *next,
                                                   const struct secret *mac_key, struct error *reterr);

/* Take the key out of the kernel, trying for about a second while files are still in use. */
must_check enum error_code vault_evict(const struct vault *vault, enum fscrypt_removal *ret_removal,
                                       struct error *reterr);

/* Whether the manifest names the authority; name that of an authority keyslot, if it does not yet. */
bool vault_names_authority(const struct vault *vault, const struct authority_id *id);
must_check enum error_code vault_note_authority(struct vault *vault, const struct keyslot *keyslot,
                                                struct error *reterr);

/* Write one keyslot file into keyslots/, durably. */
must_check enum error_code vault_write_keyslot(int keyslots_fd, const struct keyslot *keyslot,
                                               struct error *reterr);

/* The symlinks at the root of the vault's filesystem that lead into directories. */
must_check enum error_code vault_find_symlinks(const struct vault *vault, struct vault_symlink **ret_symlinks,
                                               size_t *ret_count, struct error *reterr);

/* Destroy what is called NAME in vaults_fd: its keyslots in place, then everything else of it. Missing is OK.
 */
must_check enum error_code vault_destroy_remains(int vaults_fd, const char *name, struct error *reterr);

/* Open a directory beneath the root of the filesystem without following symlinks or crossing mounts: its
 * descriptor, or -1 with errno. */
int vault_open_beneath(int root_fd, const char *path);

/* Whether a name in vaults/ is that of a vault being made. */
bool vault_name_is_unfinished(const char *name);

#define VAULT_VAULTS_NAME "vaults"
#define VAULT_PRIVATE_NAME "private"
#define VAULT_MANIFEST_KEY_NAME "manifest.key"
