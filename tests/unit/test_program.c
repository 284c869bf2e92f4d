/* The parts of the program that touch nothing: the table of verbs, options, help, progress, amounts. */
#include "command/amount.h"
#include "command/help.h"
#include "command/place.h"
#include "command/program.h"
#include "command/progress.h"
#include "command/render.h"
#include "unit.h"
#include "verb.h"

static const struct verb *verb_of(const char *first, const char *second)
{
    const char *words[] = {first, second};
    const struct verb *verb = NULL;
    size_t used = 0;
    assert_ok(verb_find(words, second ? 2 : 1, &verb, &used, &error));
    assert_int_equal(used, second ? 2 : 1);
    return verb;
}

static void a_verb_is_found_by_one_or_two_words(void **state)
{
    (void)state;
    assert_string_equal(verb_of("check", NULL)->name, "check");
    assert_string_equal(verb_of("keyslot", "add")->name, "keyslot add");

    const char *words[] = {"check", "/srv"};
    const struct verb *verb = NULL;
    size_t used = 0;
    assert_ok(verb_find(words, 2, &verb, &used, &error));
    assert_int_equal(used, 1);
}

static void what_is_no_verb_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[2];
        const char *said;
    } cases[] = {
        {{NULL, NULL}, "no verb"},
        {{"", NULL}, "no verb"},
        {{"chec", NULL}, "unknown verb chec"},
        {{"checks", NULL}, "unknown verb checks"},
        {{"--chec", NULL}, "unknown option --chec"},
        {{"\x1b[2J", NULL}, "unknown verb \\x1b[2J"},
        {{"keyslot", NULL}, "needs one of list, add, remove, export"},
        {{"keyslot", "ad"}, "has no ad: it is one of list, add, remove, export"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct verb *verb = NULL;
        size_t used = 0, count = cases[i].words[0] ? cases[i].words[1] ? 2 : 1 : 0;
        assert_fails_saying(ERR_USAGE, cases[i].said, verb_find(cases[i].words, count, &verb, &used, &error));
        assert_null(verb);
    }
}

static void options_and_operands_come_in_any_order(void **state)
{
    (void)state;
    static const char *const words[] = {"--keyfile", "a",      "/srv", "--vault=data", "--keyfile=b",
                                        "/var",      "--json", "--",   "--odd",        "-"};
    _cleanup_(arguments_done) struct arguments arguments = {0};
    assert_ok(options_parse(verb_of("protect", NULL), words, ARRAY_SIZE(words), &arguments, &error));
    assert_int_equal(arguments.operand_count, 4);
    assert_string_equal(arguments.operands[0], "/srv");
    assert_string_equal(arguments.operands[1], "/var");
    assert_string_equal(arguments.operands[2], "--odd");
    assert_string_equal(arguments.operands[3], "-");
    assert_string_equal(argument_value(&arguments, OPTION_VAULT), "data");
    assert_true(argument_given(&arguments, OPTION_JSON));
    assert_false(argument_given(&arguments, OPTION_ABORT));
    assert_null(argument_value(&arguments, OPTION_RECOVERY_OUT));
    assert_int_equal(arguments.given_count, 4);
    assert_string_equal(arguments.given[0].value, "a");
    assert_string_equal(arguments.given[2].value, "b");
}

static void what_is_wrong_with_the_words_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[5];
        const char *said;
    } cases[] = {
        {{NULL}, "needs NAME ID FILE"},
        {{"v", "id"}, "needs NAME ID FILE"},
        {{"v", "id", "f", "more"}, "one word too many: more"},
        {{"v", "id", "f", "--keyfile"}, "has no option --keyfile"},
        {{"v", "id", "f", "--with-keyfilex=1"}, "has no option --with-keyfilex"},
        {{"v", "id", "f", "--with-keyfil=1"}, "has no option --with-keyfil"},
        {{"v", "id", "f", "-j"}, "has no option -j"},
        {{"v", "id", "f", "--=x"}, "has no option --=x"},
        {{"v", "id", "f", "--with-keyfile"}, "--with-keyfile needs a value"},
        {{"v", "id", "f", "--with-keyfile", "--json"}, "--with-keyfile needs a value"},
        {{"v", "id", "f", "--with-keyfile="}, "the value of --with-keyfile is empty"},
        {{"v", "id", "f", "--json=yes"}, "--json takes no value"},
        {{"v", "id", "f", "--json", "--json"}, "--json is given twice"},
        {{"v", "id", "f", "--at=a", "--at=b"}, "--at is given twice"},
        {{"v", "", "f"}, "an operand is empty"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t count = 0;
        while (count < 5 && cases[i].words[count])
            count++;
        struct arguments arguments = {0};
        assert_fails_saying(
            ERR_USAGE, cases[i].said,
            options_parse(verb_of("keyslot", "export"), cases[i].words, count, &arguments, &error));
        assert_null(arguments.operands);
    }
}

