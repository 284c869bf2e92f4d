#include "destroy/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "destroy/open.h"
#include "destroy/parallel.h"

/*
 * What is on disk while a batch is carried out:
 *
 *   collected    the files as they were
 *   overwrite    each file under its name, any part of it random bytes
 *   flush        each file under its name, all of it random bytes, durable
 *   re-read      the same
 *   unlink       some entries gone, in the order they were added; directories renamed or gone likewise
 *
 * No entry is unlinked before the flush of its contents returned, so whatever a crash undoes of the removals
 * brings back overwritten files only. All of it is done again by the next call: overwriting needs no memory
 * of what was overwritten before.
 */
enum error_code batch_init(struct batch *batch, struct error *reterr)
{
    enum error_code code = pattern_init(&batch->pattern, reterr);
    for (size_t i = 0; i < BATCH_WORKERS && !code; i++) {
        batch->workers[i] = (struct overwrite_worker){
            .pattern = &batch->pattern, .report = batch->report, .stopping = OVERWRITE_STOPPABLE};
        code = overwrite_worker_init(&batch->workers[i], reterr);
        batch->worker_count += !code;
    }
    return batch->worker_count ? OK : code;
}

bool batch_is_full(const struct batch *batch)
{
    /* One more file may need two descriptors: its own and its directory's. */
    return batch->count == BATCH_ITEMS || batch->descriptors + 2 > BATCH_DESCRIPTORS ||
           batch->bytes >= BATCH_BYTES;
}

bool batch_holds(const struct batch *batch, ino_t inode)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].fd >= 0 && batch->items[i].inode == inode)
            return true;
    return false;
}

static struct directory *get_for_batch(struct batch *batch, struct directory *directory)
{
    if (directory->batched++ == 0)
        batch->descriptors++;
    return directory_get(directory);
}

static void put_from_batch(struct directory *directory)
{
    if (!directory)
        return;
    directory->batched--;
    directory_put(directory);
}

static void empty(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];
        close_fdp(&item->fd);
        free(item->name);
        put_from_batch(item->child);
        put_from_batch(item->directory);
    }
    batch->count = 0;
    batch->descriptors = 0;
    batch->bytes = 0;
}

void batch_done(struct batch *batch)
{
    empty(batch);
    for (size_t i = 0; i < BATCH_WORKERS; i++)
        overwrite_worker_done(&batch->workers[i]);
}

static enum error_code add(struct batch *batch, struct directory *directory, const char *name,
                           struct batch_item **ret_item, struct error *reterr)
{
    char *copy = strdup(name);
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, ENOMEM, "cannot remember %s", text_shown(name));
    struct batch_item *item = &batch->items[batch->count++];
    *item = (struct batch_item){.directory = get_for_batch(batch, directory), .name = copy, .fd = -1};
    *ret_item = item;
    return OK;
}

enum error_code batch_add_entry(struct batch *batch, struct directory *directory, const char *name,
                                ino_t inode, struct error *reterr)
{
    struct batch_item *item = NULL;
    enum error_code code = add(batch, directory, name, &item, reterr);
    if (!code)
        item->inode = inode;
    return code;
}

enum error_code batch_add_file(struct batch *batch, struct directory *directory, const char *name, int fd,
                               const struct stat *status, struct error *reterr)
{
    _cleanup_(close_fdp) int owned = fd;
    struct batch_item *item = NULL;
    enum error_code code = add(batch, directory, name, &item, reterr);
    if (code)
        return code;
    item->inode = status->st_ino;
    item->bytes = (uint64_t)status->st_blocks * 512;
    item->fd = TAKE_FD(owned);
    overwrite_begin(&item->overwrite, item->fd, status);
    batch->descriptors++;
    batch->bytes += item->bytes;
    return OK;
}

enum error_code batch_add_directory(struct batch *batch, struct directory *child, enum batch_directory act,
                                    struct error *reterr)
{
    struct batch_item *item = NULL;
    enum error_code code = add(batch, child->parent, child->name, &item, reterr);
    if (code)
        return code;
    item->inode = child->inode;
    item->child = get_for_batch(batch, child);
    item->directory_act = act;
    return OK;
}

/* One step over all files of the batch by all workers. */
struct step {
    struct batch *batch;
    enum error_code (*run)(struct batch_item *item, const struct overwrite_worker *worker,
                           struct error *reterr);
    struct batch_step *(*record)(struct batch_item *item);
    atomic_size_t next;
};

