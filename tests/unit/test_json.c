#include "unit.h"
#include "json/json.h"

static json_t *parse(const char *text)
{
    json_t *object = NULL;
    assert_ok(json_parse_object(text, strlen(text), "it", &object, &error));
    return object;
}

static void assert_not_parsed(const char *text, size_t length, const char *words)
{
    /* Just these bytes, so that a sanitizer sees any read behind them. */
    _cleanup_(freep) char *bytes = malloc(length ? length : 1);
    memcpy(bytes, text, length);
    json_t *object = NULL;
    assert_fails_saying(ERR_CORRUPT, words, json_parse_object(bytes, length, "it", &object, &error));
    assert_null(object);
}

static void an_object_is_parsed(void **state)
{
    (void)state;
    _cleanup_(json_freep) json_t *object = parse(" {\"version\": 1, \"name\": \"data\"}\n");
    assert_int_equal(json_object_size(object), 2);
}

static void what_is_not_exactly_one_object_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "it"},
        {" ", "it"},
        {"[]", "not a JSON object"},
        {"\"x\"", "it"},
        {"{", "line 1"},
        {"{}}", "line 1"},
        {"{} {}", "it"},
        {"{}x", "it"},
        {"{\"a\":1,}", "it"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":{\"b\":1,\"b\":1}}", "duplicate"},
        {"{\"a\":\"\xff\"}", "it"},
        {"{\"a\":\"\xc0\xaf\"}", "it"},
        {"{\"a\":\"\\u0000\"}", "it"},
        {"{\"a\\u0000b\":1}", "it"},
        {"{\"a\":\"\\ud800\"}", "it"},
        {"{\"a\":9223372036854775808}", "it"},
        {"{\"a\":1e999}", "it"},
        {"{\"a\":NaN}", "it"},
        {"{'a':1}", "it"},
        {"{\n\n \"a\":?}", "line 3"},
        {"\xef\xbb\xbf{}", "it"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_not_parsed(cases[i].text, strlen(cases[i].text), cases[i].words);
    assert_not_parsed("{}\0", 3, "it");
    assert_not_parsed("{\"a\":\"b\0c\"}", 11, "it");
}

static void every_cut_of_a_document_is_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"version\":1,\"list\":[1,true,null,\"\\u00e9\xc3\xa9\"],\"x\":{\"y\":-1.5}}";
    for (size_t length = 0; length < strlen(text); length++)
        assert_not_parsed(text, length, "it");
    json_decref(parse(text));
}

static char *nested(unsigned levels, const char *open, const char *close)
{
    struct buffer text = {0};
    for (unsigned i = 0; i < levels; i++)
        assert_ok(buffer_append(&text, open, strlen(open), &error));
    assert_ok(buffer_append(&text, "1", 1, &error));
    for (unsigned i = 0; i < levels; i++)
        assert_ok(buffer_append(&text, close, strlen(close), &error));
    return text.data;
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    static const unsigned refused[] = {JSON_DEPTH_MAXIMUM + 1, 100, 2000, 100000};
    _cleanup_(freep) char *most = nested(JSON_DEPTH_MAXIMUM, "{\"a\":", "}");
    json_decref(parse(most));
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        _cleanup_(freep) char *objects = nested(refused[i], "{\"a\":", "}");
        _cleanup_(freep) char *mixed = nested(refused[i] / 2 + 1, "{\"a\":[", "]}");
        assert_not_parsed(objects, strlen(objects), "it");
        assert_not_parsed(mixed, strlen(mixed), "it");
    }
}

static void a_newer_version_is_told_from_a_wrong_one(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum error_code code;
    } cases[] = {
        {"{\"version\":1}", OK},
        {"{\"version\":2}", OK},
        {"{\"version\":3}", ERR_TOO_NEW},
        {"{\"version\":9223372036854775807}", ERR_TOO_NEW},
        {"{\"version\":0}", ERR_CORRUPT},
        {"{\"version\":-1}", ERR_CORRUPT},
        {"{\"version\":\"1\"}", ERR_CORRUPT},
        {"{\"version\":1.0}", ERR_CORRUPT},
        {"{\"version\":null}", ERR_CORRUPT},
        {"{}", ERR_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(json_freep) json_t *object = parse(cases[i].text);
        if (cases[i].code == OK)
            assert_ok(json_check_version(object, 2, "vault.json", &error));
        else
            assert_fails_saying(cases[i].code, "vault.json",
                                json_check_version(object, 2, "vault.json", &error));
    }
}

