/*
 * Proof that nothing else can write to the old trees. Three questions, each answered by the kernel:
 *   who has an inode of the tree open, mapped, as loop device, swap, overlay layer, working directory ...
 * (filesystem's busy set) can every regular file be leased for writing (F_SETLEASE(F_WRLCK) fails while
 * anything else has it)     (here) does every inode look as it did when it was compared, with all its links
 * inside the tree                (records, links)
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "convert/steps.h"
#include "tree/links.h"

/*
 * PROOF_OF_OLD_AGAIN is after scrubbing has begun: its own deletions changed the directories, and a file
 * whose overwriting had begun (TREE_RECORD_SCRUBBED) is not what was compared any more.
 */
enum proof_of { PROOF_BEFORE_EXCHANGE, PROOF_OF_OLD, PROOF_OF_OLD_AGAIN };

struct proof {
    struct convert_work *work;
    enum proof_of what;
    const char *shown;
    struct busy_set *busy;
    atomic_bool directory_in_use;  /* whoever works in a directory can open anything below it at any time */
    atomic_bool directory_changed; /* what it carried, or where it lay */
    atomic_bool names_gone;        /* something that was compared is not in the old tree any more */
    pthread_mutex_t mutex;         /* of findings */
    struct finding_list findings;
};

static void add(struct proof *proof, const struct tree_directory *directory, const char *name,
                const char *kind, const char *cause, const char *remedy)
{
    char subject[2 * TREE_PATH_SIZE];
    snprintf(subject, sizeof(subject), "%s/%s", proof->shown, tree_shown(directory, name));
    pthread_mutex_lock(&proof->mutex);
    finding_add(&proof->findings, FINDING_BLOCKS, kind, subject, remedy, "%s", cause);
    pthread_mutex_unlock(&proof->mutex);
}

static bool is_busy(struct proof *proof, const struct tree_directory *directory, const char *name,
                    uint64_t inode)
{
    size_t count;
    const struct busy_use *uses = busy_set_find(proof->busy, inode, &count);
    for (size_t i = 0; i < count; i++)
        add(proof, directory, name, uses[i].kind, uses[i].what, uses[i].remedy);
    return count > 0;
}

/* *ret_free false while anything else has the file. The lease is given back at once: what follows is
 * protected by the state the directory is in, and asked again. */
static enum error_code try_lease(const struct tree_directory *directory, const char *name, bool *ret_free,
                                 struct error *reterr)
{
    _cleanup_(close_fdp) int fd =
        openat(directory->fd, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, errno == ENOENT || errno == ELOOP ? ERR_CHANGED : ERR_FAILED, errno,
                         "cannot open %s", tree_shown(directory, name));
    /* Whoever opens it meanwhile raises a signal here; one that is ignored by default. */
    fcntl(fd, F_SETSIG, SIGURG);
    if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
        if (errno != EAGAIN && errno != EBUSY)
            return error_set(reterr, ERR_FAILED, errno, "cannot take a lease on %s",
                             tree_shown(directory, name));
        *ret_free = false;
        return OK;
    }
    fcntl(fd, F_SETLEASE, F_UNLCK);
    *ret_free = true;
    return OK;
}

/* As recorded when it was compared. Of a directory in the old tree the names are asked one by one, and its
 * ctime changes with each; that of the root by the exchange itself. What it carries must be the same. */
static enum error_code is_as_compared(const struct proof *proof, const struct tree_directory *directory,
                                      const char *name, const struct statx *status,
                                      const struct tree_record *record, bool *ret_is, struct error *reterr)
{
    const bool same = (record->flags & TREE_RECORD_COMPARED) && tree_record_unchanged(record, status);
    if (proof->what == PROOF_BEFORE_EXCHANGE)
        *ret_is = same && record->run == proof->work->records->run;
    else if (!name && proof->what == PROOF_OF_OLD_AGAIN)
        *ret_is = true;
    else if (name || same)
        *ret_is = same || work_may_go(record, status) ||
                  ((record->flags & TREE_RECORD_COMPARED) && (record->flags & TREE_RECORD_UNSEALED) &&
                   tree_record_unwritten(record, status));
    else if (!(record->flags & TREE_RECORD_COMPARED))
        *ret_is = false;
    else {
        uint64_t digest = 0;
        enum error_code code = tree_directory_digest(directory, work_features(proof->work), &digest, reterr);
        if (code)
            return code;
        *ret_is = digest == record->attributes;
    }
    return OK;
}

static void tell_changed(struct proof *proof, const struct tree_directory *directory, const char *name)
{
    if (proof->what == PROOF_BEFORE_EXCHANGE)
        add(proof, directory, name, "busy-changed", "changed while its copy was made",
            "stop what writes there, then run the same command again");
    else if (name)
        add(proof, directory, name, "kept-changed", "was changed after it was compared with its copy",
            "compare it with the copy that is in place now, keep what you need, delete it, then run the same "
            "command again");
    else
        add(proof, directory, name, "kept-changed",
            "this directory was made, moved, or its owner, mode or attributes were changed after it was "
            "compared with its copy",
            "give the copy that is in place now what it should have of that, then run the same command "
            "again: "
            "it deletes the old one");
}

