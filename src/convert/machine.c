/*
 * The machine of a conversion whose directories nothing uses. What is on disk in each state (protect;
 * unprotect is the same with a plain twin and an encrypted old tree, and nothing to overwrite):
 *
 *   (none)      the directory is plain, as the user left it
 *   planned     + journal. Twins may be there, with or without their policy, whole or in part.
 *               The directory is untouched.
 *   frozen      + every twin has its policy. Twins hold any part of the copy. The directory is
 *               untouched, and was found unused.
 *   exchanging  Every twin is complete, on disk, compared with its directory byte for byte after
 *               its last change, and the directory was proven unused, in this run. Each directory
 *               is at its place as old tree or as twin: its own policy tells.
 *   scrubbing   Every twin is at its place and named by the manifest. Old trees, whole or in part,
 *               in .husk/plaintext/NAME; what is missing of them was proven to be in the twin
 *               before it was overwritten.
 *   done        nothing of the conversion is left
 *
 *   planned → frozen ⇄ exchanging → scrubbing → done
 *      ↑         │
 *      └─────────┤ --abort, until the first exchange: from planned on twins and journal are deleted;
 *                  the directory was never touched. Plain twins of unprotect are overwritten first, then
 *                  free space and the filesystem's journal, where parts of them may lie. On a full disk there
 *                  is no room for the journal of planned: first twins lose what is in them, name by name,
 *                  until there is
 *
 * A run that finds the state exchanging goes back to frozen with the directories that are not exchanged yet:
 * what was proven of them is not true any more.
 *
 * Each arrow is durable before the next step. A crash in a state is followed by that state's step from its
 * beginning.
 */
#include "convert/convert.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "convert/steps.h"
#include "tree/mount.h"

#define PARTLY_OVERWRITTEN "some plaintext was deleted or moved away before it could be overwritten in place"

static enum error_code scrub(struct convert_work *work, bool *ret_kept, struct error *reterr)
{
    report_stage(&work->progress.report, 0, 0, "making sure that nothing uses the old trees");
    enum error_code code = step_prove_old(work, reterr);
    if (!code && !work->journal.proven) {
        work->journal.proven = true;
        code = journal_write(work->work_fd, &work->journal, reterr);
    }
    if (!code && work->directory_changed) { /* only what is told now tells of it: the next run deletes it */
        *ret_kept = true;
        return OK;
    }
    return code ? code : step_scrub(work, ret_kept, reterr);
}

/* Compared byte for byte, and proven to be used by nothing, in this run. */
static enum error_code freeze(struct convert_work *work, const struct convert_plan *plan,
                              struct error *reterr)
{
    size_t exchanged;
    enum error_code code = exchange_look(work, &exchanged, reterr);
    if (!code)
        code = step_fill_twins(work, plan, reterr);
    if (!code)
        code = step_prove_unused(work, reterr);
    if (code)
        return code;
    work->proven_unused = true;
    return work_enter_state(work, CONVERT_EXCHANGING, reterr);
}

/* What an earlier run proved of directories that it did not exchange says nothing any more: they have been
 * in use since then, for days maybe, and their twins are old. */
static enum error_code exchange(struct convert_work *work, struct error *reterr)
{
    size_t exchanged;
    enum error_code code = work->proven_unused ? OK : exchange_look(work, &exchanged, reterr);
    if (!code && !work->proven_unused && exchanged < work->journal.count) {
        code = exchange_undo(work, reterr);
        return code ? code : work_enter_state(work, CONVERT_FROZEN, reterr);
    }
    if (!code)
        code = step_exchange(work, reterr);
    return code ? code : work_enter_state(work, CONVERT_SCRUBBING, reterr);
}

static enum error_code step(struct convert_work *work, const struct convert_plan *plan, struct error *reterr)
{
    bool kept = false;
    enum error_code code = ERR_FAILED;
    switch (work->journal.state) {
    case CONVERT_PLANNED:
        code = step_make_twins(work, reterr);
        return code ? code : work_enter_state(work, CONVERT_FROZEN, reterr);
    case CONVERT_FROZEN:
        return freeze(work, plan, reterr);
    case CONVERT_EXCHANGING:
        return exchange(work, reterr);
    case CONVERT_SCRUBBING:
        code = scrub(work, &kept, reterr);
        if (!code && kept) {
            error_set(reterr, ERR_INCOMPLETE, 0, "part of the old plaintext was kept in .husk/plaintext/%s",
                      work->vault->name);
            return error_remedy(reterr, "see the findings, then run the same command again");
        }
        if (!code)
            work->journal.state = CONVERT_DONE;
        return code;
    case CONVERT_DONE:
        break;
    }
    return error_set(reterr, ERR_CORRUPT, 0, "the conversion's journal has a state that cannot be");
}

