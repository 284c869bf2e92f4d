#include "destroy/overwrite.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/interrupt.h"
#include "destroy/cache.h"
#include "destroy/extents.h"

enum { BUFFER_ALIGNMENT = 4096 };

/* struct statx has these from Linux 6.1 on; older headers lack them. */
#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x00002000U
#endif

enum error_code overwrite_worker_init(struct overwrite_worker *worker, struct error *reterr)
{
    void *buffer = NULL;
    int os_errno = posix_memalign(&buffer, BUFFER_ALIGNMENT, PATTERN_SPAN_BYTES);
    if (os_errno)
        return error_set(reterr, ERR_NO_MEMORY, os_errno, "no memory to overwrite files with");
    worker->buffer = buffer;
    return OK;
}

void overwrite_worker_done(struct overwrite_worker *worker)
{
    free(worker->buffer);
    worker->buffer = NULL;
}

/* From Linux 6.1 on the kernel tells; before that it may accept O_DIRECT and buffer in silence, mostly by the
 * flags of the file. */
static enum overwrite_way way_of(int fd)
{
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && status.stx_mask & STATX_DIOALIGN)
        return status.stx_dio_offset_align ? OVERWRITE_DIRECT : OVERWRITE_BUFFERED;
    int flags = 0;
    enum { BUFFERED_FLAGS = FS_JOURNAL_DATA_FL | FS_INLINE_DATA_FL | FS_ENCRYPT_FL | FS_VERITY_FL };
    return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & BUFFERED_FLAGS ? OVERWRITE_BUFFERED
                                                                             : OVERWRITE_UNCERTAIN;
}

static int set_direct(int fd, enum overwrite_way way)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -1;
    return fcntl(fd, F_SETFL, way == OVERWRITE_BUFFERED ? flags & ~O_DIRECT : flags | O_DIRECT);
}

void overwrite_begin(struct overwrite *overwrite, int fd, const struct stat *status)
{
    *overwrite = (struct overwrite){
        .fd = fd, .inode = status->st_ino, .size_bytes = (uint64_t)status->st_size, .way = way_of(fd)};
    if (set_direct(fd, overwrite->way) < 0)
        overwrite->way = OVERWRITE_BUFFERED;
}

