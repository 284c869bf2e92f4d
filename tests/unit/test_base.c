#include <errno.h>
#include <signal.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/finding.h"
#include "base/interrupt.h"
#include "base/report.h"
#include "base/text.h"
#include "unit.h"

/* error */

static void an_error_says_what_failed_and_why(void **state)
{
    (void)state;
    struct error error = ERROR_NONE;
    assert_int_equal(error_set(&error, ERR_FAILED, EACCES, "cannot open %s", "x"), ERR_FAILED);
    assert_int_equal(error.code, ERR_FAILED);
    assert_int_equal(error.os_errno, EACCES);
    assert_string_equal(error.message, "cannot open x: Permission denied");
    assert_int_equal(error_prefix(&error, "vault %s", "data"), ERR_FAILED);
    assert_string_equal(error.message, "vault data: cannot open x: Permission denied");
    assert_int_equal(error_subject(&error, "/srv/%d", 5), ERR_FAILED);
    assert_string_equal(error.subject, "/srv/5");
    assert_int_equal(error_remedy(&error, "first"), ERR_FAILED);
    assert_int_equal(error_remedy(&error, "second"), ERR_FAILED);
    assert_string_equal(error.remedy, "first");
}

static void a_full_disk_and_lacking_memory_have_codes_of_their_own(void **state)
{
    (void)state;
    struct error error = ERROR_NONE;
    assert_int_equal(error_set(&error, ERR_FAILED, ENOSPC, "x"), ERR_NO_SPACE);
    assert_int_equal(error.code, ERR_NO_SPACE);
    assert_true(error.remedy[0]);
    assert_int_equal(error_set(&error, ERR_FAILED, EDQUOT, "x"), ERR_NO_SPACE);
    assert_int_equal(error_set(&error, ERR_FAILED, ENOMEM, "x"), ERR_NO_MEMORY);
    assert_int_equal(error_set(&error, ERR_CORRUPT, ENOSPC, "x"), ERR_CORRUPT);
    assert_string_equal(error.remedy, ""); /* what stood there before is gone */
}

static void an_error_nobody_reads_is_still_one(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERR_BUSY, 0, "x"), ERR_BUSY);
    assert_int_equal(error_set(NULL, ERR_FAILED, ENOSPC, "x"), ERR_NO_SPACE);
    assert_int_not_equal(error_prefix(NULL, "x"), OK);
    assert_int_not_equal(error_subject(NULL, "x"), OK);
    assert_int_not_equal(error_remedy(NULL, "x"), OK);
}

static void a_long_message_is_cut_not_overrun(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct error error = ERROR_NONE;
    error_set(&error, ERR_FAILED, EIO, "%s", text);
    assert_int_equal(strlen(error.message), sizeof(error.message) - 1);
    error_prefix(&error, "%s", text);
    error_subject(&error, "%s", text);
    error_remedy(&error, "%s", text);
    assert_int_equal(strlen(error.message), sizeof(error.message) - 1);
    assert_int_equal(strlen(error.subject), sizeof(error.subject) - 1);
    assert_int_equal(strlen(error.remedy), sizeof(error.remedy) - 1);
    assert_int_equal(error.code, ERR_FAILED);
}

/* Scripts rely on these: design §9. */
static void every_code_has_a_word_and_an_exit_status(void **state)
{
    (void)state;
    static const int statuses[ERROR_CODES] = {
        [OK] = 0,
        [ERR_FAILED] = 1,
        [ERR_USAGE] = 2,
        [ERR_NOT_FOUND] = 1,
        [ERR_EXISTS] = 3,
        [ERR_BUSY] = 3,
        [ERR_LOCKED] = 3,
        [ERR_DENIED] = 3,
        [ERR_UNSUPPORTED] = 3,
        [ERR_TOO_NEW] = 3,
        [ERR_CORRUPT] = 1,
        [ERR_WRONG_KEY] = 3,
        [ERR_CHANGED] = 3,
        [ERR_NO_SPACE] = 1,
        [ERR_NO_MEMORY] = 1,
        [ERR_INTERRUPTED] = 1,
        [ERR_ERASED] = 3,
        [ERR_PENDING] = 4,
        [ERR_UNREACHABLE] = 4,
        [ERR_INCOMPLETE] = 5,
    };
    for (int code = 0; code < ERROR_CODES; code++) {
        assert_int_equal(error_exit_status((enum error_code)code), statuses[code]);
        const char *word = error_word((enum error_code)code);
        assert_true(word[0] && strspn(word, "abcdefghijklmnopqrstuvwxyz-") == strlen(word));
        for (int other = 0; other < code; other++)
            assert_string_not_equal(word, error_word((enum error_code)other));
    }
    assert_int_equal(error_exit_status(ERROR_CODES), 1);
    assert_string_equal(error_word(ERROR_CODES), "failed");
}

