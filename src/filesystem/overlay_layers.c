#include "filesystem/overlay_layers.h"

#include <errno.h>
#include <limits.h>

#include "base/cleanup.h"
#include "filesystem/overlay.h"

/* Docker, podman and containerd give layers relative to their storage directory when the options grow long.
 */
#define BASES_MAXIMUM 16

/* One overlay mount in one view. */
struct overlay {
    const struct overlay_visit *visit;
    const struct mount_view *own_view, *view;
    const struct mount_entry *entry;
    char *bases[BASES_MAXIMUM]; /* owned: where relative layers may lie */
    size_t base_count;
    bool last_view; /* there is no other view that could know a layer */
    size_t lost_count;
};

/* Overlay superblocks that are done with. */
struct seen {
    dev_t *devices; /* owned */
    size_t count;
};

static bool is_seen(const struct seen *seen, dev_t device)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->devices[i] == device)
            return true;
    return false;
}

static enum error_code remember(struct seen *seen, dev_t device, struct error *reterr)
{
    dev_t *devices = reallocarray(seen->devices, seen->count + 1, sizeof(*devices));
    if (!devices)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the overlay mounts");
    seen->devices = devices;
    devices[seen->count++] = device;
    return OK;
}

/* The directories above an absolute path, two levels: DATA/overlay2/ID/merged has its layers in
 * DATA/overlay2. */
static void add_bases(struct overlay *overlay, const char *path)
{
    if (*path != '/')
        return;
    size_t length = strlen(path);
    for (int level = 0; level < 2 && overlay->base_count < BASES_MAXIMUM; level++) {
        while (length > 0 && path[length - 1] != '/')
            length--;
        while (length > 0 && path[length - 1] == '/')
            length--;
        char *base = strndup(path, length);
        if (base)
            overlay->bases[overlay->base_count++] = base;
    }
}

static enum error_code add_layer_bases(const char *path, void *context, struct error *reterr)
{
    (void)reterr;
    add_bases(context, path);
    return OK;
}

static enum error_code visit_in(struct overlay *overlay, const struct mount_view *view, const char *path,
                                bool *ret_found, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = mount_view_open(view, path);
    if (fd < 0)
        return errno == EMFILE || errno == ENOMEM
                   ? error_set(reterr, ERR_FAILED, errno, "cannot open a layer")
                   : OK;
    *ret_found = true;
    return overlay->visit->layer(fd, overlay->entry->mount_point, overlay->visit->context, reterr);
}

/* The mount options name a path as whoever mounted it saw it: try the namespace it is seen in, and our own.
 */
static enum error_code visit_path(struct overlay *overlay, const char *path, bool *ret_found,
                                  struct error *reterr)
{
    enum error_code code = visit_in(overlay, overlay->view, path, ret_found, reterr);
    if (!code && overlay->view != overlay->own_view)
        code = visit_in(overlay, overlay->own_view, path, ret_found, reterr);
    return code;
}

static enum error_code visit_layer(const char *path, void *context, struct error *reterr)
{
    struct overlay *overlay = context;
    const struct overlay_visit *visit = overlay->visit;
    bool found = false;
    enum error_code code = OK;
    if (*path == '/')
        code = visit_path(overlay, path, &found, reterr);
    for (size_t i = 0; *path != '/' && i < overlay->base_count && !code; i++) {
        _cleanup_(freep) char *whole = NULL;
        if (asprintf(&whole, "%s/%s", overlay->bases[i], path) < 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the overlay mounts");
        code = visit_path(overlay, whole, &found, reterr);
    }
    if (code || found)
        return code;
    overlay->lost_count++;
    if (!overlay->last_view || !visit->lost)
        return OK;
    _cleanup_(close_fdp) int fd = mount_view_open(overlay->view, overlay->entry->mount_point);
    return visit->lost(fd, overlay->entry->mount_point, path, visit->context, reterr);
}

static enum error_code visit_overlay(struct overlay *overlay, struct error *reterr)
{
    add_bases(overlay, overlay->entry->mount_point);
    enum error_code code =
        overlay_layers_parse(overlay->entry->super_options, add_layer_bases, overlay, reterr);
    if (!code)
        code = overlay_layers_parse(overlay->entry->super_options, visit_layer, overlay, reterr);
    for (size_t i = 0; i < overlay->base_count; i++)
        free(overlay->bases[i]);
    return code;
}

/* An overlay whose layers are all found is left out in later views. */
static enum error_code visit_view(const struct mount_views *views, size_t index, bool last_view,
                                  const struct overlay_visit *visit, struct seen *seen, struct error *reterr)
{
    struct mount_table table;
    enum error_code code = mount_view_table(&views->items[index], &table, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    for (size_t i = 0; i < table.count && !code; i++) {
        const struct mount_entry *entry = &table.items[i];
        if (strcmp(entry->type, "overlay") || is_seen(seen, entry->device))
            continue;
        struct overlay overlay = {.visit = visit,
                                  .own_view = &views->items[0],
                                  .view = &views->items[index],
                                  .entry = entry,
                                  .last_view = last_view};
        code = visit_overlay(&overlay, reterr);
        if (!code && (overlay.lost_count == 0 || last_view))
            code = remember(seen, entry->device, reterr);
    }
    mount_table_done(&table);
    return code;
}

/* Two rounds: only what no view could find in the first is told as lost in the second. */
enum error_code overlay_layers_each(const struct mount_views *views, const struct overlay_visit *visit,
                                    struct error *reterr)
{
    struct seen seen = {0};
    enum error_code code = OK;
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < views->count && !code; i++)
            code = visit_view(views, i, round == 1, visit, &seen, reterr);
    free(seen.devices);
    return code;
}
