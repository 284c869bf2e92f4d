/* Which blocks of a filesystem are free, as FS_IOC_GETFSMAP tells it (ext4 from Linux 4.12 on). Reads only.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct free_extent {
    uint64_t start_bytes; /* on the device */
    uint64_t length_bytes;
};

/* Extents in order of their place, at most FREE_MAP_MAXIMUM of them. */
enum { FREE_MAP_MAXIMUM = 1 << 19 };
struct free_map {
    struct free_extent *items; /* owned */
    size_t count;
    uint64_t bytes;          /* of the items */
    uint64_t unlisted_bytes; /* found but not among the items */
};

/* Read the map of the filesystem fd lies on. ERR_UNSUPPORTED where there is no such call. */
must_check enum error_code free_map_read(int fd, struct free_map *ret_map, struct error *reterr);

/* The blocks allocated at once, which no call tells: all free extents are whole clusters where blocks come in
 * clusters (bigalloc). least_bytes where the map has none. */
uint64_t free_map_unit_bytes(const struct free_map *map, uint64_t least_bytes);

/* Keep of the map only what is still free. */
must_check enum error_code free_map_update(int fd, struct free_map *map, struct error *reterr);

void free_map_done(struct free_map *map);