/* buffer */

static void a_buffer_grows_and_stays_a_string(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    for (int i = 0; i < 1000; i++)
        assert_ok(buffer_append(&buffer, "abc", 3, &error));
    assert_ok(buffer_printf(&buffer, &error, "%d-%s", 42, "x"));
    assert_int_equal(buffer.length, 3004);
    assert_int_equal(strlen(buffer.data), 3004);
    assert_string_equal(buffer.data + 2997, "abc42-x");
    buffer_done(&buffer);
    assert_null(buffer.data);
    assert_ok(buffer_append(&buffer, "", 0, &error)); /* usable again; not NULL even when empty */
    assert_string_equal(buffer.data, "");
    buffer_done(&buffer);
}

static void a_buffer_never_passes_its_maximum(void **state)
{
    (void)state;
    struct buffer buffer = {.maximum = 10};
    assert_ok(buffer_append(&buffer, "0123456", 7, &error));
    assert_fails(ERR_NO_MEMORY, buffer_append(&buffer, "0123", 4, &error));
    assert_fails(ERR_NO_MEMORY, buffer_append(&buffer, "x", SIZE_MAX, &error));
    assert_fails(ERR_NO_MEMORY, buffer_append(&buffer, "x", SIZE_MAX - 7, &error));
    assert_fails(ERR_NO_MEMORY, buffer_printf(&buffer, &error, "%s", "0123"));
    assert_string_equal(buffer.data, "0123456");
    assert_ok(buffer_append(&buffer, "789", 3, &error));
    assert_int_equal(buffer.length, 10);
    buffer_done(&buffer);
    assert_int_equal(buffer.maximum, 10);

    char *block = calloc(1, BUFFER_DEFAULT_MAXIMUM);
    struct buffer large = {0};
    assert_ok(buffer_append(&large, block, BUFFER_DEFAULT_MAXIMUM, &error));
    assert_fails(ERR_NO_MEMORY, buffer_append(&large, "x", 1, &error));
    buffer_done(&large);
    free(block);
}

static void a_buffer_that_gets_no_memory_is_unchanged(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    assert_ok(buffer_append(&buffer, "abc", 3, &error));
    char block[500] = {0};
    memory_fail_at(1);
    enum error_code code = buffer_append(&buffer, block, sizeof(block), NULL);
    memory_fail_at(0);
    assert_int_equal(code, ERR_NO_MEMORY);
    assert_string_equal(buffer.data, "abc");
    buffer_done(&buffer);
}

/* text */

static void assert_escaped(const char *bytes, size_t length, const char *expected)
{
    struct buffer escaped = {0}, again = {0};
    assert_ok(text_escape(&escaped, bytes, length, &error));
    assert_string_equal(escaped.data, expected);
    if (!memchr(bytes, '\0', length)) {
        assert_ok(text_unescape(&again, escaped.data, &error));
        assert_int_equal(again.length, length);
        assert_memory_equal(again.data, bytes, length);
    }
    buffer_done(&escaped);
    buffer_done(&again);
}

