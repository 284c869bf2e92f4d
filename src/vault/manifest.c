/* Changes of which directories the manifest names. A vault in memory changes only once the file has. */
#include "base/text.h"
#include "vault/store.h"

/* A copy of the directories with room for more. */
static enum error_code copy_directories(const struct vault *vault, size_t more, struct vault *next,
                                        struct error *reterr)
{
    *next = *vault;
    next->directory_count = 0;
    next->symlinks = NULL;
    next->symlink_count = 0;
    next->directories = calloc(vault->directory_count + more + 1, sizeof(*next->directories));
    for (size_t i = 0; next->directories && i < vault->directory_count; i++) {
        struct vault_directory *directory = &next->directories[next->directory_count++];
        directory->nonce = vault->directories[i].nonce;
        directory->path = strdup(vault->directories[i].path);
        if (!directory->path)
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the directories");
    }
    return next->directories ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the directories");
}

static void lists_done(struct vault *vault)
{
    vault_directories_free(vault->directories, vault->directory_count);
    vault_symlinks_free(vault->symlinks, vault->symlink_count);
}

enum error_code vault_write_directories(struct vault *vault, struct vault *next, const struct secret *mac_key,
                                        struct error *reterr)
{
    struct vault old = *vault;
    enum error_code code = vault_find_symlinks(next, &next->symlinks, &next->symlink_count, reterr);
    if (!code) {
        *vault = *next;
        code = vault_write(vault, mac_key, reterr);
    }
    if (code) {
        *vault = old;
        lists_done(next);
        return code;
    }
    lists_done(&old);
    return OK;
}

static enum error_code write_next(struct vault *vault, struct vault *next, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *mac_key = NULL;
    enum error_code code = vault_take_mac_key(vault, &mac_key, reterr);
    if (code) {
        lists_done(next);
        return code;
    }
    return vault_write_directories(vault, next, mac_key, reterr);
}

static struct vault_directory *find_directory(struct vault *vault, const char *path)
{
    for (size_t i = 0; i < vault->directory_count; i++)
        if (!strcmp(vault->directories[i].path, path))
            return &vault->directories[i];
    return NULL;
}

static int by_path(const void *left, const void *right)
{
    return strcmp(((const struct vault_directory *)left)->path,
                  ((const struct vault_directory *)right)->path);
}

static enum error_code put_directory(struct vault *next, const char *path, const struct fscrypt_nonce *nonce,
                                     struct error *reterr)
{
    struct vault_directory *there = find_directory(next, path);
    if (there) {
        there->nonce = *nonce;
        return OK;
    }
    if (next->directory_count >= VAULT_DIRECTORIES_MAXIMUM)
        return error_set(reterr, ERR_DENIED, 0, "the vault %s has %d directories, more cannot be", next->name,
                         VAULT_DIRECTORIES_MAXIMUM);
    char *copy = strdup(path);
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the directories");
    next->directories[next->directory_count++] = (struct vault_directory){.path = copy, .nonce = *nonce};
    qsort(next->directories, next->directory_count, sizeof(*next->directories), by_path);
    return OK;
}

/* 0 would mean: nothing yet. */
static int64_t protected_since(const struct vault *vault, const struct clock *clock)
{
    if (vault->protected_since_unix_s)
        return vault->protected_since_unix_s;
    return clock_unix_s(clock) > 0 ? clock_unix_s(clock) : 1;
}

enum error_code vault_begin_protecting(struct vault *vault, bool held_plaintext, const struct clock *clock,
                                       struct error *reterr)
{
    struct vault next;
    if (vault->protected_since_unix_s && (!held_plaintext || !vault->born_encrypted))
        return OK;
    enum error_code code = copy_directories(vault, 0, &next, reterr);
    if (code) {
        lists_done(&next);
        return code;
    }
    next.protected_since_unix_s = protected_since(vault, clock);
    if (held_plaintext)
        next.born_encrypted = false;
    return write_next(vault, &next, reterr);
}

enum error_code vault_add_directory(struct vault *vault, const char *path, const struct fscrypt_nonce *nonce,
                                    const struct clock *clock, struct error *reterr)
{
    struct vault next;
    if (!vault_path_is_valid(path))
        return error_set(reterr, ERR_USAGE, 0, "\"%s\" cannot be a protected directory", text_shown(path));
    enum error_code code = copy_directories(vault, 1, &next, reterr);
    if (!code)
        code = put_directory(&next, path, nonce, reterr);
    if (code) {
        lists_done(&next);
        return code;
    }
    next.protected_since_unix_s = protected_since(vault, clock);
    return write_next(vault, &next, reterr);
}

enum error_code vault_check_addable(const struct vault *vault, const char *const *paths, size_t count,
                                    struct error *reterr)
{
    static const struct fscrypt_nonce unknown;
    struct vault next;
    struct error why = ERROR_NONE;
    enum error_code code = copy_directories(vault, count, &next, reterr);
    for (size_t i = 0; !code && i < count; i++)
        code = put_directory(&next, paths[i], &unknown, reterr);
    if (!code)
        code = vault_find_symlinks(&next, &next.symlinks, &next.symlink_count, reterr);
    if (!code && vault_check(&next, next.name, &why)) {
        code = error_set(reterr, ERR_DENIED, 0, "the vault %s cannot take it: %s", vault->name, why.message);
        error_remedy(
            reterr,
            "a directory that is named there and gone is dropped by: husk lock %s, then husk unlock %s "
            "--accept-changes",
            vault->name, vault->name);
    }
    lists_done(&next);
    return code;
}

enum error_code vault_remove_directory(struct vault *vault, const char *path, struct error *reterr)
{
    struct vault next;
    if (!find_directory(vault, path))
        return OK;
    enum error_code code = copy_directories(vault, 0, &next, reterr);
    if (code) {
        lists_done(&next);
        return code;
    }
    size_t kept = 0;
    for (size_t i = 0; i < next.directory_count; i++) {
        if (strcmp(next.directories[i].path, path))
            next.directories[kept++] = next.directories[i];
        else
            free(next.directories[i].path);
    }
    next.directory_count = kept;
    return write_next(vault, &next, reterr);
}
