#include "destroy/filling.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "destroy/extents.h"

enum error_code filling_available(struct filling *filling, uint64_t *ret_bytes, struct error *reterr)
{
    struct statvfs space;
    if (fstatvfs(filling->directory_fd, &space) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot ask for the free space");
    *ret_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    if (*ret_bytes < filling->reserve_bytes / 2)
        filling->state = FILLING_OTHERS_NEED_SPACE;
    return OK;
}

enum error_code filling_open(const struct filling *filling, struct overwrite *ret_file, struct error *reterr)
{
    int injected = fault("destroy.free-space.create");
    _cleanup_(close_fdp) int fd =
        injected ? -1 : openat(filling->directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno,
                         "cannot make a file to overwrite the free space with");
    overwrite_begin(ret_file, TAKE_FD(fd), &status);
    return OK;
}

enum error_code filling_add_file(struct filling *filling, struct filler **ret_filler, struct error *reterr)
{
    if (filling->count == FILLING_FILES)
        return error_set(reterr, ERR_NO_SPACE, 0, "the free space needs more than %d files", FILLING_FILES);
    struct filler *filler = &filling->files[filling->count];
    *filler = (struct filler){0};
    enum error_code code = filling_open(filling, &filler->file, reterr);
    if (code)
        return code;
    filling->count++;
    *ret_filler = filler;
    return OK;
}

/* Whole pieces only: what is left over at the end of a file stays held. */
static bool next_piece(const struct filling *filling, const struct filler *filler, uint64_t *ret_offset)
{
    uint64_t pieces = filler->length_bytes / filling->piece_bytes;
    uint64_t even = (pieces + 1) / 2;
    uint64_t number = filler->released_pieces;
    *ret_offset = (number < even ? 2 * number : 2 * (number - even) + 1) * filling->piece_bytes;
    return number < pieces;
}

static enum error_code release_of(struct filling *filling, struct filler *filler, uint64_t length,
                                  uint64_t *ret_bytes, struct error *reterr)
{
    uint64_t offset = 0, released = 0;
    while (released < length && next_piece(filling, filler, &offset)) {
        int injected = fault("destroy.free-space.release");
        if (injected || fallocate(filler->file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                                  (off_t)filling->piece_bytes) < 0)
            return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot give space back");
        filler->released_pieces++;
        released += filling->piece_bytes;
    }
    *ret_bytes = released;
    return OK;
}

enum error_code filling_release(struct filling *filling, uint64_t length, uint64_t *ret_bytes,
                                struct error *reterr)
{
    enum error_code code = OK;
    *ret_bytes = 0;
    for (size_t i = 0; i < filling->count && *ret_bytes == 0 && !code; i++) {
        struct filler *filler = &filling->files[i];
        code = release_of(filling, filler, length, ret_bytes, reterr);
        /* Others can have the blocks once the transaction that frees them is committed. */
        if (*ret_bytes > 0 && fsync(filler->file.fd) < 0)
            code = error_set(reterr, ERR_FAILED, errno, "cannot give space back");
    }
    return code;
}

static enum error_code add_length(const struct extent *extent, void *context, struct error *reterr)
{
    uint64_t *bytes = context;
    (void)reterr;
    *bytes += extent->length_bytes;
    return OK;
}

enum error_code filling_beside_bytes(const struct filling *filling, uint64_t *ret_bytes, struct error *reterr)
{
    uint64_t beside = 0;
    for (size_t i = 0; i < filling->count && filling->unit_bytes > filling->block_bytes; i++) {
        uint64_t data = 0;
        struct stat status;
        enum error_code code = extents_each(filling->files[i].file.fd, add_length, &data, reterr);
        if (code)
            return code;
        if (fstat(filling->files[i].file.fd, &status) < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot look at a file of free space");
        uint64_t held = (uint64_t)status.st_blocks * 512;
        beside += held > data ? held - data : 0;
    }
    *ret_bytes = beside;
    return OK;
}

void filling_done(struct filling *filling)
{
    for (size_t i = 0; i < filling->count; i++)
        close(filling->files[i].file.fd);
    filling->count = 0;
}
