#include "destroy/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "destroy/open.h"

/*
 * Depth first. Each directory is read once, a piece at a time: its entries go into the batch, its
 * subdirectories are entered as soon as some are known, and reading goes on where it stood. When all its
 * entries were read the directory itself joins the batch, behind them. So memory holds one batch, the names
 * of one piece per level (together at most NAMES_BYTES and one name a level) and the chain of directories to
 * the top. Only the last OPEN_LEVELS of that chain are open; further up is reopened through "..", and refused
 * when that is not the directory it was.
 */
enum { OPEN_LEVELS = 64, NAMES_BYTES = 1 << 20 };

static enum error_code ask(struct walk *walk, struct directory *directory, const char *name,
                           const struct opened_file *file, struct error *reterr)
{
    if (!walk->options->may_destroy)
        return OK;
    _cleanup_(buffer_done) struct buffer path = {0};
    enum error_code code = directory_show_path(directory, name, &path, reterr);
    return code ? code
                : walk->options->may_destroy(file->fd, &file->status, path.data, walk->options->context,
                                             reterr);
}

static enum error_code ask_unlink(struct walk *walk, struct directory *directory, const char *name,
                                  struct error *reterr)
{
    if (!walk->options->may_unlink)
        return OK;
    _cleanup_(buffer_done) struct buffer path = {0};
    enum error_code code = directory_show_path(directory, name, &path, reterr);
    return code ? code
                : walk->options->may_unlink(directory->fd, name, path.data, walk->options->context, reterr);
}

static enum error_code add_opened(struct walk *walk, struct directory *directory, const char *name,
                                  struct opened_file *file, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = file->fd;
    struct error error = ERROR_NONE;
    if (ask(walk, directory, name, file, &error) != OK) {
        batch_keep(&walk->batch, directory, name, "kept-file", error.message, error.remedy);
        flags_restore(fd, file->cleared_flags);
        return OK;
    }
    if (!file->writable)
        batch_tell_not_overwritten(&walk->batch, directory, name, "removed, but not overwritten: fs-verity");
    bool has_bytes = file->status.st_size > 0 || file->status.st_blocks > 0;
    if (!has_bytes || !file->writable || links_ask(&walk->links, fd, &file->status) == LINKS_KNOWN)
        return batch_add_entry(&walk->batch, directory, name, file->status.st_ino, reterr);
    return batch_add_file(&walk->batch, directory, name, TAKE_FD(fd), &file->status, reterr);
}

static enum error_code take_file(struct walk *walk, struct directory *directory, const char *name,
                                 ino_t inode, struct error *reterr)
{
    struct opened_file file = {.fd = -1};
    struct error error = ERROR_NONE;
    enum error_code code = batch_holds(&walk->batch, inode) ? batch_run(&walk->batch, reterr) : OK;
    if (code)
        return code;
    switch (open_for_destroying(directory->fd, name, &file, &error)) {
    case OK:
        return add_opened(walk, directory, name, &file, reterr);
    case ERR_NOT_FOUND:
        return OK;
    case ERR_CORRUPT: /* something else by now */
        walk->tally.left_over = true;
        return OK;
    case ERR_DENIED:
        batch_keep(&walk->batch, directory, name, "mount-point", "something is mounted on it",
                   "unmount it, then run the same command again");
        return OK;
    case ERR_NO_MEMORY:
        if (reterr)
            *reterr = error;
        return ERR_NO_MEMORY;
    default:
        batch_keep(&walk->batch, directory, name, "not-opened", error.message, error.remedy);
        return OK;
    }
}

