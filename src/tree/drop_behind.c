#include "tree/drop_behind.h"

#include <fcntl.h>
#include <unistd.h>

/* Enough for the disk to be done with the oldest. */
static const uint64_t bytes_most = 1 << 20;

static void drop_oldest(struct drop_behind *behind)
{
    const unsigned first = behind->first;
    posix_fadvise(behind->files[first].fd, 0, 0, POSIX_FADV_DONTNEED);
    close(behind->files[first].fd);
    behind->bytes -= behind->files[first].size;
    behind->first = (first + 1) % DROP_BEHIND_FILES;
    behind->count--;
}

void drop_behind_add(struct drop_behind *behind, int fd, uint64_t size)
{
    while (behind->count == DROP_BEHIND_FILES || (behind->count > 0 && behind->bytes > bytes_most))
        drop_oldest(behind);
    const unsigned last = (behind->first + behind->count) % DROP_BEHIND_FILES;
    behind->files[last].fd = fd;
    behind->files[last].size = size;
    behind->bytes += size;
    behind->count++;
}

void drop_behind_done(struct drop_behind *behind)
{
    while (behind->count > 0)
        drop_oldest(behind);
}
