/* The bytes of a backup and of a ledger that was exported: pieces, envelope, bulk, lines. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "authority/backup_file.h"
#include "authority/exporting.h"
#include "base/file.h"
#include "unit.h"
#include "json/json.h"

enum { PIECE = 65536, ENTRIES = 5, EPOCH = 4 };

static const uint8_t id[BACKUP_ID_SIZE] = {1, 2, 3}, other_id[BACKUP_ID_SIZE] = {9};

static int file_of(const void *bytes, size_t length)
{
    const int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(file_write_all(fd, bytes, length, &error));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void pieces_open_in_their_order_alone_and_the_last_is_known(void **state)
{
    _cleanup_(secret_freep) struct secret *key = NULL, *other = NULL;
    struct stream *stream = NULL;
    uint8_t header[STREAM_HEADER_SIZE], sealed[3][8 + STREAM_TAG_SIZE], plain[8];
    enum stream_piece piece;
    (void)state;
    assert_ok(secret_new_random(STREAM_KEY_SIZE, &key, &error));
    assert_ok(secret_new_random(STREAM_KEY_SIZE, &other, &error));
    assert_ok(stream_begin_sealing(key, header, &stream, &error));
    for (unsigned i = 0; i < 3; i++)
        assert_ok(stream_seal(stream, i == 2 ? STREAM_LAST : STREAM_MORE, "ad", 2, "12345678", 8, sealed[i],
                              &error));
    stream_free(stream);
    assert_ok(stream_begin_opening(key, header, &stream, &error));
    assert_fails(ERR_WRONG_KEY,
                 stream_open(stream, "ad", 2, sealed[1], sizeof(sealed[1]), plain, &piece, &error));
    assert_fails(ERR_WRONG_KEY,
                 stream_open(stream, "da", 2, sealed[0], sizeof(sealed[0]), plain, &piece, &error));
    for (size_t length = 0; length < sizeof(sealed[0]); length++)
        assert_fails(ERR_WRONG_KEY, stream_open(stream, "ad", 2, sealed[0], length, plain, &piece, &error));
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(stream_open(stream, "ad", 2, sealed[i], sizeof(sealed[i]), plain, &piece, &error));
        assert_memory_equal(plain, "12345678", 8);
        assert_int_equal(piece, i == 2 ? STREAM_LAST : STREAM_MORE);
    }
    assert_fails(ERR_WRONG_KEY,
                 stream_open(stream, "ad", 2, sealed[0], sizeof(sealed[0]), plain, &piece, &error));
    stream_free(stream);
    assert_ok(stream_begin_opening(other, header, &stream, &error));
    assert_fails(ERR_WRONG_KEY,
                 stream_open(stream, "ad", 2, sealed[0], sizeof(sealed[0]), plain, &piece, &error));
    stream_free(stream);
}

static void an_envelope_opens_with_its_key_and_unchanged(void **state)
{
    _cleanup_(secret_freep) struct secret *bulk_key = NULL, *backup_key = NULL, *other = NULL,
                                          *read_key = NULL;
    struct backup_facts facts = {.id = {5}, .root_fingerprint = {6}, .made_at_unix_s = 1234567}, read;
    uint8_t envelope[BACKUP_ENVELOPE_SIZE], other_public[HPKE_KEY_SIZE];
    (void)state;
    assert_ok(secret_new_random(STREAM_KEY_SIZE, &bulk_key, &error));
    assert_ok(hpke_key_new(&backup_key, facts.backup_key, &error));
    assert_ok(hpke_key_new(&other, other_public, &error));
    assert_ok(backup_envelope_seal(&facts, bulk_key, envelope, &error));
    assert_ok(backup_envelope_open(envelope, sizeof(envelope), backup_key, &read, &read_key, &error));
    assert_memory_equal(&read, &facts, sizeof(facts));
    assert_memory_equal(read_key->bytes, bulk_key->bytes, STREAM_KEY_SIZE);
    secret_freep(&read_key);
    assert_fails(ERR_WRONG_KEY,
                 backup_envelope_open(envelope, sizeof(envelope), other, &read, &read_key, &error));
    assert_fails(ERR_CORRUPT,
                 backup_envelope_open(envelope, sizeof(envelope) - 1, backup_key, &read, &read_key, &error));
    for (size_t i = 0; i < 168; i++) {
        envelope[i] ^= 1;
        const enum error_code code =
            backup_envelope_open(envelope, sizeof(envelope), backup_key, &read, &read_key, NULL);
        assert_int_equal(code, i < 8 ? ERR_CORRUPT : i < 16 ? ERR_TOO_NEW : ERR_WRONG_KEY);
        assert_null(read_key);
        envelope[i] ^= 1;
    }
}

/* What is read until the end or an error. */
static enum error_code read_all(int fd, const uint8_t *of, const struct secret *key, struct buffer *text)
{
    _cleanup_(bulk_freep) struct bulk *bulk = NULL;
    uint8_t bytes[7777];
    size_t length = 0;
    text->length = 0;
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    enum error_code code = bulk_read_begin(fd, of, key, &bulk, NULL);
    while (!code && !(code = bulk_read(bulk, bytes, sizeof(bytes), &length, NULL)) && length > 0)
        assert_ok(buffer_append(text, bytes, length, &error));
    return code;
}

