#include "filesystem/exports.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "filesystem/mountinfo.h"

/* One logical line: a backslash at the end of a line joins the next one. Returns where the next one begins.
 */
static const char *take_line(const char *text, struct buffer *line, enum error_code *ret_code,
                             struct error *reterr)
{
    line->length = 0;
    for (;;) {
        const char *end = strchrnul(text, '\n');
        size_t length = (size_t)(end - text);
        bool joined = length > 0 && text[length - 1] == '\\' && *end;
        *ret_code = buffer_append(line, text, length - joined, reterr);
        if (*ret_code)
            return NULL;
        text = *end ? end + 1 : end;
        if (!joined)
            return *text ? text : NULL;
    }
}

/* Cut the path out of a line, in place; NULL where the line has none (comment, blank, defaults). */
static char *find_path(char *line)
{
    char *path = line + strspn(line, " \t");
    bool quoted = *path == '"';
    path += quoted;
    if (*path != '/')
        return NULL;
    char *end = path + (quoted ? strcspn(path, "\"") : strcspn(path, " \t"));
    *end = '\0';
    mount_unescape(path);
    return path;
}

enum error_code exports_parse(const char *text,
                              enum error_code (*each)(const char *path, void *context, struct error *reterr),
                              void *context, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer line = {0};
    enum error_code code = OK;
    while (text && !code) {
        text = take_line(text, &line, &code, reterr);
        char *path = code ? NULL : find_path(line.data);
        if (path)
            code = each(path, context, reterr);
    }
    return code;
}
