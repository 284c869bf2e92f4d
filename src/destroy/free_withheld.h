/* Free blocks that the kernel keeps aside for small files that may be written. */
#pragma once
#include "destroy/filling.h"

/* Overwrite what the kernel keeps for this process's processors, at most withheld_bytes of it, and give it
 * back. It needs FREE_WITHHELD_ROOM_BYTES of what others may use, for moments, and gives back of what is held
 * where there is less. *ret_overwritten_bytes is never more than was kept aside; what open files keep for
 * themselves is not reached, nor is anything in files without extents. Blocks on the disk. */
enum { FREE_WITHHELD_ROOM_BYTES = 2 << 20 };
must_check enum error_code free_withheld_overwrite(struct filling *filling, uint64_t withheld_bytes,
                                                   uint64_t *ret_overwritten_bytes, struct error *reterr);
