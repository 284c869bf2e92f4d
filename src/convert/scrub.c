#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/steps.h"
#include "tree/remove.h"

enum { DELETED_FILES_TOLD = 50 };

/* Between the proof and now somebody may have come by a way that the proof does not see: with a directory's
 * descriptor, say, that lay in a socket when it was taken. What they wrote is kept. */
static enum error_code check_record(const struct convert_work *work, const struct statx *now,
                                    struct error *reterr)
{
    struct tree_record record;
    enum error_code code = tree_records_get(work->records, now, &record, reterr);
    if (code || work_may_go(&record, now))
        return code;
    if (!(record.flags & TREE_RECORD_PROVEN))
        return error_set(reterr, ERR_CHANGED, 0, "it is not proven that its copy holds all of it, and alone");
    error_set(reterr, ERR_CHANGED, 0, "it was changed after it was proven to be unused");
    return error_remedy(reterr,
                        "compare it with the copy that is in place now, keep what you need, delete it, then "
                        "run the same command again");
}

/* An immutable or append-only file was opened for this by taking that off it, and gets it back when it is
 * kept: the ctime that gives it is no change of somebody else's. Not noted, it stays for a person to look at.
 */
static void note_unsealed(const struct convert_work *work, const struct statx *now)
{
    struct tree_record record;
    if (tree_records_get(work->records, now, &record, NULL) == OK && (record.flags & TREE_RECORD_SEALED) &&
        tree_record_unwritten(&record, now))
        (void)!tree_records_flag(work->records, now, TREE_RECORD_UNSEALED, 0, NULL);
}

/* The verdict of step_prove_old, and once more a lease, which stays until the file is closed after its
 * destruction: whoever opens it meanwhile waits. It is looked at once it is leased: nobody writes to it then.
 */
