/* Mount tables, exports, swaps, sockets and overlay options: the first byte chooses the parser. */
#include <fcntl.h>

#include "base/buffer.h"
#include "filesystem/exports.h"
#include "filesystem/mountinfo.h"
#include "filesystem/overlay.h"
#include "filesystem/sock_diag.h"
#include "filesystem/swaps.h"
#include "target.h"

static enum error_code take_path(const char *path, void *context, struct error *reterr)
{
    (void)context, (void)reterr;
    must_hold(*path);
    return OK;
}

static enum error_code take_absolute_path(const char *path, void *context, struct error *reterr)
{
    must_hold(*path == '/');
    return take_path(path, context, reterr);
}

static enum error_code take_socket(uint64_t socket_inode, const char *path, void *context,
                                   struct error *reterr)
{
    (void)socket_inode;
    return take_absolute_path(path, context, reterr);
}

static void check_table(const char *text, size_t size)
{
    struct mount_table table = {0};
    struct error error = ERROR_NONE;
    enum error_code code = mount_table_parse(text, size, &table, &error);
    must_hold(code == OK || (code == ERR_CORRUPT && error.message[0]));
    for (size_t i = 0; i < table.count; i++) {
        const struct mount_entry *entry = &table.items[i];
        must_hold(mount_table_find(&table, entry->id)->id == entry->id);
        const char *below = path_below(entry->mount_point, entry->root);
        must_hold(!below || strlen(below) <= strlen(entry->mount_point));
        size_t length;
        const char *value = mount_option_find(entry->super_options, "dax", &length);
        must_hold(!value || length <= strlen(value));
    }
    mount_table_done(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error = ERROR_NONE;
    struct buffer text = {0};
    if (size == 0 || buffer_append(&text, data + 1, size - 1, &error))
        return 0;
    enum error_code code = OK;
    switch (data[0] % 5) {
    case 0:
        check_table(text.data, text.length);
        break;
    case 1:
        code = exports_parse(text.data, take_absolute_path, NULL, &error);
        break;
    case 2:
        code = swaps_parse(text.data, take_path, NULL, &error);
        break;
    case 3:
        code = unix_sockets_parse(text.data, take_socket, NULL, &error);
        break;
    default:
        code = overlay_layers_parse(text.data, take_path, NULL, &error);
        break;
    }
    must_hold(code == OK);
    buffer_done(&text);
    return 0;
}
