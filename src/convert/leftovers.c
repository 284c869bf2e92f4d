/*
 * What an erase does with a conversion that was cut short: the copies in the clear that husk itself holds go.
 * Old trees after the exchange, plain twins before it. No key is needed, and none is there: what may go is
 * asked of the trees alone, not of the records.
 *
 * A file goes unless something else can reach it: it has a link outside the tree, or is in use. Whether it is
 * as it was compared does not matter any more, its copy cannot be read either. Encrypted trees are deleted as
 * far as they can be without their key. Directories at their places are not touched: one that is plain there
 * was never exchanged, or was taken out of the vault; while the journal tells of one the erase is not done.
 *
 * On disk: fewer and fewer entries of .husk/plaintext/NAME/N and .husk/convert/NAME/N, then no journal.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/steps.h"
#include "tree/links.h"
#include "tree/mount.h"
#include "tree/remove.h"

struct leftovers {
    struct convert_work *work;
    struct busy_set *busy;
    const char *shown; /* of the tree that is being looked at */
    uint64_t *linked;  /* owned, sorted: its inodes with a link outside */
    size_t linked_count, linked_room;
    bool in_use;     /* somebody works in it and can open anything below at any time */
    bool left;       /* plaintext */
    bool ciphertext; /* trees that cannot be deleted without their key */
    bool changed;
};

static void tell(struct leftovers *leftovers, const struct tree_directory *directory, const char *name,
                 const char *kind, const char *cause, const char *remedy)
{
    char subject[2 * TREE_PATH_SIZE];
    snprintf(subject, sizeof(subject), "%s/%s", leftovers->shown, tree_shown(directory, name));
    finding_add(leftovers->work->options->findings, FINDING_TELLS, kind, subject, remedy, "%s", cause);
}

static enum error_code look_at_directory(struct tree_directory *directory, void *context,
                                         struct error *reterr)
{
    struct leftovers *leftovers = context;
    size_t count;
    (void)reterr;
    const struct busy_use *uses = busy_set_find(leftovers->busy, directory->status.stx_ino, &count);
    for (size_t i = 0; i < count; i++)
        tell(leftovers, directory, NULL, uses[i].kind, uses[i].what, uses[i].remedy);
    leftovers->in_use |= count > 0;
    return OK;
}

static enum error_code note_linked(const struct tree_directory *directory, const char *name,
                                   const struct statx *status, void *context, struct error *reterr)
{
    struct leftovers *leftovers = context;
    (void)directory;
    (void)name;
    if (leftovers->linked_count == leftovers->linked_room) {
        const size_t room = 2 * leftovers->linked_room + 64;
        uint64_t *linked = reallocarray(leftovers->linked, room, sizeof(*linked));
        if (!linked)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        leftovers->linked = linked;
        leftovers->linked_room = room;
    }
    leftovers->linked[leftovers->linked_count++] = status->stx_ino;
    return OK;
}

static int by_inode(const void *left, const void *right)
{
    const uint64_t one = *(const uint64_t *)left, other = *(const uint64_t *)right;
    return one < other ? -1 : one > other;
}

/* A mount of it that came before the exchange: whoever is in there sees it by a path of their own. */
static enum error_code look_at_mounts(struct leftovers *leftovers, const char *kind, const char *name,
                                      struct error *reterr)
{
    const struct vault *vault = leftovers->work->vault;
    char path[VAULT_NAME_MAXIMUM + 64];
    struct finding_list found = {0};
    snprintf(path, sizeof(path), HUSK_DIRECTORY "/%s/%s/%s", kind, vault->name, name);
    enum error_code code = filesystem_check_mounts(vault->filesystem, path, &found, reterr);
    leftovers->in_use |= finding_count_blocking(&found) > 0;
    for (size_t i = 0; i < found.count; i++)
        if (found.items[i].blocks)
            finding_add(leftovers->work->options->findings, FINDING_TELLS, found.items[i].kind,
                        found.items[i].subject, found.items[i].remedy, "%s", found.items[i].cause);
    finding_list_done(&found);
    return code;
}

