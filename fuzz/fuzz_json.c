/* A document of husk's: whatever parses can be written, and parses again as the same; no getter trips. */
#include "target.h"
#include "json/json.h"

static const char *const members[] = {"version", "name", "list", "a", "id"};

static void get_everything(json_t *object)
{
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        const char *string = NULL;
        int64_t integer = -1;
        bool boolean = false;
        json_t *value = NULL;
        uint8_t bytes[4];
        struct buffer buffer = {0};
        if (json_get_string(object, members[i], &string, NULL) == OK)
            must_hold(string && json_is_string(json_object_get(object, members[i])));
        if (json_get_integer(object, members[i], 0, 1000, &integer, NULL) == OK)
            must_hold(integer >= 0 && integer <= 1000);
        if (json_get_array(object, members[i], 3, &value, NULL) == OK)
            must_hold(json_array_size(value) <= 3);
        if (json_get_object(object, members[i], &value, NULL) == OK)
            must_hold(json_is_object(value));
        if (json_get_hex(object, members[i], bytes, sizeof(bytes), NULL) == OK)
            must_hold(strlen(string) == 8);
        if (json_get_bytes(object, members[i], &buffer, NULL) == OK)
            must_hold(memchr(buffer.data, '\0', buffer.length) == NULL);
        if (json_get_boolean(object, members[i], &boolean, NULL) == OK)
            must_hold(json_is_boolean(json_object_get(object, members[i])));
        buffer_done(&buffer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(json_freep) json_t *object = NULL, *again = NULL;
    struct error error = ERROR_NONE;
    if (json_parse_object((const char *)data, size, "it", &object, &error)) {
        must_hold(!object && error.code == ERR_CORRUPT && error.message[0]);
        return 0;
    }
    get_everything(object);
    enum error_code code = json_check_version(object, 2, "it", NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_TOO_NEW);
    struct buffer text = {0};
    must_hold(json_format(object, &text, NULL) == OK);
    must_hold(json_parse_object(text.data, text.length, "it", &again, NULL) == OK);
    must_hold(json_equal(object, again));
    buffer_done(&text);
    return 0;
}