static void a_required_option_is_missed(void **state)
{
    (void)state;
    const struct verb verb = {
        .name = "keep",
        .operands = "PATH",
        .operands_least = 1,
        .operands_most = 1,
        .options = (const struct verb_option[]){{OPTION_VAULT, ROLE_REQUIRED, NULL},
                                                {OPTION_END, ROLE_OPTIONAL, NULL}},
    };
    const char *words[] = {"/srv"};
    struct arguments arguments = {0};
    assert_fails_saying(ERR_USAGE, "keep needs --vault NAME",
                        options_parse(&verb, words, 1, &arguments, &error));
}

static void help_wins_over_everything_else_that_is_wrong(void **state)
{
    (void)state;
    static const char *const words[] = {"--nonsense", "--vault", "--help", "--json"};
    _cleanup_(arguments_done) struct arguments arguments = {0};
    assert_ok(options_parse(verb_of("protect", NULL), words, 4, &arguments, &error));
    assert_true(argument_given(&arguments, OPTION_HELP));
    assert_true(argument_given(&arguments, OPTION_JSON));

    static const char *const operand[] = {"v", "--", "--help"};
    _cleanup_(arguments_done) struct arguments others = {0};
    assert_fails(ERR_USAGE, options_parse(verb_of("unlock", NULL), operand, 3, &others, &error));
}

static void words_that_run_out_of_memory_leave_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {"/srv", "--vault", "v"};
    const struct verb *verb = verb_of("protect", NULL);
    struct arguments arguments = {0};
    enum error_code code = OK;
    with_every_allocation_failing(code = options_parse(verb, words, 3, &arguments, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(arguments.given);
    });
    assert_int_equal(code, OK);
    arguments_done(&arguments);
}

static void every_verb_tells_all_of_its_options_within_eighty_columns(void **state)
{
    (void)state;
    for (size_t i = 0; program.verbs[i]; i++) {
        _cleanup_(buffer_done) struct buffer text = {0};
        assert_ok(help_verb(program.verbs[i], &text, &error));
        struct verb_option_view option;
        for (size_t n = 0; verb_option_at(program.verbs[i], n, &option); n++) {
            char name[64];
            snprintf(name, sizeof(name), "  --%s", option.spec->name);
            assert_non_null(strstr(text.data, name));
            assert_true((option.role == ROLE_KEY) <= (program.verbs[i]->key != NULL));
        }
        for (const char *line = text.data; *line; line += strcspn(line, "\n") + 1)
            assert_true(strcspn(line, "\n") <= 80);
        assert_non_null(program.verbs[i]->act);
        assert_true(program.verbs[i]->operands_least <= program.verbs[i]->operands_most);
    }
}

