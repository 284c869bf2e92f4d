/* The two files of a backup: as they come, changed after they were written, and written and read again. */
#include <sys/mman.h>
#include <unistd.h>

#include "authority/backup_file.h"
#include "base/file.h"
#include "target.h"

static const uint8_t id[BACKUP_ID_SIZE] = {1, 2, 3};
static struct secret *bulk_key, *backup_key;
static struct backup_facts facts = {.made_at_unix_s = 7};
static uint8_t envelope[BACKUP_ENVELOPE_SIZE];

static void prepare(void)
{
    must_hold(secret_new_random(STREAM_KEY_SIZE, &bulk_key, NULL) == OK);
    must_hold(hpke_key_new(&backup_key, facts.backup_key, NULL) == OK);
    must_hold(backup_envelope_seal(&facts, bulk_key, envelope, NULL) == OK);
}

/* Whatever is read of one that differs is what was written, and its end is never reached. */
static void read_bulk(int fd, const uint8_t *expected, size_t expected_length, bool is_whole)
{
    _cleanup_(bulk_freep) struct bulk *bulk = NULL;
    uint8_t bytes[1000];
    size_t length = 0, at = 0;
    must_hold(lseek(fd, 0, SEEK_SET) == 0);
    enum error_code code = bulk_read_begin(fd, id, bulk_key, &bulk, NULL);
    while (!code && !(code = bulk_read(bulk, bytes, sizeof(bytes), &length, NULL)) && length > 0) {
        must_hold(length <= expected_length - at && !memcmp(bytes, expected + at, length));
        at += length;
    }
    must_hold(is_whole ? !code && at == expected_length : code != OK);
}

static int file_of(const void *bytes, size_t length)
{
    const int fd = memfd_create("bulk", MFD_CLOEXEC);
    must_hold(fd >= 0 && file_write_all(fd, bytes, length, NULL) == OK);
    return fd;
}

/* size bytes of plaintext, many times over where many is set, so that there are several pieces. */
static void round_trip(const uint8_t *data, size_t size, bool many)
{
    _cleanup_(buffer_done) struct buffer plain = {0};
    _cleanup_(bulk_freep) struct bulk *bulk = NULL;
    for (unsigned i = 0; i < (many && size > 64 ? 1000 : 1); i++)
        must_hold(buffer_append(&plain, data, size, NULL) == OK);
    const int fd = file_of("", 0);
    must_hold(bulk_write_begin(fd, id, bulk_key, &bulk, NULL) == OK);
    for (size_t at = 0, part; at < plain.length; at += part) {
        part = 1 + data[at % size] * 97;
        part = part < plain.length - at ? part : plain.length - at;
        must_hold(bulk_write(bulk, plain.data + at, part, NULL) == OK);
    }
    must_hold(bulk_write_end(bulk, NULL) == OK);
    read_bulk(fd, (const uint8_t *)plain.data, plain.length, true);
    /* Cut, lengthened, or one bit of it changed, as the data says. */
    const off_t length = lseek(fd, 0, SEEK_END);
    size_t place = 0;
    memcpy(&place, data, size < sizeof(place) ? size : sizeof(place));
    place %= (size_t)length;
    if (size % 3 == 0) {
        must_hold(ftruncate(fd, (off_t)place) == 0);
    } else if (size % 3 == 1) {
        must_hold(pwrite(fd, data, 1, length) == 1);
    } else {
        uint8_t byte = 0;
        must_hold(pread(fd, &byte, 1, (off_t)place) == 1);
        byte ^= 1 << (data[0] & 7);
        must_hold(pwrite(fd, &byte, 1, (off_t)place) == 1);
    }
    read_bulk(fd, (const uint8_t *)plain.data, plain.length, false);
    close(fd);
}

static void open_envelope(const void *bytes, size_t length, bool is_whole)
{
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct backup_facts read;
    const enum error_code code = backup_envelope_open(bytes, length, backup_key, &read, &key, NULL);
    must_hold(is_whole == !code);
    if (!code)
        must_hold(!memcmp(&read, &facts, sizeof(read)) &&
                  !memcmp(key->bytes, bulk_key->bytes, STREAM_KEY_SIZE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!bulk_key)
        prepare();
    uint8_t changed[BACKUP_ENVELOPE_SIZE];
    const size_t length = size < sizeof(changed) ? size : sizeof(changed);
    memcpy(changed, envelope, sizeof(changed));
    for (size_t i = 0; i < length; i++)
        changed[i] ^= data[i];
    open_envelope(changed, sizeof(changed), !memcmp(changed, envelope, 168)); /* what follows is filling */
    memcpy(changed, data, length);
    open_envelope(changed, length, length == sizeof(changed) && !memcmp(changed, envelope, 168));
    const int fd = file_of(data, size);
    read_bulk(fd, data, 0, false);
    close(fd);
    if (size > 0)
        round_trip(data, size, data[0] % 16 == 0);
    return 0;
}
