/*
 * Whether an initramfs was built with husk in it, and what that one can read. husk's hook, when it has copied
 * everything and loaded what can be tried, puts a small cpio archive that is not compressed in front of the
 * image, with one file: so nobody has to know how the rest is compressed: {"version":1,"kernel":"RELEASE",
 * "stacked":true}, which is where it has what VLANs and bonds need.
 * Not for other rooms.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define INITRAMFS_MARK "husk-initramfs"
/* The version that packaging/initramfs/hook puts into the mark. It rises by one whenever that of a format
 * does which a boot reads, so that nothing is written for a boot whose husk could not read it. */
#define INITRAMFS_VERSION 1

#define INITRAMFS_KERNEL_SIZE 128
struct initramfs_mark {
    bool found;
    int64_t version;                    /* 0 where the mark does not say */
    char kernel[INITRAMFS_KERNEL_SIZE]; /* the release it was built for; "": not said */
    bool stacked;
};

/* Looks at the archives at the beginning of the image that are not compressed. ERR_FAILED where it cannot be
 * read; what is no cpio has no mark. */
must_check enum error_code initramfs_read_mark(int image_fd, struct initramfs_mark *ret_mark,
                                               struct error *reterr);
