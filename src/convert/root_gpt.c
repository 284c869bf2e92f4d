/* Swap that no file names: systemd swaps to a partition beside the root's by its type in the GPT, where
 * /etc/fstab has no line of swap (systemd-gpt-auto-generator(8)). */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/host_tree.h"
#include "convert/root_parts.h"

#define GENERATOR "systemd/system-generators/systemd-gpt-auto-generator"
#define NO_AUTO ((uint64_t)1 << 63)

enum { HEADER_SIZE = 92, ENTRY_LEAST = 128, ENTRY_MOST = 4096, ENTRIES_MOST = 1024 };

/* 0657fd6d-a4ab-43c4-84e5-0933c84b4f4f, as it lies on the disk. */
static const uint8_t swap_type[16] = {0x6d, 0xfd, 0x57, 0x06, 0xab, 0xa4, 0xc4, 0x43,
                                      0x84, 0xe5, 0x09, 0x33, 0xc8, 0x4b, 0x4f, 0x4f};

static uint32_t get_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return le64toh(value);
}

/* With sectors of this size; a disk without a GPT has none. */
static enum error_code has_swap(int fd, uint64_t sector_bytes, bool *ret_has, struct error *reterr)
{
    uint8_t header[HEADER_SIZE], entry[ENTRY_LEAST];
    enum error_code code = file_pread_all(fd, header, sizeof(header), sector_bytes, reterr);
    if (code || memcmp(header, "EFI PART", 8) != 0)
        return code;
    const uint64_t at = get_u64(header + 72), most = UINT64_MAX / 2 / sector_bytes;
    const uint32_t count = get_u32(header + 80), size = get_u32(header + 84);
    if (at > most || count > ENTRIES_MOST || size < ENTRY_LEAST || size > ENTRY_MOST)
        return error_set(reterr, ERR_CORRUPT, 0, "its partition table makes no sense");
    for (uint32_t i = 0; !code && !*ret_has && i < count; i++) {
        code = file_pread_all(fd, entry, sizeof(entry), at * sector_bytes + (uint64_t)i * size, reterr);
        *ret_has = !code && !memcmp(entry, swap_type, sizeof(swap_type)) && !(get_u64(entry + 48) & NO_AUTO);
    }
    return code;
}

/* The disk that the root is a partition of; empty where it is none. */
static enum error_code find_disk(int at_fd, char *ret_path, size_t size, struct error *reterr)
{
    struct stat status;
    char link[64], partition[80], target[PATH_MAX];
    ret_path[0] = '\0';
    if (fstat(at_fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the root");
    snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(status.st_dev), minor(status.st_dev));
    snprintf(partition, sizeof(partition), "%s/partition", link);
    if (access(partition, F_OK) < 0)
        return OK;
    const ssize_t length = readlink(link, target, sizeof(target) - 1);
    if (length < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read %s", link);
    target[length] = '\0';
    char *name = strrchr(target, '/');
    if (name)
        *name = '\0';
    name = name ? strrchr(target, '/') : NULL;
    if (name)
        snprintf(ret_path, size, "/dev/%s", name + 1);
    return OK;
}

enum error_code root_check_gpt(struct root_checking *checking, struct error *reterr)
{
    static const uint64_t sectors_bytes[] = {512, 4096};
    char path[NAME_MAX + 8];
    bool has = false;
    /* Masked with a symlink to /dev/null, which an attached disk has not. */
    _cleanup_(close_fdp) int mask_fd = host_tree_open(checking->at_fd, "etc/" GENERATOR, O_PATH | O_NOFOLLOW);
    if (mask_fd >= 0 || (!host_tree_has(checking->at_fd, "usr/lib/" GENERATOR) &&
                         !host_tree_has(checking->at_fd, "lib/" GENERATOR)))
        return OK;
    enum error_code code = find_disk(checking->at_fd, path, sizeof(path), reterr);
    if (code || !path[0])
        return code;
    _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", text_shown(path));
    for (size_t i = 0; !code && i < ARRAY_SIZE(sectors_bytes); i++)
        code = has_swap(fd, sectors_bytes[i], &has, reterr);
    if (code)
        return error_prefix(reterr, "cannot look at the partitions of %s", text_shown(path));
    if (has)
        root_blocks(checking, "swap", text_shown(path),
                    "on the host: ln -s /dev/null /etc/" GENERATOR
                    "; or name the partition in /etc/fstab, with noauto",
                    "/etc/fstab names no swap, so systemd swaps to a partition of this disk by its type, and "
                    "what is there is written as it is");
    return OK;
}
