/* The block device below a mounted filesystem: its node, and the ext4 superblock on it. Reads only. */
#pragma once
#include "filesystem/filesystem.h"

struct ext2_super_block;

/* The path of a node in /dev whose device number is that of the filesystem. ERR_UNSUPPORTED when it has none
 * (no block device below, or no node for it). */
#define DEVICE_PATH_SIZE 256
must_check enum error_code device_path(const struct filesystem *filesystem, char ret_path[DEVICE_PATH_SIZE],
                                       struct error *reterr);

/* Read the ext4 superblock as it is now. ERR_CORRUPT without its magic number. */
must_check enum error_code device_read_superblock(const struct filesystem *filesystem,
                                                  struct ext2_super_block *ret_superblock,
                                                  struct error *reterr);
