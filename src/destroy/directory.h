/*
 * A directory on the way through a tree that is being destroyed: counted by its children and by the batch
 * that still has entries of it to remove. Everything below it is reached through its descriptor, never by a
 * path.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"

/* Names waiting to be entered, last in first out. */
struct name_stack {
    char *bytes; /* owned; each name with its NUL */
    size_t length;
    size_t capacity;
};

struct directory {
    struct directory *parent; /* counted; NULL above the tree */
    char *name;               /* owned; "" above the tree */
    unsigned references;
    unsigned batched; /* how many of the references are the batch's */

    int fd; /* -1 while closed: far above the one being walked */
    dev_t device;
    ino_t inode;
    int cleared_flags;
    bool kept; /* something in it stays, so it stays */

    off_t position; /* where reading its entries goes on */
    bool scanned;   /* all entries were read */
    struct name_stack pending;
};

/* A node for an open directory; fd is taken over, also on failure. parent may be NULL. */
must_check enum error_code directory_new(struct directory *parent, const char *name, int fd,
                                         struct directory **ret_directory, struct error *reterr);

/* Open the directory name in parent and make its node. OK with NULL when it is gone by now. ERR_DENIED at a
 * mount point, ERR_CHANGED when it is no directory any more, ERR_FAILED. */
must_check enum error_code directory_enter(struct directory *parent, const char *name,
                                           struct directory **ret_directory, struct error *reterr);

/* Open the parent again through "..", if it was closed. ERR_CHANGED when it is not the one it was. */
must_check enum error_code directory_reopen_parent(struct directory *directory, struct error *reterr);

struct directory *directory_get(struct directory *directory);
void directory_put(struct directory *directory);

/* Append the path of an entry for showing, from the top of the tree on, escaped; of an endless path only the
 * end, after "...". */
must_check enum error_code directory_show_path(const struct directory *directory, const char *name,
                                               struct buffer *buffer, struct error *reterr);

must_check enum error_code name_stack_push(struct name_stack *stack, const char *name, struct error *reterr);
/* The name on top, or NULL; valid until the next push. */
const char *name_stack_pop(struct name_stack *stack);
