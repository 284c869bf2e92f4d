#include "destroy/extents.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { EXTENTS_AT_ONCE = 64 };

/* A request and room for its answer. */
union extent_page {
    struct fiemap head;
    char room[sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent)];
};

static int read_page(int fd, union extent_page *page, uint64_t start, uint64_t length, uint32_t flags)
{
    memset(page, 0, sizeof(*page));
    page->head = (struct fiemap){
        .fm_start = start, .fm_length = length, .fm_flags = flags, .fm_extent_count = EXTENTS_AT_ONCE};
    return ioctl(fd, FS_IOC_FIEMAP, page);
}

/* Filesystems other than ext4 that keyslot files may stand on in a test or a rescue system. */
static enum error_code each_of_size(int fd,
                                    enum error_code (*each)(const struct extent *extent, void *context,
                                                            struct error *reterr),
                                    void *context, struct error *reterr)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat a file to be overwritten");
    const struct extent whole = {.kind = EXTENT_BLOCKS, .length_bytes = (uint64_t)status.st_size};
    return status.st_size ? each(&whole, context, reterr) : OK;
}

static struct extent from_fiemap(const struct fiemap_extent *raw)
{
    enum { NOT_ON_DEVICE = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_DATA_INLINE };
    return (struct extent){
        .kind = raw->fe_flags & FIEMAP_EXTENT_DATA_INLINE ? EXTENT_INLINE : EXTENT_BLOCKS,
        .offset_bytes = raw->fe_logical,
        .physical_bytes = raw->fe_flags & NOT_ON_DEVICE ? 0 : raw->fe_physical,
        .length_bytes = raw->fe_length,
    };
}

enum error_code extents_each(int fd,
                             enum error_code (*each)(const struct extent *extent, void *context,
                                                     struct error *reterr),
                             void *context, struct error *reterr)
{
    uint64_t start = 0;
    for (;;) {
        union extent_page page;
        if (read_page(fd, &page, start, FIEMAP_MAX_OFFSET - start, FIEMAP_FLAG_SYNC) < 0) {
            if (errno == EOPNOTSUPP || errno == ENOTTY)
                return each_of_size(fd, each, context, reterr);
            return error_set(reterr, ERR_FAILED, errno, "cannot list the extents of a file");
        }
        for (unsigned i = 0; i < page.head.fm_mapped_extents; i++) {
            const struct extent extent = from_fiemap(&page.head.fm_extents[i]);
            enum error_code code = each(&extent, context, reterr);
            if (code)
                return code;
            start = extent.offset_bytes + extent.length_bytes;
            if (page.head.fm_extents[i].fe_flags & FIEMAP_EXTENT_LAST)
                return OK;
        }
        if (page.head.fm_mapped_extents == 0)
            return OK;
    }
}

enum error_code extents_last(int fd, uint64_t offset, uint64_t length, struct extent *ret_extent,
                             struct error *reterr)
{
    uint64_t end = offset + length;
    struct extent last = {0};
    for (uint64_t start = offset; start < end;) {
        union extent_page page;
        if (read_page(fd, &page, start, end - start, 0) < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot list the extents of a file");
        if (page.head.fm_mapped_extents == 0)
            break;
        last = from_fiemap(&page.head.fm_extents[page.head.fm_mapped_extents - 1]);
        start = last.offset_bytes + last.length_bytes;
    }
    if (last.physical_bytes == 0)
        return error_set(reterr, ERR_FAILED, 0, "a block that was written has no place on the device");
    *ret_extent = last;
    return OK;
}
