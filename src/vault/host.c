/* host.json: what a host remembers of its key files. Not secret: the key files are, and lie elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "vault/host.h"
#include "vault/store.h"
#include "json/json.h"

#define HOST_FILE_NAME "host.json"
#define HOST_LOCK_NAME "host.lock"

static bool path_is_valid(const char *path)
{
    while (*path == '/')
        path++;
    return vault_path_is_valid(path);
}

static enum error_code parse_keyfile(json_t *item, struct host_keyfile *keyfile, struct error *reterr)
{
    struct buffer path = {.maximum = VAULT_PATH_MAXIMUM};
    enum error_code code =
        json_get_hex(item, "vault", keyfile->vault.bytes, sizeof(keyfile->vault.bytes), reterr);
    if (!code)
        code = json_get_bytes(item, "path", &path, reterr);
    if (!code && !path_is_valid(path.data ? path.data : ""))
        code = error_set(reterr, ERR_CORRUPT, 0, "\"%s\" is not the path of a keyfile",
                         text_shown(path.data ? path.data : ""));
    if (!code && json_object_size(item) > 2)
        code = error_set(reterr, ERR_CORRUPT, 0, "a keyfile has a member that does not belong there");
    if (code)
        buffer_done(&path);
    else
        keyfile->path = path.data;
    return code;
}

static enum error_code parse_keyfiles(json_t *file, struct host_record *record, struct error *reterr)
{
    json_t *array = NULL;
    enum error_code code = OK;
    if (json_object_size(file) > 2)
        code = error_set(reterr, ERR_CORRUPT, 0, "the file has a member that does not belong there");
    if (!code)
        code = json_get_array(file, "keyfiles", HOST_KEYFILES_MAXIMUM, &array, reterr);
    if (code)
        return code;
    size_t count = json_array_size(array);
    record->keyfiles = calloc(count + 1, sizeof(*record->keyfiles));
    if (!record->keyfiles)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for %zu keyfiles", count);
    for (size_t i = 0; i < count && !code; i++)
        code = parse_keyfile(json_array_get(array, i), &record->keyfiles[record->keyfile_count++], reterr);
    return code;
}

enum error_code host_record_parse(const char *text, size_t length, struct host_record *ret_record,
                                  struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    struct host_record record = {0};
    enum error_code code = json_parse_object(text, length, HOST_FILE_NAME, &file, reterr);
    if (!code)
        code = json_check_version(file, HOST_FORMAT_VERSION, HOST_FILE_NAME, reterr);
    if (!code && (code = parse_keyfiles(file, &record, reterr)))
        error_prefix(reterr, "%s", HOST_FILE_NAME);
    if (code)
        host_record_done(&record);
    else
        *ret_record = record;
    return code;
}

enum error_code host_record_format(const struct host_record *record, struct buffer *text,
                                   struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = json_object();
    json_t *array = json_array();
    enum error_code code = file && array ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "no memory");
    if (!code)
        code = json_set_new(file, "version", json_integer(HOST_FORMAT_VERSION), reterr);
    if (!code)
        code = json_set_new(file, "keyfiles", array, reterr);
    for (size_t i = 0; i < record->keyfile_count && !code; i++) {
        const struct host_keyfile *keyfile = &record->keyfiles[i];
        json_t *item = json_object();
        if (json_array_append_new(array, item) < 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory");
        code = json_set_hex(item, "vault", keyfile->vault.bytes, sizeof(keyfile->vault.bytes), reterr);
        if (!code)
            code = json_set_bytes(item, "path", keyfile->path, strlen(keyfile->path), reterr);
    }
    if (!code)
        code = json_format(file, text, reterr);
    return code ? code : buffer_append(text, "\n", 1, reterr);
}

void host_record_done(struct host_record *record)
{
    for (size_t i = 0; i < record->keyfile_count; i++)
        free(record->keyfiles[i].path);
    free(record->keyfiles);
    *record = (struct host_record){0};
}

/* DIR/.husk; only root may be able to change it. */
static enum error_code open_husk(const char *at, bool make, int *ret_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(close_fdp) int fd = -1;
    struct stat status;
    if (at_fd < 0)
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot open %s",
                         text_shown(at));
    enum error_code code = directory_open(at_fd, HUSK_DIRECTORY, &fd, reterr);
    if (code == ERR_NOT_FOUND && make)
        code = directory_make(at_fd, HUSK_DIRECTORY, 0700, &fd, reterr);
    if (!code && fstat(fd, &status) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot stat %s", HUSK_DIRECTORY);
    if (!code && (status.st_uid != 0 || (status.st_mode & 022)))
        code = error_set(reterr, ERR_CORRUPT, 0, "%s/%s can be changed by others than root", text_shown(at),
                         HUSK_DIRECTORY);
    if (!code)
        *ret_fd = TAKE_FD(fd);
    return code;
}

