#include "filesystem/device.h"

#include <endian.h>
#include <errno.h>
#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"

#define SUPERBLOCK_OFFSET_BYTES 1024

static bool is_node_of(const char *path, dev_t device)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISBLK(status.st_mode) && status.st_rdev == device;
}

/* The kernel's own name of the device: DEVNAME in sysfs. False when sysfs does not tell. */
static bool read_kernel_name(dev_t device, char *name, size_t name_size)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", major(device), minor(device));
    _cleanup_(buffer_done) struct buffer text = {0};
    if (file_read(AT_FDCWD, path, 4096, &text, NULL))
        return false;
    static const char key[] = "\nDEVNAME=";
    const char *value = strstr(text.data, key);
    if (!value)
        return false;
    value += strlen(key);
    int length = snprintf(name, name_size, "%.*s", (int)strcspn(value, "\n"), value);
    return length > 0 && (size_t)length < name_size;
}

enum error_code device_path(const struct filesystem *filesystem, struct buffer *path, struct error *reterr)
{
    dev_t device = filesystem->device;
    char name[128], candidate[160];
    if (read_kernel_name(device, name, sizeof(name))) {
        snprintf(candidate, sizeof(candidate), "/dev/%s", name);
        if (is_node_of(candidate, device))
            return buffer_append(path, candidate, strlen(candidate), reterr);
    }
    snprintf(candidate, sizeof(candidate), "/dev/block/%u:%u", major(device), minor(device));
    if (is_node_of(candidate, device))
        return buffer_append(path, candidate, strlen(candidate), reterr);
    if (filesystem->source[0] == '/' && is_node_of(filesystem->source, device))
        return buffer_append(path, filesystem->source, strlen(filesystem->source), reterr);
    return error_set(reterr, ERR_UNSUPPORTED, 0, "no node in /dev for the block device %u:%u under %s",
                     major(device), minor(device), text_shown(filesystem->mount_point));
}

enum error_code device_read_superblock(const struct filesystem *filesystem,
                                       struct ext2_super_block *ret_superblock, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer path = {0};
    enum error_code code = device_path(filesystem, &path, reterr);
    if (code)
        return code;
    _cleanup_(close_fdp) int fd = open(path.data, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, errno == EACCES || errno == EPERM ? ERR_DENIED : ERR_FAILED, errno,
                         "cannot open %s", text_shown(path.data));
    struct ext2_super_block superblock;
    code = file_pread_all(fd, &superblock, sizeof(superblock), SUPERBLOCK_OFFSET_BYTES, reterr);
    if (code) {
        error_prefix(reterr, "superblock of %s", text_shown(path.data));
        return code;
    }
    if (le16toh(superblock.s_magic) != EXT2_SUPER_MAGIC)
        return error_set(reterr, ERR_CORRUPT, 0, "%s has no ext4 superblock", text_shown(path.data));
    *ret_superblock = superblock;
    return OK;
}