static enum error_code judge(struct proof *proof, struct tree_directory *directory, const char *name,
                             const struct statx *status, struct error *reterr)
{
    struct tree_record record;
    bool available = true;
    enum error_code code = tree_records_get(proof->work->records, status, &record, reterr);
    if (code)
        return code;
    bool good = false;
    code = is_as_compared(proof, directory, name, status, &record, &good, reterr);
    if (code)
        return code;
    if (!good)
        tell_changed(proof, directory, name);
    if (!good && !name)
        atomic_store(&proof->directory_changed, true);
    struct tree_directory *above = name ? directory : directory->parent;
    if (above && (record.flags & TREE_RECORD_COMPARED))
        atomic_fetch_add(&above->known, 1);
    const bool busy = is_busy(proof, directory, name, status->stx_ino);
    if (busy && !name)
        atomic_store(&proof->directory_in_use, true);
    if (S_ISREG(status->stx_mode)) {
        /* Another thread at another name of the same inode would be taken for something foreign. */
        tree_records_lock(proof->work->records, status->stx_ino);
        code = try_lease(directory, name, &available, reterr);
        tree_records_unlock(proof->work->records, status->stx_ino);
        if (!code && !available && !busy)
            add(proof, directory, name, "busy-lease", "something has it open that /proc does not show",
                "find what uses it (another container, a kernel service), stop it, then run the same command "
                "again");
    }
    if (code || proof->what == PROOF_BEFORE_EXCHANGE)
        return code;
    if (!good) /* also what was proven by an earlier run: it was written to since */
        return tree_records_flag(proof->work->records, status, 0, TREE_RECORD_PROVEN, reterr);
    if (busy || !available)
        return OK;
    return tree_records_flag(proof->work->records, status,
                             TREE_RECORD_PROVEN | (S_ISREG(status->stx_mode) ? TREE_RECORD_FILE : 0), 0,
                             reterr);
}

static enum error_code on_entry(struct tree_directory *directory, const char *name,
                                const struct statx *status, void *context, struct error *reterr)
{
    struct proof *proof = context;
    enum error_code code = judge(proof, directory, name, status, reterr);
    if (!code)
        report_advance(&proof->work->progress.report, 1, 0);
    return code;
}

static enum error_code on_enter(struct tree_directory *directory, void *context, struct error *reterr)
{
    return judge(context, directory, NULL, &directory->status, reterr);
}

/* A name that was compared and is gone from the old tree was moved or deleted before it could be overwritten.
 * Asked once: scrubbing takes names away itself. */
static enum error_code on_leave(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct proof *proof = context;
    struct tree_record record;
    if (proof->what != PROOF_OF_OLD || proof->work->journal.direction != CONVERT_PROTECT)
        return OK;
    enum error_code code = tree_records_get(proof->work->records, &directory->status, &record, reterr);
    const bool compared = record.flags & TREE_RECORD_COMPARED;
    if (code || (compared ? atomic_load(&directory->known) >= record.names : directory->parent != NULL))
        return code;
    atomic_store(&proof->names_gone, true);
    add(proof, directory, NULL, "names-gone",
        "names in it were moved elsewhere or deleted after they were compared with their copies",
        "look for what was moved out of the tree: it is plaintext where it lies now");
    return OK;
}

static enum error_code on_outside_link(const struct tree_directory *directory, const char *name,
                                       const struct statx *status, void *context, struct error *reterr)
{
    struct proof *proof = context;
    add(proof, directory, name, "busy-link", "has a hard link outside the tree",
        "remove that link or move it into the tree, then run the same command again");
    return tree_records_flag(proof->work->records, status, 0, TREE_RECORD_PROVEN, reterr);
}

static enum error_code prove_tree(struct convert_work *work, enum proof_of what, int tree_fd,
                                  struct convert_directory *directory, struct finding_list *findings,
                                  struct error *reterr)
{
    char shown[TREE_PATH_SIZE];
    struct proof proof = {.work = work, .what = what, .shown = shown, .mutex = PTHREAD_MUTEX_INITIALIZER};
    const struct tree_visitor visitor = {
        .enter = on_enter, .entry = on_entry, .leave = on_leave, .context = &proof};
    char name[16];
    if (what != PROOF_BEFORE_EXCHANGE)
        snprintf(shown, sizeof(shown), "%s/" HUSK_DIRECTORY "/" PLAINTEXT_DIRECTORY "/%s/%s",
                 text_shown(work->vault->filesystem->mount_point), work->vault->name,
                 work_name(work, directory, name));
    else
        work_show(work, directory, shown);
    enum error_code code = busy_set_new(work->vault->filesystem->device, &proof.busy, reterr);
    if (!code)
        code = tree_walk(tree_fd, tree_walk_threads(), &visitor, reterr);
    if (!code)
        code = tree_links_outside(tree_fd, on_outside_link, &proof, reterr);
    busy_set_free(proof.busy);
    pthread_mutex_destroy(&proof.mutex);
    directory->in_use = atomic_load(&proof.directory_in_use);
    work->journal.partly_overwritten |= atomic_load(&proof.names_gone);
    work->directory_changed |= atomic_load(&proof.directory_changed);
    finding_move_all(findings, &proof.findings);
    return code;
}

