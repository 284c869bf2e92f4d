#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "convert/initramfs.h"
#include "convert/journal.h"
#include "unit.h"

static const char sound[] =
    "{\"version\":1,\"state\":\"frozen\",\"direction\":\"protect\",\"proven\":false,\"partly_overwritten\":"
    "false,"
    "\"vault\":\"000102030405060708090a0b0c0d0e0f\",\"directories\":[{\"path\":\"srv/data\","
    "\"has_twin\":true,\"nonce\":\"101112131415161718191a1b1c1d1e1f\",\"root_flags\":16}]}";

static enum error_code parse(const char *text)
{
    struct convert_journal journal = {0};
    enum error_code code = journal_parse(text, strlen(text), &journal, NULL);
    journal_done(&journal);
    return code;
}

/* The sound journal with one piece of it replaced. */
static enum error_code parse_with(const char *piece, const char *other)
{
    char text[1024];
    const char *at = strstr(sound, piece);
    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - sound), sound, other, at + strlen(piece));
    return parse(text);
}

static void a_journal_comes_back_as_it_was_written(void **state)
{
    (void)state;
    struct convert_journal journal = {
        .state = CONVERT_SCRUBBING, .direction = CONVERT_UNPROTECT, .proven = true};
    struct convert_journal again = {0};
    struct buffer text = {0};
    memset(&journal.vault, 7, sizeof(journal.vault));
    assert_ok(journal_add(&journal, "srv/data", &error));
    assert_ok(journal_add(&journal, "a\nname \xff\\x41", &error));
    journal.partly_overwritten = true;
    journal.directories[1].has_twin = true;
    journal.directories[1].root_flags = 0x30;
    memset(&journal.directories[1].nonce, 9, sizeof(journal.directories[1].nonce));
    assert_ok(journal_format(&journal, &text, &error));
    assert_ok(journal_parse(text.data, text.length, &again, &error));
    assert_int_equal(again.state, CONVERT_SCRUBBING);
    assert_int_equal(again.direction, CONVERT_UNPROTECT);
    assert_true(again.proven);
    assert_true(again.partly_overwritten);
    assert_memory_equal(&again.vault, &journal.vault, sizeof(journal.vault));
    assert_int_equal(again.count, 2);
    assert_string_equal(again.directories[1].path, "a\nname \xff\\x41");
    assert_true(again.directories[1].has_twin);
    assert_false(again.directories[0].has_twin);
    assert_int_equal(again.directories[1].root_flags, 0x30);
    assert_memory_equal(&again.directories[1].nonce, &journal.directories[1].nonce, 16);
    assert_ptr_equal(journal_find(&again, "srv/data"), &again.directories[0]);
    assert_null(journal_find(&again, "srv"));
    buffer_done(&text);
    journal_done(&journal);
    journal_done(&again);
}

static void a_journal_cut_short_is_refused(void **state)
{
    (void)state;
    assert_int_equal(parse(sound), OK);
    for (size_t length = 0; length < strlen(sound); length++) {
        struct convert_journal journal = {0};
        assert_fails(ERR_CORRUPT, journal_parse(sound, length, &journal, &error));
    }
}

static void a_journal_of_a_newer_husk_is_not_touched(void **state)
{
    (void)state;
    assert_int_equal(parse_with("\"version\":1", "\"version\":2"), ERR_TOO_NEW);
    assert_int_equal(parse_with("\"version\":1", "\"version\":0"), ERR_CORRUPT);
}

static void every_field_of_a_journal_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *other;
    } damages[] = {{"\"frozen\"", "\"melted\""},
                   {"\"frozen\"", "7"},
                   {"\"protect\"", "\"sideways\""},
                   {"false", "\"no\""},
                   {"000102", "00010"},
                   {"000102", "00010g"},
                   {"srv/data", ""},
                   {"srv/data", "/srv"},
                   {"srv/data", "srv/"},
                   {"srv/data", "srv//data"},
                   {"srv/data", "srv/../../etc"},
                   {"srv/data", "."},
                   {"srv/data", "srv/./data"},
                   {"srv/data", "srv\\\\x00data"},
                   {"true", "1"},
                   {"101112", "1011"},
                   {"16}", "-1}"},
                   {"16}", "4294967296}"},
                   {"[{", "{"},
                   {"}]}", "},7]}"}};
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++)
        if (parse_with(damages[i].piece, damages[i].other) == OK)
            fail_msg("%s in place of %s was taken", damages[i].other, damages[i].piece);
}

static void a_directory_stands_in_a_journal_once(void **state)
{
    (void)state;
    assert_int_equal(parse_with("}]}", "},{\"path\":\"srv/data\",\"has_twin\":false,\"nonce\":"
                                       "\"00000000000000000000000000000000\",\"root_flags\":0}]}"),
                     ERR_CORRUPT);
}

