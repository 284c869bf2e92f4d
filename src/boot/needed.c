#include "boot/needed.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "boot/boot.h"
#include "fscrypt/fscrypt.h"

static const char *const names[] = {"bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "var"};

static bool is_of(const struct vault *vault, const struct fscrypt_identifier *identifier, bool *ret_known)
{
    struct fscrypt_identifier identifiers[VAULT_IDENTIFIERS_MAXIMUM];
    size_t count = 0;
    vault_find_identifiers(vault, identifiers, &count);
    *ret_known = count > 0;
    for (size_t i = 0; i < count; i++)
        if (!memcmp(identifier, &identifiers[i], sizeof(*identifier)))
            return true;
    return false;
}

/* Where even its key is not known any more, it may be the vault's unless another one says that it is its. */
static bool may_be_of(const struct vault *vault, const struct vault_list *all,
                      const struct fscrypt_identifier *identifier)
{
    bool known, unused;
    if (is_of(vault, identifier, &known))
        return true;
    for (size_t i = 0; !known && i < all->count; i++)
        known = is_of(all->items[i], identifier, &unused);
    return !known;
}

/* Whether a directory below root_fd is there, no symlink, and encrypted by a key of husk's form. */
static enum error_code read_policy(int root_fd, const char *name, bool *ret_encrypted,
                                   struct fscrypt_identifier *ret_identifier, struct error *reterr)
{
    enum fscrypt_policy_state state = FSCRYPT_PLAIN;
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(root_fd, name, &fd, reterr);
    if (!code)
        code = fscrypt_get_policy(fd, &state, ret_identifier, reterr);
    else if (code == ERR_NOT_FOUND || code == ERR_CORRUPT)
        code = OK;
    *ret_encrypted = state == FSCRYPT_HUSK_POLICY;
    return code;
}

/* What the directories themselves say: vault.json may be damaged, or not name one yet or any more. */
static bool has_directory(const struct vault *vault, const struct vault_list *all)
{
    _cleanup_(close_fdp) int root_fd = -1;
    if (directory_open(AT_FDCWD, vault->filesystem->mount_point, &root_fd, NULL))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        bool encrypted, known;
        struct fscrypt_identifier identifier;
        if (read_policy(root_fd, names[i], &encrypted, &identifier, NULL) == OK && encrypted &&
            (vault->damage.code ? may_be_of(vault, all, &identifier) : is_of(vault, &identifier, &known)))
            return true;
    }
    return false;
}

static bool is_on_root(const char *at, const struct vault *vault)
{
    struct stat root;
    return stat(at, &root) < 0 || root.st_dev == vault->filesystem->device;
}

bool needed_is(const char *at, const struct vault *vault, const struct vault_list *all)
{
    if (!is_on_root(at, vault))
        return false;
    for (size_t i = 0; !vault->damage.code && i < vault->directory_count; i++)
        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
            if (!strcmp(vault->directories[i].path, names[k]))
                return true;
    return has_directory(vault, all);
}

static bool is_covered(const char *at, const struct vault_list *all,
                       const struct fscrypt_identifier *identifier)
{
    bool known;
    for (size_t i = 0; i < all->count; i++) {
        const struct vault *vault = all->items[i];
        if (needed_is(at, vault, all) && (is_of(vault, identifier, &known) || (vault->damage.code && !known)))
            return true;
    }
    return false;
}

enum error_code needed_check(const char *at, const struct vault_list *all, struct error *reterr)
{
    _cleanup_(close_fdp) int root_fd = -1;
    enum error_code code = directory_open(AT_FDCWD, at, &root_fd, reterr);
    for (size_t i = 0; !code && i < ARRAY_SIZE(names); i++) {
        bool encrypted;
        struct fscrypt_identifier identifier;
        code = read_policy(root_fd, names[i], &encrypted, &identifier, reterr);
        if (code || !encrypted || is_covered(at, all, &identifier))
            continue;
        error_set(reterr, ERR_CORRUPT, 0, "/%s is encrypted, and no vault that can be read opens it",
                  names[i]);
        error_subject(reterr, "%s", text_shown(at));
        error_remedy(reterr, "have its vault in /.husk/vaults again, from a rescue system: owned by root, "
                             "with mode 0700 from /.husk on");
        return ERR_CORRUPT;
    }
    return code;
}

bool boot_needs(const char *at, const struct vault *vault)
{
    const struct vault_list none = {0};
    return needed_is(at, vault, &none);
}
