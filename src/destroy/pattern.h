/*
 * What is written over plaintext: a ChaCha20 stream under a key that is drawn for one run and never stored.
 * Random to everything below, so no thin or compressing storage can collapse it; yet each block can be
 * computed again from its file and offset, so that re-reading compares without keeping what was written.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct pattern {
    uint8_t key[32];
};

/* The stream for one file is addressed in pieces: a piece must not cross a multiple of this. */
#define PATTERN_SPAN_BYTES (UINT64_C(1) << 20)

/* Draw a key. ERR_FAILED where the system gives no random bytes. */
must_check enum error_code pattern_init(struct pattern *pattern, struct error *reterr);

/* Fill bytes with the stream of (inode, offset). offset is a multiple of 64, the piece within one span. */
void pattern_fill(const struct pattern *pattern, uint64_t inode, uint64_t offset, uint8_t *bytes,
                  size_t length);

enum pattern_match { PATTERN_SAME, PATTERN_DIFFERENT };

/* Whether bytes are that stream. The bytes are changed. */
enum pattern_match pattern_compare(const struct pattern *pattern, uint64_t inode, uint64_t offset,
                                   uint8_t *bytes, size_t length);
