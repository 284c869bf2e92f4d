#include "filesystem/mount_views.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "filesystem/processes.h"

static bool is_known(const struct mount_views *views, const struct mount_view *view)
{
    for (size_t i = 0; i < views->count; i++)
        if (views->items[i].namespace_inode == view->namespace_inode &&
            views->items[i].root_device == view->root_device &&
            views->items[i].root_inode == view->root_inode)
            return true;
    return false;
}

static enum error_code add_view(struct mount_views *views, int process_fd, pid_t pid, struct error *reterr)
{
    struct inode_key namespace_key, root;
    if (!process_link(process_fd, "ns/mnt", &namespace_key) || !process_link(process_fd, "root", &root))
        return OK;
    struct mount_view view = {.namespace_inode = namespace_key.inode,
                              .root_device = root.device,
                              .root_inode = root.inode,
                              .pid = pid};
    if (is_known(views, &view))
        return OK;
    if (views->count == views->capacity) {
        size_t capacity = views->capacity ? views->capacity * 2 : 16;
        struct mount_view *items = reallocarray(views->items, capacity, sizeof(*items));
        if (!items)
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the mount namespaces");
        views->items = items;
        views->capacity = capacity;
    }
    views->items[views->count++] = view;
    return OK;
}

static enum error_code add_process(pid_t pid, int process_fd, void *context, struct error *reterr)
{
    return add_view(context, process_fd, pid, reterr);
}

enum error_code mount_views_read(struct mount_views *ret_views, struct error *reterr)
{
    struct mount_views views = {0};
    _cleanup_(close_fdp) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open /proc/self");
    enum error_code code = add_view(&views, self, 0, reterr);
    if (!code)
        code = processes_each(add_process, &views, reterr);
    if (code)
        mount_views_done(&views);
    else
        *ret_views = views;
    return code;
}

void mount_views_done(struct mount_views *views)
{
    free(views->items);
    *views = (struct mount_views){0};
}

enum error_code mount_view_table(const struct mount_view *view, struct mount_table *ret_table,
                                 struct error *reterr)
{
    char path[64] = "/proc/self/mountinfo";
    if (view->pid)
        snprintf(path, sizeof(path), "/proc/%d/mountinfo", view->pid);
    struct error error;
    enum error_code code = mount_table_read(path, ret_table, &error);
    if (view->pid && (error.os_errno == EINVAL || error.os_errno == ESRCH)) /* it ended */
        return error_set(reterr, ERR_NOT_FOUND, error.os_errno, "process %d is gone", view->pid);
    if (code && reterr)
        *reterr = error;
    return code;
}

int mount_view_open(const struct mount_view *view, const char *path)
{
    char root[64] = "/";
    if (view->pid)
        snprintf(root, sizeof(root), "/proc/%d/root", view->pid);
    _cleanup_(close_fdp) int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return -1;
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd < 0 && errno == ENOSYS)
        errno = ENOENT;
    return fd;
}
