#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/text.h"

enum error_code file_open(int directory_fd, const char *name, int *ret_fd, struct error *reterr)
{
    int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr,
                         errno == ENOENT  ? ERR_NOT_FOUND
                         : errno == ELOOP ? ERR_CORRUPT
                                          : ERR_FAILED,
                         errno, "cannot open %s", text_shown(name));
    *ret_fd = fd;
    return OK;
}

enum error_code file_read(int directory_fd, const char *name, size_t maximum, struct buffer *buffer,
                          struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    struct stat status;
    enum error_code opened = file_open(directory_fd, name, &fd, reterr);
    if (opened)
        return opened;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat %s", text_shown(name));
    if (!S_ISREG(status.st_mode))
        return error_set(reterr, ERR_CORRUPT, 0, "%s is not a regular file", text_shown(name));

    size_t before = buffer->length;
    for (;;) {
        char block[4096];
        ssize_t got = read(fd, block, sizeof(block));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot read %s", text_shown(name));
        if (got == 0)
            return buffer_append(buffer, "", 0, reterr);
        if (buffer->length - before + (size_t)got > maximum)
            return error_set(reterr, ERR_CORRUPT, 0, "%s is longer than %zu bytes", text_shown(name),
                             maximum);
        enum error_code code = buffer_append(buffer, block, (size_t)got, reterr);
        if (code || buffer->length - before == (size_t)status.st_size) /* those of /proc say 0 */
            return code;
    }
}

enum error_code file_write_all(int fd, const void *bytes, size_t length, struct error *reterr)
{
    const char *next = bytes;
    while (length > 0) {
        int injected = fault("file.write");
        ssize_t done = injected ? -1 : write(fd, next, length);
        if (done < 0 && !injected && errno == EINTR)
            continue;
        if (done < 0)
            return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot write");
        next += done;
        length -= (size_t)done;
    }
    return OK;
}