static enum error_code check_mounts(struct convert_work *work, const struct convert_directory *directory,
                                    struct finding_list *findings, struct error *reterr)
{
    return filesystem_check_mounts(work->vault->filesystem, directory->path, findings, reterr);
}

/* A mount that came between the proof and the exchange went along with the old tree: a container's, say,
 * whose programs see that tree by their own path, and will. */
static enum error_code check_old_mounts(struct convert_work *work, struct convert_directory *directory,
                                        struct error *reterr)
{
    char path[VAULT_NAME_MAXIMUM + 64], name[16];
    _cleanup_(finding_list_done) struct finding_list found = {0};
    snprintf(path, sizeof(path), HUSK_DIRECTORY "/" PLAINTEXT_DIRECTORY "/%s/%s", work->vault->name,
             work_name(work, directory, name));
    enum error_code code = filesystem_check_mounts(work->vault->filesystem, path, &found, reterr);
    for (size_t i = 0; i < found.count; i++) {
        const struct finding *finding = &found.items[i];
        if (!finding->blocks)
            continue;
        directory->in_use = true;
        finding_add(work->options->findings, FINDING_BLOCKS, finding->kind, finding->subject, finding->remedy,
                    "%s", finding->cause);
    }
    return code;
}

enum error_code step_prove_unused(struct convert_work *work, struct error *reterr)
{
    struct finding_list findings = {0};
    enum error_code code = work_open_records(work, reterr);
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        struct convert_directory *directory = &work->journal.directories[i];
        _cleanup_(close_fdp) int place_fd = -1;
        if (directory->exchanged)
            continue;
        report_stage(&work->progress.report, 0, 0, "making sure that nothing uses %s",
                     work_shown(work, directory));
        code = work_open_place(work, directory, &place_fd, reterr);
        if (!code)
            code = check_mounts(work, directory, &findings, reterr);
        if (!code)
            code = work_check_key(
                work, prove_tree(work, PROOF_BEFORE_EXCHANGE, place_fd, directory, &findings, reterr),
                reterr);
    }
    if (!code) {
        code = finding_refusal(&findings, reterr);
        error_remedy(reterr, "stop what uses it, then run the same command again; --abort goes back");
    }
    finding_move_all(work->options->findings, &findings);
    return code ? code : tree_records_sync(work->records, reterr);
}

/* Who may rename in the directory above put something else there in the moment of the exchange. */
static void tell_foreign(struct convert_work *work, struct convert_directory *directory)
{
    char name[16], subject[TREE_PATH_SIZE];
    snprintf(subject, sizeof(subject), "%s/" HUSK_DIRECTORY "/" PLAINTEXT_DIRECTORY "/%s/%s",
             text_shown(work->vault->filesystem->mount_point), work->vault->name,
             work_name(work, directory, name));
    finding_add(
        work->options->findings, FINDING_BLOCKS, "names-gone", subject,
        "look for the old tree where it was moved: it is plaintext there; delete what lies here, then run "
        "the same command again",
        "is not the old tree of %s: something else had that name when it was exchanged",
        work_shown(work, directory));
    directory->in_use = true;
    work->journal.partly_overwritten = true;
}

/* Nothing was scrubbed yet, and it is not where the exchange put it. */
static void tell_gone(struct convert_work *work, const struct convert_directory *directory)
{
    finding_add(work->options->findings, FINDING_TELLS, "names-gone", work_shown(work, directory),
                "look for where it was moved: it is plaintext there",
                "its old tree was moved or deleted before it could be overwritten");
    work->journal.partly_overwritten = true;
}

enum error_code step_prove_old(struct convert_work *work, struct error *reterr)
{
    enum error_code code = work_open_records(work, reterr);
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        struct convert_directory *directory = &work->journal.directories[i];
        _cleanup_(close_fdp) int old_fd = -1;
        char name[16];
        struct error error = ERROR_NONE;
        code = directory_open(work->old_fd, work_name(work, directory, name), &old_fd, &error);
        if (code == ERR_NOT_FOUND) { /* scrubbed already, where scrubbing has begun */
            if (!work->journal.proven && work->journal.direction == CONVERT_PROTECT)
                tell_gone(work, directory);
            code = OK;
            continue;
        }
        if (code == ERR_CORRUPT) {
            tell_foreign(work, directory);
            code = OK;
            continue;
        }
        if (code && reterr)
            *reterr = error;
        if (!code)
            code = prove_tree(work, work->journal.proven ? PROOF_OF_OLD_AGAIN : PROOF_OF_OLD, old_fd,
                              directory, work->options->findings, reterr);
        if (!code)
            code = check_old_mounts(work, directory, reterr);
    }
    (void)fault("convert.proven-old");
    return code ? code : tree_records_sync(work->records, reterr);
}
