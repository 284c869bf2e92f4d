#include "convert/initramfs.h"

#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/text.h"

/* cpio "newc": 110 bytes of ASCII, the name padded to 4 bytes, the content padded to 4. */
enum { HEAD_SIZE = 110, FILE_SIZE_AT = 54, NAME_SIZE_AT = 94, NAME_MAXIMUM = 4096, FIELD_SIZE = 8 };
enum { ENTRIES_MAXIMUM = 100000, ZEROS_MAXIMUM = 1 << 20 };
#define TRAILER "TRAILER!!!"

static bool read_field(const char *head, int at, uint32_t *ret_value)
{
    uint8_t bytes[FIELD_SIZE / 2];
    char digits[FIELD_SIZE + 1];
    snprintf(digits, sizeof(digits), "%.*s", FIELD_SIZE, head + at);
    if (text_parse_hex(digits, bytes, sizeof(bytes), NULL))
        return false;
    *ret_value = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    return true;
}

static uint64_t padded(uint64_t size)
{
    return (size + 3) & ~(uint64_t)3;
}

/* One entry at *offset, which moves behind it. False where there is none. */
static bool next_entry(int fd, uint64_t *offset, char name[NAME_MAXIMUM])
{
    char head[HEAD_SIZE];
    uint32_t name_size, file_size;
    if (pread(fd, head, sizeof(head), (off_t)*offset) != sizeof(head) || memcmp(head, "07070", 5) != 0 ||
        !read_field(head, NAME_SIZE_AT, &name_size) || !read_field(head, FILE_SIZE_AT, &file_size) ||
        name_size == 0 || name_size > NAME_MAXIMUM ||
        pread(fd, name, name_size, (off_t)*offset + HEAD_SIZE) != (ssize_t)name_size ||
        name[name_size - 1] != '\0')
        return false;
    *offset = padded(padded(*offset + HEAD_SIZE + name_size) + file_size);
    return true;
}

/* Archives are followed by zeros up to the next. */
static void skip_zeros(int fd, uint64_t *offset)
{
    char block[4096];
    for (uint64_t skipped = 0; skipped < ZEROS_MAXIMUM;) {
        const ssize_t got = pread(fd, block, sizeof(block), (off_t)*offset);
        ssize_t zeros = 0;
        while (zeros < got && block[zeros] == '\0')
            zeros++;
        *offset += (uint64_t)zeros;
        skipped += (uint64_t)zeros;
        if (zeros < got || got <= 0)
            break;
    }
}

enum error_code initramfs_has_husk(int image_fd, bool *ret_has, struct error *reterr)
{
    char name[NAME_MAXIMUM], byte;
    uint64_t offset = 0;
    if (pread(image_fd, &byte, 1, 0) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read an initramfs");
    *ret_has = false;
    for (unsigned i = 0; i < ENTRIES_MAXIMUM && !*ret_has && next_entry(image_fd, &offset, name); i++) {
        *ret_has = !strcmp(name, INITRAMFS_MARK);
        if (!strcmp(name, TRAILER))
            skip_zeros(image_fd, &offset);
    }
    return OK;
}