static int write_bulk(const struct secret *key, const uint8_t *bytes, size_t length)
{
    _cleanup_(bulk_freep) struct bulk *bulk = NULL;
    const int fd = file_of("", 0);
    assert_ok(bulk_write_begin(fd, id, key, &bulk, &error));
    for (size_t at = 0, part; at < length; at += part) {
        part = length - at < 10007 ? length - at : 10007;
        assert_ok(bulk_write(bulk, bytes + at, part, &error));
    }
    assert_ok(bulk_write_end(bulk, &error));
    return fd;
}

static void a_bulk_is_read_as_it_was_written_or_not_at_all(void **state)
{
    static const size_t lengths[] = {0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5};
    static uint8_t plain[3 * PIECE + 5];
    _cleanup_(secret_freep) struct secret *key = NULL;
    _cleanup_(buffer_done) struct buffer text = {0};
    (void)state;
    assert_ok(secret_new_random(STREAM_KEY_SIZE, &key, &error));
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 31 + i / PIECE);
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        const int fd = write_bulk(key, plain, lengths[i]);
        const off_t size = lseek(fd, 0, SEEK_END);
        assert_int_equal(read_all(fd, id, key, &text), OK);
        assert_int_equal(text.length, lengths[i]);
        assert_true(lengths[i] == 0 || !memcmp(text.data, plain, lengths[i]));
        assert_int_equal(read_all(fd, other_id, key, &text), ERR_CORRUPT);
        assert_int_equal(pwrite(fd, "x", 1, size), 1);
        assert_int_equal(read_all(fd, id, key, &text), ERR_CORRUPT);
        const off_t cuts[] = {size - 1, size / 2, 56, 40, 31, 0};
        for (size_t cut = 0; cut < ARRAY_SIZE(cuts); cut++) {
            assert_int_equal(ftruncate(fd, cuts[cut]), 0);
            assert_int_equal(read_all(fd, id, key, &text), ERR_CORRUPT);
            assert_true(text.length <= lengths[i] &&
                        (!text.length || !memcmp(text.data, plain, text.length)));
        }
        close(fd);
    }
}

static void pieces_of_a_bulk_cannot_be_left_out_or_exchanged(void **state)
{
    static uint8_t plain[3 * PIECE], file[3 * (PIECE + STREAM_TAG_SIZE) + 56], piece[PIECE + STREAM_TAG_SIZE];
    _cleanup_(secret_freep) struct secret *key = NULL;
    _cleanup_(buffer_done) struct buffer text = {0};
    (void)state;
    assert_ok(secret_new_random(STREAM_KEY_SIZE, &key, &error));
    int fd = write_bulk(key, plain, sizeof(plain));
    assert_int_equal(pread(fd, file, sizeof(file), 0), sizeof(file));
    close(fd);
    memcpy(piece, file + 56, sizeof(piece));
    memmove(file + 56, file + 56 + sizeof(piece), sizeof(piece));
    memcpy(file + 56 + sizeof(piece), piece, sizeof(piece));
    fd = file_of(file, sizeof(file));
    assert_int_equal(read_all(fd, id, key, &text), ERR_CORRUPT);
    assert_int_equal(text.length, 0);
    close(fd);
}

/* An export of ENTRIES entries from the one of that number on. */
static void write_export(const struct secret *signing_key, unsigned from, struct buffer *text)
{
    _cleanup_(buffer_done) struct buffer wire = {0};
    struct ledger_checkpoint checkpoint = {.epoch = EPOCH, .at_unix_s = 1};
    char entry[32], hex[2 * LEDGER_CHECKPOINT_MAXIMUM + 1];
    ledger_begin(EPOCH, &checkpoint.head);
    for (unsigned i = 1; i <= ENTRIES; i++) {
        snprintf(entry, sizeof(entry), "{\"entry\":%u}", i);
        assert_ok(ledger_append(&checkpoint.head, entry, strlen(entry), &checkpoint.head, &error));
    }
    assert_ok(ledger_checkpoint_sign(&checkpoint, signing_key, &wire, &error));
    for (size_t i = 0; i < wire.length; i++)
        snprintf(hex + 2 * i, 3, "%02x", (uint8_t)wire.data[i]);
    text->length = 0;
    assert_ok(
        buffer_printf(text, &error,
                      "{\"version\":1,\"epoch\":%d,\"root\":\"00\",\"from\":%u,\"to\":%d,\"checkpoint\":"
                      "\"%s\"}\n",
                      EPOCH, from, ENTRIES, hex));
    for (unsigned i = from; i <= ENTRIES; i++)
        assert_ok(buffer_printf(text, &error, "{\"entry\":%u}\n", i));
}