/* d_type where the filesystem tells it, else asked for. */
static int type_of(struct directory *directory, const char *name, int d_type, ino_t *inode)
{
    struct stat status;
    if (d_type != DT_UNKNOWN)
        return d_type;
    if (fstatat(directory->fd, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return DT_UNKNOWN;
    *inode = status.st_ino;
    return IFTODT(status.st_mode);
}

/* In the second walk whatever is not a directory was kept, or has come since. */
static enum error_code take_other(struct walk *walk, struct directory *directory, const char *name, int type,
                                  ino_t inode, struct error *reterr)
{
    if (walk->kind == WALK_DIRECTORIES) {
        walk->tally.left_over |= walk->tally.kept == 0;
        directory->kept = true;
        return OK;
    }
    if (type == DT_REG)
        return take_file(walk, directory, name, inode, reterr);
    struct error why = ERROR_NONE;
    if (ask_unlink(walk, directory, name, &why) == OK)
        return batch_add_entry(&walk->batch, directory, name, inode, reterr);
    batch_keep(&walk->batch, directory, name, "kept-file", why.message, why.remedy);
    return OK;
}

static enum error_code take_entry(struct walk *walk, struct directory *directory, const char *name,
                                  int d_type, ino_t inode, struct error *reterr)
{
    int type = type_of(directory, name, d_type, &inode);
    if (type == DT_UNKNOWN) {
        walk->tally.left_over |= errno != ENOENT;
        return OK;
    }
    if (type != DT_DIR)
        return take_other(walk, directory, name, type, inode, reterr);
    if (walk->kind == WALK_ENTRIES && inode == walk->aside_inode)
        return OK;
    walk->names_bytes += strlen(name) + 1;
    return name_stack_push(&directory->pending, name, reterr);
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static bool has_enough(const struct walk *walk, const struct directory *directory)
{
    return batch_is_full(&walk->batch) || (directory->pending.length > 0 && walk->names_bytes >= NAMES_BYTES);
}

/* Read entries until the batch is full, the names are many, or a piece of the directory is read. */
static enum error_code scan(struct walk *walk, struct directory *directory, struct error *reterr)
{
    ssize_t got = lseek(directory->fd, directory->position, SEEK_SET) < 0
                      ? -1
                      : getdents64(directory->fd, walk->entries, sizeof(walk->entries));
    if (got < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the directory %s",
                         text_shown(directory->name));
    directory->scanned = got == 0;
    for (ssize_t at = 0; at < got && !has_enough(walk, directory);) {
        const struct dirent64 *entry = (const struct dirent64 *)(const void *)(walk->entries + at);
        enum error_code code = is_dot(entry->d_name) ? OK
                                                     : take_entry(walk, directory, entry->d_name,
                                                                  entry->d_type, entry->d_ino, reterr);
        if (code)
            return code;
        directory->position = entry->d_off;
        at += entry->d_reclen;
    }
    return OK;
}

/* Close what is far above; entries of it that wait in the batch go first. */
static enum error_code close_far_above(struct walk *walk, struct error *reterr)
{
    struct directory *above = walk->current;
    for (unsigned level = 0; above && level < OPEN_LEVELS; level++)
        above = above->parent;
    if (!above || !above->parent || above->fd < 0)
        return OK;
    enum error_code code = above->batched ? batch_run(&walk->batch, reterr) : OK;
    close_fdp(&above->fd);
    return code;
}

/* The place to set directories aside in is made in the top of the tree, when the first directory below it is
 * entered. Where that cannot be, names are only replaced where they are. */
static void make_aside(struct walk *walk, const struct directory *entered)
{
    bool is_below_root = entered->parent->parent && !entered->parent->parent->parent;
    if (walk->kind != WALK_ENTRIES || walk->batch.aside_fd >= 0 || !is_below_root)
        return;
    struct stat status;
    int fd = directory_make_at_random(entered->parent->fd);
    if (fd >= 0 && fstat(fd, &status) == 0)
        walk->aside_inode = status.st_ino;
    walk->batch.aside_fd = fd;
}

static enum error_code enter(struct walk *walk, const char *name, struct error *reterr)
{
    struct directory *entered = NULL;
    struct error error = ERROR_NONE;
    walk->names_bytes -= strlen(name) + 1;
    switch (directory_enter(walk->current, name, &entered, &error)) {
    case OK:
        break;
    case ERR_DENIED:
        batch_keep(&walk->batch, walk->current, name, "mount-point", "something is mounted on it",
                   "unmount it, then run the same command again");
        return OK;
    case ERR_CHANGED:
        walk->tally.left_over = true;
        return OK;
    case ERR_NO_MEMORY:
        if (reterr)
            *reterr = error;
        return ERR_NO_MEMORY;
    default:
        batch_keep(&walk->batch, walk->current, name, "not-opened", error.message, error.remedy);
        return OK;
    }
    if (!entered)
        return OK;
    make_aside(walk, entered);
    walk->current = entered;
    return close_far_above(walk, reterr);
}

/* All of it was read: it joins the batch. */
static enum error_code leave(struct walk *walk, struct error *reterr)
{
    struct directory *left = walk->current;
    enum error_code code = directory_reopen_parent(left, reterr);
    bool is_root = !left->parent->parent;
    if (!code)
        code = batch_add_directory(&walk->batch, left,
                                   is_root                      ? BATCH_LEAVE_DIRECTORY
                                   : walk->kind == WALK_ENTRIES ? BATCH_SET_DIRECTORY_ASIDE
                                                                : BATCH_REMOVE_DIRECTORY,
                                   reterr);
    if (code)
        return code;
    if (is_root)
        walk->root = directory_get(left);
    walk->current = left->parent;
    directory_put(left);
    return OK;
}

static enum error_code step(struct walk *walk, struct error *reterr)
{
    struct directory *directory = walk->current;
    enum error_code code = interrupt_check(reterr);
    if (code)
        return code;
    if (batch_is_full(&walk->batch))
        return batch_run(&walk->batch, reterr);
    const char *name = name_stack_pop(&directory->pending);
    if (name)
        return enter(walk, name, reterr);
    if (!directory->scanned)
        return scan(walk, directory, reterr);
    return leave(walk, reterr);
}

static void forget_chain(struct walk *walk)
{
    while (walk->current) {
        struct directory *parent = walk->current->parent;
        directory_put(walk->current);
        walk->current = parent;
    }
    walk->names_bytes = 0;
}

void walk_done(struct walk *walk)
{
    directory_put(walk->root);
    walk->root = NULL;
    close_fdp(&walk->batch.aside_fd);
    walk->aside_inode = 0;
}

enum error_code walk_once(struct walk *walk, enum walk_kind kind, int parent_fd, const char *name,
                          struct error *reterr)
{
    int fd = fcntl(parent_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the directory of %s", text_shown(name));
    struct directory *top = NULL; /* stands for parent_fd, of which only name is looked at */
    enum error_code code = directory_new(NULL, "", fd, &top, reterr);
    if (code)
        return code;
    walk_done(walk);
    walk->kind = kind;
    walk->current = top;
    code = take_entry(walk, top, name, DT_UNKNOWN, 0, reterr);
    while (!code && (walk->current != top || top->pending.length > 0))
        code = step(walk, reterr);
    if (!code)
        code = batch_run(&walk->batch, reterr);
    forget_chain(walk);
    return code;
}
