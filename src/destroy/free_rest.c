#include "destroy/free_rest.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "destroy/extents.h"

/*
 * After filling, the free blocks are just those that were not overwritten: the reserve, in the worst shape,
 * as the allocator took the large pieces first. Single freed blocks, where the target of a long symlink or
 * the names of a directory stood, are among them. To reach them others must not get less than before, so
 * blocks that were overwritten are given back first. Now both kinds are free, and the allocator has to be
 * brought to prefer the right ones. Nothing can demand a block of it, but
 *
 *   - within a block group it takes the smallest piece that is large enough. So blocks are given back in a
 * comb of pieces just larger than all that is sought unit by unit, and smaller than what is sought at once;
 *   - it begins looking in the group of its goal. The goal of a block in a file is where its neighbour to the
 * left lies, plus the distance in the file (ext4_ext_find_goal). So a file with one block far out (the
 * anchor), in which each next block is written at the distance its target has on the disk, asks for the right
 * group each time. That holds only for blocks at the end of a file that no one has open for writing
 *     (ext4_mb_group_or_file): hence each is written through the page cache, the file closed, and then
 *     written out.
 *
 * All of this only makes hits likely. What was not hit is known from the map of free blocks, tried again in
 * another file as long as that helps, and told.
 */
enum { ROUNDS = 8, VAIN_ROUNDS = 4, LARGE_UNITS = 255, GAIN_DIVISOR = 50 };
#define LITTLE_BYTES (UINT64_C(4) << 20)
#define ANCHOR_BLOCK (UINT64_C(1) << 31) /* in the middle of what an ext4 file can be long */
#define BLOCKS_MAXIMUM (UINT64_C(1) << 32)
#define RELEASE_BYTES (UINT64_C(16) << 20) /* with one commit of the journal */

struct seeker {
    struct filling *filling;
    struct filler *filler; /* its descriptor is open for reading only */
    struct free_map *rest;
    uint64_t anchor_unit;  /* in the file */
    uint64_t anchor_place; /* units, on the device */
    /* The end of what was written last, in units: in the file and on the device. */
    unsigned times; /* how often each piece is asked for */
    bool started;
    uint64_t last_unit;
    uint64_t last_place;
};

static int reopen(int fd, int flags)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

/* Exchange the descriptor of a file that was just made for one that only reads, and place the anchor. */
static enum error_code place_anchor(struct seeker *seeker, int writable, struct error *reterr)
{
    uint64_t unit_bytes = seeker->filling->unit_bytes;
    uint64_t offset = ANCHOR_BLOCK * seeker->filling->block_bytes;
    struct extent anchor = {0};
    if (fallocate(writable, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)unit_bytes) < 0)
        return error_set(reterr, errno == ENOSPC ? ERR_NO_SPACE : ERR_UNSUPPORTED, errno,
                         "cannot place a block to begin from");
    enum error_code code = extents_last(writable, offset, unit_bytes, &anchor, reterr);
    seeker->anchor_unit = offset / unit_bytes;
    seeker->anchor_place = code ? 0 : anchor.physical_bytes / unit_bytes;
    return code;
}

static enum error_code seeker_init(struct seeker *seeker, struct filling *filling, struct free_map *rest,
                                   struct error *reterr)
{
    *seeker = (struct seeker){.filling = filling, .rest = rest};
    enum error_code code = filling_add_file(filling, &seeker->filler, reterr);
    if (code)
        return code;
    struct stat status;
    _cleanup_(close_fdp) int writable = seeker->filler->file.fd;
    int readable = reopen(writable, O_RDONLY);
    if (readable < 0 || fstat(readable, &status) < 0) {
        int os_errno = errno;
        close_fdp(&readable);
        filling->count--;
        return error_set(reterr, ERR_FAILED, os_errno, "cannot open a file without a name again");
    }
    overwrite_begin(&seeker->filler->file, readable, &status);
    return place_anchor(seeker, writable, reterr);
}

/* Where in the file to write so that the goal is target; false when the file cannot be that long. */
static bool unit_for(const struct seeker *seeker, uint64_t target, uint64_t *ret_unit)
{
    uint64_t ahead = target > seeker->last_place ? target - seeker->last_place : 0;
    uint64_t unit =
        seeker->started ? seeker->last_unit + ahead : seeker->anchor_unit + target - seeker->anchor_place;
    *ret_unit = unit;
    return unit > 0 &&
           unit + LARGE_UNITS < BLOCKS_MAXIMUM / (seeker->filling->unit_bytes / seeker->filling->block_bytes);
}

