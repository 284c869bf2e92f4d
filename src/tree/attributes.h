/*
 * What a file carries beside its bytes: owner, mode, times, extended attributes (ACLs and capabilities are
 * some of them), flags, project. Applied to a twin in the one order that works, and compared.
 *
 * The order: owner (clears set-id bits and capabilities), extended attributes, mode, project, times, and last
 * the flags, since an immutable file takes no more changes.
 */
#pragma once
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"

/* A file to read from or apply to: an ordinary descriptor, or one opened with O_PATH (symlinks and special
 * files), where the calls go through /proc/self/fd. */
struct attribute_target {
    int fd;
    bool path_only;
    bool flagless; /* of a twin: known to have none of the kept flags yet */
};

enum attribute_features { ATTRIBUTES_PROJECT = 1 }; /* the filesystem has project ids */

/* Flags that are put on last: nothing can be changed under them. */
#define ATTRIBUTE_FLAGS_SEALING (FS_IMMUTABLE_FL | FS_APPEND_FL)

/* Flags chattr can set and husk keeps, without casefold (set at birth) and verity. */
uint32_t attributes_kept_flags(void);

/* Read or set the inode flags of an ordinary descriptor. */
must_check enum error_code attributes_get_flags(int fd, uint32_t *ret_flags, struct error *reterr);
must_check enum error_code attributes_set_flags(int fd, uint32_t flags, struct error *reterr);

/* Whether the kernel moves what has fd's project into this directory: one that hands its own down takes no
 * other. Both are ordinary descriptors. */
must_check enum error_code attributes_may_move(int fd, int directory_fd, bool *ret_may, struct error *reterr);

/* Apply all of source's (as status says, the rest read from source) to twin, which looks as twin_status says.
 * Flags in hold_back are left out. What is right already costs no call. */
must_check enum error_code attributes_apply(struct attribute_target source, const struct statx *status,
                                            struct attribute_target twin, const struct stat *twin_status,
                                            unsigned features, uint32_t hold_back, struct error *reterr);

/* How much room extended attributes take, wherever ext4 keeps them. */
struct attribute_sizes {
    size_t count;
    uint64_t stored_bytes; /* with their names and entries */
    uint64_t digest;       /* the same for the same attributes */
};
must_check enum error_code attributes_measure(struct attribute_target target,
                                              struct attribute_sizes *ret_sizes, struct error *reterr);

/* *ret_digest stands for all that a directory carries, but for its times and the flags in hold_back, and for
 * where it lies: its name, in the directory with the inode above. */
must_check enum error_code attributes_digest(int fd, const struct statx *status, unsigned features,
                                             uint32_t hold_back, const char *name, uint64_t above,
                                             uint64_t *ret_digest, struct error *reterr);

/* *ret_difference is NULL when all are the same, else a static word for the first that differs: "owner",
 * "mode", "times", "extended attributes", "flags", "project". */
must_check enum error_code attributes_compare(struct attribute_target source, const struct statx *status,
                                              struct attribute_target twin, const struct statx *twin_status,
                                              unsigned features, uint32_t hold_back,
                                              const char **ret_difference, struct error *reterr);
