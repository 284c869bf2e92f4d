/* New files that a verb writes for people to take away. */
#pragma once
#include "base/error.h"

struct out_file {
    const char *name;
    int fd, parent_fd; /* the parent is opened too: whoever finishes the file may have become another user */
};
#define OUT_FILE_NONE ((struct out_file){.fd = -1, .parent_fd = -1})

/* Make the file name, which must not be there. ERR_EXISTS. */
must_check enum error_code out_file_make(const char *name, struct out_file *ret_file, struct error *reterr);

/* Make all of it durable and close it. */
must_check enum error_code out_file_finish(struct out_file *file, struct error *reterr);

/* For _cleanup_: one that was not finished is removed again. */
void out_file_drop(struct out_file *file);