enum error_code file_pread_all(int fd, void *bytes, size_t length, uint64_t offset, struct error *reterr)
{
    char *next = bytes;
    while (length > 0) {
        ssize_t done = pread(fd, next, length, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot read");
        if (done == 0)
            return error_set(reterr, ERR_CORRUPT, 0, "file ends too early");
        next += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return OK;
}

enum error_code file_pwrite_all(int fd, const void *bytes, size_t length, uint64_t offset,
                                struct error *reterr)
{
    const char *next = bytes;
    while (length > 0) {
        ssize_t done = pwrite(fd, next, length, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot write");
        next += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return OK;
}

enum error_code file_sync(int fd, const char *shown_name, struct error *reterr)
{
    int injected = fault("file.sync");
    if (injected || fsync(fd) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot write %s to disk",
                         shown_name);
    return OK;
}

static enum error_code temporary_name(const char *name, char temporary[FILE_TEMPORARY_SIZE],
                                      struct error *reterr)
{
    if ((size_t)snprintf(temporary, FILE_TEMPORARY_SIZE, ".%s.new", name) >= FILE_TEMPORARY_SIZE)
        return error_set(reterr, ERR_USAGE, 0, "the name %s is too long", text_shown(name));
    return OK;
}

static enum error_code write_temporary(int directory_fd, const char *temporary, mode_t mode,
                                       const void *bytes, size_t length, struct error *reterr)
{
    unlinkat(directory_fd, temporary, 0); /* left by a crash */
    int injected = fault("file.create");
    _cleanup_(close_fdp) int fd =
        injected
            ? -1
            : openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot make %s",
                         text_shown(temporary));
    if (fchmod(fd, mode) < 0) /* whatever the umask is */
        return error_set(reterr, ERR_FAILED, errno, "cannot set the mode of %s", text_shown(temporary));
    enum error_code code = file_write_all(fd, bytes, length, reterr);
    return code ? code : file_sync(fd, text_shown(temporary), reterr);
}

static enum error_code write_durable(int directory_fd, const char *name, const char *temporary, mode_t mode,
                                     const void *bytes, size_t length, bool *ret_left, struct error *reterr)
{
    *ret_left = false;
    enum error_code code = write_temporary(directory_fd, temporary, mode, bytes, length, reterr);
    int injected = code ? 0 : fault("file.rename");
    if (!code && (injected || renameat(directory_fd, temporary, directory_fd, name) < 0))
        code = error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot put %s into place",
                         text_shown(name));
    *ret_left = code != OK;
    return code ? code : file_sync(directory_fd, text_shown(name), reterr);
}

enum error_code file_write_durable(int directory_fd, const char *name, mode_t mode, const void *bytes,
                                   size_t length, struct error *reterr)
{
    char temporary[FILE_TEMPORARY_SIZE];
    bool left;
    enum error_code code = temporary_name(name, temporary, reterr);
    if (code)
        return code;
    code = write_durable(directory_fd, name, temporary, mode, bytes, length, &left, reterr);
    if (left)
        unlinkat(directory_fd, temporary, 0);
    return code;
}

enum error_code file_write_destroyable(int directory_fd, const char *name, mode_t mode, const void *bytes,
                                       size_t length, char ret_left[FILE_TEMPORARY_SIZE],
                                       struct error *reterr)
{
    char temporary[FILE_TEMPORARY_SIZE];
    bool left = false;
    enum error_code code = temporary_name(name, temporary, reterr);
    if (!code)
        code = write_durable(directory_fd, name, temporary, mode, bytes, length, &left, reterr);
    snprintf(ret_left, FILE_TEMPORARY_SIZE, "%s", left ? temporary : "");
    return code;
}

enum error_code directory_open(int directory_fd, const char *name, int *ret_fd, struct error *reterr)
{
    int fd = openat(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr,
                         errno == ENOENT                      ? ERR_NOT_FOUND
                         : errno == ENOTDIR || errno == ELOOP ? ERR_CORRUPT
                                                              : ERR_FAILED,
                         errno, "cannot open the directory %s", text_shown(name));
    *ret_fd = fd;
    return OK;
}

enum error_code directory_make(int directory_fd, const char *name, mode_t mode, int *ret_fd,
                               struct error *reterr)
{
    int injected = fault("directory.make");
    if (injected || (mkdirat(directory_fd, name, mode) < 0 && errno != EEXIST))
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot make the directory %s",
                         text_shown(name));
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(directory_fd, name, &fd, reterr);
    if (code)
        return code;
    struct stat status;
    if (fstat(fd, &status) < 0 || ((status.st_mode & 07777) != mode && fchmod(fd, mode) < 0))
        return error_set(reterr, ERR_FAILED, errno, "cannot set the mode of %s", text_shown(name));
    code = file_sync(fd, text_shown(name), reterr);
    if (!code)
        code = file_sync(directory_fd, text_shown(name), reterr);
    if (!code)
        *ret_fd = TAKE_FD(fd);
    return code;
}

enum error_code directory_list(int directory_fd,
                               enum error_code (*each)(const char *name, void *context, struct error *reterr),
                               void *context, struct error *reterr)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        int os_errno = errno;
        close_fdp(&fd);
        return error_set(reterr, ERR_FAILED, os_errno, "cannot list a directory");
    }
    enum error_code code = OK;
    while (!code) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry) {
            if (errno)
                code = error_set(reterr, ERR_FAILED, errno, "cannot list a directory");
            break;
        }
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            code = each(entry->d_name, context, reterr);
    }
    closedir(stream);
    return code;
}

enum error_code file_remove_durable(int directory_fd, const char *name, int flags, struct error *reterr)
{
    int injected = fault("file.remove");
    if (injected || (unlinkat(directory_fd, name, flags) < 0 && errno != ENOENT))
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot remove %s",
                         text_shown(name));
    return file_sync(directory_fd, text_shown(name), reterr);
}
