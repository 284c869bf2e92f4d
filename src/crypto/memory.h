/*
 * How much memory there is for Argon2id: of the machine, and of the control group this process runs in
 * (versions 1 and 2), whichever is less. Does not allocate anything itself.
 */
#pragma once
#include <stdint.h>

#include "base/error.h"

struct memory {
    uint64_t total_bytes;     /* at most this much */
    uint64_t available_bytes; /* now, caches that can be dropped and free swap included */
};

/* root_fd is a directory that has proc/ and sys/ as / has them. ERR_FAILED where the machine's memory cannot
 * be read; an unreadable control group limits nothing. */
must_check enum error_code memory_read(int root_fd, struct memory *ret_memory, struct error *reterr);
