#include "destroy/free_map.h"

#include <errno.h>
#include <linux/fsmap.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"

enum { RECORDS_AT_ONCE = 512 };
#define UNIT_MAXIMUM_BYTES (UINT64_C(1) << 20)

static struct fsmap_head *new_request(void)
{
    struct fsmap_head *head = calloc(1, fsmap_sizeof(RECORDS_AT_ONCE));
    if (!head)
        return NULL;
    head->fmh_count = RECORDS_AT_ONCE;
    head->fmh_keys[1] = (struct fsmap){.fmr_device = UINT32_MAX,
                                       .fmr_flags = UINT32_MAX,
                                       .fmr_physical = UINT64_MAX,
                                       .fmr_owner = UINT64_MAX,
                                       .fmr_offset = UINT64_MAX};
    return head;
}

static enum error_code each_free(int fd,
                                 enum error_code (*each)(const struct free_extent *extent, void *context,
                                                         struct error *reterr),
                                 void *context, struct error *reterr)
{
    _cleanup_(freep) struct fsmap_head *head = new_request();
    if (!head)
        return error_set(reterr, ERR_NO_MEMORY, ENOMEM, "cannot read the map of free space");
    for (;;) {
        if (ioctl(fd, FS_IOC_GETFSMAP, head) < 0)
            return error_set(reterr, errno == ENOTTY || errno == EOPNOTSUPP ? ERR_UNSUPPORTED : ERR_FAILED,
                             errno, "cannot read the map of free space");
        if (head->fmh_entries == 0)
            return OK;
        for (unsigned i = 0; i < head->fmh_entries; i++) {
            const struct fsmap *record = &head->fmh_recs[i];
            const struct free_extent extent = {record->fmr_physical, record->fmr_length};
            bool is_free = record->fmr_flags & FMR_OF_SPECIAL_OWNER && record->fmr_owner == FMR_OWN_FREE;
            enum error_code code = is_free ? each(&extent, context, reterr) : OK;
            if (code)
                return code;
        }
        if (head->fmh_recs[head->fmh_entries - 1].fmr_flags & FMR_OF_LAST)
            return OK;
        fsmap_advance(head);
    }
}

static void append(struct free_map *map, uint64_t start, uint64_t length)
{
    if (map->count == FREE_MAP_MAXIMUM) {
        map->unlisted_bytes += length;
        return;
    }
    map->items[map->count++] = (struct free_extent){start, length};
    map->bytes += length;
}

static enum error_code add_extent(const struct free_extent *extent, void *context, struct error *reterr)
{
    (void)reterr;
    append(context, extent->start_bytes, extent->length_bytes);
    return OK;
}

static enum error_code new_items(struct free_map *map, struct error *reterr)
{
    map->items = malloc(FREE_MAP_MAXIMUM * sizeof(*map->items)); /* pages that are not used cost nothing */
    return map->items ? OK : error_set(reterr, ERR_NO_MEMORY, ENOMEM, "no memory for the map of free space");
}

enum error_code free_map_read(int fd, struct free_map *ret_map, struct error *reterr)
{
    struct free_map map = {0};
    enum error_code code = new_items(&map, reterr);
    if (!code)
        code = each_free(fd, add_extent, &map, reterr);
    if (code)
        free_map_done(&map);
    else
        *ret_map = map;
    return code;
}

uint64_t free_map_unit_bytes(const struct free_map *map, uint64_t least_bytes)
{
    uint64_t unit = map->count ? UNIT_MAXIMUM_BYTES : least_bytes;
    for (size_t i = 0; i < map->count; i++)
        while ((map->items[i].start_bytes | map->items[i].length_bytes) & (unit - 1))
            unit /= 2;
    return unit;
}

/* Two sorted lists, one of which comes as a stream: next is the first old item the stream has not passed. */
struct update {
    const struct free_map *old;
    size_t next;
    struct free_map kept;
};

static enum error_code keep_common(const struct free_extent *extent, void *context, struct error *reterr)
{
    struct update *update = context;
    uint64_t end = extent->start_bytes + extent->length_bytes;
    (void)reterr;
    for (; update->next < update->old->count; update->next++) {
        const struct free_extent *item = &update->old->items[update->next];
        uint64_t item_end = item->start_bytes + item->length_bytes;
        uint64_t common_start =
            item->start_bytes > extent->start_bytes ? item->start_bytes : extent->start_bytes;
        uint64_t common_end = item_end < end ? item_end : end;
        if (common_start < common_end)
            append(&update->kept, common_start, common_end - common_start);
        if (item_end > end)
            return OK; /* the rest of it is for the next extent */
    }
    return OK;
}

enum error_code free_map_update(int fd, struct free_map *map, struct error *reterr)
{
    struct update update = {.old = map, .kept = {.unlisted_bytes = map->unlisted_bytes}};
    enum error_code code = new_items(&update.kept, reterr);
    if (!code)
        code = each_free(fd, keep_common, &update, reterr);
    if (code) {
        free_map_done(&update.kept);
        return code;
    }
    free_map_done(map);
    *map = update.kept;
    return OK;
}

void free_map_done(struct free_map *map)
{
    free(map->items);
    *map = (struct free_map){0};
}
