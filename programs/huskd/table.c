#include "table.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "json/json.h"

enum { COLUMNS_MAXIMUM = 12 };

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && !strcmp(text + length - end_length, end);
}

static bool is_time(const char *name)
{
    return ends_with(name, "_at") || !strcmp(name, "last_seen") || !strcmp(name, "at");
}

static enum error_code add_list(const json_t *list, struct buffer *text, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        code = word ? buffer_printf(text, reterr, "%s%s", i ? "," : "", text_shown(word)) : OK;
    }
    if (!code && json_array_size(list) > 0 && !json_is_string(json_array_get(list, 0)))
        code = buffer_printf(text, reterr, "%zu", json_array_size(list));
    return code ? code : json_array_size(list) ? OK : buffer_printf(text, reterr, "-");
}

static enum error_code add_value(const char *name, const json_t *value, struct buffer *text,
                                 struct error *reterr)
{
    if (json_is_string(value))
        return text_escape(text, json_string_value(value), json_string_length(value), reterr);
    if (json_is_integer(value) && !strcmp(name, "last_seen") && json_integer_value(value) == 0)
        return buffer_printf(text, reterr, "unknown");
    if (json_is_integer(value) && is_time(name) && json_integer_value(value) > 0) {
        char shown[CLOCK_TEXT_SIZE];
        clock_format(json_integer_value(value), shown);
        return buffer_printf(text, reterr, "%s", shown);
    }
    if (json_is_integer(value))
        return buffer_printf(text, reterr, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    if (json_is_boolean(value))
        return buffer_printf(text, reterr, "%s", json_is_true(value) ? "yes" : "no");
    if (json_is_array(value))
        return add_list(value, text, reterr);
    return json_is_object(value) ? json_format(value, text, reterr) : buffer_printf(text, reterr, "-");
}

/* The letters of UTF-8 text, which is what columns are counted in. */
static size_t letters(const char *text)
{
    size_t count = 0;
    for (; text && *text; text++)
        count += (*text & 0xc0) != 0x80;
    return count;
}

static enum error_code cell(const json_t *row, const char *column, struct buffer *text, struct error *reterr)
{
    text->length = 0;
    return row ? add_value(column, json_object_get(row, column), text, reterr)
               : buffer_printf(text, reterr, "%s", column);
}

enum error_code table_show(struct run *run, const json_t *array, const char *const *columns,
                           const char *nothing, struct error *reterr)
{
    size_t widths[COLUMNS_MAXIMUM] = {0}, count = 0, rows = json_array_size(array);
    _cleanup_(buffer_done) struct buffer text = {0};
    if (rows == 0) {
        run_text(run, "%s\n", nothing);
        return OK;
    }
    while (count < COLUMNS_MAXIMUM && columns[count])
        count++;
    /* Twice over head and rows: to measure, then to show. */
    for (size_t i = 0; i < 2 * (rows + 1); i++) {
        const json_t *row = i % (rows + 1) ? json_array_get(array, i % (rows + 1) - 1) : NULL;
        for (size_t k = 0; k < count; k++) {
            enum error_code code = cell(row, columns[k], &text, reterr);
            if (code)
                return code;
            size_t width = letters(text.data);
            if (i <= rows)
                widths[k] = width > widths[k] ? width : widths[k];
            else
                run_text(run, "%s%*s", text.data ? text.data : "",
                         k + 1 < count ? (int)(widths[k] - width) + 2 : 0, "");
        }
        if (i > rows)
            run_text(run, "\n");
    }
    return OK;
}

enum error_code object_show(struct run *run, json_t *object, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        text.length = 0;
        enum error_code code = add_value(name, value, &text, reterr);
        if (code)
            return code;
        run_text(run, "%-20s %s\n", name, text.data ? text.data : "");
    }
    return OK;
}
