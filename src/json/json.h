/*
 * Checked JSON documents over jansson: bounded text in, typed getters that say which member is wrong, UTF-8
 * out. For files of husk (never secrets). Names with any byte are stored through text_escape().
 */
#pragma once
#include <jansson.h>
#include <stdint.h>

#include "base/buffer.h"

#define JSON_DEPTH_MAXIMUM 16

/* Parse exactly one object; duplicates and trailing bytes are errors. ERR_CORRUPT names where. Free with
 * json_decref. */
must_check enum error_code json_parse_object(const char *text, size_t length, const char *shown_name,
                                             json_t **ret_object, struct error *reterr);

/* The integer member "version" must be from 1 to newest: ERR_TOO_NEW above, ERR_CORRUPT otherwise. */
must_check enum error_code json_check_version(json_t *object, int64_t newest, const char *shown_name,
                                              struct error *reterr);

/* Members that must be there with the right type; the string belongs to object. ERR_CORRUPT names the member.
 */
must_check enum error_code json_get_string(json_t *object, const char *member, const char **ret_string,
                                           struct error *reterr);
must_check enum error_code json_get_integer(json_t *object, const char *member, int64_t least, int64_t most,
                                            int64_t *ret_value, struct error *reterr);
must_check enum error_code json_get_boolean(json_t *object, const char *member, bool *ret_value,
                                            struct error *reterr);
must_check enum error_code json_get_array(json_t *object, const char *member, size_t most, json_t **ret_array,
                                          struct error *reterr);
must_check enum error_code json_get_object(json_t *object, const char *member, json_t **ret_object,
                                           struct error *reterr);
/* A member of exactly 2 * length hexadecimal digits. */
must_check enum error_code json_get_hex(json_t *object, const char *member, uint8_t *ret_bytes, size_t length,
                                        struct error *reterr);
/* A member that holds escaped bytes; appended to buffer unescaped. */
must_check enum error_code json_get_bytes(json_t *object, const char *member, struct buffer *buffer,
                                          struct error *reterr);

/* A string of hexadecimal digits; NULL without memory. */
json_t *json_hex(const void *bytes, size_t length);

/* Set members; ERR_NO_MEMORY. json_set_bytes escapes. json_set_new takes over value (which may be NULL:
 * ERR_NO_MEMORY). */
must_check enum error_code json_set_new(json_t *object, const char *member, json_t *value,
                                        struct error *reterr);
must_check enum error_code json_set_hex(json_t *object, const char *member, const uint8_t *bytes,
                                        size_t length, struct error *reterr);
must_check enum error_code json_set_bytes(json_t *object, const char *member, const char *bytes,
                                          size_t length, struct error *reterr);

/* Compact text, members in the order they were set, appended to buffer. */
must_check enum error_code json_format(const json_t *value, struct buffer *buffer, struct error *reterr);

static inline void json_freep(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}
