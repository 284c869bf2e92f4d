#include "tree/content.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "tree/extents.h"

/* How much is dirtied before it is handed to the disk. */
enum { FLUSH_BYTES = 4 << 20 };

/* Read until the buffer is full or the file ends. */
static ssize_t read_at(int fd, uint8_t *buffer, size_t length, uint64_t offset)
{
    size_t done = 0;
    while (done < length) {
        ssize_t got = pread(fd, buffer + done, length - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static enum error_code read_exactly(int fd, uint8_t *buffer, size_t length, uint64_t offset,
                                    struct error *reterr)
{
    int injected = fault("tree.content.read");
    ssize_t got = injected ? -1 : read_at(fd, buffer, length, offset);
    if (got < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot read");
    if ((size_t)got < length)
        return error_set(reterr, ERR_CHANGED, 0, "became shorter while it was read");
    return OK;
}

static enum error_code write_exactly(int fd, const uint8_t *bytes, size_t length, uint64_t offset,
                                     struct error *reterr)
{
    int injected = fault("tree.content.write");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot write");
    return file_pwrite_all(fd, bytes, length, offset, reterr);
}

struct progress {
    void (*advance)(uint64_t bytes, void *context);
    void *context;
};

static void tell(const struct progress *progress, uint64_t bytes)
{
    if (progress->advance)
        progress->advance(bytes, progress->context);
}

void content_hand_to_disk(int fd, uint64_t offset, uint64_t end)
{
    sync_file_range(fd, (off_t)offset, (off_t)(end - offset), SYNC_FILE_RANGE_WRITE);
}

/* From the buffer alone where source is -1. */
static enum error_code copy_range(int source, int twin, uint64_t offset, uint64_t end, uint8_t *buffer,
                                  const struct progress *progress, struct error *reterr)
{
    uint64_t flushed = offset, dropped = offset;
    while (offset < end) {
        size_t length = end - offset < CONTENT_BUFFER_SIZE ? (size_t)(end - offset) : CONTENT_BUFFER_SIZE;
        enum error_code code = interrupt_check(reterr);
        if (!code && source >= 0)
            code = read_exactly(source, buffer, length, offset, reterr);
        if (!code)
            code = write_exactly(twin, buffer, length, offset, reterr);
        if (code)
            return code;
        offset += length;
        tell(progress, length);
        if (offset - flushed >= FLUSH_BYTES || offset == end) {
            if (offset > CONTENT_SMALL)
                content_hand_to_disk(twin, flushed, offset);
            if (dropped < flushed) /* a piece behind, so that the disk is done with it */
                posix_fadvise(twin, (off_t)dropped, (off_t)(flushed - dropped), POSIX_FADV_DONTNEED);
            dropped = flushed;
            flushed = offset;
        }
    }
    return OK;
}

/* Whether no block of it is all zeros, so that none can be a hole or preallocated. */
static bool every_block_has_data(const uint8_t *bytes, size_t length, size_t block_size)
{
    static const uint8_t zeros[256];
    for (size_t at = 0; at < length; at += block_size) {
        size_t end = at + block_size < length ? at + block_size : length, look = at;
        while (look < end &&
               !memcmp(bytes + look, zeros, end - look < sizeof(zeros) ? end - look : sizeof(zeros)))
            look += sizeof(zeros);
        if (look >= end)
            return false;
    }
    return true;
}

/* Most files fit into the buffer and are plain data: as many blocks as their size asks for, something in
 * each. That shows without asking for their extents. *ret_done false when it does not show. */
static enum error_code copy_plain(int source, int twin, const struct statx *status, uint8_t *buffer,
                                  const struct progress *progress, bool *ret_done, struct error *reterr)
{
    const uint64_t size = status->stx_size, block_size = status->stx_blksize;
    *ret_done = false;
    if (size == 0 || size > CONTENT_BUFFER_SIZE ||
        status->stx_blocks * 512 != (size + block_size - 1) / block_size * block_size)
        return OK;
    enum error_code code = interrupt_check(reterr);
    if (!code)
        code = read_exactly(source, buffer, (size_t)size, 0, reterr);
    if (code || !every_block_has_data(buffer, (size_t)size, (size_t)block_size))
        return code;
    code = write_exactly(twin, buffer, (size_t)size, 0, reterr);
    if (code)
        return code;
    tell(progress, size);
    if (size > CONTENT_SMALL)
        content_hand_to_disk(twin, 0, size);
    *ret_done = true;
    return OK;
}

/* First the data, then the size, then the unwritten extents (also those beyond the end): nothing is ever
 * written into an unwritten extent, which the filesystem might answer by zeroing it into a written one. What
 * was overwritten is data until here: it is on the disk before it is called unwritten, or it would not get
 * there. */
static enum error_code copy_unwritten(int source, int twin, enum content_unwritten unwritten,
                                      struct error *reterr)
{
    const bool was_written = unwritten == CONTENT_OVERWRITE_UNWRITTEN;
    struct extent_reader reader;
    struct extent extent;
    bool found;
    if (was_written && fdatasync(twin) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot write out what is to be unwritten");
    extent_reader_init(&reader, source);
    for (;;) {
        enum error_code code = extent_reader_next(&reader, &extent, &found, reterr);
        if (code || !found)
            return code;
        if (extent.kind == EXTENT_UNWRITTEN &&
            fallocate(twin, FALLOC_FL_KEEP_SIZE | (was_written ? FALLOC_FL_ZERO_RANGE : 0),
                      (off_t)extent.offset, (off_t)extent.length) < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot preallocate");
    }
}

enum error_code content_copy(int source, int twin, const struct statx *status, uint8_t *buffer,
                             enum content_unwritten unwritten, void (*advance)(uint64_t bytes, void *context),
                             void *context, struct error *reterr)
{
    const struct progress progress = {.advance = advance, .context = context};
    const uint64_t size = status->stx_size;
    struct extent_reader reader;
    struct extent extent;
    bool found, any_unwritten = false, done;
    uint64_t written = 0;
    enum error_code code = copy_plain(source, twin, status, buffer, &progress, &done, reterr);
    if (code || done)
        return code;
    extent_reader_init(&reader, source);
    for (;;) {
        code = extent_reader_next(&reader, &extent, &found, reterr);
        if (code)
            return code;
        if (!found)
            break;
        any_unwritten |= extent.kind == EXTENT_UNWRITTEN;
        const bool zeros = extent.kind == EXTENT_UNWRITTEN;
        if (extent.offset >= size || (zeros && unwritten == CONTENT_PREALLOCATE))
            continue;
        uint64_t end = extent.offset + extent.length < size ? extent.offset + extent.length : size;
        if (zeros)
            memset(buffer, 0, CONTENT_BUFFER_SIZE);
        code = copy_range(zeros ? -1 : source, twin, extent.offset, end, buffer, &progress, reterr);
        if (code)
            return code;
        written = end;
    }
    if (written < size && ftruncate(twin, (off_t)size) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot set the size");
    return any_unwritten ? copy_unwritten(source, twin, unwritten, reterr) : OK;
}

static enum error_code compare_range(int source, int twin, uint64_t offset, uint64_t end, uint8_t *buffer,
                                     const struct progress *progress, bool *ret_same, struct error *reterr)
{
    while (offset < end) {
        size_t length = end - offset < CONTENT_BUFFER_SIZE ? (size_t)(end - offset) : CONTENT_BUFFER_SIZE;
        enum error_code code = interrupt_check(reterr);
        if (!code)
            code = read_exactly(source, buffer, length, offset, reterr);
        if (code)
            return code;
        ssize_t got = read_at(twin, buffer + CONTENT_BUFFER_SIZE, length, offset);
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot read the twin");
        if ((size_t)got < length || memcmp(buffer, buffer + CONTENT_BUFFER_SIZE, length)) {
            *ret_same = false;
            return OK;
        }
        offset += length;
        tell(progress, length);
    }
    return OK;
}

/* Whole blocks only: one in which the file ends was overwritten with it. */
static enum error_code add_beyond(int twin, const struct extent *extent, uint64_t size, uint64_t *beyond,
                                  struct error *reterr)
{
    struct stat status;
    if (fstat(twin, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the twin");
    const uint64_t block_size = (uint64_t)status.st_blksize;
    const uint64_t first = extent->offset > size ? extent->offset : size;
    *beyond += (extent->offset + extent->length - first) / block_size * block_size;
    return OK;
}

static enum error_code same_layout(int source, int twin, uint64_t size, bool *ret_same, uint64_t *beyond,
                                   struct error *reterr)
{
    struct extent_reader left, right;
    extent_reader_init(&left, source);
    extent_reader_init(&right, twin);
    for (;;) {
        struct extent one = {0}, other = {0};
        bool found_one = false, found_other = false;
        enum error_code code = extent_reader_next(&left, &one, &found_one, reterr);
        if (!code)
            code = extent_reader_next(&right, &other, &found_other, reterr);
        if (code)
            return code;
        if ((!found_one && !found_other) || one.in_inode) {
            *ret_same = true;
            return OK;
        }
        if (found_one != found_other || one.kind != other.kind || one.offset != other.offset ||
            one.length != other.length) {
            *ret_same = false;
            return OK;
        }
        if (other.kind == EXTENT_UNWRITTEN && other.offset + other.length > size) {
            code = add_beyond(twin, &other, size, beyond, reterr);
            if (code)
                return code;
        }
    }
}

/* With the same layout only the data extents can differ; the rest reads as zeros on both sides. */
static enum error_code compare_data(int source, int twin, uint64_t size, uint8_t *buffer,
                                    const struct progress *progress, bool *ret_same, struct error *reterr)
{
    struct extent_reader reader;
    struct extent extent;
    bool found;
    extent_reader_init(&reader, source);
    while (*ret_same) {
        enum error_code code = extent_reader_next(&reader, &extent, &found, reterr);
        if (code || !found)
            return code;
        if (extent.kind == EXTENT_UNWRITTEN || extent.offset >= size)
            continue;
        uint64_t end = extent.offset + extent.length < size ? extent.offset + extent.length : size;
        code = compare_range(source, twin, extent.offset, end, buffer, progress, ret_same, reterr);
        if (code)
            return code;
    }
    return OK;
}

enum error_code content_compare(int source, int twin, uint64_t size, uint8_t *buffer,
                                void (*advance)(uint64_t bytes, void *context), void *context,
                                enum content_difference *ret_difference, uint64_t *ret_beyond_bytes,
                                struct error *reterr)
{
    const struct progress progress = {.advance = advance, .context = context};
    bool layout_same = false, bytes_same = true;
    uint64_t beyond_bytes = 0;
    enum error_code code = same_layout(source, twin, size, &layout_same, &beyond_bytes, reterr);
    if (code)
        return code;
    posix_fadvise(twin, 0, 0, POSIX_FADV_DONTNEED);
    code = layout_same ? compare_data(source, twin, size, buffer, &progress, &bytes_same, reterr)
                       : compare_range(source, twin, 0, size, buffer, &progress, &bytes_same, reterr);
    if (code)
        return code;
    *ret_beyond_bytes = beyond_bytes;
    *ret_difference = !bytes_same   ? CONTENT_BYTES_DIFFER
                      : layout_same ? CONTENT_SAME
                                    : CONTENT_LAYOUT_DIFFERS;
    return OK;
}
