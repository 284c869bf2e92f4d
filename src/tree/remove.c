#include "tree/remove.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/text.h"
#include "tree/attributes.h"

enum error_code tree_unseal(int fd, struct error *reterr)
{
    uint32_t flags;
    enum error_code code = attributes_get_flags(fd, &flags, reterr);
    if (code || !(flags & ATTRIBUTE_FLAGS_SEALING))
        return code;
    return attributes_set_flags(fd, flags & ~(uint32_t)ATTRIBUTE_FLAGS_SEALING, reterr);
}

enum error_code tree_unlink(int directory_fd, const char *name, struct error *reterr)
{
    int injected = fault("tree.unlink");
    if (!injected && (unlinkat(directory_fd, name, 0) == 0 || errno == ENOENT))
        return OK;
    if (!injected && errno == EPERM) {
        _cleanup_(close_fdp) int fd =
            openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && !tree_unseal(fd, NULL) && unlinkat(directory_fd, name, 0) == 0)
            return OK;
        if (fd < 0 && errno == ENOKEY) {
            error_set(reterr, ERR_LOCKED, 0,
                      "cannot remove %s: it is immutable or append-only, and its vault is locked",
                      text_shown(name));
            return error_remedy(reterr, "unlock the vault (husk unlock), then run the same command again");
        }
        errno = EPERM;
    }
    return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot remove %s", text_shown(name));
}

struct removal {
    enum error_code (*may_remove)(struct tree_directory *directory, const char *name,
                                  const struct statx *status, bool *ret_may, void *context,
                                  struct error *reterr);
    void *context;
    const struct report *report;
    atomic_bool kept;
};

static enum error_code unseal_directory(struct tree_directory *directory, void *context, struct error *reterr)
{
    (void)context;
    return tree_unseal(directory->fd, reterr);
}

static enum error_code remove_entry(struct tree_directory *directory, const char *name,
                                    const struct statx *status, void *context, struct error *reterr)
{
    struct removal *removal = context;
    bool may = true;
    enum error_code code = OK;
    if (removal->may_remove)
        code = removal->may_remove(directory, name, status, &may, removal->context, reterr);
    if (!code && may)
        code = tree_unlink(directory->fd, name, reterr);
    if (!may)
        atomic_store(&removal->kept, true);
    report_advance(removal->report, 1, (uint64_t)status->stx_blocks * 512);
    return code;
}

static enum error_code remove_directory(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct removal *removal = context;
    if (!directory->parent || unlinkat(directory->parent->fd, directory->name, AT_REMOVEDIR) == 0 ||
        errno == ENOENT)
        return OK;
    if (errno == ENOTEMPTY && atomic_load(&removal->kept))
        return OK;
    return error_set(reterr, ERR_FAILED, errno, "cannot remove the directory %s",
                     tree_shown(directory, NULL));
}

enum error_code
tree_remove_if(int directory_fd, const char *name,
               enum error_code (*may_remove)(struct tree_directory *directory, const char *name,
                                             const struct statx *status, bool *ret_may, void *context,
                                             struct error *reterr),
               void *context, const struct report *report, bool *ret_kept, struct error *reterr)
{
    _cleanup_(close_fdp) int fd =
        openat(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *ret_kept = false;
        return OK;
    }
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the directory %s", text_shown(name));
    struct removal removal = {.may_remove = may_remove, .context = context, .report = report};
    const struct tree_visitor visitor = {
        .enter = unseal_directory, .entry = remove_entry, .leave = remove_directory, .context = &removal};
    enum error_code code = tree_walk(fd, tree_walk_threads(), &visitor, reterr);
    if (!code && !atomic_load(&removal.kept) && unlinkat(directory_fd, name, AT_REMOVEDIR) < 0 &&
        errno != ENOENT)
        code = error_set(reterr, ERR_FAILED, errno, "cannot remove the directory %s", text_shown(name));
    if (!code)
        *ret_kept = atomic_load(&removal.kept);
    return code;
}

enum error_code tree_remove(int directory_fd, const char *name, const struct report *report,
                            struct error *reterr)
{
    struct stat status;
    bool kept;
    if (fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? OK
                               : error_set(reterr, ERR_FAILED, errno, "cannot look at %s", text_shown(name));
    if (!S_ISDIR(status.st_mode))
        return tree_unlink(directory_fd, name, reterr);
    return tree_remove_if(directory_fd, name, NULL, NULL, report, &kept, reterr);
}
