/* What must hold of a vault's content, whether it was read or is about to be written: one table. */
#include "base/text.h"
#include "vault/header.h"

static bool component_is_valid(const char *start, size_t length)
{
    if (length == 0 || length > 255)
        return false;
    return !(length == 1 && start[0] == '.') && !(length == 2 && start[0] == '.' && start[1] == '.');
}

bool vault_path_is_valid(const char *path)
{
    if (strlen(path) > VAULT_PATH_MAXIMUM)
        return false;
    for (;;) {
        size_t length = strcspn(path, "/");
        if (!component_is_valid(path, length))
            return false;
        if (path[length] == '\0')
            return true;
        path += length + 1;
    }
}

enum error_code vault_check_name(const char *name, struct error *reterr)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    if (length == 0 || length > VAULT_NAME_MAXIMUM || strspn(name, allowed) != length ||
        strchr("._-", name[0]))
        return error_set(
            reterr, ERR_USAGE, 0,
            "\"%s\" is no name for a vault: 1 to %d letters, digits, '.', '_' or '-', the first a "
            "letter or digit",
            text_shown(name), VAULT_NAME_MAXIMUM);
    if (length > 4 && !strcmp(name + length - 4, ".new"))
        return error_set(reterr, ERR_USAGE, 0,
                         "\"%s\" is no name for a vault: names that end in .new are for vaults being made",
                         name);
    return OK;
}

/* True when path lies inside directory or is it. */
static bool is_within(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    return !strncmp(path, directory, length) && (path[length] == '\0' || path[length] == '/');
}

/* Each check names what it found wrong in subject (raw bytes) where that helps. */
static bool name_is_valid(const struct vault *vault, const char **subject)
{
    *subject = vault->name;
    return vault_check_name(vault->name, NULL) == OK;
}

static bool paths_are_valid(const struct vault *vault, const char **subject)
{
    for (size_t i = 0; i < vault->directory_count; i++) {
        *subject = vault->directories[i].path;
        if (!vault_path_is_valid(*subject))
            return false;
    }
    return true;
}

static bool directories_are_apart(const struct vault *vault, const char **subject)
{
    for (size_t i = 0; i < vault->directory_count; i++)
        for (size_t j = 0; j < vault->directory_count; j++) {
            *subject = vault->directories[i].path;
            if (i != j && is_within(*subject, vault->directories[j].path))
                return false;
        }
    return true;
}

static bool symlinks_are_at_the_root(const struct vault *vault, const char **subject)
{
    for (size_t i = 0; i < vault->symlink_count; i++) {
        *subject = vault->symlinks[i].path;
        if (!vault_path_is_valid(*subject) || strchr(*subject, '/'))
            return false;
    }
    return true;
}

static bool symlinks_have_targets(const struct vault *vault, const char **subject)
{
    for (size_t i = 0; i < vault->symlink_count; i++) {
        *subject = vault->symlinks[i].path;
        if (vault->symlinks[i].target[0] == '\0')
            return false;
    }
    return true;
}

static bool symlinks_are_apart(const struct vault *vault, const char **subject)
{
    for (size_t i = 0; i < vault->symlink_count; i++) {
        *subject = vault->symlinks[i].path;
        for (size_t j = 0; j < i; j++)
            if (!strcmp(*subject, vault->symlinks[j].path))
                return false;
        for (size_t j = 0; j < vault->directory_count; j++)
            if (!strcmp(*subject, vault->directories[j].path))
                return false;
    }
    return true;
}

static bool keyslots_are_apart(const struct vault *vault, const char **subject)
{
    *subject = NULL;
    for (size_t i = 0; i < vault->key_copy_count; i++)
        for (size_t j = 0; j < i; j++)
            if (!memcmp(&vault->key_copies[i].id, &vault->key_copies[j].id, sizeof(struct keyslot_id)))
                return false;
    return true;
}

static bool keyslots_are_bounded(const struct vault *vault, const char **subject)
{
    *subject = NULL;
    return vault->keyslot_count <= VAULT_KEYSLOTS_MAXIMUM &&
           vault->key_copy_count <= VAULT_KEY_COPIES_MAXIMUM &&
           vault->directory_count <= VAULT_DIRECTORIES_MAXIMUM &&
           vault->symlink_count <= VAULT_SYMLINKS_MAXIMUM;
}

static bool authorities_are_apart(const struct vault *vault, const char **subject)
{
    *subject = NULL;
    for (size_t i = 0; i < vault->authority_count; i++)
        for (size_t j = 0; j < i; j++)
            if (!memcmp(&vault->authorities[i], &vault->authorities[j], sizeof(struct authority_id)))
                return false;
    return true;
}

static const struct check {
    const char *what; /* "vault.json: WHAT" when it does not hold */
    bool (*holds)(const struct vault *vault, const char **subject);
} checks[] = {
    {"not a name for a vault", name_is_valid},
    {"too many keyslots, directories or symlinks", keyslots_are_bounded},
    {"not the path of a protected directory", paths_are_valid},
    {"a protected directory named twice or inside another", directories_are_apart},
    {"not a symlink at the root of the filesystem", symlinks_are_at_the_root},
    {"a symlink without a target", symlinks_have_targets},
    {"a symlink named twice or like a directory", symlinks_are_apart},
    {"a keyslot named twice", keyslots_are_apart},
    {"an authority named twice", authorities_are_apart},
};

enum error_code vault_check(const struct vault *vault, const char *directory_name, struct error *reterr)
{
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        const char *subject = NULL;
        if (checks[i].holds(vault, &subject))
            continue;
        if (subject)
            return error_set(reterr, ERR_CORRUPT, 0, "%s: %s: \"%s\"", VAULT_FILE_NAME, checks[i].what,
                             text_shown(subject));
        return error_set(reterr, ERR_CORRUPT, 0, "%s: %s", VAULT_FILE_NAME, checks[i].what);
    }
    if (strcmp(vault->name, directory_name))
        return error_set(reterr, ERR_CORRUPT, 0, "%s is that of the vault %s, not of %s", VAULT_FILE_NAME,
                         vault->name, text_shown(directory_name));
    return OK;
}
