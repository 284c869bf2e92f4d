#include "tree/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "tree/content.h"
#include "tree/entry.h"
#include "tree/handle.h"
#include "tree/remove.h"
#include "tree/verity.h"

enum error_code tree_pass_init(struct tree_pass *pass, const struct tree_pair *pair, unsigned threads,
                               struct error *reterr)
{
    *pass = (struct tree_pass){.pair = pair, .threads = threads};
    pass->buffers = aligned_alloc(4096, pass->threads * 2 * CONTENT_BUFFER_SIZE);
    if (!pass->buffers)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    pthread_mutex_init(&pass->mutex, NULL);
    pthread_mutex_init(&pass->flushing, NULL);
    return OK;
}

void tree_pass_done(struct tree_pass *pass)
{
    if (!pass->buffers)
        return;
    for (unsigned i = 0; i < pass->threads; i++)
        drop_behind_done(&pass->behind[i]);
    pthread_mutex_destroy(&pass->mutex);
    pthread_mutex_destroy(&pass->flushing);
    free(pass->buffers);
    pass->buffers = NULL;
}

uint8_t *tree_pass_buffer(const struct tree_pass *pass)
{
    return pass->buffers + tree_walk_worker() * 2 * CONTENT_BUFFER_SIZE;
}

void tree_pass_advance(uint64_t bytes, void *context)
{
    const struct tree_pass *pass = context;
    report_advance(pass->pair->report, 0, bytes);
}

enum error_code tree_pass_blame(const struct tree_pass *pass, const struct tree_directory *directory,
                                const char *name, struct error *reterr)
{
    const char *below = tree_shown(directory, name);
    if (reterr && reterr->code == ERR_CHANGED)
        error_remedy(reterr, "something writes there: stop it, then run the same command again");
    error_subject(reterr, "%s/%s", pass->pair->shown_path, below);
    return error_prefix(reterr, "%s/%s", pass->pair->shown_path, below);
}

uint32_t tree_hold_back(const struct tree_directory *directory)
{
    return directory->parent ? 0 : ATTRIBUTE_FLAGS_SEALING;
}

static enum error_code check_unchanged(int fd, const struct statx *before, struct error *reterr)
{
    struct statx now;
    if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &now) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at it");
    if (now.stx_ino != before->stx_ino || now.stx_mode != before->stx_mode ||
        now.stx_size != before->stx_size || tree_ns(now.stx_ctime) != tree_ns(before->stx_ctime) ||
        tree_ns(now.stx_mtime) != tree_ns(before->stx_mtime))
        return error_set(reterr, ERR_CHANGED, 0, "changed while it was copied");
    return OK;
}

/* Remember where the twin is; before is what was remembered of it until now. Without further names nobody
 * looks for it by its handle (copy_locked). */
