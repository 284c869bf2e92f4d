#include "boot/needed.h"

#include <fcntl.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fscrypt/fscrypt.h"

static const char *const names[] = {"bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "var"};

static bool is_under(int root_fd, const char *name, const struct fscrypt_identifier *identifiers,
                     size_t count)
{
    enum fscrypt_policy_state state;
    struct fscrypt_identifier identifier;
    _cleanup_(close_fdp) int fd = -1;
    if (directory_open(root_fd, name, &fd, NULL) || fscrypt_get_policy(fd, &state, &identifier, NULL) ||
        state != FSCRYPT_HUSK_POLICY)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!memcmp(&identifier, &identifiers[i], sizeof(identifier)))
            return true;
    return count == 0; /* which key it has is lost as well: it may be that one's */
}

/* Without vault.json the directories themselves say whose they are. */
static bool is_damaged_and_needed(const struct vault *vault)
{
    struct fscrypt_identifier identifiers[VAULT_IDENTIFIERS_MAXIMUM];
    size_t count = 0;
    _cleanup_(close_fdp) int root_fd = -1;
    vault_find_identifiers(vault, identifiers, &count);
    if (directory_open(AT_FDCWD, vault->filesystem->mount_point, &root_fd, NULL))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (is_under(root_fd, names[i], identifiers, count))
            return true;
    return false;
}

bool needed_is(const struct vault *vault)
{
    if (vault->damage.code)
        return is_damaged_and_needed(vault);
    for (size_t i = 0; i < vault->directory_count; i++)
        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
            if (!strcmp(vault->directories[i].path, names[k]))
                return true;
    return false;
}
