/* The layer directories of all overlay mounts of all mount namespaces, opened. Reads only. */
#pragma once
#include "filesystem/mount_views.h"

struct overlay_visit {
    /* A layer: an O_PATH descriptor of the visit's own, and where the overlay is mounted. */
    enum error_code (*layer)(int layer_fd, const char *mount_point, void *context, struct error *reterr);
    /* A layer that could be found nowhere, with the overlay itself (-1 when that cannot be opened either).
     * May be NULL. */
    enum error_code (*lost)(int overlay_fd, const char *mount_point, const char *path, void *context,
                            struct error *reterr);
    void *context;
};

must_check enum error_code overlay_layers_each(const struct mount_views *views,
                                               const struct overlay_visit *visit, struct error *reterr);
