#include "filesystem/device.h"

#include <endian.h>
#include <errno.h>
#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"

#define SUPERBLOCK_OFFSET_BYTES 1024

/* The node of the kernel's own name of the device: DEVNAME in sysfs. Empty when sysfs does not tell. */
static void read_kernel_name(dev_t device, char path[DEVICE_PATH_SIZE])
{
    char uevent[64];
    snprintf(uevent, sizeof(uevent), "/sys/dev/block/%u:%u/uevent", major(device), minor(device));
    _cleanup_(buffer_done) struct buffer text = {0};
    static const char key[] = "\nDEVNAME=";
    if (file_read(AT_FDCWD, uevent, 4096, &text, NULL))
        return;
    const char *value = text.data ? strstr(text.data, key) : NULL;
    if (!value)
        return;
    value += strlen(key);
    snprintf(path, DEVICE_PATH_SIZE, "/dev/%.*s", (int)strcspn(value, "\n"), value);
}

enum error_code device_path(const struct filesystem *filesystem, char ret_path[DEVICE_PATH_SIZE],
                            struct error *reterr)
{
    dev_t device = filesystem->device;
    char names[3][DEVICE_PATH_SIZE] = {"", "", ""};
    read_kernel_name(device, names[0]);
    snprintf(names[1], DEVICE_PATH_SIZE, "/dev/block/%u:%u", major(device), minor(device));
    if (strlen(filesystem->source) < DEVICE_PATH_SIZE)
        memcpy(names[2], filesystem->source, strlen(filesystem->source));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct stat status;
        if (names[i][0] != '/' || stat(names[i], &status) < 0 || !S_ISBLK(status.st_mode) ||
            status.st_rdev != device)
            continue;
        memcpy(ret_path, names[i], DEVICE_PATH_SIZE);
        return OK;
    }
    return error_set(reterr, ERR_UNSUPPORTED, 0, "no node in /dev for the block device %u:%u under %s",
                     major(device), minor(device), text_shown(filesystem->mount_point));
}

enum error_code device_read_superblock(const struct filesystem *filesystem,
                                       struct ext2_super_block *ret_superblock, struct error *reterr)
{
    char path[DEVICE_PATH_SIZE];
    enum error_code code = device_path(filesystem, path, reterr);
    if (code)
        return code;
    _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        code = errno == EACCES || errno == EPERM ? ERR_DENIED : ERR_FAILED;
        error_set(reterr, code, errno, "cannot open %s", text_shown(path));
        if (code == ERR_DENIED)
            error_remedy(reterr, "run husk as root, outside containers");
        return code;
    }
    struct ext2_super_block superblock;
    code = file_pread_all(fd, &superblock, sizeof(superblock), SUPERBLOCK_OFFSET_BYTES, reterr);
    if (code) {
        error_prefix(reterr, "superblock of %s", text_shown(path));
        return code;
    }
    if (le16toh(superblock.s_magic) != EXT2_SUPER_MAGIC)
        return error_set(reterr, ERR_CORRUPT, 0, "%s has no ext4 superblock", text_shown(path));
    *ret_superblock = superblock;
    return OK;
}
