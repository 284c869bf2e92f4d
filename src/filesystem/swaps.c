#include "filesystem/swaps.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "filesystem/mountinfo.h"

/* "/srv/my\040swap    file    1048572 0 -2": the kernel escapes blanks in the path. */
static enum error_code one_line(const char *line, size_t length,
                                enum error_code (*each)(const char *path, void *context,
                                                        struct error *reterr),
                                void *context, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer copy = {0};
    enum error_code code = buffer_append(&copy, line, length, reterr);
    if (code)
        return code;
    size_t path_length = strcspn(copy.data, " \t");
    const char *type = copy.data + path_length;
    type += strspn(type, " \t");
    if (copy.data[0] != '/' || strcspn(type, " \t") != 4 || strncmp(type, "file", 4))
        return OK;
    copy.data[path_length] = '\0';
    mount_unescape(copy.data);
    return each(copy.data, context, reterr);
}

enum error_code swaps_parse(const char *text,
                            enum error_code (*each)(const char *path, void *context, struct error *reterr),
                            void *context, struct error *reterr)
{
    enum error_code code = OK;
    while (*text && !code) {
        const char *end = strchrnul(text, '\n');
        code = one_line(text, (size_t)(end - text), each, context, reterr);
        text = *end ? end + 1 : end;
    }
    return code;
}
