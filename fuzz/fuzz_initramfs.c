/* The archives at the head of an initramfs. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "convert/initramfs.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char mark[] = INITRAMFS_MARK;
    struct initramfs_mark found = {0};
    const int fd = memfd_create("initramfs", MFD_CLOEXEC);
    must_hold(fd >= 0 && file_write_all(fd, data, size, NULL) == OK);
    const enum error_code code = initramfs_read_mark(fd, &found, NULL);
    must_hold(code == OK || size == 0);
    must_hold(!found.found || memmem(data, size, mark, sizeof(mark)));
    close(fd);
    return 0;
}
