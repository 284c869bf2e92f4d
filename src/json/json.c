#include "json/json.h"

#include "base/cleanup.h"
#include "base/text.h"

static bool is_too_deep(json_t *value, unsigned depth)
{
    if (!json_is_object(value) && !json_is_array(value))
        return false;
    if (depth == JSON_DEPTH_MAXIMUM)
        return true;
    for (void *at = json_object_iter(value); at; at = json_object_iter_next(value, at))
        if (is_too_deep(json_object_iter_value(at), depth + 1))
            return true;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (is_too_deep(json_array_get(value, i), depth + 1))
            return true;
    return false;
}

enum error_code json_parse_object(const char *text, size_t length, const char *shown_name,
                                  json_t **ret_object, struct error *reterr)
{
    json_error_t where;
    _cleanup_(json_freep) json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    if (!value && json_error_code(&where) == json_error_out_of_memory)
        return error_set(reterr, ERR_NO_MEMORY, 0, "%s: out of memory", shown_name);
    if (!value)
        return error_set(reterr, ERR_CORRUPT, 0, "%s, line %d, column %d: %s", shown_name, where.line,
                         where.column, text_shown(where.text));
    if (!json_is_object(value))
        return error_set(reterr, ERR_CORRUPT, 0, "%s is not a JSON object", shown_name);
    if (is_too_deep(value, 0))
        return error_set(reterr, ERR_CORRUPT, 0, "%s is nested deeper than %d levels", shown_name,
                         JSON_DEPTH_MAXIMUM);
    *ret_object = TAKE(value);
    return OK;
}

enum error_code json_check_version(json_t *object, int64_t newest, const char *shown_name,
                                   struct error *reterr)
{
    int64_t version;
    enum error_code code = json_get_integer(object, "version", 1, INT64_MAX, &version, reterr);
    if (code) {
        error_prefix(reterr, "%s", shown_name);
        return code;
    }
    if (version <= newest)
        return OK;
    error_set(reterr, ERR_TOO_NEW, 0, "%s has version %lld; this husk reads up to %lld", shown_name,
              (long long)version, (long long)newest);
    error_remedy(reterr, "use the husk that wrote it, or a newer one");
    return ERR_TOO_NEW;
}

/* The member, which must be of a type; article and word of the type are for the message. */
static enum error_code get(json_t *object, const char *member, bool (*is_type)(const json_t *),
                           const char *type_words, json_t **ret_value, struct error *reterr)
{
    json_t *value = json_object_get(object, member);
    if (!value)
        return error_set(reterr, ERR_CORRUPT, 0, "the member \"%s\" is missing", member);
    if (!is_type(value))
        return error_set(reterr, ERR_CORRUPT, 0, "the member \"%s\" is not %s", member, type_words);
    *ret_value = value;
    return OK;
}

/* jansson's own are macros. */
static bool is_string(const json_t *value)
{
    return json_is_string(value);
}

static bool is_integer(const json_t *value)
{
    return json_is_integer(value);
}

static bool is_boolean(const json_t *value)
{
    return json_is_boolean(value);
}

static bool is_array(const json_t *value)
{
    return json_is_array(value);
}

static bool is_object(const json_t *value)
{
    return json_is_object(value);
}

enum error_code json_get_string(json_t *object, const char *member, const char **ret_string,
                                struct error *reterr)
{
    json_t *value;
    enum error_code code = get(object, member, is_string, "a string", &value, reterr);
    if (!code)
        *ret_string = json_string_value(value);
    return code;
}

enum error_code json_get_integer(json_t *object, const char *member, int64_t least, int64_t most,
                                 int64_t *ret_value, struct error *reterr)
{
    json_t *value;
    enum error_code code = get(object, member, is_integer, "an integer", &value, reterr);
    if (code)
        return code;
    int64_t number = json_integer_value(value);
    if (number < least || number > most)
        return error_set(reterr, ERR_CORRUPT, 0, "the member \"%s\" is %lld, outside %lld to %lld", member,
                         (long long)number, (long long)least, (long long)most);
    *ret_value = number;
    return OK;
}

