/*
 * Converting existing directories of a vault (design §7, a directory nothing uses), and back. The machine and
 * what is on disk in each state are drawn in machine.c. Every entry point is repeatable: after a crash, an
 * error or an interrupt the same call goes on where the journal stands.
 *
 * On disk, on the vault's filesystem:
 *   .husk/convert/NAME/journal.json    state and directories; durable before each step
 *   .husk/convert/NAME/progress.json   how far the current stage is; not durable, for status only
 *   .husk/convert/NAME/N               the twin of directory N until the exchange
 *   .husk/plaintext/NAME/N             the old tree after it, until it is scrubbed
 *   .husk/vaults/NAME/private/records  what was copied and compared, by inode (encrypted; tree/records.h)
 */
#pragma once
#include "base/clock.h"
#include "base/report.h"
#include "vault/vault.h"

enum convert_direction { CONVERT_PROTECT, CONVERT_UNPROTECT };

/* What protect would do with one directory. */
enum convert_action {
    CONVERT_COPY,       /* non-empty: copy, exchange, scrub */
    CONVERT_SET_POLICY, /* empty: gets the policy as it is */
    CONVERT_RECORD,     /* has this vault's policy already, but its manifest does not name it */
    CONVERT_NOTHING,    /* protected by this vault already */
    CONVERT_CONTINUE    /* a conversion of it is under way */
};

struct convert_plan_directory {
    char *path;       /* owned; raw bytes relative to the root of the filesystem */
    char *shown_path; /* owned; absolute, escaped for showing */
    enum convert_action action;
    bool not_asked_for; /* of an interrupted conversion of the vault, which is finished first */
    uint64_t files, directories, others; /* regular files, directories, everything else */
    uint64_t bytes;                      /* allocated to it */
};

struct convert_plan {
    struct filesystem *filesystem;              /* owned; of all the directories */
    struct convert_plan_directory *directories; /* owned; sorted by path */
    size_t directory_count;
    uint64_t bytes_needed, bytes_free;
    uint64_t inodes_needed, inodes_free;
    struct finding_list findings; /* those that block forbid the conversion */
};

/*
 * Look at the directories (paths as the user gave them, relative to the current directory or absolute) and
 * plan. Reads only. vault_name may be NULL (check before a vault is named). Blocking findings are in the
 * plan, not errors; errors are for what keeps the plan from being made at all (ERR_NOT_FOUND, ERR_USAGE for
 * paths on different filesystems). Walks the trees: takes about 10 s of processor time per million entries,
 * and 30 s where each has extended attributes. Memory does not grow with the trees.
 */
must_check enum error_code convert_plan_new(const char *const *paths, size_t path_count,
                                            const char *vault_name, const struct report *report,
                                            struct convert_plan **ret_plan, struct error *reterr);
void convert_plan_free(struct convert_plan *plan);

enum convert_free_space { CONVERT_SCRUB_FREE_SPACE, CONVERT_SKIP_FREE_SPACE };
/* When old trees are scrubbed: in the same run, or, of a root, once convert_commit says so. */
enum convert_scrubbing { CONVERT_SCRUB_AT_ONCE, CONVERT_SCRUB_LATER };

struct convert_options {
    const struct clock *clock;
    const struct report *report;   /* stages, truths ("/srv/data is encrypted") */
    struct finding_list *findings; /* what stays undone or should be known */
    enum convert_free_space free_space;
    enum convert_scrubbing scrubbing; /* of what this run begins */
};

/* Carry out a plan without blocking findings for an unlocked vault; the lock must be held. Goes on with what
 * the journal says where one is there. *ret_changed tells whether anything was done. ERR_BUSY/ERR_CHANGED
 * when something writes there after all (nothing lost, run again), ERR_INCOMPLETE when something had to be
 * kept (findings), ERR_INTERRUPTED. */
must_check enum error_code convert_protect(struct vault *vault, const struct convert_plan *plan,
                                           const struct convert_options *options, bool *ret_changed,
                                           struct error *reterr);

/* Scrub the old trees that a conversion with CONVERT_SCRUB_LATER left waiting. ERR_NOT_FOUND when none wait,
 * ERR_DENIED before everything is exchanged; else as convert_protect. */
must_check enum error_code convert_commit(struct vault *vault, const struct convert_options *options,
                                          bool *ret_changed, struct error *reterr);

/* Take the encryption off all directories of the vault, same machine with plain twins. The vault and its
 * keyslots stay. Plans (busy files, space) itself: blocking findings go to options->findings with ERR_BUSY or
 * ERR_DENIED. */
must_check enum error_code convert_unprotect(struct vault *vault, const struct convert_options *options,
                                             bool *ret_changed, struct error *reterr);

/* Go back: remove the twins and the journal. ERR_DENIED once exchanging has begun (remedy: finish, then
 * unprotect). Works on a locked vault; of one that is erased it gives up what was not exchanged, whatever
 * was. *ret_changed false when nothing was under way. */
must_check enum error_code convert_abort(struct vault *vault, const struct convert_options *options,
                                         bool *ret_changed, struct error *reterr);

/* What is left in the clear of a conversion of a vault that is being erased. */
enum convert_left {
    CONVERT_LEFT_NOTHING,
    CONVERT_LEFT_UNPROVEN, /* nothing is there any more, but not all of it was overwritten in place */
    CONVERT_LEFT_PLAINTEXT /* findings name it */
};

/* Destroy what husk holds in the clear of a conversion that was cut short: old trees, and plain twins. Needs
 * no key and asks for none. What something else can reach is kept, and so are the directories at their
 * places. Repeatable; the lock must be held. *ret_changed becomes true where something was done. Blocks for
 * as long as the disk takes. */
must_check enum error_code convert_destroy_left(struct vault *vault, const struct convert_options *options,
                                                bool *ret_changed, enum convert_left *ret_left,
                                                struct error *reterr);

/* What the journal says, for status. state is "planned", "frozen", "exchanging", "scrubbing"; NULL when
 * nothing is under way. */
struct convert_status {
    const char *state; /* static */
    bool may_abort;    /* nothing was exchanged yet */
    bool waits;        /* scrubbing, but not before convert_commit */
    enum convert_direction direction;
    char *directory; /* owned; shown path of the one being worked on, may be NULL */
    uint64_t files_done, files_total, bytes_done, bytes_total;
};
must_check enum error_code convert_get_status(const struct vault *vault, struct convert_status *ret_status,
                                              struct error *reterr);
void convert_status_done(struct convert_status *status);

static inline void convert_plan_freep(struct convert_plan **plan)
{
    convert_plan_free(*plan);
    *plan = NULL;
}