static void only_what_is_safe_to_show_is_shown_as_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *expected;
    } cases[] = {
        {"", ""},
        {"plain name.txt", "plain name.txt"},
        {"a\nb\t\x1b[31m", "a\\x0ab\\x09\\x1b[31m"},
        {"back\\slash", "back\\x5cslash"},
        {"\x7f", "\\x7f"},
        {"Stra\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x94\x91",
         "Stra\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x94\x91"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xc3", "\\xc3"},                            /* cut short */
        {"\xc3(", "\\xc3("},                          /* no continuation */
        {"\xc0\xaf", "\\xc0\\xaf"},                   /* overlong */
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},          /* overlong */
        {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"}, /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* past U+10FFFF */
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
        {"\xc2\x9b", "\\xc2\\x9b"}, /* a C1 control */
        {"a\xe2\x80\xae"
         "b",
         "a\\xe2\\x80\\xae"
         "b"}, /* right-to-left override */
        {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"},
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"}, /* line separator */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_escaped(cases[i].bytes, strlen(cases[i].bytes), cases[i].expected);
    assert_escaped("a\0b", 3, "a\\x00b");
}

/* Random sequences of one to twelve bytes come back and show no control character. */
static void escaping_is_reversible_for_any_bytes(void **state)
{
    (void)state;
    struct buffer escaped = {0}, again = {0};
    uint64_t random = 88172645463325252u;
    for (unsigned round = 0; round < 200000; round++) {
        char bytes[12];
        size_t length = 1 + round % sizeof(bytes);
        for (size_t i = 0; i < length; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[i] = (char)(random % 255 + 1);
        }
        escaped.length = again.length = 0;
        assert_ok(text_escape(&escaped, bytes, length, &error));
        for (size_t i = 0; i < escaped.length; i++)
            assert_true((unsigned char)escaped.data[i] >= 0x20 && escaped.data[i] != 0x7f);
        assert_ok(text_unescape(&again, escaped.data, &error));
        assert_int_equal(again.length, length);
        assert_memory_equal(again.data, bytes, length);
    }
    buffer_done(&escaped);
    buffer_done(&again);
}

static void a_malformed_escape_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"\\",  "\\x",  "\\x1",  "\\x1g",  "\\xg1",
                                        "\\n", "\\\\", "\\X41", "a\\x00", "\\x4"};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buffer buffer = {0};
        assert_fails(ERR_CORRUPT, text_unescape(&buffer, cases[i], &error));
        buffer_done(&buffer);
    }
}

static void a_shown_name_is_cut_at_a_whole_unit(void **state)
{
    (void)state;
    char out[12];
    assert_string_equal(text_show(out, sizeof(out), "short"), "short");
    assert_string_equal(text_show(out, sizeof(out), "longer than that"), "longer t...");
    assert_string_equal(text_show(out, sizeof(out), "a\n\n\n\n\n"), "a\\x0a...");
    assert_string_equal(text_show(out, sizeof(out), "1234567\xe2\x82\xac\xe2\x82\xac"), "1234567...");
    assert_string_equal(text_shown("x\ty"), "x\\x09y");
}

static void hexadecimal_is_read_strictly(void **state)
{
    (void)state;
    uint8_t bytes[3] = "ab";
    char text[7];
    assert_ok(text_parse_hex("00fFA9", bytes, 3, &error));
    assert_memory_equal(bytes, "\x00\xff\xa9", 3);
    text_format_hex(text, bytes, 3);
    assert_string_equal(text, "00ffa9");
    static const char *const bad[] = {"",       "00ff",   "00ffa",  "00ffa9a",     "00ffa9a9",
                                      "00ffag", " 0ffa9", "0x00ff", "00ff\xff\x39"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_fails(ERR_CORRUPT, text_parse_hex(bad[i], bytes, 3, &error));
    assert_memory_equal(bytes, "\x00\xff\xa9", 3);
    assert_ok(text_parse_hex("", bytes, 0, &error));
}

static void numbers_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t maximum, value;
    } good[] = {
        {"0", 0, 0},
        {"007", 10, 7},
        {"42", 42, 42},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX},
    };
    static const struct {
        const char *text;
        uint64_t maximum;
    } bad[] = {
        {"", 9},
        {" 1", 9},
        {"1 ", 9},
        {"+1", 9},
        {"-1", 9},
        {"1x", 9},
        {"0x1", 9},
        {"1.", 9},
        {"10", 9},
        {"18446744073709551616", UINT64_MAX},
        {"99999999999999999999999", UINT64_MAX},
    };
    uint64_t value;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_ok(text_parse_u64(good[i].text, good[i].maximum, &value, &error));
        assert_int_equal(value, good[i].value);
    }
    value = 77;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_fails(ERR_USAGE, text_parse_u64(bad[i].text, bad[i].maximum, &value, &error));
    assert_int_equal(value, 77);
}

/* finding */

static void findings_are_kept_in_order_and_copied(void **state)
{
    (void)state;
    struct finding_list list = {0};
    char subject[] = "/srv/data";
    finding_add(&list, FINDING_TELLS, "snapshot", subject, NULL, "cause %d", 1);
    subject[1] = 'X';
    finding_add(&list, FINDING_BLOCKS, "mount-inside", "/srv/m", "unmount it", "cause %d", 2);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0].subject, "/srv/data");
    assert_string_equal(list.items[0].remedy, "");
    assert_string_equal(list.items[1].cause, "cause 2");
    assert_int_equal(finding_count_blocking(&list), 1);
    finding_list_done(&list);
    assert_int_equal(list.count, 0);
}

