/*
 * Opening and removing entries of trees that others may be changing meanwhile: no symlink is followed, no
 * mount point crossed, nothing but a regular file or a directory is ever opened for I/O.
 */
#pragma once
#include <sys/stat.h>

#include "base/error.h"

/* openat2 within directory_fd. Returns a descriptor or -1 with errno; EXDEV at a mount point. */
int open_beneath(int directory_fd, const char *name, int flags);

/* What had to be changed so that a file could be opened for writing. */
struct opened_file {
    int fd; /* for reading and writing, or for reading only where writable is false */
    bool writable;
    int cleared_flags; /* FS_IMMUTABLE_FL, FS_APPEND_FL: taken away */
    struct stat status;
};

/* Open a regular file for reading and writing. ERR_NOT_FOUND, ERR_CORRUPT when it is not a regular file,
 * ERR_DENIED at a mount point, ERR_BUSY when it is a running program, a swap file or leased, ERR_LOCKED when
 * its key is missing. A file under fs-verity is opened for reading only. */
must_check enum error_code open_for_destroying(int directory_fd, const char *name,
                                               struct opened_file *ret_file, struct error *reterr);

/* Take the immutable and append-only flags from an open file or directory. Returns those that were there. */
int flags_clear(int fd);

/* Give flags back that flags_clear took. Best effort. */
void flags_restore(int fd, int cleared_flags);

/* Rename to a random name of the same length (longer by a little where a short name is taken) in target_fd,
 * which may be the same directory; *name, owned by the caller, becomes it. Returns 0 or an errno; the name is
 * then unchanged. */
int rename_at_random(int directory_fd, char **name, int target_fd);

/* Make a directory under a random name and open it. Returns -1 with errno when it cannot be. */
int directory_make_at_random(int directory_fd);
