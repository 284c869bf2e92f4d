/*
 * What an inode looks like, with what tells it from every other that had or will have its number: records.h
 * asks for that.
 */
#pragma once
#include <stdint.h>
#include <sys/stat.h>

/* Look at a name below directory_fd, which is not followed, or at the descriptor itself with name "". Where
 * there is no birth time, as in ext4's inodes of 128 bytes, stx_btime is made of the generation instead: a
 * time before 1970; 0 where neither is told. 0, or -1 with errno; ESTALE: the name was given to another inode
 * meanwhile. */
int tree_look(int directory_fd, const char *name, struct statx *ret_status);

static inline int64_t tree_ns(struct statx_timestamp time)
{
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}