static void only_a_blocking_finding_refuses(void **state)
{
    (void)state;
    struct finding_list list = {0};
    assert_ok(finding_refusal(&list, &error));
    finding_add(&list, FINDING_TELLS, "snapshot", "a", "", "told");
    assert_ok(finding_refusal(&list, &error));
    finding_add(&list, FINDING_BLOCKS, "mount-inside", "/srv/m", "unmount it", "a mount is inside");
    struct error refusal = ERROR_NONE;
    assert_int_equal(finding_refusal(&list, &refusal), ERR_DENIED);
    assert_string_equal(refusal.message, "/srv/m: a mount is inside");
    assert_string_equal(refusal.subject, "/srv/m");
    assert_string_equal(refusal.remedy, "unmount it");
    finding_add(&list, FINDING_BLOCKS, "busy-file", "/srv/f", "", "open");
    assert_fails_saying(ERR_DENIED, "(and 1 more)", finding_refusal(&list, &error));
    finding_list_done(&list);
    finding_add(&list, FINDING_BLOCKS, "busy-file", "/srv/f", "", "open in 42");
    assert_fails_saying(ERR_BUSY, "open in 42", finding_refusal(&list, &error));
    finding_list_done(&list);
}

static void a_finding_that_is_there_is_not_added_again(void **state)
{
    (void)state;
    struct finding_list list = {0}, other = {0};
    finding_add(&list, FINDING_TELLS, "k", "s", "r", "c");
    finding_add(&list, FINDING_TELLS, "k", "s", "r", "c");
    finding_add(&other, FINDING_TELLS, "k", "s", "r", "c");
    finding_move_all(&list, &other);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.dropped, 0);
    /* Whatever differs makes it another one. */
    finding_add(&list, FINDING_BLOCKS, "k", "s", "r", "c");
    finding_add(&list, FINDING_TELLS, "k2", "s", "r", "c");
    finding_add(&list, FINDING_TELLS, "k", "s2", "r", "c");
    finding_add(&list, FINDING_TELLS, "k", "s", "r2", "c");
    finding_add(&list, FINDING_TELLS, "k", "s", "r", "c2");
    assert_int_equal(list.count, 6);
    finding_list_done(&list);
}

static void findings_past_the_maximum_are_counted_and_block(void **state)
{
    (void)state;
    struct finding_list list = {0}, other = {0};
    for (int i = 0; i < FINDING_MAXIMUM + 5; i++)
        finding_add(&list, FINDING_TELLS, "k", "s", "", "cause %d", i);
    assert_int_equal(list.count, FINDING_MAXIMUM);
    assert_int_equal(list.dropped, 5);
    assert_int_equal(finding_count_blocking(&list), 5);
    finding_add(&other, FINDING_TELLS, "k", "s", "", "another cause");
    other.dropped = 2;
    finding_move_all(&list, &other);
    assert_int_equal(list.count, FINDING_MAXIMUM);
    assert_int_equal(list.dropped, 8);
    assert_int_equal(other.count, 0);
    assert_null(other.items);
    assert_fails(ERR_NO_MEMORY, finding_refusal(&list, &error));
    finding_list_done(&list);
}

static void a_finding_that_gets_no_memory_is_not_lost_silently(void **state)
{
    (void)state;
    struct finding_list list = {0};
    with_every_allocation_failing(finding_add(&list, FINDING_BLOCKS, "k", "s", "r", "c%d", 1), {
        assert_int_equal(list.count, 0);
        assert_int_equal(list.dropped, 1);
        assert_fails(ERR_NO_MEMORY, finding_refusal(&list, &error));
        finding_list_done(&list);
    });
    assert_int_equal(list.count, 1);
    finding_list_done(&list);
}

/* report */

struct told {
    char stage[64], truth[64], warning[64];
    uint64_t files, bytes, total_files, total_bytes;
};

static void on_stage(void *context, const char *name, uint64_t total_files, uint64_t total_bytes)
{
    struct told *told = context;
    snprintf(told->stage, sizeof(told->stage), "%.60s", name);
    told->total_files = total_files;
    told->total_bytes = total_bytes;
}