static void the_overview_fits_eighty_columns(void **state)
{
    (void)state;
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_ok(help_overview(&text, &error));
    for (const char *line = text.data; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
}

static void a_synopsis_is_made_from_the_table(void **state)
{
    (void)state;
    _cleanup_(buffer_done) struct buffer erase = {0}, add = {0};
    assert_ok(help_synopsis(verb_of("erase", NULL), &erase, &error));
    assert_string_equal(
        erase.data, "husk erase NAME|--all --confirm NAME|HOSTNAME [--certificate F] [--at DIR] [--json]");
    assert_ok(help_synopsis(verb_of("keyslot", "add"), &add, &error));
    assert_string_equal(
        add.data,
        "husk keyslot add NAME KEY... [--allow-bypass] [--with-keyfile F] [--with-passphrase-file F] "
        "[--with-recovery-key-file F] [--at DIR] [--json]");
}

static void amounts_read_well(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {10239, "9.9 KiB"},
        {102399, "99.9 KiB"},
        {102400, "100 KiB"},
        {1024 * 1024 - 1, "1023 KiB"},
        {1024 * 1024, "1.0 MiB"},
        {UINT64_C(553) << 20, "553 MiB"},
        {UINT64_C(3) << 40, "3.0 TiB"},
        {UINT64_MAX, "15.9 EiB"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        assert_string_equal(amount_bytes_shown(sizes[i].bytes), sizes[i].text);
    assert_string_equal(amount_count_shown(0), "0");
    assert_string_equal(amount_count_shown(999), "999");
    assert_string_equal(amount_count_shown(1000), "1,000");
    assert_string_equal(amount_count_shown(UINT64_MAX), "18,446,744,073,709,551,615");
    assert_string_equal(amount_seconds_shown(0), "0 s");
    assert_string_equal(amount_seconds_shown(59), "59 s");
    assert_string_equal(amount_seconds_shown(61), "1:01");
    assert_string_equal(amount_seconds_shown(3600 * 25 + 62), "25:01:02");
}

#define SECOND INT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)

static const struct progress_view half = {"copying /srv/data", 500, 1000, 50 * MIB, 100 * MIB, 10 * SECOND};

static void progress_as_plain_lines(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_SIZE];
    progress_format_begin(line, &half);
    assert_string_equal(line, "copying /srv/data: 1,000 files, 100 MiB");
    progress_format_plain(line, &half);
    assert_string_equal(line, "copying /srv/data: 50 %, 50.0 MiB of 100 MiB, 5.0 MiB/s, 10 s left");

    const struct progress_view unknown = {"looking", 12345, 0, 0, 0, 3 * SECOND};
    progress_format_begin(line, &unknown);
    assert_string_equal(line, "looking");
    progress_format_plain(line, &unknown);
    assert_string_equal(line, "looking: 12,345 files");

    const struct progress_view one = {"copying /srv/data", 0, 1, 0, 2048, 0};
    progress_format_begin(line, &one);
    assert_string_equal(line, "copying /srv/data: 1 file, 2.0 KiB");

    const struct progress_view more = {"free space", 0, 0, 552 * MIB, 534 * MIB, 0};
    progress_format_plain(line, &more);
    assert_string_equal(line, "free space: 100 %, 552 MiB of 552 MiB");
}

static void time_left_is_no_guess(void **state)
{
    (void)state;
    struct progress_view view = half;
    assert_int_equal(progress_seconds_left(&view), 10);
    view.elapsed_ns = SECOND;
    assert_int_equal(progress_seconds_left(&view), -1);
    view = half;
    view.files_done = 0;
    view.bytes_done = 100;
    assert_int_equal(progress_seconds_left(&view), -1);
    /* More was found than was counted before. */
    view.files_done = 5000;
    view.bytes_done = 500 * MIB;
    assert_int_equal(progress_permille(&view), 1000);
    assert_int_equal(progress_seconds_left(&view), 0);
}

static void a_bar_fits_every_width(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_SIZE];
    progress_format_bar(line, &half, 100);
    assert_string_equal(line, "copying /srv/data [===============>              ] "
                              "50 %, 50.0 MiB of 100 MiB, 5.0 MiB/s, 10 s left");
    for (size_t columns = 1; columns < 300; columns++) {
        progress_format_bar(line, &half, columns);
        assert_true(strlen(line) <= columns);
    }
    const struct progress_view wide = {
        "copying /srv/\u00e4\u00f6\u00fc\u6f22\u5b57\u6f22\u5b57\u6f22\u5b57", 1, 2, 3, 4, SECOND};
    for (size_t columns = 1; columns < 120; columns++) {
        progress_format_bar(line, &wide, columns);
        assert_true(strlen(line) <= columns);
        json_t *text = json_string(line); /* NULL unless it is whole UTF-8 */
        assert_non_null(text);
        json_decref(text);
    }
}

static void a_remedy_is_told_once_for_findings_in_a_row(void **state)
{
    (void)state;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    finding_add(&findings, FINDING_BLOCKS, "b", "/a", "end it", "is busy");
    finding_add(&findings, FINDING_TELLS, "b", "/t", "end it", "is odd");
    finding_add(&findings, FINDING_BLOCKS, "b", "/b", "end it", "is busy");
    finding_add(&findings, FINDING_BLOCKS, "b", "/c", "", "is odd");
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_ok(render_findings_text(&findings, 0, &text, &error));
    assert_string_equal(text.data, "in the way:\n  /a: is busy\n  /b: is busy\n    what to do: end it\n"
                                   "  /c: is odd\nto know:\n  /t: is odd\n    what to do: end it\n");
}

