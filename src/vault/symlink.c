/* Which symlinks of root's at the root of the filesystem lead into protected directories. Only text is looked
 * at: the answer must not depend on what is locked or mounted. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "vault/store.h"

struct search {
    const struct vault *vault;
    struct vault_symlink *found; /* owned until taken */
    size_t count;
    bool added; /* in this pass */
};

/* target, as seen from the root of the filesystem, without "." and ".."; "" for the root itself. */
static void normalise(const char *target, char out[PATH_MAX])
{
    size_t used = 0;
    while (*target) {
        size_t length = strcspn(target, "/");
        if (length == 2 && !memcmp(target, "..", 2)) {
            while (used > 0 && out[used - 1] != '/')
                used--;
            used -= used > 0;
        } else if (length > 0 && !(length == 1 && target[0] == '.') && used + length + 2 < PATH_MAX) {
            if (used > 0)
                out[used++] = '/';
            memcpy(out + used, target, length);
            used += length;
        }
        target += length;
        target += *target == '/';
    }
    out[used] = '\0';
}

static bool is_at_or_below(const char *path, const char *top)
{
    size_t length = strlen(top);
    return !strncmp(path, top, length) && (path[length] == '\0' || path[length] == '/');
}

/* Into a protected directory, or through a symlink that does. */
static bool leads_inside(const struct search *search, const char *target)
{
    char path[PATH_MAX];
    normalise(target, path);
    for (size_t i = 0; i < search->vault->directory_count; i++)
        if (is_at_or_below(path, search->vault->directories[i].path))
            return true;
    for (size_t i = 0; i < search->count; i++)
        if (is_at_or_below(path, search->found[i].path))
            return true;
    return false;
}

/* An absolute target is meant from the host's root. Where that is not this filesystem's, both readings count:
 * the disk may be attached somewhere else today. */
static bool target_leads_inside(const struct search *search, const char *target)
{
    const char *mount_point = search->vault->filesystem->mount_point;
    if (leads_inside(search, target))
        return true;
    return target[0] == '/' && strcmp(mount_point, "/") && is_at_or_below(target, mount_point) &&
           leads_inside(search, target + strlen(mount_point));
}

static bool is_known(const struct search *search, const char *name)
{
    for (size_t i = 0; i < search->count; i++)
        if (!strcmp(search->found[i].path, name))
            return true;
    return false;
}

static enum error_code add(struct search *search, const char *name, const char *target,
                           const struct stat *status, struct error *reterr)
{
    if (search->count == VAULT_SYMLINKS_MAXIMUM)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "more than %d symlinks at %s lead into the vault",
                         VAULT_SYMLINKS_MAXIMUM, text_shown(search->vault->filesystem->mount_point));
    struct vault_symlink symlink = {.path = strdup(name),
                                    .target = strdup(target),
                                    .uid = status->st_uid,
                                    .gid = status->st_gid,
                                    .mode = status->st_mode & 07777};
    struct vault_symlink *found = realloc(search->found, (search->count + 1) * sizeof(*found));
    if (found)
        search->found = found;
    if (!found || !symlink.path || !symlink.target) {
        free(symlink.path);
        free(symlink.target);
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the symlinks");
    }
    search->found[search->count++] = symlink;
    search->added = true;
    return OK;
}

static enum error_code look_at(const char *name, void *context, struct error *reterr)
{
    struct search *search = context;
    int root_fd = search->vault->filesystem->root_fd;
    struct stat status;
    char target[PATH_MAX];
    if (fstatat(root_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(status.st_mode))
        return OK; /* vanished, or nothing for us */
    if (status.st_uid != 0)
        return OK; /* whoever made it may take it away again; nothing of the system goes through it */
    ssize_t length = readlinkat(root_fd, name, target, sizeof(target) - 1);
    if (length <= 0)
        return OK;
    target[length] = '\0';
    if (is_known(search, name) || !target_leads_inside(search, target))
        return OK;
    return add(search, name, target, &status, reterr);
}

static int by_path(const void *left, const void *right)
{
    return strcmp(((const struct vault_symlink *)left)->path, ((const struct vault_symlink *)right)->path);
}

enum error_code vault_find_symlinks(const struct vault *vault, struct vault_symlink **ret_symlinks,
                                    size_t *ret_count, struct error *reterr)
{
    struct search search = {.vault = vault};
    enum error_code code = OK;
    /* Until a pass finds none that leads through one found before; each pass adds one or ends. */
    do {
        search.added = false;
        code = directory_list(vault->filesystem->root_fd, look_at, &search, reterr);
    } while (!code && search.added);
    if (code) {
        vault_symlinks_free(search.found, search.count);
        return code;
    }
    if (search.count > 0)
        qsort(search.found, search.count, sizeof(*search.found), by_path);
    *ret_symlinks = search.found;
    *ret_count = search.count;
    return OK;
}
