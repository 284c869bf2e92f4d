#include "vault/header.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "json/json.h"

/* Exactly this many members: together with getters for each, none is unknown. */
static enum error_code check_members(json_t *object, size_t count, const char *what, struct error *reterr)
{
    if (json_object_size(object) > count)
        return error_set(reterr, ERR_CORRUPT, 0, "%s has a member that does not belong there", what);
    return OK;
}

static enum error_code get_owned_bytes(json_t *object, const char *member, char **ret_bytes,
                                       struct error *reterr)
{
    struct buffer buffer = {.maximum = VAULT_PATH_MAXIMUM};
    enum error_code code = json_get_bytes(object, member, &buffer, reterr);
    if (code == ERR_NO_MEMORY) /* longer than any path */
        code = error_set(reterr, ERR_CORRUPT, 0, "the member \"%s\" is too long", member);
    if (code)
        buffer_done(&buffer);
    else
        *ret_bytes = buffer.data;
    return code;
}

static enum error_code get_kind(json_t *object, enum keyslot_kind *ret_kind, struct error *reterr)
{
    const char *word = NULL;
    enum error_code code = json_get_string(object, "kind", &word, reterr);
    if (code)
        return code;
    for (enum keyslot_kind kind = KEYSLOT_AUTHORITY; kind <= KEYSLOT_RECOVERY; kind++)
        if (!strcmp(word, keyslot_kind_word(kind))) {
            *ret_kind = kind;
            return OK;
        }
    return error_set(reterr, ERR_CORRUPT, 0, "unknown kind of keyslot \"%s\"", text_shown(word));
}

static enum error_code parse_key_copy(json_t *item, struct vault_key_copy *copy, struct error *reterr)
{
    enum error_code code = check_members(item, 5, "a keyslot", reterr);
    if (!code)
        code = json_get_hex(item, "id", copy->id.bytes, sizeof(copy->id.bytes), reterr);
    if (!code)
        code = get_kind(item, &copy->kind, reterr);
    if (!code)
        code = json_get_integer(item, "created", 0, INT64_MAX, &copy->created_unix_s, reterr);
    if (!code)
        code = json_get_integer(item, "removed", 0, INT64_MAX, &copy->removed_unix_s, reterr);
    if (!code)
        code = json_get_integer(item, "exported", 0, INT64_MAX, &copy->exported_unix_s, reterr);
    return code;
}

static enum error_code parse_keyslots(json_t *body, struct vault *vault, struct error *reterr)
{
    json_t *array = NULL;
    enum error_code code = json_get_array(body, "keyslots", VAULT_KEY_COPIES_MAXIMUM, &array, reterr);
    if (code)
        return code;
    size_t count = json_array_size(array);
    vault->key_copies = calloc(count + 1, sizeof(*vault->key_copies));
    vault->keyslots = calloc(count + 1, sizeof(*vault->keyslots));
    if (!vault->key_copies || !vault->keyslots)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for %zu keyslots", count);
    for (size_t i = 0; i < count && !code; i++) {
        struct vault_key_copy *copy = &vault->key_copies[vault->key_copy_count++];
        code = parse_key_copy(json_array_get(array, i), copy, reterr);
        if (!code && copy->removed_unix_s == 0)
            vault->keyslots[vault->keyslot_count++] = copy->id;
    }
    int64_t forgotten = 0;
    if (!code)
        code = json_get_integer(body, "keyslots_forgotten", 0, INT64_MAX, &forgotten, reterr);
    vault->key_copies_forgotten = (uint64_t)forgotten;
    return code;
}

static enum error_code parse_directories(json_t *body, struct vault *vault, struct error *reterr)
{
    json_t *array = NULL;
    enum error_code code = json_get_array(body, "directories", VAULT_DIRECTORIES_MAXIMUM, &array, reterr);
    if (code)
        return code;
    size_t count = json_array_size(array);
    vault->directories = calloc(count + 1, sizeof(*vault->directories));
    if (!vault->directories)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for %zu directories", count);
    for (size_t i = 0; i < count && !code; i++) {
        json_t *item = json_array_get(array, i);
        struct vault_directory *directory = &vault->directories[vault->directory_count++];
        code = check_members(item, 2, "a directory", reterr);
        if (!code)
            code = get_owned_bytes(item, "path", &directory->path, reterr);
        if (!code)
            code =
                json_get_hex(item, "nonce", directory->nonce.bytes, sizeof(directory->nonce.bytes), reterr);
    }
    return code;
}

