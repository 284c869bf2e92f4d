/*
 * Keyslots on their way between an authority and the disk. The authority makes its part durable before it
 * answers; until the keyslot's file is on the disk only .husk/bindings/ID knows of that part:
 *
 *   bindings/ID → the authority has a scalar → keyslots/ID → bindings/ID is gone
 *
 * Where bindings/ID is found under the lock without a keyslots/ID in any vault of the filesystem, the scalar
 * opens nothing and never will.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "vault/store.h"
#include "json/json.h"

#define BINDINGS_NAME "bindings"
enum { BINDING_VERSION = 1, BINDING_FILE_MAXIMUM = 4096, ID_TEXT_SIZE = 2 * sizeof(struct keyslot_id) + 1 };

static enum error_code format(const struct authority_id *authority, struct buffer *text, struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = json_object();
    enum error_code code = file ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "no memory for a binding");
    if (!code)
        code = json_set_new(file, "version", json_integer(BINDING_VERSION), reterr);
    if (!code)
        code = json_set_hex(file, "authority", authority->bytes, sizeof(authority->bytes), reterr);
    if (!code)
        code = json_format(file, text, reterr);
    return code ? code : buffer_append(text, "\n", 1, reterr);
}

static enum error_code parse(const struct buffer *text, struct authority_id *ret_authority,
                             struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    enum error_code code = json_parse_object(text->data, text->length, "the binding", &file, reterr);
    if (!code)
        code = json_check_version(file, BINDING_VERSION, "the binding", reterr);
    return code ? code
                : json_get_hex(file, "authority", ret_authority->bytes, sizeof(ret_authority->bytes), reterr);
}

enum error_code vault_note_binding(const struct filesystem *filesystem, const struct keyslot_id *id,
                                   const struct authority_id *authority, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1, fd = -1;
    _cleanup_(buffer_done) struct buffer text = {0};
    char name[ID_TEXT_SIZE];
    text_format_hex(name, id->bytes, sizeof(id->bytes));
    enum error_code code = format(authority, &text, reterr);
    if (!code)
        code = vault_open_husk(filesystem, &husk_fd, reterr);
    if (!code)
        code = directory_make(husk_fd, BINDINGS_NAME, 0700, &fd, reterr);
    int injected = code ? 0 : fault("vault.binding.write");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write the binding %s", name);
    if (!code)
        code = file_write_durable(fd, name, 0600, text.data, text.length, reterr);
    if (code)
        return error_prefix(reterr, "cannot note that keyslot %s is being bound", name);
    (void)fault("vault.binding.written");
    return OK;
}

static enum error_code open_bindings(const struct filesystem *filesystem, int *ret_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    enum error_code code = vault_open_husk(filesystem, &husk_fd, reterr);
    return code ? code : directory_open(husk_fd, BINDINGS_NAME, ret_fd, reterr);
}

static enum error_code forget(int bindings_fd, const char *name, struct error *reterr)
{
    int injected = fault("vault.binding.forget");
    return injected ? error_set(reterr, ERR_FAILED, injected, "cannot remove the binding %s", name)
                    : file_remove_durable(bindings_fd, name, 0, reterr);
}

enum error_code vault_forget_binding(const struct filesystem *filesystem, const struct keyslot_id *id,
                                     struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    char name[ID_TEXT_SIZE];
    text_format_hex(name, id->bytes, sizeof(id->bytes));
    enum error_code code = open_bindings(filesystem, &fd, reterr);
    return code == ERR_NOT_FOUND ? OK : code ? code : forget(fd, name, reterr);
}

struct settling {
    const struct filesystem *filesystem;
    int bindings_fd;
    vault_unbinder *unbind;
    void *context;
    const char *name; /* of the binding that is looked at */
    bool is_on_disk;
};

