/*
 * Bytes as text: names of files may hold any byte but '/' and NUL, and still have to be shown on a terminal
 * and stored in JSON; numbers and hexadecimal from outside have to be read strictly.
 */
#pragma once
#include <stdint.h>

#include "base/buffer.h"

/* Append bytes with control characters, backslash and whatever is not valid UTF-8 written as \xHH.
 * Reversible. */
must_check enum error_code text_escape(struct buffer *buffer, const char *bytes, size_t length,
                                       struct error *reterr);

/* Undo text_escape. ERR_CORRUPT for a malformed escape or a NUL byte. */
must_check enum error_code text_unescape(struct buffer *buffer, const char *text, struct error *reterr);

/* Escape into a fixed array for messages; cut with "..." where it does not fit. Returns out. */
const char *text_show(char *out, size_t out_size, const char *bytes);
#define TEXT_SHOW_SIZE 256
/* Escaped text of a name for one expression's use in a message. */
#define text_shown(bytes) text_show((char[TEXT_SHOW_SIZE]){0}, TEXT_SHOW_SIZE, (bytes))

/* Lower-case hexadecimal; out has room for 2 * length + 1. */
void text_format_hex(char *out, const uint8_t *bytes, size_t length);

/* Exactly 2 * length lower- or upper-case digits and nothing else. ERR_CORRUPT otherwise. */
must_check enum error_code text_parse_hex(const char *text, uint8_t *ret_bytes, size_t length,
                                          struct error *reterr);

/* Any even number of digits: the bytes are appended to buffer. ERR_CORRUPT otherwise. */
must_check enum error_code text_append_bytes(struct buffer *buffer, const char *text, struct error *reterr);

/* A decimal number with nothing around it, at most maximum. ERR_USAGE otherwise. */
must_check enum error_code text_parse_u64(const char *text, uint64_t maximum, uint64_t *ret_value,
                                          struct error *reterr);
