#include "filesystem/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"

pid_t process_number(const char *name)
{
    long number = 0;
    for (; *name >= '0' && *name <= '9'; name++) {
        number = number * 10 + (*name - '0');
        if (number > INT32_MAX)
            return 0;
    }
    return *name ? 0 : (pid_t)number;
}

enum error_code processes_each(enum error_code (*each)(pid_t pid, int process_fd, void *context,
                                                       struct error *reterr),
                               void *context, struct error *reterr)
{
    DIR *stream = opendir("/proc");
    if (!stream)
        return error_set(reterr, ERR_FAILED, errno, "cannot list /proc");
    enum error_code code = OK;
    const struct dirent *entry;
    while (!code && (errno = 0, entry = readdir(stream))) {
        pid_t pid = process_number(entry->d_name);
        if (pid == 0 || pid == getpid())
            continue;
        _cleanup_(close_fdp) int fd = openat(dirfd(stream), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
            code = each(pid, fd, context, reterr);
        else if (errno != ENOENT && errno != ESRCH)
            code = error_set(reterr, ERR_FAILED, errno, "cannot open /proc/%d", pid);
    }
    if (!code && errno)
        code = error_set(reterr, ERR_FAILED, errno, "cannot list /proc");
    closedir(stream);
    return code;
}

void process_name(int process_fd, char name[PROCESS_NAME_SIZE])
{
    _cleanup_(buffer_done) struct buffer text = {0};
    if (file_read(process_fd, "comm", 4096, &text, NULL) || text.length == 0) {
        snprintf(name, PROCESS_NAME_SIZE, "?");
        return;
    }
    text.data[text.length - 1] = '\0'; /* the newline behind it */
    text_show(name, PROCESS_NAME_SIZE, text.data);
}

void process_name_of(pid_t pid, char name[PROCESS_NAME_SIZE])
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d", pid);
    _cleanup_(close_fdp) int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    process_name(fd, name); /* "?" for -1 as well */
}

bool process_is_hidden(int os_errno)
{
    return os_errno == EACCES || os_errno == EPERM;
}

bool process_link(int directory_fd, const char *link, struct inode_key *ret_key)
{
    struct statx status;
    if (statx(directory_fd, link, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO | STATX_TYPE, &status) < 0)
        return false;
    *ret_key = (struct inode_key){.device = makedev(status.stx_dev_major, status.stx_dev_minor),
                                  .inode = status.stx_ino,
                                  .mode = status.stx_mode};
    return true;
}
