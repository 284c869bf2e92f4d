/* The bytes of one regular file: copied with their holes and unwritten extents, and compared. */
#pragma once
#include <stdint.h>

#include "base/error.h"

#define CONTENT_BUFFER_SIZE ((size_t)256 << 10)

/* Copy size bytes of source into the empty file twin. buffer has CONTENT_BUFFER_SIZE bytes. The pages are
 * handed to the disk as they are written, so that encryption runs in the calling thread; they are not waited
 * for. advance, when not NULL, is told of bytes done. */
must_check enum error_code content_copy(int source, int twin, uint64_t size, uint8_t *buffer,
                                        void (*advance)(uint64_t bytes, void *context), void *context,
                                        struct error *reterr);

enum content_difference { CONTENT_SAME, CONTENT_BYTES_DIFFER, CONTENT_LAYOUT_DIFFERS };

/* Compare all bytes, with the twin's read past the page cache (it must be clean: sync before). Layout differs
 * when the bytes are the same but holes or unwritten extents are not. buffer has 2 * CONTENT_BUFFER_SIZE
 * bytes. */
must_check enum error_code content_compare(int source, int twin, uint64_t size, uint8_t *buffer,
                                           void (*advance)(uint64_t bytes, void *context), void *context,
                                           enum content_difference *ret_difference, struct error *reterr);
