/* Who else than root can move a directory away, or put another in its place. */
#include <errno.h>
#include <sys/stat.h>

#include "base/text.h"
#include "convert/steps.h"
#include "tree/mount.h"

/* Whether others than root can rename child in parent. */
static bool can_be_moved(const struct stat *parent, const struct stat *child)
{
    const bool others_write = parent->st_uid != 0 || (parent->st_mode & (S_IWGRP | S_IWOTH));
    if (!(parent->st_mode & S_ISVTX))
        return others_write;
    return parent->st_uid != 0 || (others_write && child->st_uid != 0);
}

static enum error_code look(int clone_fd, const char *path, struct stat *ret_status, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = tree_open_directory(clone_fd, path, &fd, reterr);
    if (!code && fstat(fd, ret_status) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot look at %s", text_shown(path));
    return code;
}

enum error_code movable_tell(struct convert_plan *plan, int clone_fd,
                             const struct convert_plan_directory *directory, struct error *reterr)
{
    _cleanup_(freep) char *path = strdup(directory->path);
    struct stat parent, child;
    if (!path)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = look(clone_fd, "", &parent, reterr);
    for (char *end = path; !code && *end; parent = child) {
        end += strcspn(end, "/");
        const char after = *end;
        *end = '\0';
        code = look(clone_fd, path, &child, reterr);
        if (!code && can_be_moved(&parent, &child)) {
            finding_add(&plan->findings, FINDING_TELLS, "movable", directory->shown_path,
                        after ? "protect that directory instead, with what lies in it"
                              : "let only root write to the directory above it",
                        "others than root can rename %s on this filesystem, and then the vault opens only "
                        "with --accept-changes",
                        text_shown(path));
            return OK;
        }
        *end = after;
        end += after == '/';
    }
    return code;
}
