/* Before a verb acts: which directory is meant. */
#include <errno.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "verb.h"

enum error_code huskd_prepare(struct run *run, struct error *reterr)
{
    const char *given = argument_value(&run->arguments, OPTION_DIR);
    const char *directory = given ? given : HUSKD_DIRECTORY;
    run->at = realpath(directory, NULL);
    if (run->at)
        return OK;
    if (errno != ENOENT)
        return error_set(reterr, ERR_FAILED, errno, "cannot open --dir %s", text_shown(directory));
    _cleanup_(freep) char *here = directory[0] == '/' ? NULL : getcwd(NULL, 0);
    _cleanup_(buffer_done) struct buffer path = {0};
    enum error_code code =
        buffer_printf(&path, reterr, "%s%s%s", here ? here : "", here ? "/" : "", directory);
    if (!code) {
        run->at = path.data;
        path = (struct buffer){0};
    }
    return code;
}
