/* Writing vault.json; the format is described in header.h. */
#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "vault/header.h"
#include "json/json.h"

static json_t *format_key_copies(const struct vault *vault, struct error *reterr)
{
    _cleanup_(json_freep) json_t *array = json_array();
    for (size_t i = 0; array && i < vault->key_copy_count; i++) {
        const struct vault_key_copy *copy = &vault->key_copies[i];
        json_t *item = json_object();
        enum error_code code = item ? OK : ERR_NO_MEMORY;
        if (!code)
            code = json_set_hex(item, "id", copy->id.bytes, sizeof(copy->id.bytes), reterr);
        if (!code)
            code = json_set_new(item, "kind", json_string(keyslot_kind_word(copy->kind)), reterr);
        if (!code)
            code = json_set_new(item, "created", json_integer(copy->created_unix_s), reterr);
        if (!code)
            code = json_set_new(item, "removed", json_integer(copy->removed_unix_s), reterr);
        if (!code)
            code = json_set_new(item, "exported", json_integer(copy->exported_unix_s), reterr);
        if (json_array_append_new(array, item) < 0 || code)
            return NULL;
    }
    return TAKE(array);
}

static json_t *format_directories(const struct vault *vault, struct error *reterr)
{
    _cleanup_(json_freep) json_t *array = json_array();
    for (size_t i = 0; array && i < vault->directory_count; i++) {
        const struct vault_directory *directory = &vault->directories[i];
        json_t *item = json_object();
        enum error_code code = item ? OK : ERR_NO_MEMORY;
        if (!code)
            code = json_set_bytes(item, "path", directory->path, strlen(directory->path), reterr);
        if (!code)
            code =
                json_set_hex(item, "nonce", directory->nonce.bytes, sizeof(directory->nonce.bytes), reterr);
        if (json_array_append_new(array, item) < 0 || code)
            return NULL;
    }
    return TAKE(array);
}

static json_t *format_symlinks(const struct vault *vault, struct error *reterr)
{
    _cleanup_(json_freep) json_t *array = json_array();
    for (size_t i = 0; array && i < vault->symlink_count; i++) {
        const struct vault_symlink *symlink = &vault->symlinks[i];
        json_t *item = json_object();
        enum error_code code = item ? OK : ERR_NO_MEMORY;
        if (!code)
            code = json_set_bytes(item, "path", symlink->path, strlen(symlink->path), reterr);
        if (!code)
            code = json_set_bytes(item, "target", symlink->target, strlen(symlink->target), reterr);
        if (!code)
            code = json_set_new(item, "uid", json_integer(symlink->uid), reterr);
        if (!code)
            code = json_set_new(item, "gid", json_integer(symlink->gid), reterr);
        if (!code)
            code = json_set_new(item, "mode", json_integer(symlink->mode), reterr);
        if (json_array_append_new(array, item) < 0 || code)
            return NULL;
    }
    return TAKE(array);
}

static json_t *format_policy(const struct vault *vault, struct error *reterr)
{
    _cleanup_(json_freep) json_t *policy = json_object();
    enum error_code code = policy ? OK : ERR_NO_MEMORY;
    if (!code)
        code = json_set_new(policy, "contents", json_string(VAULT_CONTENTS_CIPHER), reterr);
    if (!code)
        code = json_set_new(policy, "names", json_string(VAULT_NAMES_CIPHER), reterr);
    if (!code)
        code = json_set_new(policy, "padding", json_integer(VAULT_NAMES_PADDING), reterr);
    if (!code)
        code = json_set_hex(policy, "identifier", vault->identifier.bytes, sizeof(vault->identifier.bytes),
                            reterr);
    return code ? NULL : TAKE(policy);
}

static json_t *format_authorities(const struct vault *vault)
{
    _cleanup_(json_freep) json_t *array = json_array();
    for (size_t i = 0; array && i < vault->authority_count; i++) {
        char id[2 * sizeof(struct authority_id) + 1];
        text_format_hex(id, vault->authorities[i].bytes, sizeof(vault->authorities[i].bytes));
        if (json_array_append_new(array, json_string(id)) < 0)
            return NULL;
    }
    return TAKE(array);
}

enum error_code vault_body_format(const struct vault *vault, struct buffer *body, struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = json_object();
    if (!object)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for %s", VAULT_FILE_NAME);
    enum error_code code = json_set_new(object, "name", json_string(vault->name), reterr);
    if (!code)
        code = json_set_hex(object, "id", vault->id.bytes, sizeof(vault->id.bytes), reterr);
    if (!code)
        code = json_set_new(object, "created", json_integer(vault->created_unix_s), reterr);
    if (!code)
        code = json_set_hex(object, "filesystem", vault->filesystem_uuid, sizeof(vault->filesystem_uuid),
                            reterr);
    if (!code)
        code = json_set_new(object, "policy", format_policy(vault, reterr), reterr);
    if (!code)
        code = json_set_new(object, "born_encrypted", json_boolean(vault->born_encrypted), reterr);
    if (!code)
        code = json_set_new(object, "protected_since", json_integer(vault->protected_since_unix_s), reterr);
    if (!code)
        code = json_set_new(object, "sequence", json_integer((json_int_t)vault->sequence), reterr);
    if (!code)
        code = json_set_new(object, "keyslots", format_key_copies(vault, reterr), reterr);
    if (!code)
        code = json_set_new(object, "keyslots_forgotten",
                            json_integer((json_int_t)vault->key_copies_forgotten), reterr);
    if (!code)
        code = json_set_new(object, "directories", format_directories(vault, reterr), reterr);
    if (!code)
        code = json_set_new(object, "symlinks", format_symlinks(vault, reterr), reterr);
    if (!code)
        code = json_set_new(object, "authorities", format_authorities(vault), reterr);
    return code ? code : json_format(object, body, reterr);
}

enum error_code vault_file_format(const struct buffer *body, const uint8_t mac[32], struct buffer *file,
                                  struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = json_object();
    if (!object)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for %s", VAULT_FILE_NAME);
    enum error_code code = json_set_new(object, "version", json_integer(VAULT_FORMAT_VERSION), reterr);
    if (!code)
        code = json_set_new(object, "body", json_stringn(body->data, body->length), reterr);
    if (!code)
        code = json_set_hex(object, "mac", mac, MAC_SIZE, reterr);
    if (!code)
        code = json_format(object, file, reterr);
    return code ? code : buffer_append(file, "\n", 1, reterr);
}