static void on_advance(void *context, uint64_t files, uint64_t bytes)
{
    struct told *told = context;
    told->files += files;
    told->bytes += bytes;
}

static void on_truth(void *context, const char *line)
{
    snprintf(((struct told *)context)->truth, 64, "%.60s", line);
}

static void on_warning(void *context, const char *line)
{
    snprintf(((struct told *)context)->warning, 64, "%.60s", line);
}

static void a_report_reaches_the_program(void **state)
{
    (void)state;
    struct told told = {0};
    const struct report report = {
        .stage = on_stage, .advance = on_advance, .truth = on_truth, .warning = on_warning, .context = &told};
    report_stage(&report, 3, 4096, "copying %s", "/srv");
    report_advance(&report, 1, 5);
    report_advance(&report, 1, 6);
    report_truth(&report, "is %d", 1);
    report_warning(&report, "was %d", 2);
    assert_string_equal(told.stage, "copying /srv");
    assert_true(told.total_files == 3 && told.total_bytes == 4096 && told.files == 2 && told.bytes == 11);
    assert_string_equal(told.truth, "is 1");
    assert_string_equal(told.warning, "was 2");
}

static void a_silent_report_is_fine(void **state)
{
    (void)state;
    const struct report silent = {0};
    const struct report *const reports[] = {NULL, &silent};
    for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
        report_stage(reports[i], 0, 0, "x");
        report_advance(reports[i], 1, 1);
        report_truth(reports[i], "x");
        report_warning(reports[i], "x");
    }
}

/* clock */

static void times_are_written_in_utc(void **state)
{
    (void)state;
    static const struct {
        int64_t unix_s;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},        {1772366400, "2026-03-01T12:00:00Z"},
        {-1, "1969-12-31T23:59:59Z"},       {INT64_C(253402300799), "9999-12-31T23:59:59Z"},
        {INT64_MAX, "9223372036854775807"},
    };
    char text[CLOCK_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        clock_format(cases[i].unix_s, text);
        assert_string_equal(text, cases[i].text);
    }
    assert_true(clock_unix_s(clock_system()) > 1700000000);
    int64_t before = clock_monotonic_ns();
    assert_true(clock_monotonic_ns() >= before);
}

/* interrupt: last, since the flag stays */

static void a_signal_asks_to_stop_unless_ignored(void **state)
{
    (void)state;
    interrupt_ignore();
    raise(SIGINT);
    raise(SIGTERM);
    raise(SIGHUP);
    assert_false(interrupt_requested());
    assert_ok(interrupt_check(&error));
    interrupt_install();
    raise(SIGTERM);
    assert_true(interrupt_requested());
    assert_fails(ERR_INTERRUPTED, interrupt_check(&error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_says_what_failed_and_why),
        cmocka_unit_test(a_full_disk_and_lacking_memory_have_codes_of_their_own),
        cmocka_unit_test(an_error_nobody_reads_is_still_one),
        cmocka_unit_test(a_long_message_is_cut_not_overrun),
        cmocka_unit_test(every_code_has_a_word_and_an_exit_status),
        cmocka_unit_test(a_buffer_grows_and_stays_a_string),
        cmocka_unit_test(a_buffer_never_passes_its_maximum),
        cmocka_unit_test(a_buffer_that_gets_no_memory_is_unchanged),
        cmocka_unit_test(only_what_is_safe_to_show_is_shown_as_it_is),
        cmocka_unit_test(escaping_is_reversible_for_any_bytes),
        cmocka_unit_test(a_malformed_escape_is_refused),
        cmocka_unit_test(a_shown_name_is_cut_at_a_whole_unit),
        cmocka_unit_test(hexadecimal_is_read_strictly),
        cmocka_unit_test(numbers_are_read_strictly),
        cmocka_unit_test(findings_are_kept_in_order_and_copied),
        cmocka_unit_test(only_a_blocking_finding_refuses),
        cmocka_unit_test(a_finding_that_is_there_is_not_added_again),
        cmocka_unit_test(findings_past_the_maximum_are_counted_and_block),
        cmocka_unit_test(a_finding_that_gets_no_memory_is_not_lost_silently),
        cmocka_unit_test(a_report_reaches_the_program),
        cmocka_unit_test(a_silent_report_is_fine),
        cmocka_unit_test(times_are_written_in_utc),
        cmocka_unit_test(a_signal_asks_to_stop_unless_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