static enum error_code get_u32(json_t *object, const char *member, uint32_t most, uint32_t *ret_value,
                               struct error *reterr)
{
    int64_t value = 0;
    enum error_code code = json_get_integer(object, member, 0, most, &value, reterr);
    if (!code)
        *ret_value = (uint32_t)value;
    return code;
}

static enum error_code parse_symlinks(json_t *body, struct vault *vault, struct error *reterr)
{
    json_t *array = NULL;
    enum error_code code = json_get_array(body, "symlinks", VAULT_SYMLINKS_MAXIMUM, &array, reterr);
    if (code)
        return code;
    size_t count = json_array_size(array);
    vault->symlinks = calloc(count + 1, sizeof(*vault->symlinks));
    if (!vault->symlinks)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for %zu symlinks", count);
    for (size_t i = 0; i < count && !code; i++) {
        json_t *item = json_array_get(array, i);
        struct vault_symlink *symlink = &vault->symlinks[vault->symlink_count++];
        code = check_members(item, 5, "a symlink", reterr);
        if (!code)
            code = get_owned_bytes(item, "path", &symlink->path, reterr);
        if (!code)
            code = get_owned_bytes(item, "target", &symlink->target, reterr);
        if (!code)
            code = get_u32(item, "uid", UINT32_MAX, &symlink->uid, reterr);
        if (!code)
            code = get_u32(item, "gid", UINT32_MAX, &symlink->gid, reterr);
        if (!code)
            code = get_u32(item, "mode", 07777, &symlink->mode, reterr);
    }
    return code;
}

static enum error_code parse_authorities(json_t *body, struct vault *vault, struct error *reterr)
{
    json_t *array = NULL;
    enum error_code code = json_get_array(body, "authorities", VAULT_AUTHORITIES_MAXIMUM, &array, reterr);
    for (size_t i = 0; !code && i < json_array_size(array); i++) {
        struct authority_id *id = &vault->authorities[vault->authority_count++];
        const char *text = json_string_value(json_array_get(array, i));
        if (!text || text_parse_hex(text, id->bytes, sizeof(id->bytes), NULL))
            code = error_set(reterr, ERR_CORRUPT, 0,
                             "the member \"authorities\": what is no id of an authority");
    }
    return code;
}

static enum error_code parse_policy(json_t *body, struct vault *vault, struct error *reterr)
{
    json_t *policy = NULL;
    const char *contents = NULL, *names = NULL;
    int64_t padding = 0;
    enum error_code code = json_get_object(body, "policy", &policy, reterr);
    if (!code)
        code = check_members(policy, 4, "the policy", reterr);
    if (!code)
        code = json_get_string(policy, "contents", &contents, reterr);
    if (!code)
        code = json_get_string(policy, "names", &names, reterr);
    if (!code)
        code = json_get_integer(policy, "padding", 0, 32, &padding, reterr);
    if (!code)
        code = json_get_hex(policy, "identifier", vault->identifier.bytes, sizeof(vault->identifier.bytes),
                            reterr);
    if (!code && (strcmp(contents, VAULT_CONTENTS_CIPHER) || strcmp(names, VAULT_NAMES_CIPHER) ||
                  padding != VAULT_NAMES_PADDING))
        code = error_set(reterr, ERR_CORRUPT, 0, "a policy other than %s, %s, padding %d",
                         VAULT_CONTENTS_CIPHER, VAULT_NAMES_CIPHER, VAULT_NAMES_PADDING);
    return code;
}

static enum error_code parse_name(json_t *body, struct vault *vault, struct error *reterr)
{
    const char *name = NULL;
    enum error_code code = json_get_string(body, "name", &name, reterr);
    if (code)
        return code;
    if (strlen(name) > VAULT_NAME_MAXIMUM)
        return error_set(reterr, ERR_CORRUPT, 0, "the vault's name is too long");
    memcpy(vault->name, name, strlen(name) + 1);
    return OK;
}

