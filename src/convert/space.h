/*
 * How much of the disk the twins of a plan take, counted while the old trees are walked, from all threads at
 * once. Rather more than less: what others can write to the filesystem meanwhile is theirs. Not for other
 * rooms.
 */
#pragma once
#include "convert/convert.h"
#include "tree/walk.h"

struct space_need;

/* facts has to outlive it. */
must_check enum error_code space_need_new(const struct ext4_facts *facts, enum convert_direction direction,
                                          struct space_need **ret_need, struct error *reterr);
void space_need_free(struct space_need *need);

/* What the walk calls for each directory before and after all in it, which uses its member known, and for
 * each name of anything else. */
void space_enter_directory(struct space_need *need, struct tree_directory *directory);
void space_leave_directory(struct space_need *need, const struct tree_directory *directory);
void space_add_entry(struct space_need *need, struct tree_directory *directory, const char *name,
                     const struct statx *status);

/* Fill in the plan what is needed and what is there, and block it where that is not enough ("no-space",
 * "no-inodes"). */
void space_check(const struct space_need *need, struct convert_plan *plan);
