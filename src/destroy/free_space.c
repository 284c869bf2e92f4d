#include "destroy/destroy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/interrupt.h"
#include "destroy/discard.h"
#include "destroy/free_rest.h"
#include "destroy/free_withheld.h"

/*
 * Files without a name (O_TMPFILE) take the free space, a step at a time, and are overwritten:
 *
 *   filling    as before, with free blocks held by nameless files, some of them overwritten
 *   re-read    all blocks that could be had hold random bytes, durable
 *   rest       what had been left for others is overwritten too, while they get blocks that were overwritten
 *              (free_rest.c)
 *   withheld   what the kernel keeps aside for small files is overwritten (free_withheld.c), last, as what it
 *              gives back would be found where the rest is looked for
 *   released   the blocks are free again, then discarded
 *
 * Whatever ends the process gives the space back at once; after a power cut the kernel does when it mounts
 * the filesystem again (nameless files are on ext4's orphan list). Nothing is left to be removed, and a later
 * call begins from the start.
 *
 * Others must not run out of space: what they may use (not what only root may) never goes below the reserve
 * by our doing, and when they take half of the reserve themselves all is given back at once.
 */
enum { SAMPLES = 256 };
#define STEP_BYTES (UINT64_C(64) << 20)
#define STRIDE_BYTES (UINT64_C(4) << 20) /* between two looks at what others need */
#define RESERVE_MINIMUM_BYTES (UINT64_C(16) << 20)