/* Who else can reach the tree, or files of it. */
static enum error_code look_at_uses(struct leftovers *leftovers, int tree_fd, const char *kind,
                                    const char *name, struct error *reterr)
{
    const struct tree_visitor visitor = {.enter = look_at_directory, .context = leftovers};
    busy_set_free(leftovers->busy);
    leftovers->busy = NULL;
    leftovers->in_use = false;
    leftovers->linked_count = 0;
    enum error_code code = busy_set_new(leftovers->work->vault->filesystem->device, &leftovers->busy, reterr);
    if (!code)
        code = tree_walk(tree_fd, 1, &visitor, reterr);
    if (!code)
        code = tree_links_outside(tree_fd, note_linked, leftovers, reterr);
    if (!code && leftovers->linked_count)
        qsort(leftovers->linked, leftovers->linked_count, sizeof(*leftovers->linked), by_inode);
    return code ? code : look_at_mounts(leftovers, kind, name, reterr);
}

/* The lease stays until the file is overwritten: whoever opens it meanwhile waits. */
static enum error_code may_destroy(int file_fd, const struct stat *status, const char *shown_path,
                                   void *context, struct error *reterr)
{
    const struct leftovers *leftovers = context;
    const uint64_t inode = status->st_ino;
    size_t count;
    (void)shown_path;
    if (leftovers->linked_count &&
        bsearch(&inode, leftovers->linked, leftovers->linked_count, sizeof(inode), by_inode)) {
        error_set(reterr, ERR_BUSY, 0,
                  "has a hard link outside the tree, which overwriting would destroy too");
        return error_remedy(reterr, "remove that link or move it elsewhere as a copy, then run the same "
                                    "command again");
    }
    fcntl(file_fd, F_SETSIG, SIGURG); /* ignored by default */
    if (fcntl(file_fd, F_SETLEASE, F_WRLCK) == 0)
        return OK;
    const struct busy_use *uses = busy_set_find(leftovers->busy, inode, &count);
    error_set(reterr, ERR_BUSY, errno, "%s", count ? uses[0].what : "something has it open");
    return error_remedy(
        reterr, "%s", count ? uses[0].remedy : "find what uses it, stop it, then run the same command again");
}

static enum error_code is_there(int parent_fd, const char *name, bool *ret_is, struct error *reterr)
{
    struct stat status;
    *ret_is = fstatat(parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (!*ret_is && errno != ENOENT)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the old tree");
    return OK;
}

static enum error_code destroy_plain(struct leftovers *leftovers, int parent_fd, int tree_fd,
                                     const char *kind, const char *name, struct error *reterr)
{
    struct convert_work *work = leftovers->work;
    const struct destroy_tree_options options = {.may_destroy = may_destroy,
                                                 .context = leftovers,
                                                 .report = &work->progress.report,
                                                 .findings = work->options->findings};
    struct error why = ERROR_NONE;
    bool there = true;
    enum error_code code = look_at_uses(leftovers, tree_fd, kind, name, reterr);
    if (code || leftovers->in_use)
        return code;
    leftovers->changed = true;
    code = destroy_tree(parent_fd, name, &options, &why);
    if (code != ERR_INCOMPLETE) {
        if (code && reterr)
            *reterr = why;
        return code;
    }
    code = is_there(parent_fd, name, &there, reterr);
    if (code || there)
        return code;
    work->journal.partly_overwritten = true; /* remembered, so that no later run tells otherwise */
    return journal_write(work->work_fd, &work->journal, reterr);
}

static void delete_encrypted(struct leftovers *leftovers, int parent_fd, const char *name)
{
    struct error why = ERROR_NONE;
    leftovers->changed = true;
    if (tree_remove(parent_fd, name, &leftovers->work->progress.report, &why) == OK)
        return;
    leftovers->ciphertext = true;
    finding_add(leftovers->work->options->findings, FINDING_TELLS, "ciphertext-left", leftovers->shown, "",
                "an encrypted copy stays, as the encrypted directories do: %s", why.message);
}

/* Whatever lies there of the directory. */
static enum error_code destroy_one(struct leftovers *leftovers, int parent_fd, const char *kind,
                                   const struct convert_directory *directory, struct error *reterr)
{
    _cleanup_(close_fdp) int tree_fd = -1;
    char name[16], shown[TREE_PATH_SIZE];
    struct convert_work *work = leftovers->work;
    struct statx status;
    work_name(work, directory, name);
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0) /* made, and nothing is in it yet or any more */
        return OK;
    struct error why = ERROR_NONE;
    enum error_code code = directory_open(parent_fd, name, &tree_fd, &why);
    if (code == ERR_NOT_FOUND || code == ERR_CORRUPT) /* nothing, or something that husk did not make */
        return OK;
    if (!code && statx(tree_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) < 0)
        code = error_set(&why, ERR_FAILED, errno, "cannot look at the old tree");
    if (code) {
        if (reterr)
            *reterr = why;
        return code;
    }
    snprintf(shown, sizeof(shown), "%s/" HUSK_DIRECTORY "/%s/%s/%s",
             text_shown(work->vault->filesystem->mount_point), kind, work->vault->name, name);
    leftovers->shown = shown;
    progress_directory(&work->progress, directory->path);
    if (status.stx_attributes & STATX_ATTR_ENCRYPTED) {
        close_fdp(&tree_fd);
        delete_encrypted(leftovers, parent_fd, name);
    } else {
        report_stage(&work->progress.report, 0, 0, "overwriting the old plaintext of %s",
                     work_shown(work, directory));
        code = destroy_plain(leftovers, parent_fd, tree_fd, kind, name, reterr);
    }
    leftovers->shown = NULL;
    return code;
}

