/*
 * Small files and descriptors: bounded reading, durable replacing. Not for copying trees (tree/) nor
 * destroying (destroy/). Every name is relative to a directory descriptor; no function follows a symlink at
 * the last component.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/cleanup.h"

/* Open name under directory_fd for reading, without waiting for whatever it is and without following a
 * symlink. ERR_NOT_FOUND, ERR_CORRUPT for a symlink. */
must_check enum error_code file_open(int directory_fd, const char *name, int *ret_fd, struct error *reterr);

/* Read the whole regular file name under directory_fd. ERR_NOT_FOUND, ERR_CORRUPT when longer than maximum
 * bytes or not a regular file. Blocks on the disk. buffer is appended to. Not for secrets. */
must_check enum error_code file_read(int directory_fd, const char *name, size_t maximum,
                                     struct buffer *buffer, struct error *reterr);

/* Replace or make name under directory_fd so that after a crash either the old or the new content is there:
 * temporary file
 * (".NAME.new"), fsync, rename, fsync of the directory. */
must_check enum error_code file_write_durable(int directory_fd, const char *name, mode_t mode,
                                              const void *bytes, size_t length, struct error *reterr);

/* The same for what must not be left in free blocks: where it fails *ret_left is the name of the temporary
 * file that the caller has to destroy, or empty. */
#define FILE_TEMPORARY_SIZE 256
must_check enum error_code file_write_destroyable(int directory_fd, const char *name, mode_t mode,
                                                  const void *bytes, size_t length,
                                                  char ret_left[FILE_TEMPORARY_SIZE], struct error *reterr);

/* write(2) until all is written, at the descriptor's position. */
must_check enum error_code file_write_all(int fd, const void *bytes, size_t length, struct error *reterr);

/* pread/pwrite until all is done; a short file is ERR_CORRUPT. */
must_check enum error_code file_pread_all(int fd, void *bytes, size_t length, uint64_t offset,
                                          struct error *reterr);
must_check enum error_code file_pwrite_all(int fd, const void *bytes, size_t length, uint64_t offset,
                                           struct error *reterr);

/* fsync with the name for the message. */
must_check enum error_code file_sync(int fd, const char *shown_name, struct error *reterr);

/* Make directory name under directory_fd with mode, owned by root, durable; fine if it is there already as a
 * directory (mode is then set). Opens it. ERR_CORRUPT where name is something else. */
must_check enum error_code directory_make(int directory_fd, const char *name, mode_t mode, int *ret_fd,
                                          struct error *reterr);

/* Open a directory without following a symlink at its last component. ERR_NOT_FOUND, ERR_CORRUPT (not a
 * directory). */
must_check enum error_code directory_open(int directory_fd, const char *name, int *ret_fd,
                                          struct error *reterr);

/* Call each for every name but "." and ".." (order unspecified) until it returns something other than OK. */
must_check enum error_code directory_list(int directory_fd,
                                          enum error_code (*each)(const char *name, void *context,
                                                                  struct error *reterr),
                                          void *context, struct error *reterr);

/* unlinkat and fsync of the directory; a missing name is fine. flags as unlinkat. */
must_check enum error_code file_remove_durable(int directory_fd, const char *name, int flags,
                                               struct error *reterr);
