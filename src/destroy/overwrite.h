/*
 * Overwriting one open regular file where it lies, and reading it back from the device. Does not open, rename
 * or unlink. The three steps are apart so that a caller can do each for many files before the next:
 *
 *   overwrite_write   every extent holds the pattern, in the device's cache (direct) or in the page cache
 *   overwrite_flush   what this file still has in the page cache is on the device; the device's cache is
 *                     flushed, also for files written directly before
 *   overwrite_reread  the device gives the pattern back
 *
 * A crash leaves the file under its name with any part of it overwritten, perhaps longer (up to the end of
 * its last extent). Doing it again is right at every point.
 */
#pragma once
#include <sys/stat.h>

#include "base/report.h"
#include "destroy/pattern.h"

enum overwrite_way {
    OVERWRITE_DIRECT,    /* O_DIRECT, and the kernel says that it means it */
    OVERWRITE_UNCERTAIN, /* O_DIRECT, but the kernel may buffer in silence */
    OVERWRITE_BUFFERED   /* inline data, data journalling, encrypted: the kernel takes no direct I/O */
};

struct overwrite {
    int fd; /* borrowed; open for reading and writing. Its O_DIRECT flag is changed. */
    uint64_t inode;
    uint64_t size_bytes; /* before */
    enum overwrite_way way;
};

enum overwrite_stopping { OVERWRITE_STOPPABLE, OVERWRITE_TO_THE_END };

/* One worker's means. */
struct overwrite_worker {
    const struct pattern *pattern;
    uint8_t *buffer;                  /* PATTERN_SPAN_BYTES, aligned to 4096 */
    const struct report *report;      /* advances by bytes; may be NULL */
    enum overwrite_stopping stopping; /* whether a request to stop is heeded between two pieces */
};

must_check enum error_code overwrite_worker_init(struct overwrite_worker *worker, struct error *reterr);
void overwrite_worker_done(struct overwrite_worker *worker);

/* Find out how the file can be written. The same descriptor is used throughout, so a lease held on it stays.
 */
void overwrite_begin(struct overwrite *overwrite, int fd, const struct stat *status);

/* ERR_FAILED, ERR_INTERRUPTED. Goes on after a piece that failed and returns the first error. */
must_check enum error_code overwrite_write(struct overwrite *overwrite, const struct overwrite_worker *worker,
                                           struct error *reterr);
must_check enum error_code overwrite_flush(const struct overwrite *overwrite, struct error *reterr);

/* ERR_CORRUPT when something else comes back, ERR_UNSUPPORTED when the kernel would answer from memory,
 * ERR_FAILED, ERR_INTERRUPTED. */
must_check enum error_code overwrite_reread(const struct overwrite *overwrite,
                                            const struct overwrite_worker *worker, struct error *reterr);

/* The same for one part of a file whose blocks are there. */
must_check enum error_code overwrite_write_range(struct overwrite *overwrite,
                                                 const struct overwrite_worker *worker, uint64_t offset,
                                                 uint64_t end, struct error *reterr);
must_check enum error_code overwrite_reread_range(const struct overwrite *overwrite,
                                                  const struct overwrite_worker *worker, uint64_t offset,
                                                  uint64_t end, struct error *reterr);