/* By the name of the file alone: a vault.json that is damaged decides nothing here. */
static enum error_code look_in(const char *vault, void *context, struct error *reterr)
{
    struct settling *settling = context;
    _cleanup_(close_fdp) int vaults_fd = -1;
    char path[NAME_MAX + 128];
    struct stat status;
    if (vault_name_is_unfinished(vault))
        return OK;
    enum error_code code = vault_open_vaults(settling->filesystem, &vaults_fd, reterr);
    if (code)
        return code;
    snprintf(path, sizeof(path), "%s/%s/%s", vault, VAULT_KEYSLOTS_NAME, settling->name);
    if (fstatat(vaults_fd, path, &status, AT_SYMLINK_NOFOLLOW) == 0)
        settling->is_on_disk = true;
    else if (errno != ENOENT && errno != ENOTDIR)
        code = error_set(reterr, ERR_FAILED, errno, "cannot look for the keyslot %s", text_shown(path));
    return code;
}

static enum error_code find_keyslot(struct settling *settling, struct error *reterr)
{
    _cleanup_(close_fdp) int vaults_fd = -1;
    settling->is_on_disk = false;
    enum error_code code = vault_open_vaults(settling->filesystem, &vaults_fd, reterr);
    if (code == ERR_NOT_FOUND)
        return OK;
    return code ? code : directory_list(vaults_fd, look_in, settling, reterr);
}

/* What is no id as it is written here is what a crash left of writing one: the next write of it removes it.
 */
static bool parse_name(const char *name, struct keyslot_id *ret_id)
{
    char text[ID_TEXT_SIZE];
    if (text_parse_hex(name, ret_id->bytes, sizeof(ret_id->bytes), NULL))
        return false;
    text_format_hex(text, ret_id->bytes, sizeof(ret_id->bytes));
    return !strcmp(name, text); /* the keyslot is looked for by this name */
}

static enum error_code settle_one(const char *name, void *context, struct error *reterr)
{
    struct settling *settling = context;
    _cleanup_(buffer_done) struct buffer text = {.maximum = BINDING_FILE_MAXIMUM};
    struct keyslot_id id;
    struct authority_id authority;
    if (!parse_name(name, &id))
        return OK;
    settling->name = name;
    enum error_code code = find_keyslot(settling, reterr);
    if (!code && !settling->is_on_disk) {
        code = file_read(settling->bindings_fd, name, BINDING_FILE_MAXIMUM, &text, reterr);
        if (!code)
            code = parse(&text, &authority, reterr);
        if (!code && !settling->unbind(&id, &authority, settling->context))
            return OK;
    }
    if (!code)
        code = forget(settling->bindings_fd, name, reterr);
    return code ? error_prefix(reterr, "%s/%s/%s/%s", text_shown(settling->filesystem->mount_point),
                               HUSK_DIRECTORY, BINDINGS_NAME, name)
                : OK;
}

enum error_code vault_settle_bindings(const struct filesystem *filesystem, vault_unbinder *unbind,
                                      void *context, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = open_bindings(filesystem, &fd, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    struct settling settling = {filesystem, fd, unbind, context, NULL, false};
    return directory_list(fd, settle_one, &settling, reterr);
}

static enum error_code see_any(const char *name, void *context, struct error *reterr)
{
    struct keyslot_id id;
    (void)reterr;
    if (parse_name(name, &id))
        *(bool *)context = true;
    return OK;
}

enum error_code vault_settle_all_bindings(const char *at, vault_unbinder *unbind, void *context,
                                          struct error *reterr)
{
    struct filesystem_list list = {0};
    char resolved[PATH_MAX];
    if (!realpath(at, resolved))
        return error_set(reterr, ERR_FAILED, errno, "cannot use %s", text_shown(at));
    enum error_code code = filesystem_list_below(resolved, &list, reterr);
    for (size_t i = 0; i < list.count && !code; i++) {
        _cleanup_(close_fdp) int fd = -1, lock_fd = -1, husk_fd = -1;
        bool any = false;
        if (open_bindings(list.items[i], &fd, NULL) || directory_list(fd, see_any, &any, NULL) || !any)
            continue;
        code = vault_take_lock(list.items[i], VAULT_LOCK_EXISTING, &lock_fd, &husk_fd, reterr);
        if (!code)
            code = vault_settle_bindings(list.items[i], unbind, context, reterr);
    }
    filesystem_list_done(&list);
    return code;
}