struct rest {
    int fd;
    enum { REST_OF_OLD_TREES, REST_OF_TWINS } of;
    bool any;
};

/* Of the twins' place: directories that are plain. Files in it are the journal's and the progress's. */
static enum error_code note_rest(const char *name, void *context, struct error *reterr)
{
    struct rest *rest = context;
    struct statx status;
    (void)reterr;
    const bool known = statx(rest->fd, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) == 0;
    rest->any |= rest->of == REST_OF_OLD_TREES || !known ||
                 (S_ISDIR(status.stx_mode) && !(status.stx_attributes & STATX_ATTR_ENCRYPTED));
    return OK;
}

/* What is still there, with the one command that makes it go where husk may not. */
static enum error_code find_rest(struct leftovers *leftovers, int fd, const char *kind, bool journal_found,
                                 struct error *reterr)
{
    const struct vault *vault = leftovers->work->vault;
    struct rest rest = {.fd = fd, .of = fd == leftovers->work->old_fd ? REST_OF_OLD_TREES : REST_OF_TWINS};
    enum error_code code = directory_list(fd, note_rest, &rest, reterr);
    if (code || !rest.any)
        return code;
    char path[TREE_PATH_SIZE], remedy[2 * TREE_PATH_SIZE + 128];
    const char *mount = vault->filesystem->mount_point;
    snprintf(path, sizeof(path), "%s/" HUSK_DIRECTORY "/%s/%s", strcmp(mount, "/") ? text_shown(mount) : "",
             kind, vault->name);
    snprintf(remedy, sizeof(remedy),
             "once you have looked at it: find %s -xdev -type f -exec shred -u {} + && rm -r %s", path, path);
    leftovers->left = true;
    finding_add(leftovers->work->options->findings, FINDING_TELLS, "plaintext-left", path,
                journal_found ? "do what the findings say, then run the same command again" : remedy,
                journal_found
                    ? "plaintext that the conversion of the vault %s left is still there"
                    : "something lies there in the clear, and no journal of the vault %s tells what "
                      "it is: husk does not touch it",
                vault->name);
    return OK;
}

/* Neither the twin, nor in any other vault by now, nor destroyed. */
static bool is_plain(const struct convert_work *work, const struct convert_directory *directory)
{
    _cleanup_(close_fdp) int place_fd = -1;
    struct statx status;
    enum error_code code = tree_open_directory(work->clone_fd, directory->path, &place_fd, NULL);
    return code ? code != ERR_NOT_FOUND
                : statx(place_fd, "", AT_EMPTY_PATH, STATX_TYPE, &status) < 0 ||
                      !(status.stx_attributes & STATX_ATTR_ENCRYPTED);
}

