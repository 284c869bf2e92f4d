#include "tree/extents.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

void extent_reader_init(struct extent_reader *reader, int fd)
{
    reader->fd = fd;
    reader->position = 0;
    reader->end = false;
    reader->next = reader->have = 0;
}

/* Fill the buffer from position on. */
static enum error_code refill(struct extent_reader *reader, struct error *reterr)
{
    union {
        struct fiemap map;
        uint8_t room[sizeof(struct fiemap) + sizeof(struct fiemap_extent) * EXTENT_BATCH];
    } request;
    memset(&request.map, 0, sizeof(request.map));
    request.map.fm_start = reader->position;
    request.map.fm_length = FIEMAP_MAX_OFFSET - reader->position;
    request.map.fm_extent_count = EXTENT_BATCH;
    if (ioctl(reader->fd, FS_IOC_FIEMAP, &request.map) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot list the extents of a file");
    reader->have = request.map.fm_mapped_extents;
    reader->next = 0;
    memcpy(reader->buffered, request.map.fm_extents, reader->have * sizeof(reader->buffered[0]));
    if (reader->have == 0) {
        reader->end = true;
        return OK;
    }
    const struct fiemap_extent *last = &reader->buffered[reader->have - 1];
    reader->end = (last->fe_flags & FIEMAP_EXTENT_LAST) != 0;
    reader->position = last->fe_logical + last->fe_length;
    return OK;
}

static enum error_code peek(struct extent_reader *reader, const struct fiemap_extent **ret_extent,
                            struct error *reterr)
{
    *ret_extent = NULL;
    if (reader->next == reader->have) {
        if (reader->end)
            return OK;
        enum error_code code = refill(reader, reterr);
        if (code)
            return code;
    }
    if (reader->next < reader->have)
        *ret_extent = &reader->buffered[reader->next];
    return OK;
}

static enum extent_kind kind_of(const struct fiemap_extent *extent)
{
    return (extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN) ? EXTENT_UNWRITTEN : EXTENT_DATA;
}

enum error_code extent_reader_next(struct extent_reader *reader, struct extent *ret_extent, bool *ret_found,
                                   struct error *reterr)
{
    const struct fiemap_extent *first, *more;
    enum error_code code = peek(reader, &first, reterr);
    if (code)
        return code;
    if (!first) {
        *ret_found = false;
        return OK;
    }
    struct extent extent = {.kind = kind_of(first),
                            .in_inode = (first->fe_flags & FIEMAP_EXTENT_DATA_INLINE) != 0,
                            .offset = first->fe_logical,
                            .length = first->fe_length};
    for (;;) {
        reader->next++;
        code = peek(reader, &more, reterr);
        if (code)
            return code;
        if (!more || kind_of(more) != extent.kind || more->fe_logical != extent.offset + extent.length)
            break;
        extent.length += more->fe_length;
    }
    *ret_extent = extent;
    *ret_found = true;
    return OK;
}
