/* Telling the device that blocks are free, after they were overwritten and re-read, never before. */
#pragma once
#include <stdint.h>

#include "destroy/destroy.h"

/* Free the blocks of the open file (it becomes empty) and have exactly these discarded. Returns the outcome;
 * *ret_errno says why not. DESTROY_NOT_SUPPORTED where the device or the filesystem has no discard, or one
 * that is coarser than the blocks. */
enum destroy_outcome discard_file(int fd, int *ret_errno);

/* Have all free space of the filesystem that fd lies on discarded. */
enum destroy_outcome discard_free_space(int fd, uint64_t *ret_bytes, int *ret_errno);
