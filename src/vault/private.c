/* private/: the vault's own encrypted directory, and the keys derived from the vault secret. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>

#include "base/fault.h"
#include "base/file.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "vault/store.h"

enum { MAC_KEY_SIZE = 32 };

enum error_code vault_derive_master_key(const struct secret *vault_secret, struct secret **ret_master_key,
                                        struct error *reterr)
{
    return kdf_hkdf_sha256(vault_secret, NULL, 0, "fscrypt v1", FSCRYPT_MASTER_KEY_SIZE, ret_master_key,
                           reterr);
}

enum error_code vault_derive_mac_key(const struct secret *vault_secret, struct secret **ret_mac_key,
                                     struct error *reterr)
{
    return kdf_hkdf_sha256(vault_secret, NULL, 0, "manifest v1", MAC_KEY_SIZE, ret_mac_key, reterr);
}

static enum error_code check_private(int private_fd, const struct fscrypt_identifier *identifier,
                                     struct error *reterr)
{
    enum fscrypt_policy_state state = FSCRYPT_PLAIN;
    struct fscrypt_identifier found = {0};
    enum error_code code = fscrypt_get_policy(private_fd, &state, &found, reterr);
    if (code)
        return code;
    if (state == FSCRYPT_HUSK_POLICY && !memcmp(&found, identifier, sizeof(found)))
        return OK;
    return error_set(reterr, ERR_CHANGED, 0, "the vault's directory %s is %s", VAULT_PRIVATE_NAME,
                     state == FSCRYPT_PLAIN ? "not encrypted" : "encrypted under another key");
}

void vault_find_identifiers(const struct vault *vault,
                            struct fscrypt_identifier ret_identifiers[VAULT_IDENTIFIERS_MAXIMUM],
                            size_t *ret_count)
{
    static const struct fscrypt_identifier none;
    _cleanup_(close_fdp) int fd = -1;
    enum fscrypt_policy_state state;
    struct fscrypt_identifier found;
    size_t count = 0;
    if (memcmp(&vault->identifier, &none, sizeof(none)))
        ret_identifiers[count++] = vault->identifier;
    if (directory_open(vault->fd, VAULT_PRIVATE_NAME, &fd, NULL) == OK &&
        fscrypt_get_policy(fd, &state, &found, NULL) == OK && state == FSCRYPT_HUSK_POLICY &&
        (count == 0 || memcmp(&found, &ret_identifiers[0], sizeof(found))))
        ret_identifiers[count++] = found;
    *ret_count = count;
}

enum error_code vault_open_private_locked(const struct vault *vault, int *ret_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(vault->fd, VAULT_PRIVATE_NAME, &fd, reterr);
    if (!code)
        code = check_private(fd, &vault->identifier, reterr);
    if (code)
        return code;
    *ret_fd = TAKE_FD(fd);
    return OK;
}

enum error_code vault_open_private(const struct vault *vault, int *ret_fd, struct error *reterr)
{
    enum fscrypt_key_state state = FSCRYPT_KEY_ABSENT;
    enum error_code code = fscrypt_key_state(vault->fd, &vault->identifier, &state, reterr);
    if (code)
        return code;
    if (state != FSCRYPT_KEY_PRESENT) {
        error_set(reterr, ERR_LOCKED, 0, "the vault %s is locked", vault->name);
        error_subject(reterr, "%s", vault->name);
        error_remedy(reterr, "husk unlock %s", vault->name);
        return ERR_LOCKED;
    }
    code = vault_open_private_locked(vault, ret_fd, reterr);
    if (code)
        error_prefix(reterr, "vault %s", vault->name);
    return code;
}

static enum error_code read_manifest_key(int private_fd, struct secret **ret_mac_key, struct error *reterr)
{
    _cleanup_(close_fdp) int fd =
        openat(private_fd, VAULT_MANIFEST_KEY_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot open %s",
                         VAULT_MANIFEST_KEY_NAME);
    return secret_read_fd(fd, MAC_KEY_SIZE, MAC_KEY_SIZE, VAULT_MANIFEST_KEY_NAME, ret_mac_key, reterr);
}

enum error_code vault_read_mac_key(const struct vault *vault, struct secret **ret_mac_key,
                                   struct error *reterr)
{
    _cleanup_(close_fdp) int private_fd = -1;
    enum error_code code = vault_open_private(vault, &private_fd, reterr);
    if (!code && (code = read_manifest_key(private_fd, ret_mac_key, reterr))) {
        error_prefix(reterr, "vault %s", vault->name);
        error_remedy(reterr, "lock and unlock the vault: unlocking writes it anew");
    }
    return code;
}

/* An empty directory takes the policy; one that has it already is fine. */
static enum error_code make_private(int vault_fd, const struct fscrypt_identifier *identifier,
                                    int *ret_private_fd, bool *changed, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(vault_fd, VAULT_PRIVATE_NAME, &fd, reterr);
    if (!code)
        code = check_private(fd, identifier, reterr);
    if (code == ERR_NOT_FOUND || code == ERR_CHANGED) {
        close_fdp(&fd);
        code = directory_make(vault_fd, VAULT_PRIVATE_NAME, 0700, &fd, reterr);
        if (!code)
            code = fscrypt_set_policy(fd, identifier, reterr);
        if (!code)
            code = file_sync(fd, VAULT_PRIVATE_NAME, reterr);
        *changed = true;
    }
    if (code)
        return code;
    *ret_private_fd = TAKE_FD(fd);
    return OK;
}

enum error_code vault_ensure_private(int vault_fd, const struct fscrypt_identifier *identifier,
                                     const struct secret *mac_key, bool *ret_changed, struct error *reterr)
{
    bool changed = false;
    _cleanup_(close_fdp) int private_fd = -1;
    _cleanup_(secret_freep) struct secret *there = NULL;
    enum error_code code = make_private(vault_fd, identifier, &private_fd, &changed, reterr);
    if (code)
        return code;
    code = read_manifest_key(private_fd, &there, NULL);
    if (code || sodium_memcmp(there->bytes, mac_key->bytes, MAC_KEY_SIZE)) {
        code = file_write_durable(private_fd, VAULT_MANIFEST_KEY_NAME, 0600, mac_key->bytes, mac_key->length,
                                  reterr);
        changed = true;
    }
    if (!code)
        *ret_changed = changed;
    return code;
}

enum error_code vault_take_mac_key(const struct vault *vault, struct secret **ret_mac_key,
                                   struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *mac_key = NULL;
    enum error_code code = vault_check_mark(vault, reterr);
    if (!code)
        code = vault_read_mac_key(vault, &mac_key, reterr);
    if (code)
        return code;
    if (mac_verify(mac_key, vault->body.data, vault->body.length, vault->mac, NULL)) {
        error_set(reterr, ERR_CHANGED, 0, "vault %s: %s is not as husk wrote it: its MAC does not fit",
                  vault->name, VAULT_FILE_NAME);
        error_subject(reterr, "%s", vault->name);
        error_remedy(reterr, "husk lock %s, then unlock it: that names what changed", vault->name);
        return ERR_CHANGED;
    }
    *ret_mac_key = TAKE(mac_key);
    return OK;
}

enum error_code vault_check_manifest(const struct vault *vault, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *mac_key = NULL;
    enum error_code code = vault_read_mac_key(vault, &mac_key, reterr);
    return code ? code : mac_verify(mac_key, vault->body.data, vault->body.length, vault->mac, reterr);
}
