#include "convert/initramfs.h"

#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "json/json.h"

/* cpio "newc": 110 bytes of ASCII, the name padded to 4 bytes, the content padded to 4. */
enum { HEAD_SIZE = 110, FILE_SIZE_AT = 54, NAME_SIZE_AT = 94, NAME_MAXIMUM = 4096, FIELD_SIZE = 8 };
enum { ENTRIES_MAXIMUM = 100000, ZEROS_MAXIMUM = 1 << 20, CONTENT_MAXIMUM = 4096 };
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

struct entry {
    char name[NAME_MAXIMUM];
    uint64_t content_at;
    uint32_t size;
};

/* The one at *offset, which moves behind it. False where there is none. */
static bool next_entry(int fd, uint64_t *offset, struct entry *entry)
{
    char head[HEAD_SIZE];
    uint32_t name_size;
    if (pread(fd, head, sizeof(head), (off_t)*offset) != sizeof(head) || memcmp(head, "07070", 5) != 0 ||
        !read_field(head, NAME_SIZE_AT, &name_size) || !read_field(head, FILE_SIZE_AT, &entry->size) ||
        name_size == 0 || name_size > NAME_MAXIMUM ||
        pread(fd, entry->name, name_size, (off_t)*offset + HEAD_SIZE) != (ssize_t)name_size ||
        entry->name[name_size - 1] != '\0')
        return false;
    entry->content_at = padded(*offset + HEAD_SIZE + name_size);
    *offset = padded(entry->content_at + entry->size);
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

static struct initramfs_mark mark_of(int fd, const struct entry *entry)
{
    struct initramfs_mark mark = {.found = true};
    char text[CONTENT_MAXIMUM];
    _cleanup_(json_freep) json_t *object = NULL;
    if (entry->size > sizeof(text) ||
        pread(fd, text, entry->size, (off_t)entry->content_at) != (ssize_t)entry->size ||
        json_parse_object(text, entry->size, INITRAMFS_MARK, &object, NULL) ||
        json_get_integer(object, "version", 1, INT64_MAX, &mark.version, NULL))
        return (struct initramfs_mark){.found = true};
    const char *kernel = json_string_value(json_object_get(object, "kernel"));
    snprintf(mark.kernel, sizeof(mark.kernel), "%s", kernel ? kernel : "");
    mark.stacked = json_is_true(json_object_get(object, "stacked"));
    return mark;
}

enum error_code initramfs_read_mark(int image_fd, struct initramfs_mark *ret_mark, struct error *reterr)
{
    struct entry entry;
    char byte;
    uint64_t offset = 0;
    if (pread(image_fd, &byte, 1, 0) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read an initramfs");
    *ret_mark = (struct initramfs_mark){0};
    for (unsigned i = 0; i < ENTRIES_MAXIMUM && next_entry(image_fd, &offset, &entry); i++) {
        if (!strcmp(entry.name, INITRAMFS_MARK)) {
            *ret_mark = mark_of(image_fd, &entry);
            break;
        }
        if (!strcmp(entry.name, TRAILER))
            skip_zeros(image_fd, &offset);
    }
    return OK;
}