/* Directories that the conversion leaves plain where they are. */
static bool tell_plain(struct leftovers *leftovers)
{
    const struct convert_work *work = leftovers->work;
    const char *name = work->vault->name;
    const bool protect = work->journal.direction == CONVERT_PROTECT;
    char remedy[VAULT_NAME_MAXIMUM + 256];
    bool any = false;
    if (protect && work->journal.state >= CONVERT_SCRUBBING) /* all were exchanged */
        return false;
    snprintf(
        remedy, sizeof(remedy),
        "destroy it, or protect it in another vault; or let it be: husk protect --abort --vault %s. Then "
        "run the same command again",
        name);
    for (size_t i = 0; i < work->journal.count; i++) {
        const struct convert_directory *directory = &work->journal.directories[i];
        if (!is_plain(work, directory))
            continue;
        any = true;
        finding_add(work->options->findings, FINDING_TELLS, "conversion-left", work_shown(work, directory),
                    remedy, "is in the clear: the vault %s was in the middle of %s it", name,
                    protect ? "protecting" : "unprotecting");
    }
    return any;
}

static enum error_code clear(struct leftovers *leftovers, struct error *reterr)
{
    struct convert_work *work = leftovers->work;
    if (!leftovers->ciphertext)
        return work_clear(work, reterr);
    (void)fault("convert.clear");
    return file_remove_durable(work->work_fd, "journal.json", 0, reterr);
}

/* All trees of the journal, wherever they are. */
static enum error_code destroy_all(struct leftovers *leftovers, struct error *reterr)
{
    struct convert_work *work = leftovers->work;
    enum error_code code = OK;
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        const struct convert_directory *directory = &work->journal.directories[i];
        code = destroy_one(leftovers, work->old_fd, PLAINTEXT_DIRECTORY, directory, reterr);
        if (!code)
            code = destroy_one(leftovers, work->work_fd, CONVERT_DIRECTORY, directory, reterr);
    }
    return code;
}

enum error_code leftovers_destroy(struct convert_work *work, enum leftovers_places places, bool *ret_changed,
                                  bool *ret_left, struct error *reterr)
{
    struct leftovers leftovers = {.work = work};
    bool found = false;
    enum error_code code = work_read_journal(work, &found, reterr);
    if (!code)
        code = destroy_all(&leftovers, reterr);
    if (!code)
        code = find_rest(&leftovers, work->old_fd, PLAINTEXT_DIRECTORY, found, reterr);
    if (!code)
        code = find_rest(&leftovers, work->work_fd, CONVERT_DIRECTORY, found, reterr);
    if (!code && places == LEFTOVERS_HOLD_PLACES)
        leftovers.left |= tell_plain(&leftovers);
    if (!code && !leftovers.left) {
        leftovers.changed |= found;
        code = found ? step_scrub_deleted(work, reterr) : OK;
        if (!code)
            code = clear(&leftovers, reterr);
    }
    busy_set_free(leftovers.busy);
    free(leftovers.linked);
    *ret_changed |= leftovers.changed;
    if (!code)
        *ret_left = leftovers.left;
    return code;
}

/* Whether .husk/KIND/NAME is there. One that cannot be looked for may be. */
static bool has(const struct vault *vault, const char *kind)
{
    char path[VAULT_NAME_MAXIMUM + 64];
    snprintf(path, sizeof(path), HUSK_DIRECTORY "/%s/%s", kind, vault->name);
    return faccessat(vault->filesystem->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

enum error_code convert_destroy_left(struct vault *vault, const struct convert_options *options,
                                     bool *ret_changed, enum convert_left *ret_left, struct error *reterr)
{
    _cleanup_(work_close) struct convert_work work = WORK_NONE;
    bool left = false;
    if (!has(vault, CONVERT_DIRECTORY) && !has(vault, PLAINTEXT_DIRECTORY)) {
        *ret_left = CONVERT_LEFT_NOTHING;
        return OK;
    }
    enum error_code code = work_open(vault, options, &work, reterr);
    if (code)
        return code;
    code = leftovers_destroy(&work, LEFTOVERS_HOLD_PLACES, ret_changed, &left, reterr);
    if (!code)
        *ret_left = left                              ? CONVERT_LEFT_PLAINTEXT
                    : work.journal.partly_overwritten ? CONVERT_LEFT_UNPROVEN
                                                      : CONVERT_LEFT_NOTHING;
    return code;
}