static void findings_are_told_by_weight(void **state)
{
    (void)state;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    finding_add(&findings, FINDING_TELLS, "a", "/x", "", "is odd");
    finding_add(&findings, FINDING_BLOCKS, "b", "/y", "end it", "is busy");
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_ok(render_findings_text(&findings, 0, &text, &error));
    assert_string_equal(text.data,
                        "in the way:\n  /y: is busy\n    what to do: end it\nto know:\n  /x: is odd\n");
    _cleanup_(buffer_done) struct buffer rest = {0};
    assert_ok(render_findings_text(&findings, 2, &rest, &error));
    assert_int_equal(rest.length, 0);
    json_t *array = render_findings_json(&findings);
    assert_int_equal(json_array_size(array), 2);
    json_decref(array);
}

static void assert_placed(const char *text, const char *words, const char *expected)
{
    _cleanup_(buffer_done) struct buffer placed = {0};
    assert_ok(place_in_text(text, words, &placed, &error));
    assert_string_equal(placed.data, expected);
}

static void commands_that_are_named_carry_the_place(void **state)
{
    (void)state;
    const char *words = " --at /mnt";
    assert_placed("husk lock v, then husk keyslot add v", words,
                  "husk lock --at /mnt v, then husk keyslot add --at /mnt v");
    assert_placed("unlock it (husk unlock)", words, "unlock it (husk unlock --at /mnt)");
    assert_placed("husk lock", NULL, "husk lock");
    assert_placed("", words, "");
    /* It has one, is for another place, or is none. */
    assert_placed("husk unlock --all --at /x, then husk lock v", words,
                  "husk unlock --all --at /x, then husk lock --at /mnt v");
    assert_placed("husk protect --root --commit, then the same command", words,
                  "husk protect --root --commit, then the same command");
    assert_placed(
        "husk protect --root --commit --confirm root, then husk unprotect root", words,
        "husk protect --at /mnt --root --commit --confirm root, then husk unprotect --at /mnt root");
    assert_placed(
        "husk protect --root --commit on it (or husk protect --root --commit --confirm root)", words,
        "husk protect --root --commit on it (or husk protect --at /mnt --root --commit --confirm root)");
    static const char *const none[] = {"run husk as root",      "husk protects directories",
                                       "see huskd host list",   "in /mnt/.husk lock",
                                       "see husk help protect", "husk"};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        assert_placed(none[i], words, none[i]);
}

static void a_place_is_quoted_for_the_shell(void **state)
{
    (void)state;
    static const char *const places[][2] = {{"/mnt/a_b-c.d", " --at /mnt/a_b-c.d"},
                                            {"/mnt/a b", " --at '/mnt/a b'"},
                                            {"/it's", " --at '/it'\\''s'"},
                                            {"/$x;y", " --at '/$x;y'"}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        _cleanup_(freep) char *words = place_words("at", places[i][0]);
        assert_string_equal(words, places[i][1]);
    }
}

static void a_message_cut_inside_a_letter_is_still_json(void **state)
{
    (void)state;
    json_t *text = json_text("caf\xc3");
    assert_string_equal(json_string_value(text), "caf\\xc3");
    json_decref(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verb_is_found_by_one_or_two_words),
        cmocka_unit_test(what_is_no_verb_is_named),
        cmocka_unit_test(options_and_operands_come_in_any_order),
        cmocka_unit_test(what_is_wrong_with_the_words_is_named),
        cmocka_unit_test(a_required_option_is_missed),
        cmocka_unit_test(help_wins_over_everything_else_that_is_wrong),
        cmocka_unit_test(words_that_run_out_of_memory_leave_nothing),
        cmocka_unit_test(every_verb_tells_all_of_its_options_within_eighty_columns),
        cmocka_unit_test(the_overview_fits_eighty_columns),
        cmocka_unit_test(a_synopsis_is_made_from_the_table),
        cmocka_unit_test(amounts_read_well),
        cmocka_unit_test(progress_as_plain_lines),
        cmocka_unit_test(time_left_is_no_guess),
        cmocka_unit_test(a_bar_fits_every_width),
        cmocka_unit_test(findings_are_told_by_weight),
        cmocka_unit_test(a_remedy_is_told_once_for_findings_in_a_row),
        cmocka_unit_test(commands_that_are_named_carry_the_place),
        cmocka_unit_test(a_place_is_quoted_for_the_shell),
        cmocka_unit_test(a_message_cut_inside_a_letter_is_still_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