static void work(void *context, size_t worker)
{
    struct step *step = context;
    for (;;) {
        size_t i = atomic_fetch_add(&step->next, 1);
        if (i >= step->batch->count)
            return;
        struct batch_item *item = &step->batch->items[i];
        if (item->fd < 0)
            continue;
        struct error error = ERROR_NONE;
        enum error_code code = step->run(item, &step->batch->workers[worker], &error);
        struct batch_step *record = step->record(item);
        if (code && !record->code)
            *record = (struct batch_step){.code = code, .os_errno = error.os_errno};
    }
}

static struct batch_step *overwritten_of(struct batch_item *item)
{
    return &item->overwritten;
}

static struct batch_step *reread_of(struct batch_item *item)
{
    return &item->reread;
}

static enum error_code write_item(struct batch_item *item, const struct overwrite_worker *worker,
                                  struct error *reterr)
{
    return overwrite_write(&item->overwrite, worker, reterr);
}

/* Direct writes are in the device; all of them together need one flush, below. */
static enum error_code flush_buffered_item(struct batch_item *item, const struct overwrite_worker *worker,
                                           struct error *reterr)
{
    (void)worker;
    return item->overwrite.way == OVERWRITE_DIRECT ? OK : overwrite_flush(&item->overwrite, reterr);
}

static enum error_code reread_item(struct batch_item *item, const struct overwrite_worker *worker,
                                   struct error *reterr)
{
    return overwrite_reread(&item->overwrite, worker, reterr);
}

static void run_step(struct batch *batch,
                     enum error_code (*run)(struct batch_item *, const struct overwrite_worker *,
                                            struct error *),
                     struct batch_step *(*record)(struct batch_item *))
{
    struct step step = {.batch = batch, .run = run, .record = record};
    parallel_run(batch->worker_count, work, &step);
}

static enum error_code flush(struct batch *batch, struct error *reterr)
{
    run_step(batch, flush_buffered_item, overwritten_of);
    for (size_t i = batch->count; i > 0; i--)
        if (batch->items[i - 1].fd >= 0 && batch->items[i - 1].overwrite.way == OVERWRITE_DIRECT)
            return overwrite_flush(&batch->items[i - 1].overwrite, reterr);
    return OK;
}

void batch_tell_not_overwritten(struct batch *batch, const struct directory *directory, const char *name,
                                const char *cause)
{
    _cleanup_(buffer_done) struct buffer path = {0};
    const char *shown = directory_show_path(directory, name, &path, NULL) ? "" : path.data;
    finding_add(batch->findings, FINDING_TELLS, "not-overwritten", shown,
                "overwrite the free space of the filesystem: its blocks are free now", "%s", cause);
    batch->tally->not_overwritten++;
}

static void tell_step(struct batch *batch, const struct batch_item *item, const char *cause,
                      const struct batch_step *step)
{
    char text[TEXT_SHOW_SIZE];
    snprintf(text, sizeof(text), "%s%s%s", cause, step->os_errno ? ": " : "",
             step->os_errno ? strerror(step->os_errno) : "");
    batch_tell_not_overwritten(batch, item->directory, item->name, text);
}

/* What did not go as it should is told; the entry is removed all the same, as every step runs. */
static void tell_outcomes(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct batch_item *item = &batch->items[i];
        if (item->overwritten.code)
            tell_step(batch, item, "removed, but could not be overwritten", &item->overwritten);
        else if (item->reread.code == ERR_UNSUPPORTED)
            batch->tally->unverifiable++;
        else if (item->reread.code)
            tell_step(batch, item, "overwritten and removed, but not as re-reading shows", &item->reread);
    }
}

void batch_keep(struct batch *batch, struct directory *directory, const char *name, const char *kind,
                const char *cause, const char *remedy)
{
    _cleanup_(buffer_done) struct buffer path = {0};
    const char *shown = directory_show_path(directory, name, &path, NULL) ? "" : path.data;
    finding_add(batch->kept_findings, FINDING_TELLS, kind, shown, remedy, "%s", cause);
    batch->tally->kept++;
    directory->kept = true;
}

enum entry_state { ENTRY_SAME, ENTRY_GONE, ENTRY_CHANGED, ENTRY_MOUNT_POINT };

