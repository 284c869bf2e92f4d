/* The bytes of one regular file: copied with their holes and unwritten extents, and compared. */
#pragma once
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"

#define CONTENT_BUFFER_SIZE ((size_t)256 << 10)

/* Copies up to this size stay in the page cache; larger ones are handed to the disk as they are written, so
 * that encryption runs in the calling thread. Neither is waited for. */
#define CONTENT_SMALL ((uint64_t)16 << 10)

/* Hand a range to the disk, encrypted in this thread, and do not wait for it. Only a hint of when: errors of
 * the writing come with the sync that follows. */
void content_hand_to_disk(int fd, uint64_t offset, uint64_t end);

/* Below an unwritten extent stays what lay in the free space that it was made of. Overwritten it
 * is zeros on the disk, encrypted where the twin is, and the extent is unwritten again afterwards. Beyond
 * the end of the file nothing can be overwritten so. */
enum content_unwritten { CONTENT_PREALLOCATE, CONTENT_OVERWRITE_UNWRITTEN };

/* Copy source, of which status tells the size, into the empty file twin. buffer has CONTENT_BUFFER_SIZE
 * bytes. advance, when not NULL, is told of bytes done. */
must_check enum error_code content_copy(int source, int twin, const struct statx *status, uint8_t *buffer,
                                        enum content_unwritten unwritten,
                                        void (*advance)(uint64_t bytes, void *context), void *context,
                                        struct error *reterr);

enum content_difference { CONTENT_SAME, CONTENT_BYTES_DIFFER, CONTENT_LAYOUT_DIFFERS };

/* Compare all bytes, with the twin's read past the page cache (it must be clean: sync before). Layout differs
 * when the bytes are the same but holes or unwritten extents are not. buffer has 2 * CONTENT_BUFFER_SIZE
 * bytes.
 * *ret_beyond_bytes is what both have allocated and not written beyond their end, as far as they are the
 * same. */
must_check enum error_code content_compare(int source, int twin, uint64_t size, uint8_t *buffer,
                                           void (*advance)(uint64_t bytes, void *context), void *context,
                                           enum content_difference *ret_difference,
                                           uint64_t *ret_beyond_bytes, struct error *reterr);