static enum error_code write_range(const struct seeker *seeker, uint64_t offset, uint64_t length,
                                   struct error *reterr)
{
    struct overwrite writing = seeker->filler->file;
    writing.way = OVERWRITE_BUFFERED;
    writing.fd = reopen(seeker->filler->file.fd, O_RDWR);
    if (writing.fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open a file without a name again");
    enum error_code code =
        overwrite_write_range(&writing, &seeker->filling->worker, offset, offset + length, reterr);
    close(writing.fd);
    if (!code &&
        sync_file_range(seeker->filler->file.fd, (off_t)offset, (off_t)length,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot overwrite free space");
    return code;
}

/* *ret_room is false when nothing is held any more that could be given back for it. */
static enum error_code make_room(struct seeker *seeker, uint64_t length, bool *ret_room, struct error *reterr)
{
    struct filling *filling = seeker->filling;
    uint64_t available = 0, released = 0;
    *ret_room = false;
    for (;;) {
        enum error_code code = filling_available(filling, &available, reterr);
        if (code || filling->state == FILLING_OTHERS_NEED_SPACE)
            return code;
        *ret_room = available >= filling->reserve_bytes + length;
        if (*ret_room)
            return OK;
        code = filling_release(filling, RELEASE_BYTES, &released, reterr);
        if (code || released == 0)
            return code;
    }
}

static enum error_code claim(struct seeker *seeker, uint64_t target, uint64_t units, bool *ret_goes_on,
                             struct error *reterr)
{
    uint64_t length = units * seeker->filling->unit_bytes, unit = 0;
    enum error_code code = make_room(seeker, length, ret_goes_on, reterr);
    if (code || !*ret_goes_on || !unit_for(seeker, target, &unit))
        return code;
    code = write_range(seeker, unit * seeker->filling->unit_bytes, length, reterr);
    struct extent last = {0};
    if (!code)
        code =
            extents_last(seeker->filler->file.fd, unit * seeker->filling->unit_bytes, length, &last, reterr);
    if (code)
        return code;
    seeker->filling->overwritten_bytes += length;
    seeker->started = true;
    seeker->last_unit = unit + units;
    seeker->last_place = (last.physical_bytes + last.length_bytes) / seeker->filling->unit_bytes;
    return OK;
}

/* Small pieces unit by unit, which finds small pieces first. A length that is a power of two would be looked
 * for in any group that has it aligned. */
static uint64_t units_at_once(uint64_t item_units, uint64_t left)
{
    if (item_units < FILLING_PIECE_UNITS)
        return 1;
    uint64_t units = left < LARGE_UNITS ? left : LARGE_UNITS;
    return units > 2 && (units & (units - 1)) == 0 ? units - 1 : units;
}

static enum error_code claim_all(struct seeker *seeker, bool *ret_goes_on, struct error *reterr)
{
    enum error_code code = OK;
    *ret_goes_on = true;
    for (size_t i = 0; i < seeker->rest->count; i++) {
        const struct free_extent *item = &seeker->rest->items[i];
        uint64_t start = item->start_bytes / seeker->filling->unit_bytes;
        const uint64_t units = item->length_bytes / seeker->filling->unit_bytes;
        for (uint64_t done = 0; done < units * seeker->times;) {
            uint64_t piece = units_at_once(units, units - done % units);
            code = interrupt_check(reterr);
            if (!code)
                code = claim(seeker, start + done % units, piece, ret_goes_on, reterr);
            if (code || !*ret_goes_on)
                return code;
            done += piece;
        }
    }
    return OK;
}

/* The anchor is a free block like the others; the file must be long enough for it only now. Then all of it is
 * made durable and read back. */
static enum error_code seeker_finish(struct seeker *seeker, struct error *reterr)
{
    enum error_code code = write_range(seeker, seeker->anchor_unit * seeker->filling->unit_bytes,
                                       seeker->filling->unit_bytes, reterr);
    if (!code)
        code = overwrite_flush(&seeker->filler->file, reterr);
    if (!code)
        code = overwrite_reread(&seeker->filler->file, &seeker->filling->worker, reterr);
    return code == ERR_UNSUPPORTED ? OK : code;
}

static enum error_code seek_once(struct filling *filling, struct free_map *rest, unsigned times,
                                 bool *ret_goes_on, struct error *reterr)
{
    struct seeker seeker;
    enum error_code code = seeker_init(&seeker, filling, rest, reterr);
    seeker.times = times;
    if (!code)
        code = claim_all(&seeker, ret_goes_on, reterr);
    if (!code && filling->state == FILLING_FULL)
        code = seeker_finish(&seeker, reterr);
    return code;
}

enum error_code free_rest_overwrite(struct filling *filling, struct free_map *rest, struct error *reterr)
{
    enum error_code code = OK;
    bool goes_on = true;
    unsigned in_vain = 0;
    for (unsigned i = 0; i < ROUNDS && goes_on && in_vain < VAIN_ROUNDS && rest->count && !code; i++) {
        uint64_t before = rest->bytes;
        struct error error = ERROR_NONE;
        /* The anchor, and blocks for extents, break up pieces that were given back. What falls off is as
         * small as what is sought, and is found first: where little is left it is asked for until that is
         * used up. */
        code = seek_once(filling, rest, before < LITTLE_BYTES ? 1 + in_vain : 1, &goes_on, &error);
        if (code == ERR_NO_SPACE || code == ERR_UNSUPPORTED) { /* what is left is told */
            goes_on = false;
            code = OK;
        }
        if (code && reterr)
            *reterr = error;
        if (!code)
            code = free_map_update(filling->directory_fd, rest, reterr);
        in_vain = before - rest->bytes < before / GAIN_DIVISOR ? in_vain + 1 : 0;
    }
    return code;
}
