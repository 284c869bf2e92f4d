/* Whether the kernel would answer a read of a file from memory. */
#pragma once
#include <stdint.h>

enum cache_state { CACHE_EMPTY, CACHE_STAYS };

/* Drop the clean pages of a range of an open file from the page cache and look whether they are gone. Where
 * data is journalled that takes a checkpoint of the journal, which is made. */
enum cache_state cache_drop(int fd, uint64_t offset, uint64_t end);
