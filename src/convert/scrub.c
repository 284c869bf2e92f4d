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

/* The verdict of step_prove_old, and once more a lease, which stays until the file is closed after its
 * destruction: whoever opens it meanwhile waits. */
static enum error_code may_destroy(int file_fd, const struct stat *status, const char *shown_path,
                                   void *context, struct error *reterr)
{
    const struct convert_work *work = context;
    struct statx now;
    struct tree_record record;
    (void)status;
    if (statx(file_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &now) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at %s", shown_path);
    enum error_code code = tree_records_get(work->records, &now, &record, reterr);
    if (code)
        return code;
    if (!(record.flags & TREE_RECORD_PROVEN))
        return error_set(reterr, ERR_CHANGED, 0, "it is not proven that its copy holds all of it, and alone");
    fcntl(file_fd, F_SETSIG, SIGURG); /* ignored by default */
    if (fcntl(file_fd, F_SETLEASE, F_WRLCK) < 0)
        return error_set(reterr, ERR_BUSY, errno, "something has it open");
    return OK;
}

static enum error_code may_remove(struct tree_directory *directory, const char *name,
                                  const struct statx *status, bool *ret_may, void *context,
                                  struct error *reterr)
{
    const struct convert_work *work = context;
    struct tree_record record;
    (void)directory;
    (void)name;
    enum error_code code = tree_records_get(work->records, status, &record, reterr);
    if (!code)
        *ret_may = (record.flags & TREE_RECORD_PROVEN) != 0;
    return code;
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

/* Where deleted plaintext may still lie: free blocks and the journal. */
static enum error_code scrub_free_space(struct convert_work *work, struct error *reterr)
{
    struct finding_list *findings = work->options->findings;
    uint64_t overwritten = 0;
    if (work->options->free_space == CONVERT_SKIP_FREE_SPACE) {
        finding_add(findings, FINDING_TELLS, "free-space-kept",
                    text_shown(work->vault->filesystem->mount_point),
                    "run the command without --skip-free-space to overwrite it",
                    "free space was not overwritten: earlier deleted files may still lie there in plaintext");
        return OK;
    }
    enum error_code code = tell_deleted(work, reterr);
    if (code)
        return code;
    return destroy_free_space(work->husk_fd, &work->progress.report, findings, &overwritten, reterr);
}

enum error_code step_scrub(struct convert_work *work, bool *ret_kept, struct error *reterr)
{
    enum error_code code = work_open_records(work, reterr);
    bool kept = false;
    for (size_t i = 0; !code && i < work->journal.count; i++)
        code = scrub_one(work, &work->journal.directories[i], &kept, reterr);
    (void)fault("convert.scrubbed");
    if (!code && work->journal.direction == CONVERT_PROTECT) {
        code = scrub_free_space(work, reterr);
        struct error error = ERROR_NONE;
        enum error_code journal = code ? OK : destroy_journal(work->husk_fd, &error);
        if (journal)
            finding_add(work->options->findings, FINDING_TELLS, "journal-kept",
                        text_shown(work->vault->filesystem->mount_point), error.remedy,
                        "the filesystem's journal could not be zeroed: %s", error.message);
    }
    if (!code)
        *ret_kept = kept;
    return code;
}

enum error_code step_drop_twins(struct convert_work *work, struct error *reterr)
{
    const struct destroy_tree_options options = {.report = &work->progress.report,
                                                 .findings = work->options->findings};
    enum error_code code = OK;
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        char name[16];
        bool kept = false;
        work_name(work, &work->journal.directories[i], name);
        /* A plain twin holds plaintext that nothing else has seen: it may all go. */
        if (work->journal.direction == CONVERT_UNPROTECT)
            code = destroy_plaintext(work, work->work_fd, name, &options, &kept, reterr);
        else
            code = tree_remove(work->work_fd, name, &work->progress.report, reterr);
        if (!code && kept)
            code = error_set(reterr, ERR_INCOMPLETE, 0, "plaintext of the given-up copy is left");
    }
    return code;
}
