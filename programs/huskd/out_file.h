/* New files that a verb writes for people to take away. */
#pragma once
#include "base/error.h"

/* Make the file name, which must not be there. ERR_EXISTS. */
must_check enum error_code out_file_make(const char *name, int *ret_fd, struct error *reterr);

/* Make all of it durable and close it; takes over fd. */
must_check enum error_code out_file_finish(const char *name, int fd, struct error *reterr);

/* Close and remove it again. fd -1 is fine. */
void out_file_drop(const char *name, int fd);
