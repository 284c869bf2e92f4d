/* Letting go of the page cache behind files that were just written, once their writing has had time to end: a
 * conversion does not push what the server's programs read out of memory, and its own pages are used again
 * while they are warm. What cannot be let go of stays, and is no error. */
#pragma once
#include <stdint.h>

/* Smaller files are not worth the call. */
#define DROP_BEHIND_LEAST ((uint64_t)16 << 10)

enum { DROP_BEHIND_FILES = 32 };

/* One thread's; all zeros at first. */
struct drop_behind {
    struct {
        int fd;
        uint64_t size;
    } files[DROP_BEHIND_FILES];
    unsigned first, count;
    uint64_t bytes;
};

/* fd was written and handed to the disk; it is taken over, and closed later. */
void drop_behind_add(struct drop_behind *behind, int fd, uint64_t size);

/* Let go of all that is left. */
void drop_behind_done(struct drop_behind *behind);