/* A root's old trees stay until it has booted from the new ones. */
static bool is_waiting(const struct convert_work *work)
{
    return work->journal.waits && work->journal.state == CONVERT_SCRUBBING;
}

/* What ends the waiting. Returns reterr's code. */
static enum error_code say_commit(const struct convert_work *work, struct error *reterr)
{
    return error_remedy(reterr,
                        "husk protect --root --commit on the booted host (although it has not booted: husk "
                        "protect --root --commit "
                        "--confirm %s), then the same command again",
                        work->vault->name);
}

/* From the journal's state to done, or to where a root waits. */
static enum error_code run(struct convert_work *work, const struct convert_plan *plan, struct error *reterr)
{
    enum error_code code = OK;
    while (!code && work->journal.state != CONVERT_DONE && !is_waiting(work))
        code = step(work, plan, reterr);
    if (!code && is_waiting(work)) {
        tell_waiting(work);
        return OK;
    }
    if (!code)
        code = work_clear(work, reterr);
    if (!code)
        tell_done(work);
    if (!code && work->journal.partly_overwritten)
        code = error_set(reterr, ERR_INCOMPLETE, 0, PARTLY_OVERWRITTEN);
    if (code == ERR_INTERRUPTED)
        error_remedy(reterr, "run the same command again to go on");
    return code;
}

/* Something is under way: finish that first. */
static enum error_code finish_present(struct convert_work *work, enum convert_direction direction,
                                      const struct convert_plan *plan, bool *ret_changed,
                                      struct error *reterr)
{
    bool found;
    enum error_code code = work_read_journal(work, &found, reterr);
    if (code || !found)
        return code;
    if (work->journal.direction != direction && is_waiting(work)) {
        error_set(reterr, ERR_BUSY, 0, "the old trees of the vault %s wait to be scrubbed",
                  work->vault->name);
        return say_commit(work, reterr);
    }
    if (work->journal.direction != direction) {
        error_set(reterr, ERR_BUSY, 0, "the vault %s is in the middle of being %s", work->vault->name,
                  direction == CONVERT_PROTECT ? "unprotected" : "protected");
        return error_remedy(reterr,
                            "finish that with the command that began it, or go back: husk protect --abort "
                            "--vault %s",
                            work->vault->name);
    }
    *ret_changed = !is_waiting(work);
    code = run(work, plan, reterr);
    if (!code && !is_waiting(work)) {
        /* The directories of the work are gone now; what follows makes them anew. */
        struct vault *vault = work->vault;
        const struct convert_options *options = work->options;
        work_close(work);
        code = work_open(vault, options, work, reterr);
    }
    return code;
}

static enum error_code run_new(struct convert_work *work, const struct convert_plan *plan,
                               struct error *reterr)
{
    memcpy(&work->journal.vault, &work->vault->id, sizeof(work->journal.vault));
    enum error_code code = work_refuse_trees(work, reterr);
    if (!code)
        code = work_enter_state(work, CONVERT_PLANNED, reterr);
    return code ? code : run(work, plan, reterr);
}

/* An empty directory just gets the policy; one that has it already is only recorded. From before there is a
 * policy the manifest tells that the vault protects something, so that nobody gives the vault up whatever
 * happens before the directory is recorded. */
