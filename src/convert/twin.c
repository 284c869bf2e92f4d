#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "convert/steps.h"
#include "tree/attributes.h"

/* A disk that gives back other bytes than it was given will not be differences by a fourth try. */
enum { COMPARE_ROUNDS_MAXIMUM = 4 };

/* Whether the twin's root has to be case-insensitive, which can only be set while it is empty. */
static enum error_code match_root(int place_fd, int twin_fd, struct convert_directory *directory,
                                  struct error *reterr)
{
    uint32_t flags, twin_flags;
    enum error_code code = attributes_get_flags(place_fd, &flags, reterr);
    if (!code)
        code = attributes_get_flags(twin_fd, &twin_flags, reterr);
    if (!code && (flags & FS_CASEFOLD_FL) != (twin_flags & FS_CASEFOLD_FL))
        code = attributes_set_flags(twin_fd, twin_flags ^ FS_CASEFOLD_FL, reterr);
    if (!code)
        directory->root_flags = flags & ATTRIBUTE_FLAGS_SEALING;
    return code;
}

static enum error_code give_policy(struct convert_work *work, int twin_fd,
                                   struct convert_directory *directory, struct error *reterr)
{
    enum fscrypt_policy_state state;
    struct fscrypt_identifier identifier;
    enum error_code code = fscrypt_get_policy(twin_fd, &state, &identifier, reterr);
    if (!code && state == FSCRYPT_PLAIN)
        code = fscrypt_set_policy(twin_fd, &work->vault->identifier, reterr);
    return code ? code : fscrypt_get_nonce(twin_fd, &directory->nonce, reterr);
}

static enum error_code make_twin(struct convert_work *work, struct convert_directory *directory,
                                 struct error *reterr)
{
    _cleanup_(close_fdp) int place_fd = -1, twin_fd = -1;
    char name[16];
    enum error_code code = work_open_place(work, directory, &place_fd, reterr);
    if (!code)
        code = directory_make(work->work_fd, work_name(work, directory, name), 0700, &twin_fd, reterr);
    (void)fault("convert.twin.made");
    if (!code && work->journal.direction == CONVERT_PROTECT)
        code = give_policy(work, twin_fd, directory, reterr);
    if (!code && work->journal.direction == CONVERT_UNPROTECT)
        code = fscrypt_get_nonce(place_fd, &directory->nonce, reterr);
    if (!code)
        code = match_root(place_fd, twin_fd, directory, reterr);
    if (!code)
        code = file_sync(twin_fd, "the twin", reterr);
    if (code)
        return error_prefix(reterr, "making the twin of %s", work_shown(work, directory)), code;
    directory->has_twin = true;
    return OK;
}

enum error_code step_make_twins(struct convert_work *work, struct error *reterr)
{
    enum error_code code = OK;
    /* A plain twin is plaintext on this disk, also if it is given up. */
    if (work->journal.direction == CONVERT_UNPROTECT)
        code = vault_begin_protecting(work->vault, true, work->options->clock, reterr);
    for (size_t i = 0; !code && i < work->journal.count; i++)
        code = make_twin(work, &work->journal.directories[i], reterr);
    return code;
}

/* An open pair of old tree and twin. */
struct pair {
    struct tree_pair tree;
    int place_fd, twin_fd;
    char shown[TREE_PATH_SIZE];
};

static void pair_close(struct pair *pair)
{
    close_fdp(&pair->place_fd);
    close_fdp(&pair->twin_fd);
}

static enum error_code pair_open(struct convert_work *work, const struct convert_directory *directory,
                                 struct pair *ret_pair, struct error *reterr)
{
    char name[16];
    enum work_twin twin;
    ret_pair->place_fd = ret_pair->twin_fd = -1;
    enum error_code code = work_look_at_twin(work, directory, &twin, reterr);
    if (!code && twin == WORK_TWIN_OLD)
        code = work_moved(work, directory, reterr);
    if (!code)
        code = work_open_place(work, directory, &ret_pair->place_fd, reterr);
    if (!code)
        code = directory_open(work->work_fd, work_name(work, directory, name), &ret_pair->twin_fd, reterr);
    if (code)
        return code;
    work_show(work, directory, ret_pair->shown);
    ret_pair->tree = (struct tree_pair){.clone_fd = work->clone_fd,
                                        .source_fd = ret_pair->place_fd,
                                        .twin_fd = ret_pair->twin_fd,
                                        .features = work_features(work),
                                        .unwritten = work->journal.direction == CONVERT_PROTECT
                                                         ? CONTENT_OVERWRITE_UNWRITTEN
                                                         : CONTENT_PREALLOCATE,
                                        .records = work->records,
                                        .report = &work->progress.report,
                                        .shown_path = ret_pair->shown};
    return OK;
}

