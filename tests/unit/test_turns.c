#include <fcntl.h>
#include <sys/stat.h>

#include "client/turns.h"
#include "temporary_directory.h"

enum { PLACE_SIZE = 2 * TURNS_BLOCK, WHOLE = 2 * PLACE_SIZE, SECTOR = 512 };

static void write_text(const char *text)
{
    assert_ok(turns_write(directory_fd, "f", PLACE_SIZE, text, strlen(text), &error));
}

static void assert_reads(const char *expected)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_ok(turns_read(directory_fd, "f", PLACE_SIZE, &text, &error));
    assert_string_equal(text.data, expected);
}

static void assert_damaged(void)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_fails_saying(ERR_CORRUPT, "f: ", turns_read(directory_fd, "f", PLACE_SIZE, &text, &error));
    assert_int_equal(text.length, 0);
}

static void get_bytes(uint8_t bytes[WHOLE])
{
    _cleanup_(close_fdp) int fd = openat(directory_fd, "f", O_RDONLY | O_CLOEXEC);
    assert_ok(file_pread_all(fd, bytes, WHOLE, 0, &error));
}

static void put_bytes(const uint8_t bytes[WHOLE])
{
    _cleanup_(close_fdp) int fd = openat(directory_fd, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_ok(file_pwrite_all(fd, bytes, WHOLE, 0, &error));
}

static ino_t inode(void)
{
    struct stat status;
    assert_int_equal(fstatat(directory_fd, "f", &status, AT_SYMLINK_NOFOLLOW), 0);
    return status.st_ino;
}

static void what_was_written_last_is_read(void **state)
{
    (void)state;
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_fails(ERR_NOT_FOUND, turns_read(directory_fd, "f", PLACE_SIZE, &text, &error));
    write_text("first");
    const ino_t first = inode();
    assert_reads("first");
    for (int i = 0; i < 5; i++) {
        write_text("longer than a line");
        assert_reads("longer than a line");
        write_text("");
        assert_reads("");
    }
    assert_int_equal(inode(), first); /* in place */
}

static void as_much_as_a_place_holds_fits(void **state)
{
    (void)state;
    static char text[PLACE_SIZE - TURNS_HEAD_SIZE + 2];
    memset(text, 'x', PLACE_SIZE - TURNS_HEAD_SIZE + 1);
    assert_fails(ERR_FAILED, turns_write(directory_fd, "f", PLACE_SIZE, text, strlen(text), &error));
    text[PLACE_SIZE - TURNS_HEAD_SIZE] = '\0';
    for (int i = 0; i < 3; i++) {
        write_text(text);
        assert_reads(text);
        write_text("short");
        assert_reads("short");
    }
}

/* A power cut leaves any of a write's sectors old, and any new. */
static void a_write_that_is_cut_leaves_the_new_or_the_old(void **state)
{
    (void)state;
    static uint8_t before[WHOLE], after[WHOLE], mixed[WHOLE];
    static char old_text[PLACE_SIZE - 100], new_text[PLACE_SIZE - 100];
    unsigned olds = 0;
    memset(old_text, 'o', sizeof(old_text) - 1);
    memset(new_text, 'n', sizeof(new_text) - 1);
    write_text("older");
    write_text(old_text);
    get_bytes(before);
    write_text(new_text);
    get_bytes(after);
    for (unsigned round = 0; round < 2000; round++) {
        const unsigned chosen = round < 16   ? 1U << round
                                : round < 32 ? (1U << (round - 16)) - 1
                                             : (unsigned)rand();
        for (size_t at = 0; at < WHOLE; at += SECTOR)
            memcpy(mixed + at, (chosen >> (at / SECTOR % 16) & 1 ? after : before) + at, SECTOR);
        put_bytes(mixed);
        _cleanup_(buffer_done) struct buffer text = {0};
        assert_ok(turns_read(directory_fd, "f", PLACE_SIZE, &text, &error));
        const bool is_new = !strcmp(text.data, new_text);
        assert_true(is_new || !strcmp(text.data, old_text));
        assert_int_equal(is_new, !memcmp(mixed, after, WHOLE));
        olds += !is_new;
        if (round % 100 == 0) { /* and it goes on from there */
            write_text("next");
            assert_reads("next");
            write_text("next but one");
            assert_reads("next but one");
        }
    }
    assert_true(olds > 1000);
    put_bytes(after);
    assert_reads(new_text);
}

static void every_damaged_byte_of_the_newest_is_found(void **state)
{
    (void)state;
    static uint8_t whole[WHOLE];
    write_text("the one before");
    write_text("the newest");
    get_bytes(whole);
    for (size_t at = 0; at < TURNS_HEAD_SIZE + strlen("the newest"); at++) {
        whole[PLACE_SIZE + at] ^= 0x04;
        put_bytes(whole);
        assert_reads("the one before");
        whole[PLACE_SIZE + at] ^= 0x04;
    }
}

static void where_nothing_is_whole_it_is_damaged_and_made_anew(void **state)
{
    (void)state;
    static const uint8_t zeros[WHOLE];
    write_text("first");
    put_bytes(zeros);
    assert_damaged();
    write_text("anew");
    assert_reads("anew");
    for (off_t size = WHOLE - 1; size >= 0; size -= size > 1 ? size / 2 : 1) {
        write_text("x");
        write_text("y");
        _cleanup_(close_fdp) int fd = openat(directory_fd, "f", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, size), 0);
        if (size < TURNS_HEAD_SIZE)
            assert_damaged();
        write_text("made anew");
        assert_reads("made anew");
    }
}

static void a_symlink_is_not_followed(void **state)
{
    (void)state;
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_int_equal(symlinkat("elsewhere", directory_fd, "f"), 0);
    assert_fails(ERR_CORRUPT, turns_read(directory_fd, "f", PLACE_SIZE, &text, &error));
    write_text("here");
    assert_reads("here");
    assert_int_not_equal(faccessat(directory_fd, "elsewhere", F_OK, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_directory(what_was_written_last_is_read),
        in_directory(as_much_as_a_place_holds_fits),
        in_directory(a_write_that_is_cut_leaves_the_new_or_the_old),
        in_directory(every_damaged_byte_of_the_newest_is_found),
        in_directory(where_nothing_is_whole_it_is_damaged_and_made_anew),
        in_directory(a_symlink_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
