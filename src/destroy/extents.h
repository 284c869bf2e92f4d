/* Where the bytes of a file lie, as FIEMAP tells it. Reads only. */
#pragma once
#include <stdint.h>

#include "base/error.h"

enum extent_kind {
    EXTENT_BLOCKS, /* whole blocks, also unwritten ones and those beyond the end of the file */
    EXTENT_INLINE  /* in the inode itself */
};

struct extent {
    enum extent_kind kind;
    uint64_t offset_bytes;   /* in the file */
    uint64_t physical_bytes; /* on the device; 0 where the filesystem does not tell */
    uint64_t length_bytes;
};

/* Call each for every extent in order, after writing the file out, until it returns something other than OK.
 * Holes are not told. A filesystem without FIEMAP gets one extent of the file's size. each may overwrite the
 * extent. */
must_check enum error_code extents_each(int fd,
                                        enum error_code (*each)(const struct extent *extent, void *context,
                                                                struct error *reterr),
                                        void *context, struct error *reterr);

/* The last extent that overlaps length bytes from offset on, which are written out already. ERR_FAILED when
 * there is none on the device. */
must_check enum error_code extents_last(int fd, uint64_t offset, uint64_t length, struct extent *ret_extent,
                                        struct error *reterr);