/* What the plan counted, for the bar; zero where it did not. */
static void totals(const struct convert_plan *plan, const struct convert_directory *directory,
                   uint64_t *ret_files, uint64_t *ret_bytes)
{
    *ret_files = *ret_bytes = 0;
    for (size_t i = 0; plan && i < plan->directory_count; i++)
        if (!strcmp(plan->directories[i].path, directory->path)) {
            *ret_files = plan->directories[i].files + plan->directories[i].others;
            *ret_bytes = plan->directories[i].bytes;
        }
}

/* A change in the same tick of the clock as the last one leaves no trace in ctime. Nanosecond times tick at
 * least every 10 ms; without room for them in the inode (128 bytes) every second. */
static void wait_for_next_tick(const struct convert_work *work, int64_t newest_ns)
{
    const int64_t tick_ns = work->facts.inode_size > 128 ? INT64_C(50000000) : INT64_C(1500000000);
    const struct clock *clock = clock_system();
    int64_t left_ns = newest_ns + tick_ns - clock->unix_ns(clock->context);
    if (left_ns > 0 && left_ns <= tick_ns)
        nanosleep(&(struct timespec){.tv_sec = left_ns / CLOCK_NS_PER_S, .tv_nsec = left_ns % CLOCK_NS_PER_S},
                  NULL);
}

static enum error_code copy_all(struct convert_work *work, const struct convert_plan *plan,
                                struct error *reterr)
{
    enum error_code code = OK;
    int64_t newest_ns = 0;
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        const struct convert_directory *directory = &work->journal.directories[i];
        if (directory->exchanged)
            continue;
        _cleanup_(pair_close) struct pair pair = {.place_fd = -1, .twin_fd = -1};
        uint64_t files, bytes;
        int64_t newest_here_ns = 0;
        totals(plan, directory, &files, &bytes);
        progress_directory(&work->progress, directory->path);
        report_stage(&work->progress.report, files, bytes, "copying %s", work_shown(work, directory));
        code = pair_open(work, directory, &pair, reterr);
        if (!code)
            code = work_check_key(work, tree_copy(&pair.tree, &newest_here_ns, reterr), reterr);
        if (newest_here_ns > newest_ns)
            newest_ns = newest_here_ns;
    }
    (void)fault("convert.copied");
    /* In this order: a store through a mapping leaves no trace either while its page waits to be written. */
    if (!code)
        wait_for_next_tick(work, newest_ns);
    return code ? code : work_sync(work, reterr);
}

static enum error_code compare_all(struct convert_work *work, const struct convert_plan *plan,
                                   struct tree_differences *ret_differences, struct error *reterr)
{
    enum error_code code = OK;
    *ret_differences = (struct tree_differences){0};
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        const struct convert_directory *directory = &work->journal.directories[i];
        if (directory->exchanged)
            continue;
        _cleanup_(pair_close) struct pair pair = {.place_fd = -1, .twin_fd = -1};
        struct tree_differences differences = {0};
        uint64_t files, bytes;
        totals(plan, directory, &files, &bytes);
        progress_directory(&work->progress, directory->path);
        report_stage(&work->progress.report, files, bytes, "verifying %s", work_shown(work, directory));
        code = pair_open(work, directory, &pair, reterr);
        if (!code)
            code = work_check_key(
                work, tree_compare(&pair.tree, work->options->findings, &differences, reterr), reterr);
        if (differences.count > 0) {
            differences.count += ret_differences->count;
            *ret_differences = differences;
        }
    }
    (void)fault("convert.compared");
    return code ? code : work_sync(work, reterr);
}

enum error_code step_fill_twins(struct convert_work *work, const struct convert_plan *plan,
                                struct error *reterr)
{
    struct tree_differences differences = {.count = 1};
    enum error_code code = work_open_records(work, reterr);
    /* Everything the old trees hold is on disk first, so that extents are what they will be and times do not
     * move any more. */
    if (!code)
        code = work_sync(work, reterr);
    for (unsigned round = 0; !code && differences.count > 0; round++) {
        if (round < COMPARE_ROUNDS_MAXIMUM) {
            code = copy_all(work, plan, reterr);
            if (!code)
                code = compare_all(work, plan, &differences, reterr);
            continue;
        }
        code = error_set(reterr, ERR_FAILED, 0, "the copy of %s comes out different again and again",
                         differences.example);
        error_remedy(reterr, "make sure that nothing writes there, and look for disk errors (dmesg); the "
                             "original is untouched");
    }
    return code;
}
