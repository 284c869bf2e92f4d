#include "destroy/destroy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "destroy/discard.h"
#include "destroy/overwrite.h"

/*
 * Files without a name (O_TMPFILE) take the free space, a step at a time, and are overwritten:
 *
 *   filling    as before, with free blocks held by nameless files, some of them overwritten
 *   re-read    all blocks that could be had hold random bytes, durable
 *   released   the blocks are free again, then discarded, then the journal is zeroed
 *
 * Whatever ends the process gives the space back at once; after a power cut the kernel does when it mounts
 * the filesystem again (nameless files are on ext4's orphan list). Nothing is left to be removed, and a later
 * call begins from the start.
 *
 * Others must not run out of space: what they may use (not what only root may) never goes below the reserve
 * by our doing, and when they take half of the reserve themselves all is given back at once.
 */
enum { FILES_MAXIMUM = 64, SAMPLES = 256 };
#define STEP_BYTES (UINT64_C(64) << 20)
#define STRIDE_BYTES (UINT64_C(4) << 20) /* between two looks at what others need */
#define RESERVE_MINIMUM_BYTES (UINT64_C(16) << 20)

struct filler {
    struct overwrite file;
    uint64_t length_bytes; /* of it that is overwritten */
};

struct filling {
    int directory_fd; /* borrowed */
    struct filler files[FILES_MAXIMUM];
    size_t count;
    uint64_t block_bytes;
    uint64_t reserve_bytes;
    uint64_t overwritten_bytes;
    struct overwrite_worker worker;
    enum { FILLING, FULL, OTHERS_NEED_SPACE } state;
};

static enum error_code available(const struct filling *filling, uint64_t *ret_bytes, struct error *reterr)
{
    struct statvfs space;
    if (fstatvfs(filling->directory_fd, &space) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot ask for the free space");
    *ret_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    return OK;
}

static enum error_code free_altogether(const struct filling *filling, uint64_t *ret_bytes,
                                       struct error *reterr)
{
    struct statvfs space;
    if (fstatvfs(filling->directory_fd, &space) < 0)
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
    return OK;
}

static enum error_code add_file(struct filling *filling, struct error *reterr)
{
    if (filling->count == FILES_MAXIMUM) {
        filling->state = FULL;
        return OK;
    }
    int injected = fault("destroy.free-space.create");
    int fd = injected ? -1 : openat(filling->directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno,
                         "cannot make a file to overwrite the free space with");
    overwrite_begin(&filling->files[filling->count++].file, fd, &status);
    return OK;
}

static void release(struct filling *filling)
{
    for (size_t i = 0; i < filling->count; i++)
        close(filling->files[i].file.fd);
    filling->count = 0;
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
    while (filler->length_bytes < end && filling->state == FILLING) {
        uint64_t stride_end = filler->length_bytes + STRIDE_BYTES;
        stride_end = stride_end < end ? stride_end : end;
        struct error error = ERROR_NONE;
        enum error_code code =
            overwrite_write_range(&filler->file, &filling->worker, filler->length_bytes, stride_end, &error);
        if (code == ERR_NO_SPACE) {
            filling->state = OTHERS_NEED_SPACE;
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
        code = available(filling, &left, reterr);
        if (code)
            return code;
        if (left < filling->reserve_bytes / 2)
            filling->state = OTHERS_NEED_SPACE;
    }
    return OK;
}

static enum error_code fill_step(struct filling *filling, struct error *reterr)
{
    uint64_t left = 0;
    enum error_code code = available(filling, &left, reterr);
    if (code)
        return code;
    if (left < filling->reserve_bytes + filling->block_bytes) {
        filling->state = FULL;
        return OK;
    }
    uint64_t want = left - filling->reserve_bytes;
    want = want < STEP_BYTES ? want : STEP_BYTES;
    struct filler *filler = &filling->files[filling->count - 1];
    int os_errno = 0;
    uint64_t got = allocate(filling, filler, want / filling->block_bytes * filling->block_bytes, &os_errno);
    if (got)
        return fill(filling, filler, got, reterr);
    if (os_errno == EFBIG && filler->length_bytes > 0)
        return add_file(filling, reterr);
    if (os_errno == ENOSPC || os_errno == EDQUOT || os_errno == 0) {
        filling->state = FULL;
        return OK;
    }
    return os_errno == EINTR ? OK : error_set(reterr, ERR_FAILED, os_errno, "cannot allocate the free space");
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
    enum error_code code = add_file(filling, reterr);
    while (!code && filling->state == FILLING) {
        code = interrupt_check(reterr);
        if (!code)
            code = fill_step(filling, reterr);
    }
    for (size_t i = 0; i < filling->count && !code && filling->state == FULL; i++) {
        code = overwrite_flush(&filling->files[i].file, reterr);
        if (!code)
            code = reread_samples(filling, &filling->files[i], reterr);
    }
    if (code)
        error_prefix(reterr, "overwriting the free space");
    return code;
}

static void tell_left(const struct filling *filling, uint64_t left_bytes, struct finding_list *findings)
{
    if (filling->state == OTHERS_NEED_SPACE)
        finding_add(findings, FINDING_TELLS, "free-space-stopped", "free space",
                    "run it again when less is being written",
                    "others needed space: stopped after %llu bytes were overwritten",
                    (unsigned long long)filling->overwritten_bytes);
    else
        finding_add(findings, FINDING_TELLS, "free-space-left", "free space", "",
                    "%llu bytes of free space were not overwritten: they are what others may need meanwhile",
                    (unsigned long long)left_bytes);
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

enum error_code destroy_free_space(int directory_fd, const struct report *report,
                                   struct finding_list *findings, uint64_t *ret_overwritten_bytes,
                                   struct error *reterr)
{
    struct pattern pattern;
    struct filling filling = {
        .directory_fd = directory_fd,
        .worker = {.pattern = &pattern, .report = report, .stopping = OVERWRITE_STOPPABLE}};
    uint64_t left_bytes = 0;
    enum error_code code = pattern_init(&pattern, reterr);
    if (!code)
        code = prepare(&filling, reterr);
    if (!code)
        code = available(&filling, &left_bytes, reterr);
    if (!code)
        code = overwrite_worker_init(&filling.worker, reterr);
    if (code)
        return code;
    report_stage(report, 0, left_bytes > filling.reserve_bytes ? left_bytes - filling.reserve_bytes : 0,
                 "overwriting free space");
    int before = swap_priority(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
    code = fill_all(&filling, reterr);
    if (!code)
        code = free_altogether(&filling, &left_bytes, reterr);
    release(&filling);
    swap_priority(before);
    overwrite_worker_done(&filling.worker);
    if (code)
        return code;
    tell_left(&filling, left_bytes, findings);
    code = after_release(directory_fd, findings, reterr);
    if (!code)
        *ret_overwritten_bytes = filling.overwritten_bytes;
    return code;
}
