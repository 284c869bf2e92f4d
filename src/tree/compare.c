#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "tree/content.h"
#include "tree/entry.h"
#include "tree/remove.h"
#include "tree/verity.h"

/* The verdict on one entry. */
enum verdict { VERDICT_SAME, VERDICT_DIFFERS, VERDICT_LAYOUT };

static void add_finding(struct tree_pass *pass, const char *kind, const struct tree_directory *directory,
                        const char *name, const char *cause)
{
    char subject[TREE_PATH_SIZE + 256];
    snprintf(subject, sizeof(subject), "%s/%s", pass->pair->shown_path, tree_shown(directory, name));
    pthread_mutex_lock(&pass->mutex);
    if (pass->findings)
        finding_add(pass->findings, FINDING_TELLS, kind, subject, "", "%s", cause);
    pthread_mutex_unlock(&pass->mutex);
}

static enum error_code compare_regular(struct tree_pass *pass, int source, int twin,
                                       const struct statx *status, enum verdict *ret_verdict,
                                       struct error *reterr)
{
    enum content_difference difference;
    uint64_t beyond_bytes = 0;
    enum error_code code = content_compare(source, twin, status->stx_size, tree_pass_buffer(pass),
                                           tree_pass_advance, pass, &difference, &beyond_bytes, reterr);
    bool same = difference != CONTENT_BYTES_DIFFER;
    if (!code && same && (status->stx_attributes & STATX_ATTR_VERITY))
        code = verity_compare(source, twin, &same, reterr);
    if (!code && difference == CONTENT_SAME)
        atomic_fetch_add(&pass->beyond_bytes, beyond_bytes);
    if (!code)
        *ret_verdict = !same                                  ? VERDICT_DIFFERS
                       : difference == CONTENT_LAYOUT_DIFFERS ? VERDICT_LAYOUT
                                                              : VERDICT_SAME;
    return code;
}

static enum error_code compare_symlink(int source, int twin, enum verdict *ret_verdict, struct error *reterr)
{
    char one[PATH_MAX + 1], other[PATH_MAX + 1];
    ssize_t length = readlinkat(source, "", one, sizeof(one));
    ssize_t twin_length = readlinkat(twin, "", other, sizeof(other));
    if (length < 0 || twin_length < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the symlink");
    *ret_verdict =
        length == twin_length && !memcmp(one, other, (size_t)length) ? VERDICT_SAME : VERDICT_DIFFERS;
    return OK;
}

static enum error_code compare_opened(struct tree_pass *pass, int source, int twin,
                                      const struct statx *status, const struct statx *twin_status,
                                      enum verdict *ret_verdict, struct error *reterr)
{
    const bool regular = S_ISREG(status->stx_mode);
    const char *difference = NULL;
    enum error_code code =
        attributes_compare((struct attribute_target){.fd = source, .path_only = !regular}, status,
                           (struct attribute_target){.fd = twin, .path_only = !regular}, twin_status,
                           pass->pair->features, 0, &difference, reterr);
    if (code)
        return code;
    *ret_verdict = difference ? VERDICT_DIFFERS : VERDICT_SAME;
    if (!difference && regular)
        return compare_regular(pass, source, twin, status, ret_verdict, reterr);
    if (!difference && S_ISLNK(status->stx_mode))
        return compare_symlink(source, twin, ret_verdict, reterr);
    return OK;
}

/* What stat alone shows. */
static bool looks_the_same(const struct statx *status, const struct statx *twin,
                           const struct tree_record *record)
{
    return (status->stx_mode & S_IFMT) == (twin->stx_mode & S_IFMT) && status->stx_nlink == twin->stx_nlink &&
           (S_ISDIR(status->stx_mode) || S_ISLNK(status->stx_mode) || status->stx_size == twin->stx_size) &&
           status->stx_rdev_major == twin->stx_rdev_major && status->stx_rdev_minor == twin->stx_rdev_minor &&
           record->twin_inode == twin->stx_ino;
}

static enum error_code still_the_same(int fd, const struct statx *before, struct error *reterr)
{
    struct statx now;
    if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &now) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at it");
    if (now.stx_ino != before->stx_ino || tree_ns(now.stx_ctime) != tree_ns(before->stx_ctime) ||
        now.stx_size != before->stx_size)
        return error_set(reterr, ERR_CHANGED, 0, "changed while it was compared");
    return OK;
}

