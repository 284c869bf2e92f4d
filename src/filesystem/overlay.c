#include "filesystem/overlay.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "filesystem/mountinfo.h"

typedef enum error_code (*layer_function)(const char *path, void *context, struct error *reterr);

/* One path of the list: a backslash keeps the byte behind it. Returns where the next one begins, or NULL. */
static char *take_path(char *list, char **ret_path, char separator)
{
    char *to = list, *from = list;
    *ret_path = list;
    while (*from && *from != separator) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from++;
    }
    char *next = *from ? from + 1 : NULL;
    *to = '\0';
    return next;
}

static enum error_code parse_value(const char *value, size_t length, char separator, layer_function each,
                                   void *context, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer copy = {0};
    enum error_code code = buffer_append(&copy, value, length, reterr);
    if (code)
        return code;
    mount_unescape(copy.data);
    for (char *next = copy.data; next && !code;) {
        char *path;
        next = take_path(next, &path, separator);
        if (*path) /* "a::b" separates layers that hold data only */
            code = each(path, context, reterr);
    }
    return code;
}

enum error_code overlay_layers_parse(const char *super_options, layer_function each, void *context,
                                     struct error *reterr)
{
    static const struct {
        const char *option;
        char separator;
    } kinds[] = {{"lowerdir=", ':'},
                 {"lowerdir+=", '\0'},
                 {"datadir+=", '\0'},
                 {"upperdir=", '\0'},
                 {"workdir=", '\0'}};
    enum error_code code = OK;
    for (const char *option = super_options; option && !code;) {
        const char *end = strchrnul(option, ',');
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !code; i++) {
            size_t length = strlen(kinds[i].option);
            if (!strncmp(option, kinds[i].option, length))
                code = parse_value(option + length, (size_t)(end - option) - length, kinds[i].separator, each,
                                   context, reterr);
        }
        option = *end ? end + 1 : NULL;
    }
    return code;
}