static enum error_code free_altogether(int directory_fd, uint64_t *ret_bytes, struct error *reterr)
{
    struct statvfs space;
    if (fstatvfs(directory_fd, &space) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot ask for the free space");
    *ret_bytes = (uint64_t)space.f_bfree * space.f_frsize;
    return OK;
}

static enum error_code prepare(struct filling *filling, struct error *reterr)
{
    struct statvfs space;
    if (fstatvfs(filling->directory_fd, &space) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot ask for the free space");
    filling->block_bytes = space.f_frsize;
    filling->reserve_bytes = (uint64_t)space.f_blocks * space.f_frsize / 64;
    if (filling->reserve_bytes < RESERVE_MINIMUM_BYTES)
        filling->reserve_bytes = RESERVE_MINIMUM_BYTES;
    return overwrite_worker_init(&filling->worker, reterr);
}

/* Allocate up to want bytes behind what is there. Returns what was got, 0 when nothing can be had;
 * *ret_errno tells why. A filesystem without fallocate allocates when it is written. */
static uint64_t allocate(const struct filling *filling, const struct filler *filler, uint64_t want,
                         int *ret_errno)
{
    *ret_errno = 0;
    for (; want >= filling->block_bytes; want = want / 2 / filling->block_bytes * filling->block_bytes) {
        int os_errno = fault("destroy.free-space.allocate");
        if (!os_errno && fallocate(filler->file.fd, 0, (off_t)filler->length_bytes, (off_t)want) == 0)
            return want;
        os_errno = os_errno ? os_errno : errno;
        if (os_errno == EOPNOTSUPP)
            return want;
        *ret_errno = os_errno;
        if (os_errno == EINTR || os_errno == EIO)
            return 0;
    }
    return 0;
}

/* Overwrite what was allocated, looking after each stride whether others need space. */
static enum error_code fill(struct filling *filling, struct filler *filler, uint64_t length,
                            struct error *reterr)
{
    uint64_t end = filler->length_bytes + length;
    while (filler->length_bytes < end && filling->state == FILLING_GOES_ON) {
        uint64_t stride_end = filler->length_bytes + STRIDE_BYTES;
        stride_end = stride_end < end ? stride_end : end;
        struct error error = ERROR_NONE;
        enum error_code code =
            overwrite_write_range(&filler->file, &filling->worker, filler->length_bytes, stride_end, &error);
        if (code == ERR_NO_SPACE) {
            filling->state = FILLING_OTHERS_NEED_SPACE;
            return OK;
        }
        if (code) {
            if (reterr)
                *reterr = error;
            return code;
        }
        filling->overwritten_bytes += stride_end - filler->length_bytes;
        filler->length_bytes = stride_end;
        uint64_t left = 0;
        code = filling_available(filling, &left, reterr);
        if (code)
            return code;
    }
    return OK;
}

static enum error_code fill_step(struct filling *filling, struct filler **filler, struct error *reterr)
{
    uint64_t left = 0;
    enum error_code code = filling_available(filling, &left, reterr);
    if (code || filling->state != FILLING_GOES_ON)
        return code;
    uint64_t kept = filling->reserve_bytes + FREE_WITHHELD_ROOM_BYTES;
    /* While ext4 allocates, it counts the blocks twice for a moment, as asked for and as taken: so half of
     * what is left at most is asked for at once. */
    uint64_t want = left > kept ? (left - kept) / 2 : 0;
    want = (want < STEP_BYTES ? want : STEP_BYTES) / filling->block_bytes * filling->block_bytes;
    int os_errno = 0;
    uint64_t got = allocate(filling, *filler, want, &os_errno);
    if (got)
        return fill(filling, *filler, got, reterr);
    if (os_errno == EFBIG && (*filler)->length_bytes > 0)
        return filling_add_file(filling, filler, reterr);
    if (os_errno == 0 || os_errno == ENOSPC || os_errno == EDQUOT)
        filling->state = FILLING_FULL;
    else if (os_errno != EINTR)
        return error_set(reterr, ERR_FAILED, os_errno, "cannot allocate the free space");
    return OK;
}

static enum error_code reread_samples(const struct filling *filling, const struct filler *filler,
                                      struct error *reterr)
{
    uint64_t pieces = filler->length_bytes / PATTERN_SPAN_BYTES;
    uint64_t step = pieces / SAMPLES + 1;
    enum error_code code = OK;
    for (uint64_t piece = 0; piece < pieces && !code; piece += step) {
        uint64_t offset = piece * PATTERN_SPAN_BYTES;
        code = overwrite_reread_range(&filler->file, &filling->worker, offset, offset + PATTERN_SPAN_BYTES,
                                      reterr);
    }
    return code;
}

static enum error_code fill_all(struct filling *filling, struct error *reterr)
{
    struct filler *filler = NULL;
    enum error_code code = filling_add_file(filling, &filler, reterr);
    while (!code && filling->state == FILLING_GOES_ON) {
        code = interrupt_check(reterr);
        if (!code)
            code = fill_step(filling, &filler, reterr);
    }
    for (size_t i = 0; i < filling->count && !code && filling->state == FILLING_FULL; i++) {
        code = overwrite_flush(&filling->files[i].file, reterr);
        if (!code)
            code = reread_samples(filling, &filling->files[i], reterr);
    }
    return code;
}

/* What was not overwritten. */
struct left {
    uint64_t free_bytes;
    uint64_t withheld_bytes; /* preallocated in memory only: free, but in no map of what can be had */
};

static enum error_code overwrite_rest(struct filling *filling, struct left *ret_left, struct error *reterr)
{
    struct left left = {0};
    struct free_map rest = {0};
    struct error error = ERROR_NONE;
    enum error_code code = free_altogether(filling->directory_fd, &left.free_bytes, reterr);
    if (!code && filling->state == FILLING_FULL)
        code = free_map_read(filling->directory_fd, &rest, &error);
    if (!code && filling->state == FILLING_FULL) {
        uint64_t mapped = rest.bytes + rest.unlisted_bytes;
        uint64_t withheld = left.free_bytes > mapped ? left.free_bytes - mapped : 0, overwritten = 0;
        filling->unit_bytes = free_map_unit_bytes(&rest, filling->block_bytes);
        filling->piece_bytes = FILLING_PIECE_UNITS * filling->unit_bytes;
        code = free_rest_overwrite(filling, &rest, &error);
        if (!code && filling->state == FILLING_FULL)
            code = free_withheld_overwrite(filling, withheld, &overwritten, &error);
        left.withheld_bytes = withheld - overwritten;
        left.free_bytes = rest.bytes + rest.unlisted_bytes;
        free_map_done(&rest);
    }
    *ret_left = left;
    if (code && code != ERR_UNSUPPORTED && reterr)
        *reterr = error;
    return code == ERR_UNSUPPORTED ? OK : code;
}

static void tell_left(const struct filling *filling, const struct left *left, struct finding_list *findings)
{
    if (filling->state == FILLING_OTHERS_NEED_SPACE) {
        finding_add(findings, FINDING_TELLS, "free-space-stopped", "free space",
                    "when less is being written, " DESTROY_FREE_SPACE_AGAIN,
                    "others needed space: stopped after %llu bytes were overwritten",
                    (unsigned long long)filling->overwritten_bytes);
        return;
    }
    if (left->free_bytes > 0)
        finding_add(findings, FINDING_TELLS, "free-space-left", "free space", DESTROY_FREE_SPACE_AGAIN,
                    "%llu bytes of free space could not be overwritten: the filesystem did not give them out",
                    (unsigned long long)left->free_bytes);
    if (left->withheld_bytes > 0)
        finding_add(findings, FINDING_TELLS, "free-space-withheld", "free space",
                    "mount the filesystem anew, then " DESTROY_FREE_SPACE_AGAIN,
                    "%llu bytes of free space were not overwritten: the kernel keeps them for files being "
                    "written",
                    (unsigned long long)left->withheld_bytes);
}

/* What can be done once the blocks are free again; what cannot is told. */
static enum error_code after_release(int directory_fd, struct finding_list *findings, struct error *reterr)
{
    if (syncfs(directory_fd) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot write the filesystem to disk");
    uint64_t discarded_bytes = 0;
    int os_errno = 0;
    enum destroy_outcome outcome = discard_free_space(directory_fd, &discarded_bytes, &os_errno);
    if (outcome != DESTROY_DONE)
        finding_add(findings, FINDING_TELLS, "no-discard", "free space", "",
                    outcome == DESTROY_NOT_SUPPORTED
                        ? "the device takes no discards: freed blocks were overwritten only (%s)"
                        : "discarding failed: freed blocks were overwritten only (%s)",
                    strerror(os_errno));
    return OK;
}

static int swap_priority(int priority)
{
    int before = (int)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority);
    return before < 0 ? 0 : before; /* 0: no class of its own */
}

static enum error_code hold_and_overwrite(struct filling *filling, struct left *ret_left,
                                          struct error *reterr)
{
    int before = swap_priority(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
    enum error_code code = fill_all(filling, reterr);
    if (!code)
        code = overwrite_rest(filling, ret_left, reterr);
    /* The files' own extent and indirect blocks took free blocks too; written out they have other content. */
    if (!code && syncfs(filling->directory_fd) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot write the filesystem to disk");
    uint64_t beside_bytes = 0;
    if (!code)
        code = filling_beside_bytes(filling, &beside_bytes, reterr);
    ret_left->free_bytes += beside_bytes;
    filling_done(filling);
    swap_priority(before);
    if (code)
        error_prefix(reterr, "overwriting the free space");
    return code;
}

enum error_code destroy_free_space(int directory_fd, const struct report *report,
                                   struct finding_list *findings, uint64_t *ret_overwritten_bytes,
                                   struct error *reterr)
{
    struct pattern pattern;
    struct filling filling = {
        .directory_fd = directory_fd,
        .worker = {.pattern = &pattern, .report = report, .stopping = OVERWRITE_STOPPABLE}};
    uint64_t total_bytes = 0;
    struct left left = {0};
    enum error_code code = pattern_init(&pattern, reterr);
    if (!code)
        code = free_altogether(directory_fd, &total_bytes, reterr);
    if (!code)
        code = prepare(&filling, reterr);
    if (code)
        return code;
    report_stage(report, 0, total_bytes, "overwriting free space");
    code = hold_and_overwrite(&filling, &left, reterr);
    overwrite_worker_done(&filling.worker);
    if (code)
        return code;
    tell_left(&filling, &left, findings);
    code = after_release(directory_fd, findings, reterr);
    if (!code)
        *ret_overwritten_bytes = filling.overwritten_bytes;
    return code;
}
