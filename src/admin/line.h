/* Lines over a socket, with an end to their length and to the patience. */
#pragma once
#include <sys/un.h>

#include "base/buffer.h"

/* Descriptors of files that travel with a line. */
#define LINE_FILES_MAXIMUM 2
struct line_files {
    int fds[LINE_FILES_MAXIMUM];
    unsigned count;
};
void line_files_close(struct line_files *files);

/* Append bytes up to the first newline to line, without it. Nothing may follow it. until_ns is of the
 * monotonic clock, 0 for no limit. ERR_CORRUPT when it is longer than maximum, ends before its end or goes on
 * behind it; ERR_UNREACHABLE when it is not there in time or the peer has gone. */
must_check enum error_code line_read(int fd, size_t maximum, int64_t until_ns, struct buffer *line,
                                     struct error *reterr);
/* The same, and the files that come with it; ERR_CORRUPT when they are too many. End with line_files_close,
 * also after an error. */
must_check enum error_code line_read_with_files(int fd, size_t maximum, int64_t until_ns, struct buffer *line,
                                                struct line_files *files, struct error *reterr);

/* Write bytes and a newline. ERR_UNREACHABLE. */
must_check enum error_code line_write(int fd, const struct buffer *line, int64_t until_ns,
                                      struct error *reterr);
/* The same, and these files with it, which stay the caller's. */
must_check enum error_code line_write_with_files(int fd, const struct buffer *line,
                                                 const struct line_files *files, int64_t until_ns,
                                                 struct error *reterr);

/* The address of the socket in directory. ERR_USAGE when the path is too long. */
must_check enum error_code admin_address(const char *directory, const char *name,
                                         struct sockaddr_un *ret_address, struct error *reterr);
