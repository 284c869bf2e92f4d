#include "boot/needed.h"

#include <fcntl.h>

#include "base/cleanup.h"
#include "base/file.h"
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

/* Without vault.json the directories themselves say whose they are. */
static bool is_damaged_and_needed(const struct vault *vault, const struct vault_list *all)
{
    _cleanup_(close_fdp) int root_fd = -1;
    if (directory_open(AT_FDCWD, vault->filesystem->mount_point, &root_fd, NULL))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        enum fscrypt_policy_state state;
        struct fscrypt_identifier identifier;
        _cleanup_(close_fdp) int fd = -1;
        if (directory_open(root_fd, names[i], &fd, NULL) == OK &&
            fscrypt_get_policy(fd, &state, &identifier, NULL) == OK && state == FSCRYPT_HUSK_POLICY &&
            may_be_of(vault, all, &identifier))
            return true;
    }
    return false;
}

bool needed_is(const struct vault *vault, const struct vault_list *all)
{
    if (vault->damage.code)
        return is_damaged_and_needed(vault, all);
    for (size_t i = 0; i < vault->directory_count; i++)
        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
            if (!strcmp(vault->directories[i].path, names[k]))
                return true;
    return false;
}