static enum error_code count(void *context, const struct ledger_head *head, const char *bytes, size_t length,
                             struct error *reterr)
{
    (void)head;
    (void)bytes;
    (void)length;
    (void)reterr;
    ++*(unsigned *)context;
    return OK;
}

/* From `known` entries on; returns how reading went, and how the end fits. */
static enum error_code read_export(const struct buffer *text, const uint8_t *public_key, unsigned known,
                                   unsigned *ret_seen, enum error_code *ret_end)
{
    struct export *export = NULL;
    struct ledger_head head;
    char entry[32];
    const int fd = file_of(text->data, text->length);
    ledger_begin(EPOCH, &head);
    for (unsigned i = 1; i <= known; i++) {
        snprintf(entry, sizeof(entry), "{\"entry\":%u}", i);
        assert_ok(ledger_append(&head, entry, strlen(entry), &head, &error));
    }
    *ret_seen = 0;
    *ret_end = ERR_FAILED;
    enum error_code code = export_open(fd, &export, NULL);
    if (!code)
        code = export_read(export, EPOCH, &head, count, ret_seen, NULL);
    if (!code)
        *ret_end = export_check_end(export, public_key, EPOCH, &head, NULL);
    export_close(export);
    close(fd);
    return code;
}

static void an_export_goes_on_from_what_is_known_and_ends_where_it_was_signed(void **state)
{
    _cleanup_(secret_freep) struct secret *key = NULL;
    _cleanup_(buffer_done) struct buffer text = {0};
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    unsigned seen;
    enum error_code end;
    (void)state;
    assert_ok(sign_key_new(&key, public_key, &error));
    for (unsigned from = 1; from <= ENTRIES; from++)
        for (unsigned known = 0; known <= ENTRIES; known++) {
            write_export(key, from, &text);
            const enum error_code code = read_export(&text, public_key, known, &seen, &end);
            assert_int_equal(code, from > known + 1 ? ERR_CORRUPT : OK);
            assert_int_equal(seen, code ? 0 : ENTRIES - known);
            assert_int_equal(end, code ? ERR_FAILED : OK);
        }
    public_key[0] ^= 1;
    assert_int_equal(read_export(&text, public_key, ENTRIES, &seen, &end), OK);
    assert_int_not_equal(end, OK);
}

static void a_line_that_is_missing_or_changed_is_found(void **state)
{
    _cleanup_(secret_freep) struct secret *key = NULL;
    _cleanup_(buffer_done) struct buffer text = {0};
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    unsigned seen;
    enum error_code end;
    (void)state;
    assert_ok(sign_key_new(&key, public_key, &error));
    write_export(key, 1, &text);
    for (size_t cut = text.length - 1; cut > 0; cut--) {
        text.length = cut;
        assert_int_equal(read_export(&text, public_key, 0, &seen, &end), ERR_CORRUPT);
    }
    write_export(key, 1, &text);
    for (size_t at = text.length - ENTRIES * strlen("{\"entry\":1}\n"); at < text.length; at++) {
        text.data[at] ^= 2;
        if (read_export(&text, public_key, 0, &seen, &end) == OK)
            assert_int_equal(end, ERR_CHANGED);
        text.data[at] ^= 2;
    }
    assert_int_equal(read_export(&text, public_key, 0, &seen, &end), OK);
    assert_int_equal(end, OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_open_in_their_order_alone_and_the_last_is_known),
        cmocka_unit_test(an_envelope_opens_with_its_key_and_unchanged),
        cmocka_unit_test(a_bulk_is_read_as_it_was_written_or_not_at_all),
        cmocka_unit_test(pieces_of_a_bulk_cannot_be_left_out_or_exchanged),
        cmocka_unit_test(an_export_goes_on_from_what_is_known_and_ends_where_it_was_signed),
        cmocka_unit_test(a_line_that_is_missing_or_changed_is_found),
    };
    assert_ok(secret_start(&error));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