static enum error_code may_destroy(int file_fd, const struct stat *status, const char *shown_path,
                                   void *context, struct error *reterr)
{
    const struct convert_work *work = context;
    struct statx now;
    (void)status;
    enum error_code code = OK;
    fcntl(file_fd, F_SETSIG, SIGURG); /* ignored by default */
    if (fcntl(file_fd, F_SETLEASE, F_WRLCK) < 0)
        code = error_set(reterr, ERR_BUSY, errno, "something has it open");
    if (tree_look(file_fd, "", &now) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at %s", shown_path);
    if (!code)
        code = check_record(work, &now, reterr);
    if (code)
        note_unsealed(work, &now);
    return code ? code : tree_records_flag(work->records, &now, TREE_RECORD_SCRUBBED, 0, reterr);
}

/* A symlink or special file, by its name alone. */
static enum error_code may_unlink(int directory_fd, const char *name, const char *shown_path, void *context,
                                  struct error *reterr)
{
    struct statx now;
    if (tree_look(directory_fd, name, &now) < 0)
        return errno == ENOENT ? OK : error_set(reterr, ERR_FAILED, errno, "cannot look at %s", shown_path);
    return check_record(context, &now, reterr);
}

/* What may_destroy has noted is on disk before the first byte goes: after a power cut a file that is half
 * overwritten must not look like one that somebody wrote to. */
static enum error_code note_begun(void *context, struct error *reterr)
{
    const struct convert_work *work = context;
    return tree_records_sync(work->records, reterr);
}

static enum error_code may_remove(struct tree_directory *directory, const char *name,
                                  const struct statx *status, bool *ret_may, void *context,
                                  struct error *reterr)
{
    const struct convert_work *work = context;
    struct error why = ERROR_NONE;
    enum error_code code = check_record(work, status, &why);
    if (code == ERR_CHANGED)
        finding_add(work->options->findings, FINDING_TELLS, "kept-file", tree_shown(directory, name),
                    why.remedy, "%s", why.message);
    else if (code && reterr)
        *reterr = why;
    *ret_may = !code;
    return code == ERR_CHANGED ? OK : code;
}

static enum error_code exists(int directory_fd, const char *name, bool *ret_exists, struct error *reterr)
{
    struct stat status;
    *ret_exists = fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (!*ret_exists && errno != ENOENT)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the old tree");
    return OK;
}

/* What was deleted without being overwritten is remembered, so that nobody is told otherwise later. */
static enum error_code destroy_plaintext(struct convert_work *work, int directory_fd, const char *name,
                                         const struct destroy_tree_options *options, bool *ret_kept,
                                         struct error *reterr)
{
    struct error error = ERROR_NONE;
    bool left = false;
    enum error_code code = destroy_tree(directory_fd, name, options, &error);
    if (code == ERR_INCOMPLETE) {
        code = exists(directory_fd, name, &left, reterr);
        *ret_kept |= left;
        work->journal.partly_overwritten |= !left;
        return code ? code : journal_write(work->work_fd, &work->journal, reterr);
    }
    if (code && reterr)
        *reterr = error;
    return code;
}

static enum error_code scrub_one(struct convert_work *work, const struct convert_directory *directory,
                                 bool *ret_kept, struct error *reterr)
{
    char name[16];
    bool there;
    enum error_code code = exists(work->old_fd, work_name(work, directory, name), &there, reterr);
    if (code || !there)
        return code;
    if (directory->in_use) { /* the proof has named who */
        *ret_kept = true;
        return OK;
    }
    progress_directory(&work->progress, directory->path);
    if (work->journal.direction == CONVERT_PROTECT) {
        report_stage(&work->progress.report, 0, 0, "scrubbing the old plaintext of %s",
                     work_shown(work, directory));
        const struct destroy_tree_options options = {.may_destroy = may_destroy,
                                                     .may_unlink = may_unlink,
                                                     .begins = note_begun,
                                                     .context = work,
                                                     .report = &work->progress.report,
                                                     .findings = work->options->findings};
        return destroy_plaintext(work, work->old_fd, name, &options, ret_kept, reterr);
    }
    bool kept = false;
    report_stage(&work->progress.report, 0, 0, "deleting the old encrypted tree of %s",
                 work_shown(work, directory));
    code = tree_remove_if(work->old_fd, name, may_remove, work, &work->progress.report, &kept, reterr);
    *ret_kept |= !code && kept;
    return code;
}

/* A deleted file that something has open is neither in a tree nor free space: nothing overwrites it. */
static enum error_code tell_deleted(struct convert_work *work, struct error *reterr)
{
    struct busy_set *set = NULL;
    size_t count, told = 0;
    enum error_code code = busy_set_new(work->vault->filesystem->device, &set, reterr);
    if (code)
        return code;
    const struct busy_use *uses = busy_set_all(set, &count);
    for (size_t i = 0; i < count && told < DELETED_FILES_TOLD; i++) {
        struct statx status;
        char target[PATH_MAX];
        if (!uses[i].path || statx(AT_FDCWD, uses[i].path, 0, STATX_BASIC_STATS, &status) < 0 ||
            !S_ISREG(status.stx_mode) || status.stx_nlink > 0 ||
            (status.stx_attributes & STATX_ATTR_ENCRYPTED))
            continue;
        ssize_t length = readlink(uses[i].path, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        finding_add(work->options->findings, FINDING_TELLS, "deleted-file-open", text_shown(target),
                    "stop the program; what it leaves in free space is overwritten by the next conversion on "
                    "this filesystem",
                    "%s; the file is deleted, so its plaintext was not overwritten with the free space",
                    uses[i].what);
        told++;
    }
    busy_set_free(set);
    return OK;
}

static enum error_code scrub_free_space(struct convert_work *work, struct error *reterr)
{
    struct finding_list *findings = work->options->findings;
    uint64_t overwritten = 0;
    if (work->options->free_space == CONVERT_SKIP_FREE_SPACE) {
        finding_add(findings, FINDING_TELLS, "free-space-kept",
                    text_shown(work->vault->filesystem->mount_point), DESTROY_FREE_SPACE_AGAIN,
                    "free space was not overwritten: %s, and files that were deleted earlier, may still lie "
                    "there in plaintext",
                    work->journal.direction == CONVERT_PROTECT
                        ? "targets of long symlinks of the old trees (before Linux 5.13 names too)"
                        : "parts of copies that the unprotect made anew or gave up");
        return OK;
    }
    enum error_code code = tell_deleted(work, reterr);
    if (code)
        return code;
    return destroy_free_space(work->husk_fd, &work->progress.report, findings, &overwritten, reterr);
}

/* Every file that was proven was met by scrubbing, or it went elsewhere before. */
static enum error_code check_all_met(struct convert_work *work, struct error *reterr)
{
    uint64_t missed = 0;
    enum error_code code = tree_records_count_missed(work->records, &missed, reterr);
    if (code || missed == 0)
        return code;
    finding_add(work->options->findings, FINDING_TELLS, "names-gone",
                text_shown(work->vault->filesystem->mount_point),
                "look for what was moved out of the tree: it is plaintext where it lies now",
                "%llu file%s of the old trees moved elsewhere or deleted before %s could be overwritten",
                (unsigned long long)missed, missed == 1 ? " was" : "s were", missed == 1 ? "it" : "they");
    work->journal.partly_overwritten = true;
    return journal_write(work->work_fd, &work->journal, reterr);
}

enum error_code step_scrub_deleted(struct convert_work *work, struct error *reterr)
{
    enum error_code code = scrub_free_space(work, reterr);
    struct error error = ERROR_NONE;
    enum error_code journal = code ? OK : destroy_journal(work->husk_fd, &error);
    if (journal)
        finding_add(work->options->findings, FINDING_TELLS, "journal-kept",
                    text_shown(work->vault->filesystem->mount_point), error.remedy,
                    "the filesystem's journal could not be zeroed: %s", error.message);
    return code;
}

enum error_code step_scrub(struct convert_work *work, bool *ret_kept, struct error *reterr)
{
    enum error_code code = work_open_records(work, reterr);
    bool kept = false;
    for (size_t i = 0; !code && i < work->journal.count; i++)
        code = scrub_one(work, &work->journal.directories[i], &kept, reterr);
    if (!code && !kept && work->journal.direction == CONVERT_PROTECT)
        code = check_all_met(work, reterr);
    (void)fault("convert.scrubbed");
    if (!code && work->journal.direction == CONVERT_PROTECT)
        code = step_scrub_deleted(work, reterr);
    if (!code)
        *ret_kept = kept;
    return code;
}

/* A plain twin holds plaintext that nothing else has seen: it may all go. */
static enum error_code drop(struct convert_work *work, int directory_fd, const char *name,
                            struct error *reterr)
{
    const struct destroy_tree_options options = {.report = &work->progress.report,
                                                 .findings = work->options->findings};
    bool kept = false;
    if (work->journal.direction == CONVERT_PROTECT)
        return tree_remove(directory_fd, name, &work->progress.report, reterr);
    enum error_code code = destroy_plaintext(work, directory_fd, name, &options, &kept, reterr);
    if (!code && kept)
        code = error_set(reterr, ERR_INCOMPLETE, 0, "plaintext of the given-up copy is left");
    return code;
}

enum error_code step_drop_twins(struct convert_work *work, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        char name[16];
        enum work_twin twin;
        work_name(work, &work->journal.directories[i], name);
        code = work_look_at_twin(work, &work->journal.directories[i], &twin, reterr);
        if (!code && twin == WORK_TWIN_OLD && unlinkat(work->work_fd, name, AT_REMOVEDIR) == 0)
            continue; /* made, and not given its policy yet */
        if (!code && twin == WORK_TWIN_OLD)
            code = work_moved(work, &work->journal.directories[i], reterr);
        if (!code)
            code = drop(work, work->work_fd, name, reterr);
    }
    return code;
}

struct making_room {
    struct convert_work *work;
    int twin_fd;
    enum error_code (*attempt)(struct convert_work *work, struct error *reterr);
    bool done;
};

static enum error_code make_some_room(const char *name, void *context, struct error *reterr)
{
    struct making_room *making = context;
    if (making->done)
        return OK;
    enum error_code code = drop(making->work, making->twin_fd, name, reterr);
    if (!code)
        code = work_sync(making->work, reterr); /* what is freed can be had once that is on disk */
    if (code)
        return code;
    struct error error = ERROR_NONE;
    code = making->attempt(making->work, &error);
    making->done = !code;
    if (code && code != ERR_NO_SPACE && reterr)
        *reterr = error;
    return code == ERR_NO_SPACE ? OK : code;
}

enum error_code step_make_room(struct convert_work *work,
                               enum error_code (*attempt)(struct convert_work *work, struct error *reterr),
                               struct error *reterr)
{
    struct making_room making = {.work = work, .attempt = attempt};
    struct error error = ERROR_NONE;
    enum error_code code = attempt(work, &error);
    if (code != ERR_NO_SPACE) {
        if (code && reterr)
            *reterr = error;
        return code;
    }
    code = OK;
    for (size_t i = 0; !code && !making.done && i < work->journal.count; i++) {
        _cleanup_(close_fdp) int twin_fd = -1;
        char name[16];
        enum work_twin twin;
        code = work_look_at_twin(work, &work->journal.directories[i], &twin, reterr);
        if (code || twin != WORK_TWIN_COPY)
            continue;
        code = directory_open(work->work_fd, work_name(work, &work->journal.directories[i], name), &twin_fd,
                              reterr);
        making.twin_fd = twin_fd;
        if (!code)
            code = directory_list(twin_fd, make_some_room, &making, reterr);
    }
    return code || making.done ? code : attempt(work, reterr);
}
