/*
 * The files that hold free space while it is overwritten, and how much others are left. What fills
 * (free_space.c) and what goes for the rest (free_rest.c) share it.
 */
#pragma once
#include "destroy/free_map.h"
#include "destroy/overwrite.h"

enum { FILLING_FILES = 64, FILLING_PIECE_UNITS = 64 };

struct filler {
    struct overwrite file;    /* its descriptor is owned */
    uint64_t length_bytes;    /* of it that is overwritten */
    uint64_t released_pieces; /* that were given back */
};

enum filling_state { FILLING_GOES_ON, FILLING_FULL, FILLING_OTHERS_NEED_SPACE };

struct filling {
    int directory_fd; /* borrowed */
    struct filler files[FILLING_FILES];
    size_t count;
    uint64_t block_bytes;
    uint64_t unit_bytes;    /* a block, or a cluster of blocks: what is allocated at once */
    uint64_t piece_bytes;   /* in which it is given back */
    uint64_t reserve_bytes; /* what others may use is not brought below this */
    uint64_t overwritten_bytes;
    struct overwrite_worker worker;
    enum filling_state state;
};

/* What others may use now. Below half of the reserve the state becomes FILLING_OTHERS_NEED_SPACE. */
must_check enum error_code filling_available(struct filling *filling, uint64_t *ret_bytes,
                                             struct error *reterr);

/* Make a file without a name; its descriptor is the caller's. */
must_check enum error_code filling_open(const struct filling *filling, struct overwrite *ret_file,
                                        struct error *reterr);

/* Open one more file without a name. ERR_NO_SPACE when there are FILLING_FILES. */
must_check enum error_code filling_add_file(struct filling *filling, struct filler **ret_filler,
                                            struct error *reterr);

/* Give back about length bytes, overwritten and durable, of what is held: every other piece first, the pieces
 * between them later. piece_bytes must not change once it was called. *ret_bytes is 0 when nothing is held
 * any more. */
must_check enum error_code filling_release(struct filling *filling, uint64_t length, uint64_t *ret_bytes,
                                           struct error *reterr);

/* What the files hold that was not overwritten: where blocks are allocated in clusters, a file whose extents
 * need a block of their own has a cluster for it. */
must_check enum error_code filling_beside_bytes(const struct filling *filling, uint64_t *ret_bytes,
                                                struct error *reterr);

/* Give back all. */
void filling_done(struct filling *filling);
