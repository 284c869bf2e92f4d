/* Which filesystem a file lies on, and where in it. */
#include <errno.h>
#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"
#include "filesystem/device.h"
#include "filesystem/filesystem.h"
#include "filesystem/mountinfo.h"

/* Not in the uapi headers; the argument is a head of two 32-bit words and the bytes. */
#ifndef EXT4_IOC_GETFSUUID
#define EXT4_IOC_GETFSUUID _IOR('f', 44, uint64_t)
#endif

static const char own_mountinfo[] = "/proc/self/mountinfo";

/* The mount a descriptor was opened through; -1 when the kernel does not tell. */
static int mount_id_of(int fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    _cleanup_(buffer_done) struct buffer text = {0};
    if (file_read(AT_FDCWD, path, 1 << 20, &text, NULL))
        return -1;
    const char *value = strstr(text.data, "mnt_id:");
    return value ? (int)strtol(value + strlen("mnt_id:"), NULL, 10) : -1;
}

static bool is_ext4(const struct mount_entry *entry)
{
    return !strcmp(entry->type, "ext4");
}

/* Open the root of the filesystem through this mount. -1 where something else is mounted over it. */
static int open_root(const struct mount_entry *entry, bool *ret_read_only)
{
    _cleanup_(close_fdp) int fd = open(entry->mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    struct statvfs space;
    if (fd < 0 || fstat(fd, &status) < 0 || fstatvfs(fd, &space) < 0)
        return -1;
    if (status.st_dev != entry->device || (is_ext4(entry) && status.st_ino != EXT2_ROOT_INO))
        return -1;
    *ret_read_only = space.f_flag & ST_RDONLY;
    return TAKE_FD(fd);
}

/* Since Linux 6.0 the filesystem tells itself; before, its superblock does. */
static void read_uuid(struct filesystem *filesystem)
{
    struct {
        uint32_t length, flags;
        uint8_t bytes[16];
    } answer = {.length = sizeof(answer.bytes)};
    struct ext2_super_block superblock;
    if (ioctl(filesystem->root_fd, EXT4_IOC_GETFSUUID, &answer) == 0)
        memcpy(filesystem->uuid, answer.bytes, sizeof(filesystem->uuid));
    else if (!device_read_superblock(filesystem, &superblock, NULL))
        memcpy(filesystem->uuid, superblock.s_uuid, sizeof(filesystem->uuid));
}

static enum error_code filesystem_new(const struct mount_entry *entry, int root_fd, bool read_only,
                                      struct filesystem **ret_filesystem, struct error *reterr)
{
    _cleanup_(close_fdp) int owned_fd = root_fd;
    _cleanup_(filesystem_freep) struct filesystem *filesystem = calloc(1, sizeof(*filesystem));
    if (filesystem) {
        filesystem->root_fd = TAKE_FD(owned_fd);
        filesystem->mount_point = strdup(entry->mount_point);
        filesystem->source = strdup(entry->source);
        filesystem->type = strdup(entry->type);
        filesystem->device = entry->device;
        filesystem->read_only = read_only;
    }
    if (!filesystem || !filesystem->mount_point || !filesystem->source || !filesystem->type)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for a filesystem");
    if (is_ext4(entry))
        read_uuid(filesystem);
    *ret_filesystem = TAKE(filesystem);
    return OK;
}

/* How well a mount shows the filesystem: the one the caller came through, then writable ones. 0: not at all.
 */
static int rank_root(const struct mount_entry *entry, dev_t device, int mount_id, int *ret_fd,
                     bool *ret_read_only)
{
    if (entry->device != device || strcmp(entry->root, "/"))
        return 0;
    *ret_fd = open_root(entry, ret_read_only);
    if (*ret_fd < 0)
        return 0;
    return entry->id == mount_id ? 3 : *ret_read_only ? 1 : 2;
}

/* Find the best mount of the root of device and open it. *ret_entry is NULL when there is none. */
static void find_root(const struct mount_table *table, dev_t device, int mount_id,
                      const struct mount_entry **ret_entry, int *ret_fd, bool *ret_read_only)
{
    int best = 0;
    *ret_entry = NULL;
    *ret_fd = -1;
    for (size_t i = 0; i < table->count; i++) {
        _cleanup_(close_fdp) int fd = -1;
        bool read_only = false;
        int rank = rank_root(&table->items[i], device, mount_id, &fd, &read_only);
        if (rank <= best)
            continue;
        best = rank;
        close_fdp(ret_fd);
        *ret_fd = TAKE_FD(fd);
        *ret_entry = &table->items[i];
        *ret_read_only = read_only;
    }
}

enum error_code filesystem_of(int fd, struct filesystem **ret_filesystem, struct error *reterr)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat a file");
    struct mount_table table;
    enum error_code code = mount_table_read(own_mountinfo, &table, reterr);
    if (code)
        return code;
    int mount_id = mount_id_of(fd), root_fd;
    bool read_only = false;
    const struct mount_entry *entry, *through = mount_table_find(&table, mount_id);
    find_root(&table, status.st_dev, mount_id, &entry, &root_fd, &read_only);
    /* What is no ext4 is only wanted for the refusal, so any mount of it will do. */
    if (!entry && through && !is_ext4(through))
        entry = through;
    if (entry)
        code = filesystem_new(entry, root_fd, read_only, ret_filesystem, reterr);
    else
        code = error_set(reterr, ERR_UNSUPPORTED, 0,
                         "the root of the filesystem on device %u:%u is mounted nowhere that can be reached",
                         major(status.st_dev), minor(status.st_dev));
    if (code == ERR_UNSUPPORTED && !entry)
        error_remedy(reterr, "mount the whole filesystem somewhere, not only a directory of it");
    mount_table_done(&table);
    return code;
}

