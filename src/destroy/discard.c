#include "destroy/discard.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "destroy/extents.h"

/* A file in more pieces than this (keyslots are one) is discarded as the one range around them; FITRIM only
 * ever touches free blocks. */
enum { RANGES_MAXIMUM = 256 };

struct ranges {
    struct fstrim_range items[RANGES_MAXIMUM];
    unsigned count;
    uint64_t blocks_bytes; /* sum of what the file occupied */
};

static void widen(struct fstrim_range *range, uint64_t start, uint64_t end)
{
    uint64_t old_end = range->start + range->len;
    range->start = start < range->start ? start : range->start;
    range->len = (end > old_end ? end : old_end) - range->start;
}

static enum error_code add_range(const struct extent *extent, void *context, struct error *reterr)
{
    struct ranges *ranges = context;
    (void)reterr;
    if (extent->kind == EXTENT_INLINE || extent->physical_bytes == 0)
        return OK;
    uint64_t end = extent->physical_bytes + extent->length_bytes;
    struct fstrim_range *last = ranges->count ? &ranges->items[ranges->count - 1] : NULL;
    ranges->blocks_bytes += extent->length_bytes;
    if (last && (last->start + last->len == extent->physical_bytes || ranges->count == RANGES_MAXIMUM))
        widen(last, extent->physical_bytes, end);
    else
        ranges->items[ranges->count++] =
            (struct fstrim_range){.start = extent->physical_bytes, .len = extent->length_bytes};
    return OK;
}

static enum destroy_outcome outcome_of(int os_errno)
{
    return os_errno == EOPNOTSUPP || os_errno == ENOTTY || os_errno == EINVAL ? DESTROY_NOT_SUPPORTED
                                                                              : DESTROY_FAILED;
}

/* Returns 0 or an errno. */
static int trim(int fd, const struct ranges *ranges, uint64_t *ret_trimmed_bytes)
{
    uint64_t trimmed = 0;
    for (unsigned i = 0; i < ranges->count; i++) {
        struct fstrim_range range = ranges->items[i];
        if (ioctl(fd, FITRIM, &range) < 0)
            return errno;
        trimmed += range.len;
    }
    *ret_trimmed_bytes = trimmed;
    return 0;
}

/*
 * Freed blocks may be trimmed once the transaction that frees them is committed. fsync waits for that, but
 * with fast commits, or within a moment of the commit, they are not yet free to FITRIM: a second try after a
 * full commit finds them.
 */
enum destroy_outcome discard_file(int fd, int *ret_errno)
{
    struct ranges ranges = {0};
    *ret_errno = 0;
    if (extents_each(fd, add_range, &ranges, NULL) != OK) {
        *ret_errno = EIO;
        return DESTROY_FAILED;
    }
    if (ranges.count == 0)
        return DESTROY_NOT_SUPPORTED;
    int injected = fault("destroy.discard");
    if (injected || ftruncate(fd, 0) < 0 || fsync(fd) < 0) {
        *ret_errno = injected ? injected : errno;
        return DESTROY_FAILED;
    }
    uint64_t trimmed = 0;
    int os_errno = trim(fd, &ranges, &trimmed);
    if (!os_errno && trimmed < ranges.blocks_bytes && syncfs(fd) == 0) {
        const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
        nanosleep(&moment, NULL);
        os_errno = trim(fd, &ranges, &trimmed);
    }
    *ret_errno = os_errno;
    if (os_errno)
        return outcome_of(os_errno);
    return trimmed >= ranges.blocks_bytes ? DESTROY_DONE : DESTROY_NOT_SUPPORTED;
}

enum destroy_outcome discard_free_space(int fd, uint64_t *ret_bytes, int *ret_errno)
{
    struct fstrim_range all = {.len = UINT64_MAX};
    *ret_bytes = 0;
    *ret_errno = fault("destroy.free-space.discard");
    if (!*ret_errno && ioctl(fd, FITRIM, &all) < 0)
        *ret_errno = errno;
    if (*ret_errno)
        return outcome_of(*ret_errno);
    *ret_bytes = all.len;
    return DESTROY_DONE;
}