static enum error_code protect_as_it_is(struct convert_work *work,
                                        const struct convert_plan_directory *directory, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    struct fscrypt_nonce nonce;
    enum error_code code = tree_open_directory(work->clone_fd, directory->path, &fd, reterr);
    if (!code)
        code = vault_begin_protecting(work->vault, false, work->options->clock, reterr);
    if (!code)
        code = fscrypt_set_policy(fd, &work->vault->identifier, reterr);
    if (!code)
        code = file_sync(fd, directory->shown_path, reterr);
    (void)fault("convert.empty");
    if (!code)
        code = fscrypt_get_nonce(fd, &nonce, reterr);
    if (!code)
        code = vault_add_directory(work->vault, directory->path, &nonce, work->options->clock, reterr);
    if (!code)
        report_truth(work->options->report, "%s is encrypted under the vault %s%s", directory->shown_path,
                     work->vault->name, directory->action == CONVERT_SET_POLICY ? " (it was empty)" : "");
    return code;
}

/* Before anything is begun: what is exchanged has to be named by the manifest. */
static enum error_code check_addable(const struct convert_work *work, const struct convert_plan *plan,
                                     struct error *reterr)
{
    size_t count = 0;
    _cleanup_(freep) const char **paths = calloc(plan->directory_count + 1, sizeof(*paths));
    if (!paths)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < plan->directory_count; i++)
        if (plan->directories[i].action != CONVERT_NOTHING)
            paths[count++] = plan->directories[i].path;
    return vault_check_addable(work->vault, paths, count, reterr);
}

/* What the manifest says of a directory is not asked: it may have been replaced by a plain one since. */
static enum error_code protect_rest(struct convert_work *work, const struct convert_plan *plan,
                                    bool *ret_changed, struct error *reterr)
{
    enum error_code code = check_addable(work, plan, reterr);
    for (size_t i = 0; !code && i < plan->directory_count; i++) {
        const struct convert_plan_directory *directory = &plan->directories[i];
        if (directory->action == CONVERT_SET_POLICY || directory->action == CONVERT_RECORD) {
            *ret_changed = true;
            code = protect_as_it_is(work, directory, reterr);
        } else if (directory->action == CONVERT_COPY) {
            code = journal_add(&work->journal, directory->path, reterr);
        }
    }
    if (code || work->journal.count == 0)
        return code ? code : work_clear(work, reterr);
    *ret_changed = true;
    work->journal.waits = work->options->scrubbing == CONVERT_SCRUB_LATER;
    return run_new(work, plan, reterr);
}

/* One journal at a time: what else is to be protected has to wait for the commit. */
static enum error_code check_only_waiting(const struct convert_work *work, const struct convert_plan *plan,
                                          struct error *reterr)
{
    for (size_t i = 0; i < plan->directory_count; i++) {
        const struct convert_plan_directory *directory = &plan->directories[i];
        if (directory->action == CONVERT_NOTHING || directory->action == CONVERT_CONTINUE)
            continue;
        error_set(reterr, ERR_BUSY, 0, "%s cannot join yet: old trees of the vault %s wait to be scrubbed",
                  directory->shown_path, work->vault->name);
        return say_commit(work, reterr);
    }
    return OK;
}

enum error_code convert_protect(struct vault *vault, const struct convert_plan *plan,
                                const struct convert_options *options, bool *ret_changed,
                                struct error *reterr)
{
    _cleanup_(work_close) struct convert_work work = WORK_NONE;
    bool changed = false;
    enum error_code code = finding_refusal(&plan->findings, reterr);
    if (code)
        return code;
    code = work_open(vault, options, &work, reterr);
    if (code)
        return code;
    code = finish_present(&work, CONVERT_PROTECT, plan, &changed, reterr);
    const bool waits = is_waiting(&work);
    if (!code)
        code = waits ? check_only_waiting(&work, plan, reterr) : protect_rest(&work, plan, &changed, reterr);
    if (!code && !waits)
        code = tell_check_named(&work, plan, reterr);
    *ret_changed = changed;
    return code;
}

/* Before the first old tree is scrubbed: where one was put back by hand, the others are what belongs to it.
 * What was moved away or deleted since is told in the end. */
static enum error_code check_places(const struct convert_work *work, struct error *reterr)
{
    for (size_t i = 0; i < work->journal.count; i++) {
        const struct convert_directory *directory = &work->journal.directories[i];
        _cleanup_(close_fdp) int place_fd = -1;
        bool encrypted = false;
        struct error why = ERROR_NONE;
        enum error_code code = work_open_place(work, directory, &place_fd, &why);
        if (code == ERR_NOT_FOUND || code == ERR_CHANGED)
            continue;
        if (code) {
            if (reterr)
                *reterr = why;
            return code;
        }
        code = work_is_encrypted_side(work, directory, place_fd, &encrypted, reterr);
        if (code)
            return code;
        if (!encrypted) {
            error_set(reterr, ERR_DENIED, 0, "%s is not the directory that its conversion left there",
                      work_shown(work, directory));
            return error_remedy(reterr,
                                "nothing was scrubbed; put the encrypted directory back to its place, "
                                "or move away what is there now, then the same command again");
        }
    }
    return OK;
}

