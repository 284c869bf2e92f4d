/* What the root of a host consists of. */
#include "convert/root.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/host_tree.h"
#include "vault/vault.h"

/* Left plain. Before there is an /etc/fstab to ask, the kernel's own are mounted by the initramfs. */
static const char *const left_plain[] = {"boot", "dev", "lost+found", "proc", "run", "sys", HUSK_DIRECTORY};

struct looking {
    const char *at;
    int at_fd;
    dev_t device;
    struct convert_root *root;
    struct finding_list *findings;
    const char *name; /* while fstab is asked */
    bool is_mounted;
};

void convert_root_done(struct convert_root *root)
{
    for (size_t i = 0; i < root->count; i++)
        free(root->paths[i]);
    free(root->paths);
    *root = (struct convert_root){0};
}

static bool on_mount(const struct host_tree_mount *mount, void *context)
{
    struct looking *looking = context;
    const char *where = mount->where + strspn(mount->where, "/");
    size_t length = strcspn(where, "/");
    /* A mount further below is no matter: it is mounted into the directory once that is open. */
    looking->is_mounted |= where[length + strspn(where + length, "/")] == '\0' &&
                           length == strlen(looking->name) && !memcmp(where, looking->name, length);
    return !looking->is_mounted;
}

static enum error_code is_mount_point(struct looking *looking, const char *name, const struct stat *status,
                                      bool *ret_is, struct error *reterr)
{
    *ret_is = status->st_dev != looking->device;
    for (size_t i = 0; i < ARRAY_SIZE(left_plain); i++)
        *ret_is |= !strcmp(name, left_plain[i]);
    if (*ret_is)
        return OK;
    looking->name = name;
    looking->is_mounted = false;
    enum error_code code = host_tree_fstab(looking->at_fd, on_mount, looking, reterr);
    *ret_is = looking->is_mounted;
    return code;
}

static enum error_code add(struct looking *looking, const char *name, struct error *reterr)
{
    struct convert_root *root = looking->root;
    char **paths = realloc(root->paths, (root->count + 1) * sizeof(*paths));
    if (!paths)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    root->paths = paths;
    if (asprintf(&paths[root->count], "%s/%s", strcmp(looking->at, "/") ? looking->at : "", name) < 0)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    root->count++;
    return OK;
}

static enum error_code on_name(const char *name, void *context, struct error *reterr)
{
    struct looking *looking = context;
    struct stat status;
    bool is_mounted;
    if (fstatat(looking->at_fd, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return errno == ENOENT ? OK
                               : error_set(reterr, ERR_FAILED, errno, "cannot look at %s", text_shown(name));
    if (S_ISREG(status.st_mode) && status.st_size > 0)
        finding_add(looking->findings, FINDING_TELLS, "left-plain", text_shown(name),
                    "move it into a directory, if it should be encrypted",
                    "a file at the top of the root stays as it is: only directories are encrypted");
    if (!S_ISDIR(status.st_mode))
        return OK;
    enum error_code code = is_mount_point(looking, name, &status, &is_mounted, reterr);
    return code || is_mounted ? code : add(looking, name, reterr);
}

/* Of an encrypted directory without its key not even the names can be told. */
static enum error_code check_readable(int at_fd, const char *at, struct error *reterr)
{
    struct statx status;
    _cleanup_(close_fdp) int etc_fd = host_tree_open(at_fd, "etc", O_RDONLY | O_DIRECTORY);
    if (etc_fd < 0 || statx(etc_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) < 0) {
        error_set(reterr, ERR_USAGE, errno, "there is no root of a host at %s: cannot open its /etc",
                  text_shown(at));
        return error_remedy(reterr, "mount the host's root filesystem and name where with --at DIR");
    }
    if (!(status.stx_attributes & STATX_ATTR_ENCRYPTED) || host_tree_has(at_fd, "etc/passwd"))
        return OK;
    error_set(reterr, ERR_LOCKED, 0, "the root at %s is encrypted and locked", text_shown(at));
    return error_remedy(reterr, "husk unlock --all --at %s, then the same command again", text_shown(at));
}

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

enum error_code convert_root_look(const char *at, struct convert_root *ret_root,
                                  struct finding_list *findings, struct error *reterr)
{
    struct convert_root root = {0};
    struct stat status;
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at_fd < 0 || fstat(at_fd, &status) < 0)
        return error_set(reterr, ERR_NOT_FOUND, errno, "cannot open %s", text_shown(at));
    struct filesystem *filesystem = NULL;
    _cleanup_(buffer_done) struct buffer relative = {0};
    enum error_code code = filesystem_of(at_fd, &filesystem, reterr);
    filesystem_free(filesystem);
    if (!code)
        code = filesystem_relative_path(at_fd, &relative, reterr);
    if (!code && relative.length > 0) {
        code = error_set(reterr, ERR_USAGE, 0, "%s is not the root of its filesystem", text_shown(at));
        error_remedy(reterr, "mount the host's root filesystem and name where with --at DIR");
    }
    if (!code)
        code = check_readable(at_fd, at, reterr);
    struct looking looking = {at, at_fd, status.st_dev, &root, findings, NULL, false};
    if (!code)
        code = directory_list(at_fd, on_name, &looking, reterr);
    if (code) {
        convert_root_done(&root);
        return code;
    }
    qsort(root.paths, root.count, sizeof(*root.paths), by_bytes);
    *ret_root = root;
    return OK;
}
