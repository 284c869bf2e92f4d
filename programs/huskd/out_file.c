#include "out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

enum error_code out_file_make(const char *name, int *ret_fd, struct error *reterr)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(reterr, errno == EEXIST ? ERR_EXISTS : ERR_FAILED, errno, "cannot make the file %s",
                         text_shown(name));
    *ret_fd = fd;
    return OK;
}

enum error_code out_file_finish(const char *name, int fd, struct error *reterr)
{
    enum error_code code = file_sync(fd, name, reterr);
    if (close(fd) < 0 && !code)
        code = error_set(reterr, ERR_FAILED, errno, "cannot write %s", text_shown(name));
    if (code)
        return code;
    _cleanup_(freep) char *copy = strdup(name);
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    const char *parent = dirname(copy);
    _cleanup_(close_fdp) int directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", text_shown(parent));
    return file_sync(directory, parent, reterr);
}

void out_file_drop(const char *name, int fd)
{
    if (fd < 0)
        return;
    close(fd);
    unlink(name);
}
