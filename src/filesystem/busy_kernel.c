/* Files the kernel itself uses: behind loop devices and as swap. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/text.h"
#include "filesystem/busy_set.h"
#include "filesystem/swaps.h"

static const char loop_remedy[] = "unmount what is on the loop device and detach it (losetup -d)";

/* The kernel's 32-bit form: minor bits 0-7 and 20-31, major bits 8-19. */
static dev_t decode_device(uint64_t coded)
{
    return makedev((unsigned)(coded >> 8 & 0xfff), (unsigned)((coded & 0xff) | (coded >> 12 & 0xfff00)));
}

/* Ask the device itself: its answer is right also when the file was renamed or lies in another namespace. */
static bool ask_loop(const char *node, struct inode_key *ret_key)
{
    _cleanup_(close_fdp) int fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct loop_info64 info;
    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
        return false;
    *ret_key = (struct inode_key){.device = decode_device(info.lo_device), .inode = info.lo_inode};
    return true;
}

/* The path in sysfs, for where /dev has no node. */
static bool read_backing_file(int block_fd, const char *name, struct buffer *backing)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/loop/backing_file", name);
    if (file_read(block_fd, path, 8192, backing, NULL) || backing->length < 2)
        return false;
    backing->data[backing->length - 1] = '\0'; /* the newline */
    return true;
}

static enum error_code add_loop(struct busy_set *set, int block_fd, const char *name, struct error *reterr)
{
    char path[128], node[128];
    snprintf(path, sizeof(path), "%s/loop", name);
    if (faccessat(block_fd, path, F_OK, 0) < 0) /* not attached */
        return OK;
    snprintf(node, sizeof(node), "/dev/%s", name);
    _cleanup_(buffer_done) struct buffer backing = {0};
    struct inode_key key, named;
    bool has_name =
        read_backing_file(block_fd, name, &backing) && process_link(AT_FDCWD, backing.data, &named);
    if (!ask_loop(node, &key)) {
        if (!has_name)
            return OK;
        key = named;
    }
    if (key.device != busy_set_device(set))
        return OK;
    char what[192];
    snprintf(what, sizeof(what), "loop device %s is backed by it", node);
    bool is_named = has_name && named.device == key.device && named.inode == key.inode;
    const struct busy_use use = {.inode = key.inode,
                                 .kind = "busy-loop",
                                 .what = what,
                                 .path = is_named ? backing.data : NULL,
                                 .remedy = loop_remedy};
    return busy_set_add(set, &use, reterr);
}

enum error_code busy_add_loops(struct busy_set *set, struct error *reterr)
{
    DIR *stream = opendir("/sys/block");
    if (!stream)
        return errno == ENOENT ? OK : error_set(reterr, ERR_FAILED, errno, "cannot list /sys/block");
    enum error_code code = OK;
    const struct dirent *entry;
    while (!code && (entry = readdir(stream)))
        if (!strncmp(entry->d_name, "loop", 4) && strlen(entry->d_name) < 32)
            code = add_loop(set, dirfd(stream), entry->d_name, reterr);
    closedir(stream);
    return code;
}

static enum error_code add_swap(const char *path, void *context, struct error *reterr)
{
    struct busy_set *set = context;
    struct inode_key key;
    if (!process_link(AT_FDCWD, path, &key) || key.device != busy_set_device(set))
        return OK;
    const struct busy_use use = {.inode = key.inode,
                                 .kind = "busy-swap",
                                 .what = "it is in use as swap",
                                 .path = path,
                                 .remedy = "turn it off (swapoff), and keep swap out of a vault: the kernel "
                                           "writes it past the encryption"};
    return busy_set_add(set, &use, reterr);
}

enum error_code busy_add_swaps(struct busy_set *set, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = file_read(AT_FDCWD, "/proc/swaps", 1 << 20, &text, reterr);
    if (code == ERR_NOT_FOUND) /* a kernel without swap */
        return OK;
    return code ? code : swaps_parse(text.data, add_swap, set, reterr);
}