enum error_code convert_commit(struct vault *vault, const struct convert_options *options, bool *ret_changed,
                               struct error *reterr)
{
    _cleanup_(work_close) struct convert_work work = WORK_NONE;
    bool found = false;
    enum error_code code = work_open(vault, options, &work, reterr);
    if (!code)
        code = work_read_journal(&work, &found, reterr);
    if (code)
        return code;
    if (!found || work.journal.direction != CONVERT_PROTECT) {
        code = found ? OK : work_clear(&work, reterr);
        if (!code)
            report_truth(options->report, "no old trees of the vault %s wait to be scrubbed", vault->name);
        return code;
    }
    if (work.journal.state != CONVERT_SCRUBBING) {
        error_set(reterr, ERR_DENIED, 0, "the conversion of the vault %s is not exchanged yet", vault->name);
        return error_remedy(reterr, "run the command that began it again to finish");
    }
    code = work.journal.waits ? check_places(&work, reterr) : OK;
    if (code)
        return code;
    work.journal.waits = false;
    code = work_enter_state(&work, CONVERT_SCRUBBING, reterr);
    *ret_changed = !code;
    return code ? code : run(&work, NULL, reterr);
}

/* All the vault protects, looked at as protect looks at plain directories. */
static enum error_code plan_unprotect(struct convert_work *work, struct convert_plan **ret_plan,
                                      struct error *reterr)
{
    const struct vault *vault = work->vault;
    _cleanup_(freep) char **paths = calloc(vault->directory_count + 1, sizeof(*paths));
    enum error_code code = paths ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    const char *mount = vault->filesystem->mount_point;
    for (size_t i = 0; !code && i < vault->directory_count; i++)
        if (asprintf(&paths[i], "%s/%s", strcmp(mount, "/") ? mount : "", vault->directories[i].path) < 0) {
            paths[i] = NULL;
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        }
    if (!code)
        code = convert_plan_unprotect((const char *const *)paths, vault->directory_count, vault,
                                      work->options->report, ret_plan, reterr);
    for (size_t i = 0; paths && i < vault->directory_count; i++)
        free(paths[i]);
    return code;
}

/* What is mounted over a directory would be taken for it. */
static void refuse_covered(struct finding_list *others)
{
    for (size_t i = 0; i < others->count; i++)
        others->items[i].blocks |= !strcmp(others->items[i].kind, "directory-covered");
}

static enum error_code unprotect_all(struct convert_work *work, bool *ret_changed, struct error *reterr)
{
    _cleanup_(convert_plan_freep) struct convert_plan *plan = NULL;
    _cleanup_(finding_list_done) struct finding_list others = {0};
    if (work->vault->directory_count == 0)
        return work_clear(work, reterr);
    enum error_code code = vault_check_directories(work->vault, &others, reterr);
    if (!code) {
        refuse_covered(&others);
        code = finding_refusal(&others, reterr);
        finding_move_all(work->options->findings, &others);
    }
    if (!code)
        code = plan_unprotect(work, &plan, reterr);
    if (!code) {
        code = finding_refusal(&plan->findings, reterr);
        finding_move_all(work->options->findings, &plan->findings);
    }
    for (size_t i = 0; !code && i < plan->directory_count; i++)
        code = journal_add(&work->journal, plan->directories[i].path, reterr);
    if (code) {
        (void)!work_clear(work, NULL); /* nothing was begun, and nothing is to look as if it had been */
        return code;
    }
    work->journal.direction = CONVERT_UNPROTECT;
    *ret_changed = true;
    return run_new(work, plan, reterr);
}

