/*
 * Whether an initramfs was built with husk in it. husk's hook, when it has copied everything and loaded what
 * can be tried, puts a small cpio archive that is not compressed in front of the image, with one file: so
 * nobody has to know how the rest is compressed. Not for other rooms.
 */
#pragma once
#include <stdbool.h>

#include "base/error.h"

#define INITRAMFS_MARK "husk-initramfs"

/* Looks at the archives at the beginning of the image that are not compressed. ERR_FAILED where it cannot be
 * read; what is no cpio has no mark. */
must_check enum error_code initramfs_has_husk(int image_fd, bool *ret_has, struct error *reterr);
