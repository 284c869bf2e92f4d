#include "destroy/free_withheld.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "destroy/extents.h"

/*
 * ext4 sets pieces of free space aside for small files, a list for each processor (its locality groups),
 * until the next mount. They count as free, but no map of free blocks has them, no large file gets them, and
 * FITRIM passes over them. A piece that was set aside after a tree was deleted can have the targets of its
 * symlinks.
 *
 * A small file gets its blocks from there, and a block that is preallocated (fallocate) never makes the
 * kernel set aside more. So on each processor small files without a name are preallocated block by block. The
 * first block that was free before, or was given back here, shows that the processor has nothing left aside.
 */
enum {
    FILE_BLOCKS = 16, /* a larger file is not small (mb_stream_req) */
    FILES_AT_ONCE = 16,
    PLACES_MAXIMUM = 1024
};

struct withheld {
    struct filling *filling;
    const struct free_map *known; /* what is free and not set aside */
    uint64_t most_bytes;
    uint64_t taken_bytes;
    /* Where what was taken lay, as it is free again while the next is taken. */
    struct free_extent places[PLACES_MAXIMUM];
    size_t count;
    struct overwrite files[FILES_AT_ONCE]; /* their descriptors are owned */
    size_t open;
};

static bool is_known(const struct free_map *known, uint64_t place)
{
    size_t low = 0, high = known->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (known->items[middle].start_bytes <= place)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && place - known->items[low - 1].start_bytes < known->items[low - 1].length_bytes;
}

static bool was_taken(const struct withheld *withheld, uint64_t place)
{
    for (size_t i = 0; i < withheld->count; i++)
        if (place - withheld->places[i].start_bytes < withheld->places[i].length_bytes)
            return true;
    return false;
}

/* False when the block is none of those that were set aside, or there is no room to remember it. */
static bool take(struct withheld *withheld, const struct extent *block)
{
    uint64_t place = block->physical_bytes;
    if (is_known(withheld->known, place) || was_taken(withheld, place))
        return false;
    struct free_extent *last = withheld->count ? &withheld->places[withheld->count - 1] : NULL;
    uint64_t unit_bytes = withheld->filling->unit_bytes;
    if (last && last->start_bytes + last->length_bytes == place)
        last->length_bytes += unit_bytes;
    else if (withheld->count == PLACES_MAXIMUM)
        return false;
    else
        withheld->places[withheld->count++] = (struct free_extent){place, unit_bytes};
    withheld->taken_bytes += unit_bytes;
    return true;
}

/* Takes of one file as much as a small one may have. *ret_more is false when this processor has no more. */
static enum error_code take_into_file(struct withheld *withheld, bool *ret_more, struct error *reterr)
{
    struct filling *filling = withheld->filling;
    uint64_t most = FILE_BLOCKS * filling->block_bytes;
    enum error_code code = filling_open(filling, &withheld->files[withheld->open], reterr);
    withheld->open += !code;
    *ret_more = !code && filling->unit_bytes <= most;
    for (uint64_t at = 0; at + filling->unit_bytes <= most && *ret_more; at += filling->unit_bytes) {
        int fd = withheld->files[withheld->open - 1].fd;
        struct extent block = {0};
        *ret_more = withheld->taken_bytes < withheld->most_bytes &&
                    fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)filling->unit_bytes) == 0;
        if (*ret_more) {
            code = extents_last(fd, at, filling->unit_bytes, &block, reterr);
            *ret_more = !code && take(withheld, &block);
        }
    }
    return code;
}

/* Overwrite what the open files have, see that it holds, and close them. */
static enum error_code overwrite_files(struct withheld *withheld, struct error *reterr)
{
    const struct overwrite_worker *worker = &withheld->filling->worker;
    enum error_code code = OK;
    for (size_t i = 0; i < withheld->open && !code; i++)
        code = overwrite_write(&withheld->files[i], worker, reterr);
    for (size_t i = 0; i < withheld->open && !code; i++)
        code = overwrite_flush(&withheld->files[i], reterr);
    for (size_t i = 0; i < withheld->open && !code; i++) {
        code = overwrite_reread(&withheld->files[i], worker, reterr);
        code = code == ERR_UNSUPPORTED ? OK : code;
    }
    for (size_t i = 0; i < withheld->open; i++)
        close(withheld->files[i].fd);
    withheld->open = 0;
    return code;
}

static enum error_code take_of_this_processor(struct withheld *withheld, struct error *reterr)
{
    enum error_code code = OK;
    for (bool more = true; more && !code;) {
        uint64_t available = 0, taken = withheld->taken_bytes;
        code = interrupt_check(reterr);
        if (!code)
            code = filling_available(withheld->filling, &available, reterr);
        more = available >= withheld->filling->reserve_bytes + FREE_WITHHELD_ROOM_BYTES / 2;
        while (!code && more && withheld->open < FILES_AT_ONCE)
            code = take_into_file(withheld, &more, reterr);
        struct error error = ERROR_NONE;
        enum error_code overwriting = overwrite_files(withheld, &error);
        if (!code && overwriting) {
            code = overwriting;
            if (reterr)
                *reterr = error;
        }
        withheld->filling->overwritten_bytes += withheld->taken_bytes - taken;
    }
    return code;
}

/* The room may have gone to blocks that the extents of the files need. */
static enum error_code make_room(struct filling *filling, struct error *reterr)
{
    uint64_t available = 0, released = 0;
    enum error_code code = filling_available(filling, &available, reterr);
    if (!code && available < filling->reserve_bytes + FREE_WITHHELD_ROOM_BYTES)
        code = filling_release(filling, FREE_WITHHELD_ROOM_BYTES, &released, reterr);
    return code;
}

static enum error_code take_of_all_processors(struct withheld *withheld, struct error *reterr)
{
    cpu_set_t before;
    enum error_code code = OK;
    if (sched_getaffinity(0, sizeof(before), &before) < 0)
        CPU_ZERO(&before); /* more processors than the set has room for: what this one keeps stays */
    for (int cpu = 0; cpu < CPU_SETSIZE && !code && withheld->taken_bytes < withheld->most_bytes; cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (CPU_ISSET(cpu, &before) && sched_setaffinity(0, sizeof(one), &one) == 0)
            code = take_of_this_processor(withheld, reterr);
    }
    if (CPU_COUNT(&before) > 0)
        (void)sched_setaffinity(0, sizeof(before), &before);
    return code;
}

enum error_code free_withheld_overwrite(struct filling *filling, uint64_t withheld_bytes,
                                        uint64_t *ret_overwritten_bytes, struct error *reterr)
{
    struct free_map known = {0};
    struct withheld withheld = {.filling = filling, .known = &known, .most_bytes = withheld_bytes};
    enum error_code code = withheld_bytes > 0 ? make_room(filling, reterr) : OK;
    if (!code && withheld_bytes > 0)
        code = free_map_read(filling->directory_fd, &known, reterr);
    if (!code)
        code = take_of_all_processors(&withheld, reterr);
    free_map_done(&known);
    *ret_overwritten_bytes = withheld.taken_bytes;
    return code;
}
