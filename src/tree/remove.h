/* Deleting trees that need no overwriting: twins (ciphertext under a key that stays, or plain ones that were
 * never exchanged are for destroy/). */
#pragma once
#include "base/report.h"
#include "tree/walk.h"

/* Delete one name below directory_fd, whatever it is: a directory with all below it. Immutable and
 * append-only flags are cleared first. A missing name is fine. */
must_check enum error_code tree_remove(int directory_fd, const char *name, const struct report *report,
                                       struct error *reterr);

/* The same for the tree name, but ask for each entry that is no directory; those refused stay, with their
 * directories. *ret_kept tells whether something stayed. */
must_check enum error_code
tree_remove_if(int directory_fd, const char *name,
               enum error_code (*may_remove)(struct tree_directory *directory, const char *name,
                                             const struct statx *status, bool *ret_may, void *context,
                                             struct error *reterr),
               void *context, const struct report *report, bool *ret_kept, struct error *reterr);

/* Unlink one name that is no directory; clears the flags that forbid it. */
must_check enum error_code tree_unlink(int directory_fd, const char *name, struct error *reterr);

/* Clear immutable and append-only on an open file or directory, where set. */
must_check enum error_code tree_unseal(int fd, struct error *reterr);
