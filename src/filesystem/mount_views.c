#include "filesystem/mount_views.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "filesystem/kept_namespaces.h"
#include "filesystem/processes.h"

static const char own_mountinfo[] = "/proc/self/mountinfo";

static bool is_known(const struct mount_views *views, const struct mount_view *view)
{
    for (size_t i = 0; i < views->count; i++)
        if (views->items[i].namespace_inode == view->namespace_inode &&
            views->items[i].root_device == view->root_device &&
            views->items[i].root_inode == view->root_inode)
            return true;
    return false;
}

static bool is_known_namespace(const struct mount_views *views, uint64_t inode)
{
    for (size_t i = 0; i < views->count; i++)
        if (views->items[i].namespace_inode == inode)
            return true;
    return false;
}

static enum error_code append_view(struct mount_views *views, const struct mount_view *view,
                                   struct error *reterr)
{
    if (views->count == views->capacity) {
        size_t capacity = views->capacity ? views->capacity * 2 : 16;
        struct mount_view *items = reallocarray(views->items, capacity, sizeof(*items));
        if (!items)
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the mount namespaces");
        views->items = items;
        views->capacity = capacity;
    }
    views->items[views->count++] = *view;
    return OK;
}

static enum error_code add_view(struct mount_views *views, int process_fd, pid_t pid, struct error *reterr)
{
    struct inode_key namespace_key, root;
    if (!process_link(process_fd, "ns/mnt", &namespace_key) || !process_link(process_fd, "root", &root)) {
        if (process_is_hidden(errno)) {
            views->hidden++;
            views->hidden_first = pid;
        }
        return OK;
    }
    const struct mount_view view = {.namespace_inode = namespace_key.inode,
                                    .root_device = root.device,
                                    .root_inode = root.inode,
                                    .pid = pid};
    return is_known(views, &view) ? OK : append_view(views, &view, reterr);
}

static enum error_code add_process(pid_t pid, int process_fd, void *context, struct error *reterr)
{
    return add_view(context, process_fd, pid, reterr);
}

/* Namespaces that only a mount keeps. One that cannot be entered is left out, as one that ended would be. */
static enum error_code add_kept(struct mount_views *views, struct error *reterr)
{
    struct mount_table table;
    enum error_code code = mount_table_read(own_mountinfo, &table, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < table.count && !code; i++) {
        uint64_t inode = kept_namespace_inode(&table.items[i], "mnt");
        if (inode == 0 || is_known_namespace(views, inode))
            continue;
        struct mount_view view = {.namespace_inode = inode};
        code = kept_namespace_read(&table.items[i], inode, &view.kept, reterr);
        if (code == ERR_NOT_FOUND || code == ERR_DENIED)
            code = OK;
        else if (!code && (code = append_view(views, &view, reterr)))
            kept_namespace_free(view.kept);
    }
    mount_table_done(&table);
    return code;
}

enum error_code mount_views_read(struct mount_views *ret_views, struct error *reterr)
{
    struct mount_views views = {0};
    _cleanup_(close_fdp) int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open /proc/self");
    enum error_code code = add_view(&views, self, 0, reterr);
    if (!code && views.count == 0)
        code = error_set(reterr, ERR_FAILED, 0, "cannot tell the own mount namespace");
    if (!code)
        code = processes_each(add_process, &views, reterr);
    if (!code)
        code = add_kept(&views, reterr);
    if (code)
        mount_views_done(&views);
    else
        *ret_views = views;
    return code;
}

void mount_views_done(struct mount_views *views)
{
    for (size_t i = 0; i < views->count; i++)
        kept_namespace_free(views->items[i].kept);
    free(views->items);
    *views = (struct mount_views){0};
}

enum error_code mount_view_table(const struct mount_view *view, struct mount_table *ret_table,
                                 struct error *reterr)
{
    if (view->kept)
        return mount_table_parse(view->kept->mountinfo, view->kept->mountinfo_length, ret_table, reterr);
    if (!view->pid)
        return mount_table_read(own_mountinfo, ret_table, reterr);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/mountinfo", view->pid);
    struct error error = ERROR_NONE;
    enum error_code code = mount_table_read(path, ret_table, &error);
    if (error.os_errno == EINVAL || error.os_errno == ESRCH) /* it ended meanwhile */
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
    _cleanup_(close_fdp) int opened = -1;
    if (!view->kept)
        opened = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int root_fd = view->kept ? view->kept->root_fd : opened;
    if (root_fd < 0)
        return -1;
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

bool mount_view_is_own(const struct mount_view *view)
{
    return !view->pid && !view->kept;
}

const char *mount_view_describe(const struct mount_view *view, char text[MOUNT_VIEW_TEXT_SIZE])
{
    text[0] = '\0';
    if (view->kept)
        snprintf(text, MOUNT_VIEW_TEXT_SIZE, "in the mount namespace kept at %s",
                 text_shown(view->kept->path));
    if (!view->pid)
        return text;
    char name[PROCESS_NAME_SIZE];
    process_name_of(view->pid, name);
    snprintf(text, MOUNT_VIEW_TEXT_SIZE, "in the mount namespace of %s (pid %d)", name, view->pid);
    return text;
}