enum error_code json_get_boolean(json_t *object, const char *member, bool *ret_value, struct error *reterr)
{
    json_t *value;
    enum error_code code = get(object, member, is_boolean, "true or false", &value, reterr);
    if (!code)
        *ret_value = json_is_true(value);
    return code;
}

enum error_code json_get_array(json_t *object, const char *member, size_t most, json_t **ret_array,
                               struct error *reterr)
{
    json_t *value;
    enum error_code code = get(object, member, is_array, "an array", &value, reterr);
    if (code)
        return code;
    if (json_array_size(value) > most)
        return error_set(reterr, ERR_CORRUPT, 0, "the member \"%s\" has %zu elements, more than %zu", member,
                         json_array_size(value), most);
    *ret_array = value;
    return OK;
}

enum error_code json_get_object(json_t *object, const char *member, json_t **ret_object, struct error *reterr)
{
    return get(object, member, is_object, "an object", ret_object, reterr);
}

static enum error_code in_member(enum error_code code, const char *member, struct error *reterr)
{
    if (code)
        error_prefix(reterr, "the member \"%s\"", member);
    return code;
}

enum error_code json_get_hex(json_t *object, const char *member, uint8_t *ret_bytes, size_t length,
                             struct error *reterr)
{
    const char *text;
    enum error_code code = json_get_string(object, member, &text, reterr);
    return code ? code : in_member(text_parse_hex(text, ret_bytes, length, reterr), member, reterr);
}

enum error_code json_get_bytes(json_t *object, const char *member, struct buffer *buffer,
                               struct error *reterr)
{
    const char *text;
    enum error_code code = json_get_string(object, member, &text, reterr);
    if (code)
        return code;
    size_t before = buffer->length;
    code = text_unescape(buffer, text, reterr);
    if (code && buffer->data) {
        buffer->length = before;
        buffer->data[before] = '\0';
    }
    return in_member(code, member, reterr);
}

enum error_code json_set_new(json_t *object, const char *member, json_t *value, struct error *reterr)
{
    if (json_object_set_new(object, member, value) < 0) /* takes value also when it fails */
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory for the member \"%s\"", member);
    return OK;
}

json_t *json_hex(const void *bytes, size_t length)
{
    _cleanup_(freep) char *text = malloc(2 * length + 1);
    if (!text)
        return NULL;
    text_format_hex(text, bytes, length);
    return json_string(text);
}

enum error_code json_set_hex(json_t *object, const char *member, const uint8_t *bytes, size_t length,
                             struct error *reterr)
{
    return json_set_new(object, member, json_hex(bytes, length), reterr);
}

enum error_code json_set_bytes(json_t *object, const char *member, const char *bytes, size_t length,
                               struct error *reterr)
{
    struct buffer escaped = {0};
    enum error_code code = text_escape(&escaped, bytes, length, reterr);
    if (!code)
        code = json_set_new(object, member, json_stringn(escaped.data, escaped.length), reterr);
    buffer_done(&escaped);
    return code;
}

struct output {
    struct buffer *buffer;
    struct error *reterr;
    enum error_code code;
};

static int append(const char *bytes, size_t length, void *context)
{
    struct output *output = context;
    output->code = buffer_append(output->buffer, bytes, length, output->reterr);
    return output->code ? -1 : 0;
}

enum error_code json_format(const json_t *value, struct buffer *buffer, struct error *reterr)
{
    struct output output = {.buffer = buffer, .reterr = reterr};
    size_t before = buffer->length;
    if (json_dump_callback(value, append, &output, JSON_COMPACT) == 0)
        return OK;
    if (buffer->data) {
        buffer->length = before;
        buffer->data[before] = '\0';
    }
    return output.code ? output.code : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}
