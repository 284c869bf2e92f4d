/*
 * One walk over a tree that is being destroyed: what is found goes into batches. See tree.c for the order of
 * the walks, walk.c for how little is remembered.
 */
#pragma once
#include <dirent.h>
#include <stdalign.h>

#include "destroy/batch.h"
#include "destroy/destroy.h"
#include "destroy/links.h"

enum walk_kind {
    WALK_ENTRIES,    /* everything but directories goes, these are set aside */
    WALK_DIRECTORIES /* directories go, but for the top of the tree */
};

enum { WALK_SCAN_BYTES = 16384 };

struct walk {
    const struct destroy_tree_options *options;
    enum walk_kind kind;
    struct batch batch;
    struct tally tally;
    struct links links;
    struct directory *current;
    struct directory *root; /* counted; the top of the tree, once it was left */
    ino_t aside_inode;      /* of the directory made to set others aside in; 0 before there is one */
    size_t names_bytes;     /* in all pending stacks */
    alignas(struct dirent64) char entries[WALK_SCAN_BYTES];
};

/* Walk from parent_fd/name and carry out all batches. A name that is missing is fine. Afterwards root tells
 * whether the tree is a directory, and whether something in it stays. */
must_check enum error_code walk_once(struct walk *walk, enum walk_kind kind, int parent_fd, const char *name,
                                     struct error *reterr);

/* Give back root. */
void walk_done(struct walk *walk);