static enum error_code judge(struct tree_pass *pass, struct tree_directory *directory, const char *name,
                             const struct statx *status, const struct tree_record *record,
                             enum verdict *ret_verdict, struct error *reterr)
{
    struct statx twin_status;
    *ret_verdict = VERDICT_DIFFERS;
    if (!(record->flags & TREE_RECORD_COPIED) || !tree_record_unchanged(record, status))
        return OK;
    if (statx(directory->twin_fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &twin_status) < 0)
        return errno == ENOENT ? OK : error_set(reterr, ERR_FAILED, errno, "cannot look at its twin");
    if (!looks_the_same(status, &twin_status, record))
        return OK;
    const int how =
        (S_ISREG(status->stx_mode) ? O_RDONLY | O_NOATIME | O_NONBLOCK : O_PATH) | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_(close_fdp) int source = openat(directory->fd, name, how);
    if (source < 0)
        return error_set(reterr, errno == ENOENT || errno == ELOOP ? ERR_CHANGED : ERR_FAILED, errno,
                         "cannot open it");
    _cleanup_(close_fdp) int twin = openat(directory->twin_fd, name, how);
    if (twin < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open its twin");
    enum error_code code = still_the_same(source, status, reterr);
    if (!code)
        code = compare_opened(pass, source, twin, status, &twin_status, ret_verdict, reterr);
    return code ? code : still_the_same(source, status, reterr);
}

static void count_differences(struct tree_pass *pass, const struct tree_directory *directory,
                              const char *name, uint64_t count)
{
    if (count > 0 && atomic_fetch_add(&pass->differences, count) == 0) {
        pthread_mutex_lock(&pass->mutex);
        tree_path(directory, name, pass->example);
        pthread_mutex_unlock(&pass->mutex);
    }
}

/* The inode counts as not copied, so that the next copying makes it anew, for all its names. */
static enum error_code forget(struct tree_pass *pass, const struct tree_directory *directory,
                              const char *name, const struct statx *status, bool layout, struct error *reterr)
{
    count_differences(pass, directory, name, 1);
    return tree_records_flag(pass->pair->records, status, layout ? TREE_RECORD_LAYOUT_TRIED : 0,
                             TREE_RECORD_COPIED | TREE_RECORD_COMPARED, reterr);
}

static enum error_code compare_locked(struct tree_pass *pass, struct tree_directory *directory,
                                      const char *name, const struct statx *status, struct error *reterr)
{
    struct tree_record record;
    enum verdict verdict = VERDICT_DIFFERS;
    enum error_code code = tree_records_get(pass->pair->records, status, &record, reterr);
    if (!code)
        code = judge(pass, directory, name, status, &record, &verdict, reterr);
    if (code)
        return code;
    if (verdict == VERDICT_LAYOUT && (record.flags & TREE_RECORD_LAYOUT_TRIED)) {
        add_finding(pass, "layout-differs", directory, name,
                    "its holes or preallocated extents are not kept exactly");
        verdict = VERDICT_SAME;
    }
    if (verdict != VERDICT_SAME)
        return forget(pass, directory, name, status, verdict == VERDICT_LAYOUT, reterr);
    record.flags |= TREE_RECORD_COMPARED;
    record.run = pass->pair->records->run;
    return tree_records_put(pass->pair->records, status, &record, reterr);
}

/* An inode that was compared in this run needs no second reading; a further name of it has to lead to the
 * same twin. */
static enum error_code compared_already(struct tree_pass *pass, struct tree_directory *directory,
                                        const char *name, const struct statx *status, bool *ret_done,
                                        struct error *reterr)
{
    struct tree_record record;
    struct statx twin_status;
    *ret_done = false;
    enum error_code code = tree_records_get(pass->pair->records, status, &record, reterr);
    if (code || !(record.flags & TREE_RECORD_COMPARED) || record.run != pass->pair->records->run ||
        !tree_record_unchanged(&record, status))
        return code;
    *ret_done = statx(directory->twin_fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &twin_status) == 0 &&
                looks_the_same(status, &twin_status, &record);
    return OK;
}

static enum error_code compare_entry(struct tree_pass *pass, struct tree_directory *directory,
                                     const char *name, const struct statx *status, struct error *reterr)
{
    bool done = false;
    enum error_code code = compared_already(pass, directory, name, status, &done, reterr);
    return code || done ? code : compare_locked(pass, directory, name, status, reterr);
}

static enum error_code on_entry(struct tree_directory *directory, const char *name,
                                const struct statx *status, void *context, struct error *reterr)
{
    struct tree_pass *pass = context;
    const bool shared = status->stx_nlink > 1;
    if (shared)
        tree_records_lock(pass->pair->records, status->stx_ino);
    enum error_code code = compare_entry(pass, directory, name, status, reterr);
    if (shared)
        tree_records_unlock(pass->pair->records, status->stx_ino);
    (void)fault("tree.compare.entry");
    if (code)
        return tree_pass_blame(pass, directory, name, reterr);
    report_advance(pass->pair->report, 1, 0);
    return OK;
}

struct foreign_names {
    struct tree_pass *pass;
    struct tree_directory *directory;
    uint64_t seen;
    uint64_t removed;
};

static enum error_code count_name(const char *name, void *context, struct error *reterr)
{
    struct foreign_names *names = context;
    (void)name;
    (void)reterr;
    names->seen++;
    return OK;
}

static enum error_code remove_foreign(const char *name, void *context, struct error *reterr)
{
    struct foreign_names *names = context;
    struct stat status;
    if (fstatat(names->directory->fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0)
        return OK;
    if (errno != ENOENT)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at %s", tree_shown(names->directory, name));
    names->removed++;
    enum error_code code = tree_unseal(names->directory->twin_fd, reterr);
    return code ? code : tree_remove(names->directory->twin_fd, name, NULL, reterr);
}

/* Every name of the source has a twin by now; more names than that are left from an earlier run. */
static enum error_code drop_foreign_names(struct tree_pass *pass, struct tree_directory *directory,
                                          struct error *reterr)
{
    struct foreign_names names = {.pass = pass, .directory = directory};
    enum error_code code = directory_list(directory->twin_fd, count_name, &names, reterr);
    if (code || names.seen == atomic_load(&directory->names))
        return code;
    code = directory_list(directory->twin_fd, remove_foreign, &names, reterr);
    if (!code && names.seen - names.removed != atomic_load(&directory->names))
        code = error_set(reterr, ERR_CHANGED, 0, "names came or went while it was compared");
    count_differences(pass, directory, NULL, names.removed);
    return code;
}

enum error_code tree_directory_digest(const struct tree_directory *directory, unsigned features,
                                      uint64_t *ret_digest, struct error *reterr)
{
    const uint64_t above = directory->parent ? directory->parent->status.stx_ino : 0;
    return attributes_digest(directory->fd, &directory->status, features, tree_hold_back(directory),
                             directory->name, above, ret_digest, reterr);
}

static enum error_code compare_directory(struct tree_pass *pass, struct tree_directory *directory,
                                         struct error *reterr)
{
    struct statx twin_status;
    const char *difference = NULL;
    enum error_code code = drop_foreign_names(pass, directory, reterr);
    if (!code)
        code = still_the_same(directory->fd, &directory->status, reterr);
    if (code)
        return code;
    if (statx(directory->twin_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &twin_status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at its twin");
    code = attributes_compare((struct attribute_target){.fd = directory->fd}, &directory->status,
                              (struct attribute_target){.fd = directory->twin_fd}, &twin_status,
                              pass->pair->features, tree_hold_back(directory), &difference, reterr);
    if (!code && difference) {
        count_differences(pass, directory, NULL, 1);
        return OK; /* copying gives every directory its attributes */
    }
    struct tree_record record = {.flags = TREE_RECORD_COPIED | TREE_RECORD_COMPARED,
                                 .run = pass->pair->records->run,
                                 .twin_inode = (uint32_t)twin_status.stx_ino,
                                 .names = (uint32_t)atomic_load(&directory->names)};
    if (!code)
        code = tree_directory_digest(directory, pass->pair->features, &record.attributes, reterr);
    return code ? code : tree_records_put(pass->pair->records, &directory->status, &record, reterr);
}

/* Where the directory's twin is missing or no directory it is made, so that the walk can go on: nothing may
 * be made below a sealed parent. Only then is the parent unsealed; the next copying puts its flags back. */
static enum error_code on_enter(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct tree_pass *pass = context;
    struct stat present;
    if (directory->parent &&
        (fstatat(directory->parent->twin_fd, directory->name, &present, AT_SYMLINK_NOFOLLOW) < 0 ||
         !S_ISDIR(present.st_mode))) {
        enum error_code code = tree_unseal(directory->parent->twin_fd, reterr);
        if (code)
            return tree_pass_blame(pass, directory, NULL, reterr);
    }
    return tree_enter_twin(pass, directory, reterr);
}

static enum error_code on_leave(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct tree_pass *pass = context;
    if (directory->twin_fresh)
        count_differences(pass, directory, NULL, 1);
    enum error_code code = compare_directory(pass, directory, reterr);
    return code ? tree_pass_blame(pass, directory, NULL, reterr) : OK;
}

static void tell_beyond(const struct tree_pass *pass)
{
    const unsigned long long bytes = atomic_load(&pass->beyond_bytes);
    if (bytes > 0 && pass->findings && pass->pair->unwritten == CONTENT_OVERWRITE_UNWRITTEN)
        finding_add(
            pass->findings, FINDING_TELLS, "preallocated", pass->pair->shown_path,
            "truncate -c -s +0 FILE gives them back to free space, which the next protect of a directory on "
            "this filesystem overwrites",
            "%llu bytes that files have allocated beyond their ends are not overwritten: what was "
            "deleted earlier may lie there in plaintext",
            bytes);
}

enum error_code tree_compare(const struct tree_pair *pair, struct finding_list *findings,
                             struct tree_differences *ret_differences, struct error *reterr)
{
    _cleanup_(tree_pass_done) struct tree_pass pass;
    /* Nothing of a twin is in the page cache, so each of its files is waited for. */
    enum error_code code = tree_pass_init(&pass, pair, tree_walk_waiting_threads(), reterr);
    if (code)
        return code;
    pass.findings = findings;
    const struct tree_visitor visitor = {
        .enter = on_enter, .entry = on_entry, .leave = on_leave, .context = &pass};
    code = tree_walk(pair->source_fd, pass.threads, &visitor, reterr);
    if (!code) {
        ret_differences->count = atomic_load(&pass.differences);
        memcpy(ret_differences->example, pass.example, sizeof(ret_differences->example));
        tell_beyond(&pass);
    }
    return code;
}
