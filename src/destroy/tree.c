#include "destroy/destroy.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "destroy/walk.h"

/*
 * What is on disk while a tree is destroyed:
 *
 *   entries       the tree, with fewer and fewer entries that are not directories (batch.c). Each directory
 *                 that is empty but for directories moves, under a random name, into one made for that in
 *                 the top of the tree, unless it has to stay
 *   sync          the same; the blocks of all directories as they are now, without names, are on the device
 *   directories   those set aside and the place for them go
 *   sync          an empty top, its block without names on the device
 *   top           nothing
 *
 * ext4 clears an entry when it is deleted (Linux 5.13; earlier it leaves the name), together with what is
 * left behind it of entries that moved to another block when the directory grew. But a directory's block that
 * is freed before that version of it was written keeps the names on the device, in a free block: hence moving
 * instead of removing, and the syncs. A crash at any point is gone on from by the same call; directories set
 * aside are then ordinary ones of the tree.
 *
 * When entries came in between, or changed while they were looked at, a directory is not empty in the end:
 * all is done again, unless that got nothing done twice.
 */
enum { ROUNDS = 16, IN_VAIN = 2 };

static enum error_code sync_all(int parent_fd, struct error *reterr)
{
    int injected = fault("destroy.tree.sync");
    if (injected || syncfs(parent_fd) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno,
                         "cannot write the filesystem to disk");
    return OK;
}

static enum error_code remove_top(struct walk *walk, int parent_fd, const char *name, struct error *reterr)
{
    if (!walk->root || walk->root->kept)
        return OK;
    enum error_code code = sync_all(parent_fd, reterr);
    if (code)
        return code;
    int injected = fault("destroy.tree.top");
    if (!injected && unlinkat(parent_fd, name, AT_REMOVEDIR) == 0)
        walk->tally.removed++;
    else if (!injected && (errno == ENOTEMPTY || errno == EEXIST))
        walk->tally.left_over = true;
    else if (injected || errno != ENOENT)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot remove the directory %s",
                         text_shown(name));
    return OK;
}

/* What the first walk told of what it kept is enough; the second only tells when the first kept nothing. */
static enum error_code walk_directories(struct walk *walk, int parent_fd, const char *name,
                                        struct error *reterr)
{
    uint64_t kept = walk->tally.kept;
    struct finding_list again = {0};
    struct finding_list *first = walk->batch.kept_findings;
    walk->batch.kept_findings = &again;
    enum error_code code = walk_once(walk, WALK_DIRECTORIES, parent_fd, name, reterr);
    walk->batch.kept_findings = first;
    if (kept)
        walk->tally.kept = kept;
    else
        finding_move_all(first, &again);
    finding_list_done(&again);
    return code;
}

static enum error_code round_once(struct walk *walk, int parent_fd, const char *name, struct error *reterr)
{
    finding_list_done(walk->batch.kept_findings);
    walk->tally.left_over = false;
    walk->tally.kept = 0;
    enum error_code code = walk_once(walk, WALK_ENTRIES, parent_fd, name, reterr);
    if (!code && walk->root) {
        code = sync_all(parent_fd, reterr);
        if (!code)
            code = walk_directories(walk, parent_fd, name, reterr);
        if (!code)
            code = remove_top(walk, parent_fd, name, reterr);
    }
    walk_done(walk);
    return code;
}

static enum error_code rounds(struct walk *walk, int parent_fd, const char *name, struct error *reterr)
{
    enum error_code code = OK;
    unsigned in_vain = 0;
    for (unsigned i = 0; i < ROUNDS && in_vain < IN_VAIN && !code; i++) {
        uint64_t removed_before = walk->tally.removed;
        code = round_once(walk, parent_fd, name, reterr);
        if (!walk->tally.left_over)
            break;
        in_vain = walk->tally.removed == removed_before ? in_vain + 1 : 0;
    }
    return code;
}

static void tell(struct walk *walk, const char *name)
{
    struct finding_list *findings = walk->options->findings;
    if (walk->tally.left_over)
        finding_add(findings, FINDING_TELLS, "left-over", text_shown(name),
                    "stop what works there, then run the same command again",
                    "entries came into it or changed while it was being destroyed");
    if (walk->tally.unverifiable)
        finding_add(findings, FINDING_TELLS, "not-re-read", text_shown(name), "",
                    "%llu files were overwritten but could not be re-read past the kernel's cache",
                    (unsigned long long)walk->tally.unverifiable);
    finding_move_all(findings, walk->batch.kept_findings);
}

static enum error_code judge(const struct tally *tally, const char *name, struct error *reterr)
{
    if (!tally->kept && !tally->not_overwritten && !tally->left_over)
        return OK;
    error_set(
        reterr, ERR_INCOMPLETE, 0,
        "%s is not destroyed completely: %llu entries kept, %llu files removed without being overwritten "
        "and re-read%s",
        text_shown(name), (unsigned long long)tally->kept, (unsigned long long)tally->not_overwritten,
        tally->left_over ? ", and something was added meanwhile" : "");
    error_subject(reterr, "%s", text_shown(name));
    error_remedy(reterr, "see the findings; run the same command again once their causes are gone");
    return ERR_INCOMPLETE;
}

enum error_code destroy_tree(int parent_fd, const char *name, const struct destroy_tree_options *options,
                             struct error *reterr)
{
    struct finding_list unheard = {0}, kept = {0};
    struct destroy_tree_options chosen = *options;
    if (!chosen.findings)
        chosen.findings = &unheard;
    struct walk *walk = calloc(1, sizeof(*walk));
    if (!walk)
        return error_set(reterr, ERR_NO_MEMORY, ENOMEM, "cannot destroy %s", text_shown(name));
    walk->options = &chosen;
    walk->batch.aside_fd = -1;
    walk->batch.begins = options->begins;
    walk->batch.begins_context = options->context;
    walk->batch.report = options->report;
    walk->batch.findings = chosen.findings;
    walk->batch.kept_findings = &kept;
    walk->batch.tally = &walk->tally;
    enum error_code code = batch_init(&walk->batch, reterr);
    if (!code)
        code = rounds(walk, parent_fd, name, reterr);
    if (!code)
        code = file_sync(parent_fd, text_shown(name), reterr);
    tell(walk, name);
    if (!code)
        code = judge(&walk->tally, name, reterr);
    walk_done(walk);
    batch_done(&walk->batch);
    finding_list_done(&kept);
    finding_list_done(&unheard);
    free(walk);
    return code;
}