/* One file of a cpio archive, appended. */
static void add_file(struct buffer *image, const char *name, const char *content)
{
    static const char zeros[4];
    assert_ok(buffer_printf(image, &error, "070701%048u%08x%032u%08x%08u", 0U, (unsigned)strlen(content), 0U,
                            (unsigned)strlen(name) + 1, 0U));
    assert_ok(buffer_append(image, name, strlen(name) + 1, &error));
    assert_ok(buffer_append(image, zeros, -image->length % 4, &error));
    assert_ok(buffer_append(image, content, strlen(content), &error));
    assert_ok(buffer_append(image, zeros, -image->length % 4, &error));
}

static struct initramfs_mark mark_of(const char *bytes, size_t length)
{
    struct initramfs_mark mark = {.found = true, .version = -1};
    _cleanup_(close_fdp) int fd = memfd_create("image", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(file_write_all(fd, bytes, length, &error));
    assert_ok(initramfs_read_mark(fd, &mark, &error));
    return mark;
}

static bool has_husk(const char *bytes, size_t length)
{
    return mark_of(bytes, length).found;
}

static void the_mark_of_an_initramfs_says_what_its_husk_reads(void **state)
{
    static const struct {
        const char *content;
        int64_t version;
        bool stacked;
    } marks[] = {{"{\"version\":1,\"kernel\":\"6.1\",\"stacked\":true}\n", 1, true},
                 {"{\"version\":1,\"kernel\":\"6.1\",\"stacked\":false}\n", 1, false},
                 {"{\"version\":1,\"kernel\":\"6.1\"}\n", 1, false},
                 {"{\"version\":7}", 7, false},
                 {"{\"version\":0}", 0, false},
                 {"{\"version\":\"1\"}", 0, false},
                 {"{\"kernel\":\"6.1\"}", 0, false},
                 {"{\"version\":1", 0, false},
                 {"", 0, false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
        _cleanup_(buffer_done) struct buffer image = {0};
        add_file(&image, INITRAMFS_MARK, marks[i].content);
        const struct initramfs_mark mark = mark_of(image.data, image.length);
        assert_true(mark.found);
        assert_int_equal(mark.version, marks[i].version);
        assert_int_equal(mark.stacked, marks[i].stacked);
        /* One that is cut, or says that it is larger than it is, says nothing. */
        const struct initramfs_mark cut = mark_of(image.data, 110 + sizeof(INITRAMFS_MARK) + 3);
        assert_int_equal(cut.version, 0);
        memcpy(image.data + 54, "7fffffff", 8);
        assert_int_equal(mark_of(image.data, image.length).version, 0);
    }
}

static void the_mark_of_an_initramfs_is_found_in_any_of_its_plain_archives(void **state)
{
    static const char padding[600];
    _cleanup_(buffer_done) struct buffer image = {0};
    (void)state;
    add_file(&image, "kernel/x86/microcode", "abcde");
    add_file(&image, "TRAILER!!!", "");
    assert_ok(buffer_append(&image, padding, -image.length % 512, &error));
    assert_false(has_husk(image.data, image.length));
    const size_t before = image.length;
    add_file(&image, INITRAMFS_MARK, "x");
    const size_t whole = image.length;
    assert_true(has_husk(image.data, whole));
    for (size_t length = 0; length < before + 110 + sizeof(INITRAMFS_MARK); length++)
        assert_false(has_husk(image.data, length));
    /* Fields of its head that are none, and names that are longer than said. */
    for (size_t at = before; at < before + 6; at++) {
        image.data[at] ^= 0x40;
        if (at < before + 5)
            assert_false(has_husk(image.data, whole));
        image.data[at] ^= 0x40;
    }
    memcpy(image.data + before + 94, "ffffffff", 8);
    assert_false(has_husk(image.data, whole));
    memcpy(image.data + before + 94, "00000000", 8);
    assert_false(has_husk(image.data, whole));
    memcpy(image.data + before + 94, "zzzzzzzz", 8);
    assert_false(has_husk(image.data, whole));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_journal_comes_back_as_it_was_written),
        cmocka_unit_test(a_journal_cut_short_is_refused),
        cmocka_unit_test(a_journal_of_a_newer_husk_is_not_touched),
        cmocka_unit_test(every_field_of_a_journal_is_checked),
        cmocka_unit_test(a_directory_stands_in_a_journal_once),
        cmocka_unit_test(the_mark_of_an_initramfs_says_what_its_husk_reads),
        cmocka_unit_test(the_mark_of_an_initramfs_is_found_in_any_of_its_plain_archives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
