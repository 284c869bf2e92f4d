/* Directories that are layers of overlay mounts. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "base/text.h"
#include "filesystem/busy_set.h"
#include "filesystem/overlay_layers.h"

static enum error_code add_layer(int layer_fd, const char *mount_point, void *context, struct error *reterr)
{
    struct busy_set *set = context;
    struct stat status;
    if (fstat(layer_fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat an overlay layer");
    if (status.st_dev != busy_set_device(set))
        return OK;
    char what[TEXT_SHOW_SIZE + 64], link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", layer_fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = '\0';
    struct inode_key named;
    bool is_named =
        process_link(AT_FDCWD, path, &named) && named.device == status.st_dev && named.inode == status.st_ino;
    snprintf(what, sizeof(what), "it is a layer of the overlay mount at %s", text_shown(mount_point));
    const struct busy_use use = {.inode = status.st_ino,
                                 .kind = "busy-overlay",
                                 .what = what,
                                 .path = is_named ? path : NULL,
                                 .remedy = "stop the container or unmount the overlay"};
    return busy_set_add(set, &use, reterr);
}

enum error_code busy_add_overlays(struct busy_set *set, struct error *reterr)
{
    struct mount_views views;
    enum error_code code = mount_views_read(&views, reterr);
    if (code)
        return code;
    const struct overlay_visit visit = {.layer = add_layer, .context = set};
    code = overlay_layers_each(&views, &visit, reterr);
    mount_views_done(&views);
    return code;
}
