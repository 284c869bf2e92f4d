/*
 * Which inodes of a tree have more links than names in it: something outside the tree leads to them too.
 * Memory is bounded: past a million hard-linked inodes the tree is walked several times, a share of the
 * inodes each time.
 */
#pragma once
#include "tree/walk.h"

/* Call each (from one thread at a time) for every name below root_fd whose inode is also reachable from
 * outside the tree. Nothing may change the tree meanwhile, or a change is taken for an outside link. */
must_check enum error_code
tree_links_outside(int root_fd,
                   enum error_code (*each)(const struct tree_directory *directory, const char *name,
                                           const struct statx *status, void *context, struct error *reterr),
                   void *context, struct error *reterr);
