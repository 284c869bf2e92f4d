#include "destroy/links.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

enum links_answer links_ask(struct links *links, int fd, const struct stat *status)
{
    long generation = 0; /* the kernel writes an int, its number says long */
    if (status->st_nlink < 2 || ioctl(fd, FS_IOC_GETVERSION, &generation) < 0)
        return LINKS_NEW;
    size_t slot = status->st_ino % LINKS_REMEMBERED;
    uint64_t key = (uint64_t)(uint32_t)generation + 1; /* never the 0 of an empty slot */
    if (links->items[slot].inode == status->st_ino && links->items[slot].generation == key)
        return LINKS_KNOWN;
    links->items[slot].inode = status->st_ino;
    links->items[slot].generation = key;
    return LINKS_NEW;
}
