#include "tree/attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sodium.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/sure.h"

/* The kernel's own bounds (limits.h XATTR_*). */
enum { NAMES_MAXIMUM = 65536, VALUE_MAXIMUM = 65536, VALUE_AT_FIRST = 512 };

uint32_t attributes_kept_flags(void)
{
    return FS_SECRM_FL | FS_UNRM_FL | FS_COMPR_FL | FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL |
           FS_NODUMP_FL | FS_NOATIME_FL | FS_JOURNAL_DATA_FL | FS_NOTAIL_FL | FS_DIRSYNC_FL | FS_TOPDIR_FL |
           FS_PROJINHERIT_FL;
}

enum error_code attributes_get_flags(int fd, uint32_t *ret_flags, struct error *reterr)
{
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the file flags");
    *ret_flags = (uint32_t)flags;
    return OK;
}

enum error_code attributes_set_flags(int fd, uint32_t flags, struct error *reterr)
{
    int value = (int)flags;
    if (ioctl(fd, FS_IOC_SETFLAGS, &value) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot set the file flags");
    return OK;
}

static const char *proc_path(int fd, char path[32])
{
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return path;
}

static ssize_t list_names(struct attribute_target target, char *names, size_t size)
{
    char path[32];
    return target.path_only ? listxattr(proc_path(target.fd, path), names, size)
                            : flistxattr(target.fd, names, size);
}

static ssize_t get_value(struct attribute_target target, const char *name, void *value, size_t size)
{
    char path[32];
    return target.path_only ? getxattr(proc_path(target.fd, path), name, value, size)
                            : fgetxattr(target.fd, name, value, size);
}

static int set_value(struct attribute_target target, const char *name, const void *value, size_t size)
{
    char path[32];
    return target.path_only ? setxattr(proc_path(target.fd, path), name, value, size, 0)
                            : fsetxattr(target.fd, name, value, size, 0);
}

static int remove_value(struct attribute_target target, const char *name)
{
    char path[32];
    return target.path_only ? removexattr(proc_path(target.fd, path), name) : fremovexattr(target.fd, name);
}

/* All names, each with its NUL; *ret_names is NULL when there are none. */
static enum error_code read_names(struct attribute_target target, char **ret_names, size_t *ret_length,
                                  struct error *reterr)
{
    char few[256];
    ssize_t length = list_names(target, few, sizeof(few));
    *ret_names = NULL;
    *ret_length = 0;
    if (length == 0 || (length < 0 && errno == EOPNOTSUPP))
        return OK;
    _cleanup_(freep) char *names = malloc(length > 0 ? (size_t)length : NAMES_MAXIMUM);
    if (!names)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (length > 0)
        memcpy(names, few, (size_t)length);
    else
        length = list_names(target, names, NAMES_MAXIMUM);
    if (length < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot list extended attributes");
    *ret_length = (size_t)length;
    *ret_names = TAKE(names);
    return OK;
}

/* The kernel clears as many bytes as it is given room for: first little. */
static enum error_code read_value(struct attribute_target target, const char *name, char *value,
                                  size_t *ret_length, struct error *reterr)
{
    ssize_t length = get_value(target, name, value, VALUE_AT_FIRST);
    if (length < 0 && errno == ERANGE)
        length = get_value(target, name, value, VALUE_MAXIMUM);
    if (length < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the extended attribute %.64s", name);
    *ret_length = (size_t)length;
    return OK;
}

/* *ret_any tells whether there were any. */
static enum error_code copy_xattrs(struct attribute_target source, struct attribute_target twin,
                                   bool *ret_any, struct error *reterr)
{
    _cleanup_(freep) char *names = NULL;
    size_t length;
    enum error_code code = read_names(source, &names, &length, reterr);
    *ret_any = names != NULL;
    if (code || !names)
        return code;
    _cleanup_(freep) char *value = malloc(VALUE_MAXIMUM);
    if (!value)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t at = 0; at < length; at += strlen(names + at) + 1) {
        size_t value_length;
        code = read_value(source, names + at, value, &value_length, reterr);
        if (code)
            return code;
        if (set_value(twin, names + at, value, value_length) == 0)
            continue;
        code = error_set(reterr, errno == ENOSPC ? ERR_UNSUPPORTED : ERR_FAILED, errno,
                         "cannot set the extended attribute %.64s", names + at);
        if (code == ERR_UNSUPPORTED)
            error_remedy(reterr,
                         "the disk is full, or the attributes leave no room for the encryption's own in the "
                         "inode: shorten them, then run the same command again");
        return code;
    }
    return OK;
}

/* A directory's twin that was left half-made may have attributes the source no longer has. */
static enum error_code drop_foreign_xattrs(struct attribute_target source, struct attribute_target twin,
                                           struct error *reterr)
{
    _cleanup_(freep) char *names = NULL;
    size_t length;
    enum error_code code = read_names(twin, &names, &length, reterr);
    for (size_t at = 0; !code && names && at < length; at += strlen(names + at) + 1)
        if (get_value(source, names + at, NULL, 0) < 0 && errno == ENODATA &&
            remove_value(twin, names + at) < 0)
            code = error_set(reterr, ERR_FAILED, errno, "cannot remove the extended attribute %.64s",
                             names + at);
    return code;
}

static bool same_owner(const struct statx *status, const struct stat *twin_status)
{
    return twin_status->st_uid == status->stx_uid && twin_status->st_gid == status->stx_gid;
}

static enum error_code apply_owner(const struct statx *status, struct attribute_target twin,
                                   struct error *reterr)
{
    if (fchownat(twin.fd, "", status->stx_uid, status->stx_gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot set the owner");
    return OK;
}

static enum error_code apply_mode(const struct statx *status, struct attribute_target twin,
                                  struct error *reterr)
{
    char path[32];
    if (S_ISLNK(status->stx_mode))
        return OK;
    int failed = twin.path_only ? chmod(proc_path(twin.fd, path), status->stx_mode & 07777)
                                : fchmod(twin.fd, status->stx_mode & 07777);
    return failed ? error_set(reterr, ERR_FAILED, errno, "cannot set the mode") : OK;
}

static enum error_code get_project(int fd, struct fsxattr *ret_attributes, struct error *reterr)
{
    if (ioctl(fd, FS_IOC_FSGETXATTR, ret_attributes) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the project");
    return OK;
}

enum error_code attributes_may_move(int fd, int directory_fd, bool *ret_may, struct error *reterr)
{
    struct fsxattr own = {0}, above = {0};
    enum error_code code = get_project(fd, &own, reterr);
    if (!code)
        code = get_project(directory_fd, &above, reterr);
    if (!code)
        *ret_may = !(above.fsx_xflags & FS_XFLAG_PROJINHERIT) || own.fsx_projid == above.fsx_projid;
    return code;
}

static enum error_code apply_project(int source, int twin, struct error *reterr)
{
    struct fsxattr from = {0}, to = {0};
    enum error_code code = get_project(source, &from, reterr);
    if (!code)
        code = get_project(twin, &to, reterr);
    if (code || from.fsx_projid == to.fsx_projid)
        return code;
    to.fsx_projid = from.fsx_projid;
    if (ioctl(twin, FS_IOC_FSSETXATTR, &to) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot set the project");
    return OK;
}

static struct timespec as_timespec(struct statx_timestamp time)
{
    return (struct timespec){.tv_sec = time.tv_sec, .tv_nsec = time.tv_nsec};
}

static enum error_code apply_times(const struct statx *status, struct attribute_target twin,
                                   struct error *reterr)
{
    const struct timespec times[2] = {as_timespec(status->stx_atime), as_timespec(status->stx_mtime)};
    char path[32];
    /* AT_EMPTY_PATH is newer than husk's oldest kernel here; for O_PATH the magic link leads to the file
     * itself. */
    int failed =
        twin.path_only ? utimensat(AT_FDCWD, proc_path(twin.fd, path), times, 0) : futimens(twin.fd, times);
    return failed ? error_set(reterr, ERR_FAILED, errno, "cannot set the times") : OK;
}

static enum error_code apply_flags(int source, struct attribute_target twin, uint32_t hold_back,
                                   struct error *reterr)
{
    uint32_t wanted, now;
    enum error_code code = attributes_get_flags(source, &wanted, reterr);
    if (code)
        return code;
    wanted &= attributes_kept_flags() & ~hold_back;
    if (wanted == 0 && twin.flagless)
        return OK;
    code = attributes_get_flags(twin.fd, &now, reterr);
    if (code || (now & attributes_kept_flags()) == wanted)
        return code;
    return attributes_set_flags(twin.fd, (now & ~attributes_kept_flags()) | wanted, reterr);
}

enum error_code attributes_apply(struct attribute_target source, const struct statx *status,
                                 struct attribute_target twin, const struct stat *twin_status,
                                 unsigned features, uint32_t hold_back, struct error *reterr)
{
    const bool owned = same_owner(status, twin_status);
    bool any_xattr = false;
    enum error_code code = owned ? OK : apply_owner(status, twin, reterr);
    if (!code)
        code = copy_xattrs(source, twin, &any_xattr, reterr);
    if (!code && S_ISDIR(status->stx_mode))
        code = drop_foreign_xattrs(source, twin, reterr);
    /* A change of owner clears bits of the mode, and an ACL is part of it. */
    if (!code &&
        (!owned || any_xattr || S_ISDIR(status->stx_mode) || status->stx_mode != twin_status->st_mode))
        code = apply_mode(status, twin, reterr);
    if (!code && !source.path_only && (features & ATTRIBUTES_PROJECT))
        code = apply_project(source.fd, twin.fd, reterr);
    if (!code)
        code = apply_times(status, twin, reterr);
    if (!code && !source.path_only)
        code = apply_flags(source.fd, twin, hold_back, reterr);
    return code;
}

static enum error_code compare_xattrs(struct attribute_target source, struct attribute_target twin,
                                      bool *ret_same, struct error *reterr)
{
    _cleanup_(freep) char *names = NULL, *twin_names = NULL;
    size_t length, twin_length;
    enum error_code code = read_names(source, &names, &length, reterr);
    if (!code)
        code = read_names(twin, &twin_names, &twin_length, reterr);
    if (code)
        return code;
    *ret_same =
        length ==
        twin_length; /* the same names in any order have the same length; values are looked up by name */
    if (!*ret_same || length == 0)
        return OK;
    _cleanup_(freep) char *values = malloc((size_t)2 * VALUE_MAXIMUM);
    if (!values)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t at = 0; *ret_same && at < length; at += strlen(names + at) + 1) {
        size_t value_length;
        code = read_value(source, names + at, values, &value_length, reterr);
        if (code)
            return code;
        ssize_t other = get_value(twin, names + at, values + VALUE_MAXIMUM, VALUE_MAXIMUM);
        if (other < 0 && errno != ENODATA)
            return error_set(reterr, ERR_FAILED, errno, "cannot read the extended attribute %.64s",
                             names + at);
        *ret_same = other >= 0 && (size_t)other == value_length &&
                    !memcmp(values, values + VALUE_MAXIMUM, value_length);
    }
    return OK;
}

static bool same_time(struct statx_timestamp one, struct statx_timestamp other)
{
    return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

static enum error_code compare_flags(int source, int twin, unsigned features, uint32_t hold_back,
                                     const char **ret_difference, struct error *reterr)
{
    uint32_t one, other, compared = (attributes_kept_flags() | FS_CASEFOLD_FL) & ~hold_back;
    enum error_code code = attributes_get_flags(source, &one, reterr);
    if (!code)
        code = attributes_get_flags(twin, &other, reterr);
    if (code)
        return code;
    if ((one & compared) != (other & compared)) {
        *ret_difference = "flags";
        return OK;
    }
    struct fsxattr from = {0}, to = {0};
    if (!(features & ATTRIBUTES_PROJECT))
        return OK;
    code = get_project(source, &from, reterr);
    if (!code)
        code = get_project(twin, &to, reterr);
    if (!code && from.fsx_projid != to.fsx_projid)
        *ret_difference = "project";
    return code;
}

enum error_code attributes_compare(struct attribute_target source, const struct statx *status,
                                   struct attribute_target twin, const struct statx *twin_status,
                                   unsigned features, uint32_t hold_back, const char **ret_difference,
                                   struct error *reterr)
{
    const char *difference = NULL;
    bool same = true;
    if (status->stx_uid != twin_status->stx_uid || status->stx_gid != twin_status->stx_gid)
        difference = "owner";
    else if (status->stx_mode != twin_status->stx_mode)
        difference = "mode";
    else if (!same_time(status->stx_mtime, twin_status->stx_mtime) ||
             !same_time(status->stx_atime, twin_status->stx_atime))
        difference = "times";
    enum error_code code = difference ? OK : compare_xattrs(source, twin, &same, reterr);
    if (!same)
        difference = "extended attributes";
    if (!code && !difference && !source.path_only)
        code = compare_flags(source.fd, twin.fd, features, hold_back, &difference, reterr);
    if (!code)
        *ret_difference = difference;
    return code;
}

static uint64_t hash(const void *bytes, size_t length)
{
    static const uint8_t key[crypto_shorthash_KEYBYTES];
    uint8_t out[crypto_shorthash_BYTES];
    uint64_t value;
    sure(crypto_shorthash(out, bytes, length, key));
    memcpy(&value, out, sizeof(value));
    return value;
}

/* Of one attribute in ext4's form: an entry, its name without what stands for the kind, its value. ACLs are
 * kept shorter than they are shown: four entries have no id. */
static size_t stored_size(const char *name, size_t length)
{
    enum { ENTRY = 16, ACL_HEADER = 4, ACL_ENTRY = 8, ACL_ENTRY_WITHOUT_ID = 4, WITHOUT_ID = 4 };
    const char *dot = strchr(name, '.');
    size_t name_length = dot ? strlen(dot + 1) : strlen(name);
    if (!strncmp(name, "system.posix_acl_", strlen("system.posix_acl_")) && length > ACL_HEADER) {
        const size_t entries = (length - ACL_HEADER) / ACL_ENTRY;
        const size_t without_id = entries < WITHOUT_ID ? entries : WITHOUT_ID;
        name_length = 0;
        length = ACL_HEADER + without_id * ACL_ENTRY_WITHOUT_ID + (entries - without_id) * ACL_ENTRY;
    }
    return ENTRY + (name_length + 3) / 4 * 4 + (length + 3) / 4 * 4;
}

/* In whatever order they are listed. */
static enum error_code add_xattrs(struct attribute_target target, uint64_t *digest,
                                  struct attribute_sizes *sizes, struct error *reterr)
{
    _cleanup_(freep) char *names = NULL;
    size_t length, value_length = 0;
    enum error_code code = read_names(target, &names, &length, reterr);
    if (code || !names)
        return code;
    _cleanup_(freep) char *value = malloc(VALUE_MAXIMUM);
    if (!value)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t at = 0; at < length; at += strlen(names + at) + 1) {
        code = read_value(target, names + at, value, &value_length, reterr);
        if (code)
            return code;
        const uint64_t pair[] = {hash(names + at, strlen(names + at)), hash(value, value_length)};
        *digest += hash(pair, sizeof(pair));
        sizes->count++;
        sizes->stored_bytes += stored_size(names + at, value_length);
    }
    return OK;
}

enum error_code attributes_measure(struct attribute_target target, struct attribute_sizes *ret_sizes,
                                   struct error *reterr)
{
    struct attribute_sizes sizes = {0};
    enum error_code code = add_xattrs(target, &sizes.digest, &sizes, reterr);
    if (!code)
        *ret_sizes = sizes;
    return code;
}

enum error_code attributes_digest(int fd, const struct statx *status, unsigned features, uint32_t hold_back,
                                  const char *name, uint64_t above, uint64_t *ret_digest,
                                  struct error *reterr)
{
    uint32_t flags;
    struct fsxattr project = {0};
    struct attribute_sizes sizes = {0};
    enum error_code code = attributes_get_flags(fd, &flags, reterr);
    if (!code && (features & ATTRIBUTES_PROJECT))
        code = get_project(fd, &project, reterr);
    if (code)
        return code;
    const uint32_t plain[] = {status->stx_uid, status->stx_gid, status->stx_mode, project.fsx_projid,
                              flags & (attributes_kept_flags() | FS_CASEFOLD_FL) & ~hold_back};
    const uint64_t parts[] = {hash(plain, sizeof(plain)), hash(name, strlen(name)), above};
    uint64_t digest = hash(parts, sizeof(parts));
    code = add_xattrs((struct attribute_target){.fd = fd}, &digest, &sizes, reterr);
    if (!code)
        *ret_digest = digest;
    return code;
}