/* Whether name still is the entry that was looked at: nothing that came into its place since is unlinked. */
static enum entry_state look_at(const struct batch_item *item)
{
    struct statx status;
    if (statx(item->directory->fd, item->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_INO, &status) < 0)
        return errno == ENOENT ? ENTRY_GONE : ENTRY_CHANGED;
    if (status.stx_attributes & STATX_ATTR_MOUNT_ROOT)
        return ENTRY_MOUNT_POINT;
    return status.stx_ino == item->inode ? ENTRY_SAME : ENTRY_CHANGED;
}

static void keep_busy(struct batch *batch, struct batch_item *item, int os_errno)
{
    if (os_errno == EBUSY)
        batch_keep(batch, item->directory, item->name, "mount-point", "something is mounted on it",
                   "unmount it, then run the same command again");
    else
        batch_keep(batch, item->directory, item->name, "not-removed", strerror(os_errno), "");
}

static void remove_entry(struct batch *batch, struct batch_item *item)
{
    switch (look_at(item)) {
    case ENTRY_GONE:
        return;
    case ENTRY_CHANGED:
        batch->tally->left_over = true;
        return;
    case ENTRY_MOUNT_POINT:
        keep_busy(batch, item, EBUSY);
        return;
    case ENTRY_SAME:
        break;
    }
    int injected = fault("destroy.unlink");
    if (!injected && unlinkat(item->directory->fd, item->name, 0) == 0) {
        batch->tally->removed++;
        report_advance(batch->report, 1, 0);
        return;
    }
    int os_errno = injected ? injected : errno;
    if (os_errno != ENOENT)
        keep_busy(batch, item, os_errno);
}

static void set_directory_aside(struct batch *batch, struct batch_item *item)
{
    if (look_at(item) != ENTRY_SAME) {
        batch->tally->left_over = true;
        return;
    }
    /* Projects, or a disk without any space, may forbid it; then the name at least is replaced. */
    if (batch->aside_fd < 0 || rename_at_random(item->directory->fd, &item->name, batch->aside_fd))
        (void)rename_at_random(item->directory->fd, &item->name, item->directory->fd);
}

static void remove_directory(struct batch *batch, struct batch_item *item)
{
    int injected = fault("destroy.remove-directory");
    if (!injected && unlinkat(item->directory->fd, item->name, AT_REMOVEDIR) == 0) {
        batch->tally->removed++;
        return;
    }
    int os_errno = injected ? injected : errno;
    if (os_errno == ENOTEMPTY || os_errno == EEXIST || os_errno == ENOTDIR) {
        batch->tally->left_over = true;
        item->directory->kept = true;
    } else if (os_errno != ENOENT) {
        keep_busy(batch, item, os_errno);
    }
}

static void finish_directory(struct batch *batch, struct batch_item *item)
{
    if (item->child->kept) {
        flags_restore(item->child->fd, item->child->cleared_flags);
        item->directory->kept = true;
        return;
    }
    switch (item->directory_act) {
    case BATCH_SET_DIRECTORY_ASIDE:
        set_directory_aside(batch, item);
        return;
    case BATCH_REMOVE_DIRECTORY:
        remove_directory(batch, item);
        return;
    case BATCH_LEAVE_DIRECTORY:
        return;
    }
}

static enum error_code begin(const struct batch *batch, struct error *reterr)
{
    for (size_t i = 0; batch->begins && i < batch->count; i++)
        if (batch->items[i].fd >= 0)
            return batch->begins(batch->begins_context, reterr);
    return OK;
}

static enum error_code overwrite_all(struct batch *batch, struct error *reterr)
{
    enum error_code code = begin(batch, reterr);
    if (code)
        return code;
    run_step(batch, write_item, overwritten_of);
    code = interrupt_check(reterr);
    if (!code)
        code = flush(batch, reterr);
    if (code)
        return code;
    run_step(batch, reread_item, reread_of);
    return interrupt_check(reterr);
}

enum error_code batch_run(struct batch *batch, struct error *reterr)
{
    int injected = fault("destroy.tree.batch");
    enum error_code code =
        injected ? error_set(reterr, ERR_FAILED, injected, "cannot destroy a batch of files") : OK;
    if (!code)
        code = overwrite_all(batch, reterr);
    if (!code)
        tell_outcomes(batch);
    for (size_t i = 0; i < batch->count && !code; i++) {
        struct batch_item *item = &batch->items[i];
        close_fdp(&item->fd);
        if (item->child)
            finish_directory(batch, item);
        else
            remove_entry(batch, item);
    }
    empty(batch);
    return code;
}
