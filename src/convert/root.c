/* What the root of a host consists of. */
#include "convert/root.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/host_tree.h"
#include "convert/root_parts.h"
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

static bool is_of_the_system(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(left_plain); i++)
        if (!strcmp(name, left_plain[i]))
            return true;
    return false;
}

static enum error_code is_mount_point(struct looking *looking, const char *name, const struct stat *status,
                                      bool *ret_is, struct error *reterr)
{
    looking->name = name;
    looking->is_mounted = status->st_dev != looking->device;
    enum error_code code =
        looking->is_mounted ? OK : host_tree_fstab(looking->at_fd, on_mount, looking, reterr);
    *ret_is = looking->is_mounted;
    return code;
}

static enum error_code stop_at_a_name(const char *name, void *context, struct error *reterr)
{
    (void)context;
    return strcmp(name, "lost+found") ? error_set(reterr, ERR_EXISTS, 0, "a name") : OK;
}

/* What is mounted there is another filesystem's; what lies there while nothing is mounted is the root's. */
static enum error_code tell_mount_point(struct looking *looking, const char *name, const struct stat *status,
                                        struct error *reterr)
{
    if (status->st_dev != looking->device) {
        finding_add(looking->findings, FINDING_TELLS, "left-plain", text_shown(name),
                    "what is kept on it needs a vault of its own, for directories in it",
                    "another filesystem is mounted there: it is no part of the root, and stays as it is");
        return OK;
    }
    _cleanup_(close_fdp) int fd = host_tree_open(looking->at_fd, name, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look into %s", text_shown(name));
    enum error_code code = directory_list(fd, stop_at_a_name, NULL, reterr);
    if (!code)
        finding_add(
            looking->findings, FINDING_TELLS, "left-plain", text_shown(name),
            "what is kept on it needs a vault of its own, for directories in it",
            "/etc/fstab mounts another filesystem there: it is no part of the root, and stays as it is");
    if (code != ERR_EXISTS)
        return code;
    finding_add(
        looking->findings, FINDING_BLOCKS, "left-plain", text_shown(name),
        "move away what it holds, or take its line out of /etc/fstab where nothing is mounted there any "
        "more, so that it is encrypted",
        "/etc/fstab mounts something there, and below that it holds files of the root, which would stay "
        "in the clear");
    return OK;
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

static enum error_code stat_name(const struct looking *looking, const char *name, struct stat *ret_status,
                                 struct error *reterr)
{
    if (fstatat(looking->at_fd, name, ret_status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot look at %s",
                         text_shown(name));
    return OK;
}

static enum error_code take_directory(const char *name, void *context, struct error *reterr)
{
    struct looking *looking = context;
    struct stat status;
    bool is_mounted;
    enum error_code code = stat_name(looking, name, &status, reterr);
    if (code || !S_ISDIR(status.st_mode) || is_of_the_system(name))
        return code == ERR_NOT_FOUND ? OK : code;
    code = is_mount_point(looking, name, &status, &is_mounted, reterr);
    return code || is_mounted ? code : add(looking, name, reterr);
}

static enum error_code tell_left(const char *name, void *context, struct error *reterr)
{
    struct looking *looking = context;
    struct stat status;
    bool is_mounted;
    enum error_code code = stat_name(looking, name, &status, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    if (S_ISREG(status.st_mode) && status.st_size > 0)
        finding_add(looking->findings, FINDING_TELLS, "left-plain", text_shown(name),
                    "move it into a directory, if it should be encrypted; a swap file: take it away",
                    "a file at the top of the root stays as it is: only directories are encrypted");
    if (!S_ISDIR(status.st_mode) || is_of_the_system(name) || !strcmp(name, "usr")) /* "separate-usr" */
        return OK;
    code = is_mount_point(looking, name, &status, &is_mounted, reterr);
    return code || !is_mounted ? code : tell_mount_point(looking, name, &status, reterr);
}

enum error_code root_tell_left(int at_fd, struct finding_list *findings, struct error *reterr)
{
    struct looking looking = {.at_fd = at_fd, .findings = findings};
    struct stat status;
    if (fstat(at_fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the root of the host");
    looking.device = status.st_dev;
    return directory_list(at_fd, tell_left, &looking, reterr);
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
    return error_remedy(reterr,
                        "husk unlock --all --at %s, then the same command again; husk status --at %s tells "
                        "where one is erased, which nothing opens",
                        text_shown(at), text_shown(at));
}

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

enum error_code convert_root_look(const char *at, struct convert_root *ret_root, struct error *reterr)
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
    struct looking looking = {.at = at, .at_fd = at_fd, .device = status.st_dev, .root = &root};
    if (!code)
        code = directory_list(at_fd, take_directory, &looking, reterr);
    if (code) {
        convert_root_done(&root);
        return code;
    }
    qsort(root.paths, root.count, sizeof(*root.paths), by_bytes);
    *ret_root = root;
    return OK;
}
