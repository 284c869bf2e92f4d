#include "client/turns.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/sure.h"
#include "base/text.h"

enum {
    PLACES = 2,
    HASH_SIZE = 16,
    NUMBER_DIGITS = 16,
    HASH_DIGITS = 2 * HASH_SIZE,
    LENGTH_DIGITS = 8,
    HASH_AT = NUMBER_DIGITS + 1,
    LENGTH_AT = HASH_AT + HASH_DIGITS + 1,
};
_Static_assert(LENGTH_AT + LENGTH_DIGITS + 1 == TURNS_HEAD_SIZE, "turns.h");

struct head {
    uint64_t number; /* 0: none that can be read */
    uint32_t length;
    uint8_t hash[HASH_SIZE];
};

static void hash_place(uint64_t number, const void *bytes, uint32_t length, uint8_t ret_hash[HASH_SIZE])
{
    crypto_generichash_state state;
    const uint64_t number_bytes = htobe64(number);
    const uint32_t length_bytes = htobe32(length);
    sure(crypto_generichash_init(&state, NULL, 0, HASH_SIZE));
    sure(crypto_generichash_update(&state, (const uint8_t *)&number_bytes, sizeof(number_bytes)));
    sure(crypto_generichash_update(&state, (const uint8_t *)&length_bytes, sizeof(length_bytes)));
    sure(crypto_generichash_update(&state, bytes, length));
    sure(crypto_generichash_final(&state, ret_hash, HASH_SIZE));
}

/* A short file has no head there; ERR_FAILED when the disk cannot be read. */
static enum error_code read_head(int fd, unsigned place, size_t place_size, struct head *ret_head,
                                 struct error *reterr)
{
    char text[TURNS_HEAD_SIZE];
    uint64_t number;
    uint32_t length;
    *ret_head = (struct head){0};
    enum error_code code = file_pread_all(fd, text, sizeof(text), place * place_size, reterr);
    if (code)
        return code == ERR_CORRUPT ? OK : code;
    if (text[HASH_AT - 1] != ' ' || text[LENGTH_AT - 1] != ' ' || text[TURNS_HEAD_SIZE - 1] != '\n')
        return OK;
    text[HASH_AT - 1] = text[LENGTH_AT - 1] = text[TURNS_HEAD_SIZE - 1] = '\0';
    if (text_parse_hex(text, (uint8_t *)&number, sizeof(number), NULL) ||
        text_parse_hex(text + HASH_AT, ret_head->hash, HASH_SIZE, NULL) ||
        text_parse_hex(text + LENGTH_AT, (uint8_t *)&length, sizeof(length), NULL))
        return OK;
    ret_head->length = be32toh(length);
    if (ret_head->length <= place_size - TURNS_HEAD_SIZE)
        ret_head->number = be64toh(number);
    return OK;
}

/* ERR_CORRUPT when the hash is wrong. */
static enum error_code read_text(int fd, uint64_t offset, const struct head *head, struct buffer *text,
                                 struct error *reterr)
{
    uint8_t hash[HASH_SIZE];
    _cleanup_(freep) char *found = malloc(head->length + 1);
    if (!found)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = file_pread_all(fd, found, head->length, offset + TURNS_HEAD_SIZE, reterr);
    if (code)
        return code;
    hash_place(head->number, found, head->length, hash);
    if (memcmp(hash, head->hash, sizeof(hash)) != 0)
        return error_set(reterr, ERR_CORRUPT, 0, "a place whose hash is wrong");
    return text ? buffer_append(text, found, head->length, reterr) : OK;
}

/* Which place counts, and what is in it, where text is not NULL. */
static enum error_code read_newest(int fd, size_t place_size, unsigned *ret_place, uint64_t *ret_number,
                                   struct buffer *text, struct error *reterr)
{
    struct head heads[PLACES];
    enum error_code code = read_head(fd, 0, place_size, &heads[0], reterr);
    if (!code)
        code = read_head(fd, 1, place_size, &heads[1], reterr);
    if (code)
        return code;
    const unsigned newer = heads[1].number > heads[0].number;
    const unsigned order[PLACES] = {newer, !newer};
    for (size_t i = 0; i < PLACES; i++) {
        const struct head *head = &heads[order[i]];
        code = head->number ? read_text(fd, order[i] * place_size, head, text, reterr) : ERR_CORRUPT;
        if (code == ERR_CORRUPT)
            continue;
        *ret_place = order[i];
        *ret_number = head->number;
        return code;
    }
    return error_set(reterr, ERR_CORRUPT, 0, "neither of its two places is whole");
}

enum error_code turns_read(int directory_fd, const char *name, size_t place_size, struct buffer *text,
                           struct error *reterr)
{
    unsigned place;
    uint64_t number;
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = file_open(directory_fd, name, &fd, reterr);
    if (code)
        return code;
    code = read_newest(fd, place_size, &place, &number, text, reterr);
    if (code)
        error_prefix(reterr, "%s", text_shown(name));
    return code;
}

/* A place's head and bytes, filled up with newlines to whole blocks. */
static enum error_code format_place(uint64_t number, const void *bytes, uint32_t length, struct buffer *place,
                                    struct error *reterr)
{
    uint8_t hash[HASH_SIZE];
    char digits[HASH_DIGITS + 1];
    hash_place(number, bytes, length, hash);
    text_format_hex(digits, hash, sizeof(hash));
    enum error_code code =
        buffer_printf(place, reterr, "%016llx %s %08x\n", (unsigned long long)number, digits, length);
    if (!code)
        code = buffer_append(place, bytes, length, reterr);
    char newlines[TURNS_BLOCK];
    memset(newlines, '\n', sizeof(newlines));
    const size_t over = place->length % TURNS_BLOCK;
    return code || over == 0 ? code : buffer_append(place, newlines, TURNS_BLOCK - over, reterr);
}

/* All of it, so that no later write has to allocate a block. */
static enum error_code make(int directory_fd, const char *name, size_t place_size, const struct buffer *place,
                            struct error *reterr)
{
    _cleanup_(freep) char *whole = malloc(PLACES * place_size);
    if (!whole)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    memset(whole, '\n', PLACES * place_size);
    memcpy(whole, place->data, place->length);
    return file_write_durable(directory_fd, name, 0600, whole, PLACES * place_size, reterr);
}

enum error_code turns_write(int directory_fd, const char *name, size_t place_size, const void *bytes,
                            size_t length, struct error *reterr)
{
    struct stat status;
    unsigned newest = 1;
    uint64_t number = 0;
    _cleanup_(buffer_done) struct buffer place = {0};
    if (length > place_size - TURNS_HEAD_SIZE)
        return error_set(reterr, ERR_FAILED, 0, "%s cannot take %zu bytes", text_shown(name), length);
    _cleanup_(close_fdp) int fd = openat(directory_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const bool is_whole = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                          status.st_size == (off_t)(PLACES * place_size) &&
                          read_newest(fd, place_size, &newest, &number, NULL, NULL) == OK;
    enum error_code code = format_place(number + 1, bytes, (uint32_t)length, &place, reterr);
    if (code)
        return code;
    if (!is_whole)
        return make(directory_fd, name, place_size, &place, reterr);
    code = file_pwrite_all(fd, place.data, place.length, !newest * place_size, reterr);
    int injected = code ? 0 : fault("client.turns.sync");
    if (!code && (injected || fdatasync(fd) < 0))
        code = error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot write it to disk");
    if (code)
        error_prefix(reterr, "%s", text_shown(name));
    return code;
}
