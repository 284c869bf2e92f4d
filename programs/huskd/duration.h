/* Lengths of time as people write them. */
#pragma once
#include <stdint.h>

#include "base/error.h"

/* "90", "90s", "30m", "1h", "2d" as seconds, at most ten years. ERR_USAGE. */
must_check enum error_code duration_parse(const char *text, int64_t *ret_s, struct error *reterr);
