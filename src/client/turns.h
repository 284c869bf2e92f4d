/*
 * A small file that is written often, and durably: in place, in two places by turns, so that a write costs
 * one flush of the disk and no commit of the filesystem's journal, and needs no free space. Each place begins
 * at a multiple of its size with NUMBER HASH LENGTH\n    16, 32 and 8 hexadecimal digits and goes on with
 * LENGTH bytes. HASH is the BLAKE2b-128 of NUMBER, LENGTH and these bytes; the place of the highest NUMBER
 * whose HASH is right counts. A crash in the middle of a write spoils the place that did not.
 *
 * Both functions block on the disk. name is relative to directory_fd and no symlink is followed. place_size
 * is a multiple of TURNS_BLOCK, the same for every use of one file.
 */
#pragma once
#include "base/file.h"

#define TURNS_BLOCK 4096
#define TURNS_HEAD_SIZE 59

/* Append what was written last to text. ERR_NOT_FOUND; ERR_CORRUPT when neither place is whole. */
must_check enum error_code turns_read(int directory_fd, const char *name, size_t place_size,
                                      struct buffer *text, struct error *reterr);

/* Write up to place_size - TURNS_HEAD_SIZE bytes. After a crash these or those before are read. One writer at
 * a time; a reader beside it may find ERR_CORRUPT. What is missing, damaged or of another size is made anew.
 */
must_check enum error_code turns_write(int directory_fd, const char *name, size_t place_size,
                                       const void *bytes, size_t length, struct error *reterr);
