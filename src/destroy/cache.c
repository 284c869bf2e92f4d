#include "destroy/cache.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "destroy/journal.h"

enum { WINDOW_PAGES = 8192 };

static bool window_is_cached(int fd, off_t offset, size_t length, size_t page_size)
{
    unsigned char resident[WINDOW_PAGES];
    void *mapped = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, offset);
    if (mapped == MAP_FAILED)
        return true;
    bool cached = mincore(mapped, length, resident) < 0;
    for (size_t i = 0; i < (length + page_size - 1) / page_size && !cached; i++)
        cached = resident[i] & 1;
    munmap(mapped, length);
    return cached;
}

static bool is_cached(int fd, uint64_t offset, uint64_t end)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return true;
    /* Pages beyond the end cannot be mapped, nor can they be read. */
    end = end < (uint64_t)status.st_size ? end : (uint64_t)status.st_size;
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t window = (uint64_t)WINDOW_PAGES * page_size;
    for (offset = offset / page_size * page_size; offset < end; offset += window) {
        uint64_t left = end - offset;
        if (window_is_cached(fd, (off_t)offset, (size_t)(left < window ? left : window), page_size))
            return true;
    }
    return false;
}

static void drop(int fd, uint64_t offset, uint64_t end)
{
    posix_fadvise(fd, (off_t)offset, (off_t)(end - offset), POSIX_FADV_DONTNEED);
}

enum cache_state cache_drop(int fd, uint64_t offset, uint64_t end)
{
    drop(fd, offset, end);
    if (!is_cached(fd, offset, end))
        return CACHE_EMPTY;
    /* Pages of journalled data stay dirty until they reached their place. */
    if (fdatasync(fd) == 0 && journal_checkpoint(fd, JOURNAL_KEEP) == 0)
        drop(fd, offset, end);
    return is_cached(fd, offset, end) ? CACHE_STAYS : CACHE_EMPTY;
}