static enum error_code parse_body(json_t *body, struct vault *vault, struct error *reterr)
{
    int64_t sequence = 0;
    enum error_code code = check_members(body, 13, "the body", reterr);
    if (!code)
        code = parse_name(body, vault, reterr);
    if (!code)
        code = json_get_hex(body, "id", vault->id.bytes, sizeof(vault->id.bytes), reterr);
    if (!code)
        code = json_get_integer(body, "created", 0, INT64_MAX, &vault->created_unix_s, reterr);
    if (!code)
        code =
            json_get_hex(body, "filesystem", vault->filesystem_uuid, sizeof(vault->filesystem_uuid), reterr);
    if (!code)
        code = parse_policy(body, vault, reterr);
    if (!code)
        code = json_get_boolean(body, "born_encrypted", &vault->born_encrypted, reterr);
    if (!code)
        code =
            json_get_integer(body, "protected_since", 0, INT64_MAX, &vault->protected_since_unix_s, reterr);
    if (!code)
        code = json_get_integer(body, "sequence", 1, INT64_MAX, &sequence, reterr);
    vault->sequence = (uint64_t)sequence;
    if (!code)
        code = parse_keyslots(body, vault, reterr);
    if (!code)
        code = parse_directories(body, vault, reterr);
    if (!code)
        code = parse_symlinks(body, vault, reterr);
    if (!code)
        code = parse_authorities(body, vault, reterr);
    if (code)
        error_prefix(reterr, "%s", VAULT_FILE_NAME);
    return code;
}

/* Told apart from damage before anything else is looked at: a newer husk may have changed everything else. */
static enum error_code check_version(json_t *file, struct error *reterr)
{
    int64_t version = 0;
    if (json_get_integer(file, "version", VAULT_FORMAT_VERSION + 1, INT64_MAX, &version, NULL))
        return json_check_version(file, VAULT_FORMAT_VERSION, VAULT_FILE_NAME, reterr);
    error_set(reterr, ERR_TOO_NEW, 0, "%s was written by a newer husk (format %lld, this one reads up to %d)",
              VAULT_FILE_NAME, (long long)version, VAULT_FORMAT_VERSION);
    error_remedy(reterr, "upgrade husk");
    return ERR_TOO_NEW;
}

static enum error_code parse_outside(json_t *file, struct vault *vault, struct error *reterr)
{
    const char *text = NULL;
    enum error_code code = check_members(file, 3, "the file", reterr);
    if (!code)
        code = json_get_string(file, "body", &text, reterr);
    if (!code)
        code = json_get_hex(file, "mac", vault->mac, sizeof(vault->mac), reterr);
    if (!code)
        code = buffer_append(&vault->body, text, strlen(text), reterr);
    if (code)
        error_prefix(reterr, "%s", VAULT_FILE_NAME);
    return code;
}

enum error_code vault_header_parse(const char *text, size_t length, const char *directory_name,
                                   struct vault *vault, struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    _cleanup_(json_freep) json_t *body = NULL;
    struct vault parsed = {0};
    parsed.body.maximum = VAULT_FILE_MAXIMUM;
    enum error_code code = json_parse_object(text, length, VAULT_FILE_NAME, &file, reterr);
    if (!code)
        code = check_version(file, reterr);
    if (!code)
        code = parse_outside(file, &parsed, reterr);
    if (!code)
        code = json_parse_object(parsed.body.data, parsed.body.length, "the body of " VAULT_FILE_NAME, &body,
                                 reterr);
    if (!code)
        code = parse_body(body, &parsed, reterr);
    if (!code)
        code = vault_check(&parsed, directory_name, reterr);
    if (code) {
        vault_header_done(&parsed);
        return code;
    }
    vault_header_done(vault);
    parsed.filesystem = vault->filesystem;
    parsed.fd = vault->fd;
    parsed.mark = vault->mark;
    parsed.damage = vault->damage;
    *vault = parsed;
    return OK;
}

void vault_directories_free(struct vault_directory *directories, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(directories[i].path);
    free(directories);
}

void vault_symlinks_free(struct vault_symlink *symlinks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(symlinks[i].path);
        free(symlinks[i].target);
    }
    free(symlinks);
}

void vault_header_done(struct vault *vault)
{
    vault_directories_free(TAKE(vault->directories), vault->directory_count);
    vault_symlinks_free(TAKE(vault->symlinks), vault->symlink_count);
    free(TAKE(vault->keyslots));
    free(TAKE(vault->key_copies));
    buffer_done(&vault->body);
    vault->directory_count = vault->symlink_count = vault->keyslot_count = vault->key_copy_count = 0;
}