enum error_code convert_unprotect(struct vault *vault, const struct convert_options *options,
                                  bool *ret_changed, struct error *reterr)
{
    _cleanup_(work_close) struct convert_work work = WORK_NONE;
    bool changed = false;
    enum error_code code = work_open(vault, options, &work, reterr);
    if (code)
        return code;
    code = finish_present(&work, CONVERT_UNPROTECT, NULL, &changed, reterr);
    if (!code)
        code = unprotect_all(&work, &changed, reterr);
    if (!code && !changed)
        report_truth(options->report, "the vault %s protects no directory", vault->name);
    *ret_changed = changed;
    return code;
}

/* Going back is possible until the first exchange. */
static enum error_code check_may_abort(struct convert_work *work, struct error *reterr)
{
    bool begun = work->journal.state > CONVERT_EXCHANGING;
    size_t exchanged = 0;
    enum error_code code = OK;
    if (work->journal.state == CONVERT_FROZEN || work->journal.state == CONVERT_EXCHANGING)
        code = exchange_look(work, &exchanged, reterr);
    if (!code && is_waiting(work)) {
        error_set(reterr, ERR_DENIED, 0, "the root is converted, and its old trees wait");
        return error_remedy(
            reterr,
            "to go back, with its disk on another machine: husk protect --root --commit --confirm %s, then "
            "husk unprotect %s",
            work->vault->name, work->vault->name);
    }
    if (!code && (begun || exchanged > 0)) {
        error_set(reterr, ERR_DENIED, 0, "the conversion of the vault %s is past going back",
                  work->vault->name);
        if (work->journal.direction == CONVERT_PROTECT)
            return error_remedy(
                reterr, "run the command that began it again to finish; husk unprotect %s goes back then",
                work->vault->name);
        return error_remedy(
            reterr, "husk unprotect %s finishes it; a new protect of the same directories goes back then",
            work->vault->name);
    }
    return code;
}

/* From here on no twin has to be there: what goes on after a crash, aborting or protecting, begins anew. */
static enum error_code enter_planned(struct convert_work *work, struct error *reterr)
{
    enum error_code code = work->journal.state == CONVERT_EXCHANGING ? exchange_undo(work, reterr) : OK;
    if (code)
        return code;
    for (size_t i = 0; i < work->journal.count; i++)
        work->journal.directories[i].has_twin = false;
    return work_enter_state(work, CONVERT_PLANNED, reterr);
}

/* Of a vault that is erased nothing goes forward any more: directories that are plain at their places stay
 * so, and what husk itself holds in the clear goes as in an erase. */
static enum error_code give_up(struct convert_work *work, bool *ret_changed, struct error *reterr)
{
    bool left = false;
    enum error_code code = leftovers_destroy(work, LEFTOVERS_GIVE_UP_PLACES, ret_changed, &left, reterr);
    if (!code && left) {
        error_set(reterr, ERR_INCOMPLETE, 0, "plaintext of the given-up conversion is left");
        return error_remedy(reterr, "see the findings, then run the same command again");
    }
    if (!code && work->journal.partly_overwritten)
        code = error_set(reterr, ERR_INCOMPLETE, 0, PARTLY_OVERWRITTEN);
    return code;
}

enum error_code convert_abort(struct vault *vault, const struct convert_options *options, bool *ret_changed,
                              struct error *reterr)
{
    _cleanup_(work_close) struct convert_work work = WORK_NONE;
    bool found;
    enum error_code code = work_open(vault, options, &work, reterr);
    if (code)
        return code;
    if (vault->mark != VAULT_ACTIVE)
        return give_up(&work, ret_changed, reterr);
    code = work_read_journal(&work, &found, reterr);
    if (!code && found)
        code = check_may_abort(&work, reterr);
    if (!code && found)
        code = step_make_room(&work, enter_planned, reterr);
    if (!code && found)
        code = step_drop_twins(&work, reterr);
    if (!code && found && work.journal.direction == CONVERT_UNPROTECT)
        code = step_scrub_deleted(&work, reterr);
    if (!code)
        code = work_clear(&work, reterr);
    if (!code && found)
        report_truth(options->report, "the conversion was given up; what was to be copied is as it was");
    if (!code)
        *ret_changed = found;
    if (!code && found && work.journal.partly_overwritten)
        code = error_set(reterr, ERR_INCOMPLETE, 0, PARTLY_OVERWRITTEN);
    return code;
}
