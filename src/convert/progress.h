/* Passing progress on, and leaving it in progress.json about once a second for status. Not for other rooms.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/report.h"
#include "convert/convert.h"

struct convert_progress {
    const struct report *outer; /* may be NULL */
    struct report report;       /* give this to whoever works */
    int work_fd;                /* where progress.json lies */
    pthread_mutex_t mutex;      /* of what follows */
    char *directory;            /* owned: path of the directory being worked on */
    uint64_t files_total, bytes_total;
    atomic_ullong files_done, bytes_done;
    atomic_llong next_write_ns;
};

void progress_init(struct convert_progress *progress, const struct report *outer, int work_fd);
void progress_done(struct convert_progress *progress);

/* The directory the next stages work on (raw path below the filesystem's root; copied). */
void progress_directory(struct convert_progress *progress, const char *path);

/* What progress.json says; all zero when there is none or it cannot be read: it only informs. ret_directory
 * is owned. */
void progress_read(int work_fd, char **ret_directory, uint64_t *files_done, uint64_t *files_total,
                   uint64_t *bytes_done, uint64_t *bytes_total);

#define PROGRESS_FILE "progress.json"