/* One write or read of the whole piece; a filesystem that refuses direct I/O only now gets it buffered. */
static int write_piece(struct overwrite *overwrite, const uint8_t *bytes, size_t length, uint64_t offset)
{
    int injected = fault("destroy.overwrite");
    if (injected)
        return injected;
    while (length > 0) {
        ssize_t done = pwrite(overwrite->fd, bytes, length, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EINVAL && overwrite->way != OVERWRITE_BUFFERED) {
            overwrite->way = OVERWRITE_BUFFERED;
            if (set_direct(overwrite->fd, OVERWRITE_BUFFERED) == 0)
                continue;
        }
        if (done <= 0)
            return done < 0 ? errno : EIO;
        bytes += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return 0;
}

static size_t piece_length(uint64_t offset, uint64_t end)
{
    uint64_t span_end = (offset / PATTERN_SPAN_BYTES + 1) * PATTERN_SPAN_BYTES;
    return (size_t)((end < span_end ? end : span_end) - offset);
}

/* Inline data must not grow out of the inode: only the bytes that are there. */
static uint64_t extent_end(const struct extent *extent, const struct overwrite *overwrite)
{
    return extent->kind == EXTENT_INLINE ? overwrite->size_bytes
                                         : extent->offset_bytes + extent->length_bytes;
}

static enum error_code check_stop(const struct overwrite_worker *worker, struct error *reterr)
{
    return worker->stopping == OVERWRITE_STOPPABLE ? interrupt_check(reterr) : OK;
}

enum error_code overwrite_write_range(struct overwrite *overwrite, const struct overwrite_worker *worker,
                                      uint64_t offset, uint64_t end, struct error *reterr)
{
    enum error_code first_code = OK;
    for (size_t length = 0; offset < end; offset += length) {
        enum error_code code = check_stop(worker, reterr);
        if (code)
            return code;
        length = piece_length(offset, end);
        pattern_fill(worker->pattern, overwrite->inode, offset, worker->buffer, length);
        int os_errno = write_piece(overwrite, worker->buffer, length, offset);
        if (os_errno && !first_code)
            first_code = error_set(reterr, ERR_FAILED, os_errno, "cannot overwrite");
        report_advance(worker->report, 0, length);
    }
    return first_code;
}

struct walk {
    struct overwrite *overwrite;
    const struct overwrite_worker *worker;
    enum error_code first_code; /* of an extent that failed while the rest went on */
    struct error first_error;
};

static enum error_code write_extent(const struct extent *extent, void *context, struct error *reterr)
{
    struct walk *walk = context;
    struct error error = ERROR_NONE;
    enum error_code code = overwrite_write_range(walk->overwrite, walk->worker, extent->offset_bytes,
                                                 extent_end(extent, walk->overwrite), &error);
    if (code && !walk->first_code) {
        walk->first_code = code;
        walk->first_error = error;
    }
    return check_stop(walk->worker, reterr);
}

enum error_code overwrite_write(struct overwrite *overwrite, const struct overwrite_worker *worker,
                                struct error *reterr)
{
    struct walk walk = {.overwrite = overwrite, .worker = worker};
    enum error_code code = extents_each(overwrite->fd, write_extent, &walk, reterr);
    if (!code && walk.first_code) {
        code = walk.first_code;
        if (reterr)
            *reterr = walk.first_error;
    }
    return code;
}

enum error_code overwrite_flush(const struct overwrite *overwrite, struct error *reterr)
{
    int injected = fault("destroy.flush");
    if (injected || fdatasync(overwrite->fd) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno,
                         "cannot write what was overwritten to disk");
    return OK;
}

static enum error_code read_piece(const struct overwrite *overwrite, const struct overwrite_worker *worker,
                                  uint64_t offset, size_t length, struct error *reterr)
{
    int injected = fault("destroy.reread");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot re-read");
    for (size_t have = 0; have < length;) {
        ssize_t got = pread(overwrite->fd, worker->buffer + have, length - have, (off_t)(offset + have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot re-read");
        if (got == 0)
            return error_set(reterr, ERR_CORRUPT, 0, "the file became shorter while it was overwritten");
        have += (size_t)got;
    }
    if (pattern_compare(worker->pattern, overwrite->inode, offset, worker->buffer, length) ==
        PATTERN_DIFFERENT)
        return error_set(reterr, ERR_CORRUPT, 0, "the disk gave back something else than was written");
    return OK;
}

enum error_code overwrite_reread_range(const struct overwrite *overwrite,
                                       const struct overwrite_worker *worker, uint64_t offset, uint64_t end,
                                       struct error *reterr)
{
    enum error_code code = OK;
    for (size_t length = 0; offset < end && !code; offset += length) {
        length = piece_length(offset, end);
        code = check_stop(worker, reterr);
        if (!code)
            code = read_piece(overwrite, worker, offset, length, reterr);
    }
    return code;
}

static enum error_code reread_extent(const struct extent *extent, void *context, struct error *reterr)
{
    const struct walk *walk = context;
    if (extent->kind == EXTENT_INLINE)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "data inside an inode cannot be re-read past the cache");
    uint64_t end = extent->offset_bytes + extent->length_bytes;
    if (walk->overwrite->way != OVERWRITE_DIRECT &&
        cache_drop(walk->overwrite->fd, extent->offset_bytes, end) == CACHE_STAYS)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "the kernel keeps the file in memory");
    return overwrite_reread_range(walk->overwrite, walk->worker, extent->offset_bytes, end, reterr);
}

enum error_code overwrite_reread(const struct overwrite *overwrite, const struct overwrite_worker *worker,
                                 struct error *reterr)
{
    struct overwrite reading = *overwrite;
    struct walk walk = {.overwrite = &reading, .worker = worker};
    return extents_each(overwrite->fd, reread_extent, &walk, reterr);
}