static void members_of_the_right_type_are_given(void **state)
{
    (void)state;
    _cleanup_(json_freep) json_t *object = parse(
        "{\"s\":\"text\",\"i\":-5,\"t\":true,\"f\":false,\"a\":[1,2],\"o\":{\"x\":1},\"h\":\"00fFa1\"}");
    const char *string;
    int64_t integer;
    bool yes = false, no = true;
    json_t *array, *inner;
    uint8_t bytes[3];
    assert_ok(json_get_string(object, "s", &string, &error));
    assert_string_equal(string, "text");
    assert_ok(json_get_integer(object, "i", -5, -5, &integer, &error));
    assert_int_equal(integer, -5);
    assert_ok(json_get_boolean(object, "t", &yes, &error));
    assert_ok(json_get_boolean(object, "f", &no, &error));
    assert_true(yes && !no);
    assert_ok(json_get_array(object, "a", 2, &array, &error));
    assert_int_equal(json_array_size(array), 2);
    assert_ok(json_get_object(object, "o", &inner, &error));
    assert_int_equal(json_object_size(inner), 1);
    assert_ok(json_get_hex(object, "h", bytes, 3, &error));
    assert_memory_equal(bytes, "\x00\xff\xa1", 3);
}

/* One value of each type; every getter accepts its own only. */
static void a_member_missing_or_of_another_type_is_named(void **state)
{
    (void)state;
    static const char *const types[] = {"string", "integer", "boolean", "array",
                                        "object", "real",    "null",    "none"};
    _cleanup_(json_freep) json_t *object = parse("{\"string\":\"00\",\"integer\":1,\"boolean\":true,"
                                                 "\"array\":[],\"object\":{},\"real\":1.5,\"null\":null}");
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        const char *member = types[i], *string = "untouched";
        char words[32];
        snprintf(words, sizeof(words), "\"%s\"", member);
        int64_t integer = 77;
        bool boolean = true;
        json_t *value = object;
        uint8_t byte = 0x5a;
        struct buffer buffer = {0};
        if (strcmp(member, "string")) {
            assert_fails_saying(ERR_CORRUPT, words, json_get_string(object, member, &string, &error));
            assert_fails_saying(ERR_CORRUPT, words, json_get_hex(object, member, &byte, 1, &error));
            assert_fails_saying(ERR_CORRUPT, words, json_get_bytes(object, member, &buffer, &error));
        }
        if (strcmp(member, "integer"))
            assert_fails_saying(ERR_CORRUPT, words, json_get_integer(object, member, 0, 9, &integer, &error));
        if (strcmp(member, "boolean"))
            assert_fails_saying(ERR_CORRUPT, words, json_get_boolean(object, member, &boolean, &error));
        if (strcmp(member, "array"))
            assert_fails_saying(ERR_CORRUPT, words, json_get_array(object, member, 9, &value, &error));
        if (strcmp(member, "object"))
            assert_fails_saying(ERR_CORRUPT, words, json_get_object(object, member, &value, &error));
        assert_string_equal(string, "untouched");
        assert_true(integer == 77 && boolean && value == object && byte == 0x5a && buffer.length == 0);
        buffer_done(&buffer);
    }
}

static void values_out_of_bounds_are_named(void **state)
{
    (void)state;
    _cleanup_(json_freep) json_t *object =
        parse("{\"i\":5,\"a\":[1,2,3],\"h\":\"00ff\",\"g\":\"00fg\",\"b\":\"a\\\\x0\"}");
    int64_t integer = 77;
    json_t *array = NULL;
    uint8_t bytes[4] = "abc";
    struct buffer buffer = {0};
    assert_fails_saying(ERR_CORRUPT, "\"i\" is 5", json_get_integer(object, "i", 6, 9, &integer, &error));
    assert_fails_saying(ERR_CORRUPT, "\"i\" is 5", json_get_integer(object, "i", 0, 4, &integer, &error));
    assert_fails_saying(ERR_CORRUPT, "3 elements", json_get_array(object, "a", 2, &array, &error));
    assert_fails_saying(ERR_CORRUPT, "\"h\"", json_get_hex(object, "h", bytes, 1, &error));
    assert_fails_saying(ERR_CORRUPT, "\"h\"", json_get_hex(object, "h", bytes, 3, &error));
    assert_fails_saying(ERR_CORRUPT, "\"g\"", json_get_hex(object, "g", bytes, 2, &error));
    assert_ok(buffer_append(&buffer, "before", 6, &error));
    assert_fails_saying(ERR_CORRUPT, "\"b\"", json_get_bytes(object, "b", &buffer, &error));
    assert_string_equal(buffer.data, "before");
    assert_int_equal(buffer.length, 6);
    buffer_done(&buffer);
    assert_int_equal(integer, 77);
    assert_null(array);
    assert_memory_equal(bytes, "abc", 4);
}

