/* The authority's directory: database, keyrings, and the lock that lets one process have it. */
#pragma once
#include "base/error.h"

/* Open the directory and take its lock. ERR_NOT_FOUND, ERR_BUSY, ERR_DENIED: others than its owner can write
 * there. */
must_check enum error_code directory_lock(const char *directory, int *ret_directory_fd, int *ret_lock_fd,
                                          struct error *reterr);

#define DIRECTORY_DATABASE "authority.db"
#define DIRECTORY_COPY "backup.new" /* of the database, while a backup is written */

/* Whether the database of an authority is there and may be opened. ERR_NOT_FOUND, ERR_FAILED. */
must_check enum error_code directory_check_database(const char *directory, int directory_fd,
                                                    struct error *reterr);

/* The path of a file in it, to be freed. */
must_check enum error_code directory_path(const char *directory, const char *name, char **ret_path,
                                          struct error *reterr);

/* The path of the database, to be freed. */
must_check enum error_code directory_database(const char *directory, char **ret_path, struct error *reterr);
