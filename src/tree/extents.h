/* Where a file has data, where unwritten (preallocated) extents and where holes, from FIEMAP. */
#pragma once
#include <linux/fiemap.h>
#include <stdint.h>

#include "base/error.h"

enum extent_kind { EXTENT_DATA, EXTENT_UNWRITTEN };

struct extent {
    enum extent_kind kind;
    bool in_inode;           /* ext4 inline data: the length is then not of whole blocks */
    uint64_t offset, length; /* bytes, whole blocks */
};

#define EXTENT_BATCH 32

struct extent_reader {
    int fd;
    uint64_t position;
    bool end;      /* the file has no more than what is buffered */
    unsigned next; /* in the buffer below */
    unsigned have;
    struct fiemap_extent buffered[EXTENT_BATCH];
};

/* Begin at the start of an open file. No resources are held. */
void extent_reader_init(struct extent_reader *reader, int fd);

/* The next run, neighbours of the same kind joined; *ret_found false at the end. Also what lies beyond the
 * end of the file. */
must_check enum error_code extent_reader_next(struct extent_reader *reader, struct extent *ret_extent,
                                              bool *ret_found, struct error *reterr);