static void names_with_any_byte_survive(void **state)
{
    (void)state;
    char name[255];
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = (char)(i + 1);
    _cleanup_(json_freep) json_t *object = json_object();
    assert_ok(json_set_bytes(object, "name", name, sizeof(name), &error));
    struct buffer text = {0}, again = {0};
    assert_ok(json_format(object, &text, &error));
    _cleanup_(json_freep) json_t *parsed = parse(text.data);
    assert_ok(json_get_bytes(parsed, "name", &again, &error));
    assert_int_equal(again.length, sizeof(name));
    assert_memory_equal(again.data, name, sizeof(name));
    buffer_done(&text);
    buffer_done(&again);
}

static void an_object_is_written_compactly_in_the_order_it_was_made(void **state)
{
    (void)state;
    _cleanup_(json_freep) json_t *object = json_object();
    assert_ok(json_set_new(object, "z", json_integer(1), &error));
    assert_ok(json_set_hex(object, "a", (const uint8_t *)"\x01\xab", 2, &error));
    assert_ok(json_set_bytes(object, "m", "\xff/", 2, &error));
    assert_ok(json_set_bytes(object, "empty", "", 0, &error));
    struct buffer text = {0};
    assert_ok(buffer_append(&text, ">", 1, &error));
    assert_ok(json_format(object, &text, &error));
    assert_string_equal(text.data, ">{\"z\":1,\"a\":\"01ab\",\"m\":\"\\\\xff/\",\"empty\":\"\"}");
    buffer_done(&text);
}

static void a_full_buffer_is_left_as_it_was(void **state)
{
    (void)state;
    _cleanup_(json_freep) json_t *object = parse("{\"a\":\"0123456789\"}");
    struct buffer text = {.maximum = 12};
    assert_ok(buffer_append(&text, "xy", 2, &error));
    assert_fails(ERR_NO_MEMORY, json_format(object, &text, &error));
    assert_int_equal(text.length, 2);
    assert_string_equal(text.data, "xy");
    buffer_done(&text);
}

static void a_missing_value_is_out_of_memory(void **state)
{
    (void)state;
    _cleanup_(json_freep) json_t *object = json_object();
    assert_fails_saying(ERR_NO_MEMORY, "\"a\"", json_set_new(object, "a", NULL, &error));
    assert_int_equal(json_object_size(object), 0);
}

static void running_out_of_memory_is_said_and_changes_nothing(void **state)
{
    (void)state;
    static const char text[] = "{\"version\":1,\"list\":[1,\"two\",{\"x\":[]}]}";
    json_t *object = NULL;
    struct buffer buffer = {0};
    enum error_code code = OK;
    /* jansson does not always know that it was memory that it lacked, so the code may be ERR_CORRUPT. */
    with_every_allocation_failing(code = json_parse_object(text, strlen(text), "it", &object, NULL), {
        assert_int_not_equal(code, OK);
        assert_null(object);
    });
    assert_int_equal(code, OK);
    with_every_allocation_failing(code = json_set_bytes(object, "name", "\xff", 1, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(json_object_get(object, "name"));
    });
    assert_int_equal(code, OK);
    with_every_allocation_failing(code = json_format(object, &buffer, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_int_equal(buffer.length, 0);
        buffer_done(&buffer);
    });
    assert_int_equal(code, OK);
    buffer_done(&buffer);
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_is_parsed),
        cmocka_unit_test(what_is_not_exactly_one_object_is_refused),
        cmocka_unit_test(every_cut_of_a_document_is_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(a_newer_version_is_told_from_a_wrong_one),
        cmocka_unit_test(members_of_the_right_type_are_given),
        cmocka_unit_test(a_member_missing_or_of_another_type_is_named),
        cmocka_unit_test(values_out_of_bounds_are_named),
        cmocka_unit_test(names_with_any_byte_survive),
        cmocka_unit_test(an_object_is_written_compactly_in_the_order_it_was_made),
        cmocka_unit_test(a_full_buffer_is_left_as_it_was),
        cmocka_unit_test(a_missing_value_is_out_of_memory),
        cmocka_unit_test(running_out_of_memory_is_said_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