static enum error_code read_record(int husk_fd, struct host_record *ret_record, struct error *reterr)
{
    struct buffer text = {0};
    struct host_record record = {0};
    enum error_code code = file_read(husk_fd, HOST_FILE_NAME, HOST_FILE_MAXIMUM, &text, reterr);
    if (!code)
        code = host_record_parse(text.data, text.length, &record, reterr);
    else if (code == ERR_NOT_FOUND)
        code = OK;
    buffer_done(&text);
    if (!code)
        *ret_record = record;
    return code;
}

enum error_code host_read(const char *at, struct host_record *ret_record, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    enum error_code code = open_husk(at, false, &husk_fd, reterr);
    if (code == ERR_NOT_FOUND) {
        *ret_record = (struct host_record){0};
        return OK;
    }
    return code ? code : read_record(husk_fd, ret_record, reterr);
}

/* One husk at a time, for as long as reading and writing takes. The lock of a vault's filesystem does not do:
 * vaults of one host lie on several. */
static enum error_code wait_for_lock(int husk_fd, int *ret_lock_fd, struct error *reterr)
{
    int fd = openat(husk_fd, HOST_LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", HOST_LOCK_NAME);
    while (flock(fd, LOCK_EX) < 0) {
        if (errno == EINTR)
            continue;
        int os_errno = errno;
        close(fd);
        return error_set(reterr, ERR_FAILED, os_errno, "cannot lock %s", HOST_LOCK_NAME);
    }
    *ret_lock_fd = fd;
    return OK;
}

static enum error_code write_record(int husk_fd, const struct host_record *record, struct error *reterr)
{
    struct buffer text = {0};
    enum error_code code = host_record_format(record, &text, reterr);
    int injected = code ? 0 : fault("vault.host.write");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write %s", HOST_FILE_NAME);
    if (!code)
        code = file_write_durable(husk_fd, HOST_FILE_NAME, 0600, text.data, text.length, reterr);
    buffer_done(&text);
    return code;
}

static enum error_code append_keyfile(struct host_record *record, const struct vault_id *vault,
                                      const char *path, bool *ret_changed, struct error *reterr)
{
    for (size_t i = 0; i < record->keyfile_count; i++)
        if (!memcmp(&record->keyfiles[i].vault, vault, sizeof(*vault)) &&
            !strcmp(record->keyfiles[i].path, path)) {
            *ret_changed = false;
            return OK;
        }
    if (record->keyfile_count >= HOST_KEYFILES_MAXIMUM)
        return error_set(reterr, ERR_DENIED, 0, "%s names %d keyfiles, more cannot be", HOST_FILE_NAME,
                         HOST_KEYFILES_MAXIMUM);
    struct host_keyfile *keyfiles =
        realloc(record->keyfiles, (record->keyfile_count + 1) * sizeof(*keyfiles));
    if (keyfiles)
        record->keyfiles = keyfiles;
    char *copy = keyfiles ? strdup(path) : NULL;
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory");
    keyfiles[record->keyfile_count++] = (struct host_keyfile){.vault = *vault, .path = copy};
    *ret_changed = true;
    return OK;
}

enum error_code host_add_keyfile(const char *at, const struct vault_id *vault, const char *path,
                                 struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    _cleanup_(close_fdp) int lock_fd = -1;
    struct host_record record = {0};
    bool changed = false;
    if (!path_is_valid(path))
        return error_set(reterr, ERR_USAGE, 0, "%s cannot be recorded as the path of a keyfile",
                         text_shown(path));
    enum error_code code = open_husk(at, true, &husk_fd, reterr);
    if (!code)
        code = wait_for_lock(husk_fd, &lock_fd, reterr);
    if (!code)
        code = read_record(husk_fd, &record, reterr);
    if (!code)
        code = append_keyfile(&record, vault, path, &changed, reterr);
    if (!code && changed)
        code = write_record(husk_fd, &record, reterr);
    host_record_done(&record);
    return code;
}

enum error_code host_forget_vault(const char *at, const struct vault_id *vault, struct error *reterr)
{
    _cleanup_(close_fdp) int husk_fd = -1;
    _cleanup_(close_fdp) int lock_fd = -1;
    struct host_record record = {0};
    enum error_code code = open_husk(at, false, &husk_fd, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    code = wait_for_lock(husk_fd, &lock_fd, reterr);
    if (!code)
        code = read_record(husk_fd, &record, reterr);
    if (code)
        return code;
    size_t kept = 0, before = record.keyfile_count;
    for (size_t i = 0; i < before; i++) {
        if (memcmp(&record.keyfiles[i].vault, vault, sizeof(*vault)))
            record.keyfiles[kept++] = record.keyfiles[i];
        else
            free(record.keyfiles[i].path);
    }
    record.keyfile_count = kept;
    if (kept < before)
        code = write_record(husk_fd, &record, reterr);
    host_record_done(&record);
    return code;
}
