/* Destroying a vault directory that is no vault: what a crash or a failure left of one being made. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "vault/store.h"

/* destroy_file for each: a wrapped vault secret must not stay on the disk, whatever its file is called. */
static enum error_code destroy_one(const char *name, void *context, struct error *reterr)
{
    struct destroy_result result;
    return destroy_file(*(int *)context, name, &result, reterr);
}

static enum error_code remove_one(const char *name, void *context, struct error *reterr)
{
    int fd = *(int *)context;
    if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
        return error_set(reterr, ERR_FAILED, errno, "cannot remove %s", text_shown(name));
    return OK;
}

static enum error_code empty_directory(int parent_fd, const char *name,
                                       enum error_code (*each)(const char *name, void *context,
                                                               struct error *reterr),
                                       struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(parent_fd, name, &fd, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    code = directory_list(fd, each, &fd, reterr);
    return code ? code : file_remove_durable(parent_fd, name, AT_REMOVEDIR, reterr);
}

/* private/ says under which key the vault was to be; that key protects nothing. */
static enum error_code remove_key(int vault_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum fscrypt_policy_state state = FSCRYPT_PLAIN;
    struct fscrypt_identifier identifier;
    enum fscrypt_removal removal;
    if (directory_open(vault_fd, VAULT_PRIVATE_NAME, &fd, NULL))
        return OK;
    enum error_code code = fscrypt_get_policy(fd, &state, &identifier, reterr);
    close_fdp(&fd); /* an open directory would keep its key */
    if (code || state != FSCRYPT_HUSK_POLICY)
        return code;
    return fscrypt_remove_key(vault_fd, &identifier, &removal, reterr);
}

enum error_code vault_destroy_remains(int vaults_fd, const char *name, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(vaults_fd, name, &fd, reterr);
    if (code == ERR_NOT_FOUND)
        return OK;
    if (!code)
        code = empty_directory(fd, VAULT_KEYSLOTS_NAME, destroy_one, reterr);
    if (!code)
        code = remove_key(fd, reterr);
    if (!code)
        code = empty_directory(fd, VAULT_PRIVATE_NAME, remove_one, reterr);
    if (!code)
        code = directory_list(fd, remove_one, &fd, reterr);
    if (!code)
        code = file_remove_durable(vaults_fd, name, AT_REMOVEDIR, reterr);
    if (code)
        error_prefix(reterr, "cannot destroy what is left of the vault directory %s", text_shown(name));
    return code;
}