bool filesystem_is_unchangeable(const struct filesystem *filesystem)
{
    struct mount_table table;
    bool unchangeable = false;
    size_t length;
    if (mount_table_read(own_mountinfo, &table, NULL))
        return false;
    for (size_t i = 0; i < table.count && !unchangeable; i++)
        unchangeable = table.items[i].device == filesystem->device &&
                       mount_option_find(table.items[i].super_options, "ro", &length);
    mount_table_done(&table);
    return unchangeable;
}

static bool is_listed(const struct filesystem_list *list, dev_t device)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->device == device)
            return true;
    return false;
}

static bool has_root_below(const struct mount_entry *entry, const char *directory)
{
    return is_ext4(entry) && !strcmp(entry->root, "/") && path_below(entry->mount_point, directory);
}

/* The best mount below directory of the device of items[first]; nothing when all of them are mounted over. */
static enum error_code list_device(const struct mount_table *table, size_t first, const char *directory,
                                   struct filesystem_list *list, struct error *reterr)
{
    const struct mount_entry *best = NULL;
    _cleanup_(close_fdp) int best_fd = -1;
    bool best_read_only = false;
    for (size_t i = first; i < table->count; i++) {
        _cleanup_(close_fdp) int fd = -1;
        bool read_only = false;
        if (!has_root_below(&table->items[i], directory) ||
            !rank_root(&table->items[i], table->items[first].device, -1, &fd, &read_only))
            continue;
        if (best && (read_only || !best_read_only))
            continue;
        close_fdp(&best_fd);
        best_fd = TAKE_FD(fd);
        best = &table->items[i];
        best_read_only = read_only;
    }
    if (!best)
        return OK;
    struct filesystem **items = reallocarray(list->items, list->count + 1, sizeof(struct filesystem *));
    if (!items)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the list of filesystems");
    list->items = items;
    enum error_code code =
        filesystem_new(best, TAKE_FD(best_fd), best_read_only, &items[list->count], reterr);
    list->count += code == OK;
    return code;
}

enum error_code filesystem_list_below(const char *directory, struct filesystem_list *ret_list,
                                      struct error *reterr)
{
    struct mount_table table;
    enum error_code code = mount_table_read(own_mountinfo, &table, reterr);
    if (code)
        return code;
    struct filesystem_list list = {0};
    for (size_t i = 0; i < table.count && !code; i++)
        if (has_root_below(&table.items[i], directory) && !is_listed(&list, table.items[i].device))
            code = list_device(&table, i, directory, &list, reterr);
    mount_table_done(&table);
    if (code)
        filesystem_list_done(&list);
    else
        *ret_list = list;
    return code;
}

void filesystem_list_done(struct filesystem_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        filesystem_free(list->items[i]);
    free(list->items);
    *list = (struct filesystem_list){0};
}

void filesystem_free(struct filesystem *filesystem)
{
    if (!filesystem)
        return;
    free(filesystem->mount_point);
    free(filesystem->source);
    free(filesystem->type);
    close_fdp(&filesystem->root_fd);
    free(filesystem);
}