static enum error_code record_twin(struct tree_pass *pass, const struct statx *status,
                                   const struct tree_record *before, int twin_fd, ino_t twin_inode,
                                   struct error *reterr)
{
    struct tree_record record = {.flags = TREE_RECORD_COPIED | (before->flags & TREE_RECORD_LAYOUT_TRIED),
                                 .twin_inode = (uint32_t)twin_inode};
    if (status->stx_nlink == 1)
        return tree_records_put(pass->pair->records, status, &record, reterr);
    struct tree_handle handle;
    if (tree_handle_get(twin_fd, "", &handle) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot get the twin's handle");
    record.twin_inode = handle.inode;
    record.twin_generation = handle.generation;
    return tree_records_put(pass->pair->records, status, &record, reterr);
}

/* Give a new name to a twin that is there already. *ret_linked false when it has gone. */
static enum error_code link_twin(struct tree_pass *pass, const struct tree_record *record, int directory_fd,
                                 const char *name, bool *ret_linked, struct error *reterr)
{
    const struct tree_handle handle = {record->twin_inode, record->twin_generation};
    *ret_linked = false;
    _cleanup_(close_fdp) int fd =
        tree_handle_open(pass->pair->clone_fd, handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    /* ENOMEM: the twin has gone, and its inode number is just being given to a new file (iget_locked). Were
     * it true, the twin copied anew would not have all its names, and the comparison would find that. */
    if (fd < 0 && (errno == ESTALE || errno == ENOENT || errno == ENOMEM))
        return OK;
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the twin by its handle");
    if (linkat(fd, "", directory_fd, name, AT_EMPTY_PATH) == 0) {
        *ret_linked = true;
        return OK;
    }
    if (errno == ENOENT) /* its last name has gone */
        return OK;
    if (errno != EPERM)
        return error_set(reterr, ERR_FAILED, errno, "cannot make the hard link");

    /* An immutable or append-only file takes no new name: unseal it, link, seal it again. */
    _cleanup_(close_fdp) int open_fd =
        tree_handle_open(pass->pair->clone_fd, handle, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    uint32_t flags;
    if (open_fd < 0 || attributes_get_flags(open_fd, &flags, NULL) || tree_unseal(open_fd, NULL))
        return error_set(reterr, ERR_FAILED, EPERM, "cannot make the hard link");
    int failure = linkat(fd, "", directory_fd, name, AT_EMPTY_PATH) < 0 ? errno : 0;
    enum error_code code = attributes_set_flags(open_fd, flags, reterr);
    if (!code && failure)
        code = error_set(reterr, ERR_FAILED, failure, "cannot make the hard link");
    *ret_linked = !code;
    return code;
}

/* Give the twin what the source carries beside its bytes, and remember it as whole if the source is still
 * what it was before all this. */
static enum error_code finish_twin(struct tree_pass *pass, const struct statx *status,
                                   const struct tree_record *before, int source, int twin,
                                   struct error *reterr)
{
    const bool path_only = !S_ISREG(status->stx_mode);
    struct stat twin_status;
    if (fstatat(twin, "", &twin_status, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at its twin");
    /* A twin's directory has no flags that it could hand down, until all in it is made (open_up). */
    const struct attribute_target from = {.fd = source, .path_only = path_only},
                                  to = {.fd = twin, .path_only = path_only, .flagless = true};
    enum error_code code = attributes_apply(from, status, to, &twin_status, pass->pair->features, 0, reterr);
    if (!code)
        code = check_unchanged(source, status, reterr);
    return code ? code : record_twin(pass, status, before, twin, twin_status.st_ino, reterr);
}

/* The twin's bytes, and its fs-verity seal. */
static enum error_code copy_bytes(struct tree_pass *pass, const struct tree_directory *directory,
                                  const char *name, const struct statx *status, int source, int *twin,
                                  struct error *reterr)
{
    const bool empty = status->stx_blocks == 0 && status->stx_size == 0;
    /* Of an empty one nothing is read that could show that it is what was seen under this name. */
    enum error_code code = empty ? check_unchanged(source, status, reterr)
                                 : content_copy(source, *twin, status, tree_pass_buffer(pass),
                                                pass->pair->unwritten, tree_pass_advance, pass, reterr);
    if (code || !(status->stx_attributes & STATX_ATTR_VERITY))
        return code;
    close_fdp(twin); /* fs-verity wants no writer */
    *twin = openat(directory->twin_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return *twin < 0 ? error_set(reterr, ERR_FAILED, errno, "cannot open its twin")
                     : verity_copy(source, *twin, reterr);
}

/* How much of small files may wait in the page cache. */
static const unsigned long small_bytes_most = 8 << 20;

/* A small file costs more as a request of its own than its encryption does. So many are left to the kernel's
 * flusher, which joins them, and the thread that waits for it lends it its processor. When they come faster
 * than that, the others hand theirs to the disk themselves. */
static enum error_code flush_small(struct tree_pass *pass, int twin, uint64_t size, struct error *reterr)
{
    if (atomic_fetch_add(&pass->small_bytes, size) + size < small_bytes_most)
        return OK;
    if (pthread_mutex_trylock(&pass->flushing) != 0) {
        content_hand_to_disk(twin, 0, CONTENT_SMALL);
        return OK;
    }
    atomic_store(&pass->small_bytes, 0);
    int failure = syncfs(twin) < 0 ? errno : 0;
    pthread_mutex_unlock(&pass->flushing);
    return failure ? error_set(reterr, ERR_FAILED, failure, "cannot write out what was copied") : OK;
}

static enum error_code copy_regular(struct tree_pass *pass, struct tree_directory *directory,
                                    const char *name, const struct statx *status,
                                    const struct tree_record *before, struct error *reterr)
{
    _cleanup_(close_fdp) int source =
        openat(directory->fd, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
    if (source < 0)
        return error_set(reterr, errno == ENOENT || errno == ELOOP ? ERR_CHANGED : ERR_FAILED, errno,
                         "cannot open it");
    /* Nobody but root can enter the twin's directory yet, so the mode may be the one to come. */
    int injected = fault("tree.copy.create");
    _cleanup_(close_fdp) int twin =
        injected ? -1
                 : openat(directory->twin_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                          status->stx_mode & 0777);
    if (twin < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot make its twin");
    enum error_code code = copy_bytes(pass, directory, name, status, source, &twin, reterr);
    struct error changed = ERROR_NONE;
    if (code == ERR_FAILED && check_unchanged(source, status, &changed) == ERR_CHANGED) {
        /* Whatever came in its place has its own errors. */
        code = ERR_CHANGED;
        if (reterr)
            *reterr = changed;
    }
    if (!code)
        code = finish_twin(pass, status, before, source, twin, reterr);
    if (!code && status->stx_size <= CONTENT_SMALL && status->stx_size > 0)
        return flush_small(pass, twin, status->stx_size + status->stx_blksize, reterr);
    if (!code && status->stx_size >= DROP_BEHIND_LEAST)
        drop_behind_add(&pass->behind[tree_walk_worker()], TAKE_FD(twin), status->stx_size);
    return code;
}

/* One that was moved out of an encrypted directory. Without its key readlink gives something that only stands
 * for the target, and does not say so. */
static bool was_moved_out(const struct tree_directory *directory, const struct statx *status)
{
    return (status->stx_attributes & STATX_ATTR_ENCRYPTED) &&
           !(directory->status.stx_attributes & STATX_ATTR_ENCRYPTED);
}

static enum error_code make_special(struct tree_directory *directory, const char *name,
                                    const struct statx *status, struct error *reterr)
{
    int injected = fault("tree.copy.special");
    if (S_ISLNK(status->stx_mode)) {
        char target[PATH_MAX + 1];
        ssize_t length = readlinkat(directory->fd, name, target, sizeof(target) - 1);
        if (length < 0)
            return error_set(reterr, errno == ENOENT || errno == EINVAL ? ERR_CHANGED : ERR_FAILED, errno,
                             "cannot read the symlink");
        target[length] = '\0';
        if (injected || symlinkat(target, directory->twin_fd, name) < 0)
            return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot make its twin");
        return OK;
    }
    dev_t device = makedev(status->stx_rdev_major, status->stx_rdev_minor);
    if (injected || mknodat(directory->twin_fd, name, status->stx_mode & (S_IFMT | 0777), device) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot make its twin");
    return OK;
}

/* Symlinks, FIFOs, sockets, devices: never opened but with O_PATH. */
static enum error_code copy_special(struct tree_pass *pass, struct tree_directory *directory,
                                    const char *name, const struct statx *status,
                                    const struct tree_record *before, struct error *reterr)
{
    _cleanup_(close_fdp) int source = openat(directory->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (source < 0)
        return error_set(reterr, errno == ENOENT ? ERR_CHANGED : ERR_FAILED, errno, "cannot open it");
    enum error_code code = check_unchanged(source, status, reterr);
    if (!code && S_ISLNK(status->stx_mode) && was_moved_out(directory, status)) {
        code = error_set(reterr, ERR_UNSUPPORTED, 0, "is an encrypted symlink in a plain directory");
        error_remedy(reterr, "make it anew where it lies, then run the same command again");
    }
    if (!code)
        code = make_special(directory, name, status, reterr);
    if (code)
        return code;
    _cleanup_(close_fdp) int twin = openat(directory->twin_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (twin < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open its twin");
    return finish_twin(pass, status, before, source, twin, reterr);
}

/* What stands where the twin is to be: keep it when it is the whole twin of this very inode, else take it
 * away. */
static enum error_code look_at_present(struct tree_directory *directory, const char *name,
                                       const struct tree_record *record, bool usable, bool *ret_done,
                                       struct error *reterr)
{
    struct stat present;
    *ret_done = false;
    if (directory->twin_fresh)
        return OK;
    if (fstatat(directory->twin_fd, name, &present, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? OK : error_set(reterr, ERR_FAILED, errno, "cannot look at its twin");
    if (usable && present.st_ino == record->twin_inode) {
        *ret_done = true;
        return OK;
    }
    return tree_remove(directory->twin_fd, name, NULL, reterr);
}

static enum error_code copy_locked(struct tree_pass *pass, struct tree_directory *directory, const char *name,
                                   const struct statx *status, struct error *reterr)
{
    struct tree_record record = {0};
    enum error_code code = OK;
    /* In a new directory there is no twin to keep, and one name needs no other's. */
    if (!directory->twin_fresh || status->stx_nlink > 1)
        code = tree_records_get(pass->pair->records, status, &record, reterr);
    if (code)
        return code;
    bool done = false;
    bool usable = (record.flags & TREE_RECORD_COPIED) && tree_record_unchanged(&record, status);
    code = look_at_present(directory, name, &record, usable, &done, reterr);
    if (!code && !done && usable && status->stx_nlink > 1 && record.names > 1)
        code = link_twin(pass, &record, directory->twin_fd, name, &done, reterr);
    if (code)
        return code;
    if (done) {
        report_advance(pass->pair->report, 0, S_ISREG(status->stx_mode) ? status->stx_size : 0);
        return OK;
    }
    return S_ISREG(status->stx_mode) ? copy_regular(pass, directory, name, status, &record, reterr)
                                     : copy_special(pass, directory, name, status, &record, reterr);
}

static enum error_code copy_entry(struct tree_pass *pass, struct tree_directory *directory, const char *name,
                                  const struct statx *status, struct error *reterr)
{
    bool shared = status->stx_nlink > 1;
    if (shared)
        tree_records_lock(pass->pair->records, status->stx_ino);
    enum error_code code = copy_locked(pass, directory, name, status, reterr);
    if (shared)
        tree_records_unlock(pass->pair->records, status->stx_ino);
    if (code)
        return tree_pass_blame(pass, directory, name, reterr);
    return OK;
}

/* Casefold can only be set while a directory is empty, and is inherited: make the twin's like the source's.
 * *ret_same tells whether it is. */
static enum error_code match_casefold(struct tree_directory *directory, bool *ret_same, struct error *reterr)
{
    uint32_t wanted, now;
    *ret_same = true;
    enum error_code code = attributes_get_flags(directory->fd, &wanted, reterr);
    if (!code)
        code = attributes_get_flags(directory->twin_fd, &now, reterr);
    if (code || (wanted & FS_CASEFOLD_FL) == (now & FS_CASEFOLD_FL))
        return code;
    if (attributes_set_flags(directory->twin_fd, now ^ FS_CASEFOLD_FL, reterr) == OK)
        return OK;
    *ret_same = false;
    return directory->twin_fresh ? reterr ? reterr->code : ERR_FAILED : OK;
}

/* A directory that is there may carry what would hinder or colour what is made in it. */
static enum error_code open_up(int twin_fd, struct error *reterr)
{
    uint32_t flags;
    enum error_code code = attributes_get_flags(twin_fd, &flags, reterr);
    if (!code && (flags & attributes_kept_flags()))
        code = attributes_set_flags(twin_fd, flags & ~attributes_kept_flags(), reterr);
    if (!code && fremovexattr(twin_fd, "system.posix_acl_default") < 0 && errno != ENODATA &&
        errno != EOPNOTSUPP)
        code = error_set(reterr, ERR_FAILED, errno, "cannot remove the default ACL of the twin");
    return code;
}

static enum error_code make_twin(struct tree_directory *directory, struct error *reterr)
{
    const int parent_fd = directory->parent->twin_fd;
    int injected = fault("tree.copy.mkdir");
    if (injected || mkdirat(parent_fd, directory->name, 0700) < 0) {
        if (injected || errno != EEXIST || directory->parent->twin_fresh)
            return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot make its twin");
        struct stat present;
        if (fstatat(parent_fd, directory->name, &present, AT_SYMLINK_NOFOLLOW) == 0 &&
            !S_ISDIR(present.st_mode)) {
            enum error_code code = tree_unlink(parent_fd, directory->name, reterr);
            return code ? code : make_twin(directory, reterr);
        }
    } else {
        directory->twin_fresh = true;
    }
    directory->twin_fd =
        openat(parent_fd, directory->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (directory->twin_fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open its twin");
    return OK;
}

static enum error_code enter_twin(struct tree_pass *pass, struct tree_directory *directory,
                                  struct error *reterr)
{
    bool same;
    if (!directory->parent) {
        directory->twin_fd = fcntl(pass->pair->twin_fd, F_DUPFD_CLOEXEC, 0);
        return directory->twin_fd < 0 ? error_set(reterr, ERR_FAILED, errno, "cannot duplicate a descriptor")
                                      : OK;
    }
    enum error_code code = make_twin(directory, reterr);
    if (!code)
        code = match_casefold(directory, &same, reterr);
    if (code || same)
        return code;
    close_fdp(&directory->twin_fd);
    code = tree_remove(directory->parent->twin_fd, directory->name, NULL, reterr);
    if (!code)
        code = make_twin(directory, reterr);
    return code ? code : match_casefold(directory, &same, reterr);
}

enum error_code tree_enter_twin(struct tree_pass *pass, struct tree_directory *directory,
                                struct error *reterr)
{
    enum error_code code = enter_twin(pass, directory, reterr);
    return code ? tree_pass_blame(pass, directory, NULL, reterr) : OK;
}

static void note_newest(struct tree_pass *pass, const struct statx *status)
{
    const struct clock *clock = clock_system();
    long long changed = tree_ns(status->stx_ctime), newest = atomic_load(&pass->newest_ns);
    if (changed <= newest || changed > clock->unix_ns(clock->context))
        return;
    while (changed > newest && !atomic_compare_exchange_weak(&pass->newest_ns, &newest, changed))
        ;
}

static enum error_code on_enter(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct tree_pass *pass = context;
    note_newest(pass, &directory->status);
    /* Without its key it has other names, and nothing tells them from its own. */
    if (directory->parent && was_moved_out(directory->parent, &directory->status)) {
        error_set(reterr, ERR_CHANGED, 0, "became an encrypted directory in a plain one");
        return tree_pass_blame(pass, directory, NULL, reterr);
    }
    enum error_code code = tree_enter_twin(pass, directory, reterr);
    if (!code && !directory->parent) {
        /* A twin root in which nothing was made yet is as good as new; it only has to be open. */
        bool same;
        code = match_casefold(directory, &same, reterr);
        if (!code && !same)
            code = error_set(reterr, ERR_FAILED, 0, "cannot give the twin's root the casefold flag");
    }
    if (!code && !directory->twin_fresh)
        code = open_up(directory->twin_fd, reterr);
    return code;
}

static enum error_code on_entry(struct tree_directory *directory, const char *name,
                                const struct statx *status, void *context, struct error *reterr)
{
    struct tree_pass *pass = context;
    note_newest(pass, status);
    enum error_code code = copy_entry(pass, directory, name, status, reterr);
    if (!code)
        report_advance(pass->pair->report, 1, 0);
    (void)fault("tree.copy.entry");
    return code;
}

static enum error_code on_leave(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct tree_pass *pass = context;
    (void)fault("tree.copy.leave");
    struct stat twin_status;
    enum error_code code = OK;
    if (fstat(directory->twin_fd, &twin_status) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot look at its twin");
    if (!code)
        code = attributes_apply((struct attribute_target){.fd = directory->fd}, &directory->status,
                                (struct attribute_target){.fd = directory->twin_fd}, &twin_status,
                                pass->pair->features, tree_hold_back(directory), reterr);
    return code ? tree_pass_blame(pass, directory, NULL, reterr) : OK;
}

enum error_code tree_copy(const struct tree_pair *pair, int64_t *ret_newest_ns, struct error *reterr)
{
    _cleanup_(tree_pass_done) struct tree_pass pass;
    enum error_code code = tree_pass_init(&pass, pair, tree_walk_threads(), reterr);
    if (code)
        return code;
    const struct tree_visitor visitor = {
        .enter = on_enter, .entry = on_entry, .leave = on_leave, .context = &pass};
    const mode_t before = umask(0); /* so that what is made can have its mode from the start */
    code = tree_walk(pair->source_fd, pass.threads, &visitor, reterr);
    umask(before);
    if (!code)
        *ret_newest_ns = atomic_load(&pass.newest_ns);
    return code;
}
