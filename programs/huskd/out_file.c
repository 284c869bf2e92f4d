#include "out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

enum error_code out_file_make(const char *name, struct out_file *ret_file, struct error *reterr)
{
    _cleanup_(freep) char *copy = strdup(name);
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    _cleanup_(close_fdp) int parent_fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the directory of %s", text_shown(name));
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_set(reterr, errno == EEXIST ? ERR_EXISTS : ERR_FAILED, errno, "cannot make the file %s",
                  text_shown(name));
        return error_remedy(reterr, "name a new file");
    }
    *ret_file = (struct out_file){name, fd, TAKE_FD(parent_fd)};
    return OK;
}

enum error_code out_file_finish(struct out_file *file, struct error *reterr)
{
    enum error_code code = file_sync(file->fd, file->name, reterr);
    if (!code && close(TAKE_FD(file->fd)) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot write %s", text_shown(file->name));
    if (!code)
        code = file_sync(file->parent_fd, file->name, reterr);
    return code;
}

void out_file_drop(struct out_file *file)
{
    if (file->fd >= 0)
        unlink(file->name);
    close_fdp(&file->fd);
    close_fdp(&file->parent_fd);
}
