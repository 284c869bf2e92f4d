/* The verdicts of an erase, case by case; and what an ordered one left. */
#include "unit.h"

#include <string.h>

#include "erase/ordered.h"
#include "erase/verdict.h"

static void the_verdict_on_the_keys(void **state)
{
    (void)state;
    static const struct {
        struct erase_facts facts;
        const char *word;
    } cases[] = {
        {{0}, "COMPLETE"},
        {{.local_copies = 1}, "UNKNOWN"}, /* snapshots may hold it */
        {{.copies_unknown = true}, "UNKNOWN"},
        {{.steps_failed = 1}, "INCOMPLETE"},
        {{.authorities_open = 1}, "INCOMPLETE"},
        {{.key_in_memory = true}, "INCOMPLETE"},
        {{.key_in_memory = true, .local_copies = 2, .copies_unknown = true}, "INCOMPLETE"},
        {{.plaintext_left = true}, "COMPLETE"}, /* not about plaintext */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(erase_verdict_word(erase_judge_keys(&cases[i].facts)), cases[i].word);
}

static void the_verdict_on_plaintext_from_before(void **state)
{
    (void)state;
    static const struct {
        struct erase_facts facts;
        const char *word;
    } cases[] = {
        {{0}, "UNKNOWN"}, /* what was deleted before may lie in free space */
        {{.copies_unknown = true}, "UNKNOWN"},
        {{.plaintext_left = true}, "INCOMPLETE"},
        {{.plaintext_left = true, .copies_unknown = true}, "INCOMPLETE"},
        {{.local_copies = 3, .key_in_memory = true}, "UNKNOWN"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(erase_verdict_word(erase_judge_plaintext(&cases[i].facts)), cases[i].word);
}

#define ROOT_LEFT "{\"name\":\"root\",\"filesystem\":\"/\"}"
#define DATA_LEFT "{\"name\":\"data\",\"filesystem\":\"/srv\"}"
#define VAULT(name, place, keys, plaintext)                                                                  \
    "{\"name\":\"" name "\",\"filesystem\":\"" place "\",\"key_destruction\":\"" keys                        \
    "\",\"plaintext_before\":\"" plaintext "\"}"
#define DOCUMENT(vaults, findings) "{\"result\":{\"vaults\":[" vaults "]},\"findings\":[" findings "]}"
#define FAILED(name) "{\"kind\":\"vault-failed\",\"subject\":\"" name "\"}"

static void what_an_ordered_erase_left(void **state)
{
    (void)state;
    static const struct {
        const char *before, *document, *left;
    } cases[] = {
        {NULL, DOCUMENT(VAULT("root", "/", "INCOMPLETE", "UNKNOWN"), ""), "[" ROOT_LEFT "]"},
        {NULL, DOCUMENT(VAULT("root", "/", "UNKNOWN", "UNKNOWN"), ""), "[]"},
        {NULL, DOCUMENT(VAULT("root", "/", "COMPLETE", "INCOMPLETE"), FAILED("root")), "[" ROOT_LEFT "]"},
        /* one that it could not even begin with */
        {NULL, DOCUMENT(VAULT("root", "/", "INCOMPLETE", "UNKNOWN"), FAILED("root") "," FAILED("data")),
         "[" ROOT_LEFT ",{\"name\":\"data\",\"filesystem\":\"\"}]"},
        /* of two with one name */
        {NULL, DOCUMENT(VAULT("root", "/", "INCOMPLETE", "UNKNOWN"), FAILED("root") "," FAILED("root")),
         "[" ROOT_LEFT ",{\"name\":\"root\",\"filesystem\":\"\"}]"},
        {NULL, DOCUMENT("", "{\"kind\":\"directory-foreign\",\"subject\":\"/srv\"}"),
         "[{\"name\":\"/srv\",\"filesystem\":\"\"}]"},
        /* one that an earlier run left and this one did not meet stays; one that is whole now goes */
        {"{\"left\":[" ROOT_LEFT "," DATA_LEFT "]}",
         DOCUMENT(VAULT("root", "/", "INCOMPLETE", "UNKNOWN"), ""), "[" ROOT_LEFT "," DATA_LEFT "]"},
        {"{\"left\":[" ROOT_LEFT "," DATA_LEFT "]}",
         DOCUMENT(
             VAULT("root", "/", "INCOMPLETE", "UNKNOWN") "," VAULT("data", "/srv", "COMPLETE", "UNKNOWN"),
             ""),
         "[" ROOT_LEFT "]"},
        {"{\"left\":[" DATA_LEFT "]}", DOCUMENT(VAULT("data", "/mnt", "COMPLETE", "UNKNOWN"), ""),
         "[" DATA_LEFT "]"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *before = cases[i].before ? json_loads(cases[i].before, 0, NULL) : NULL;
        json_t *document = json_loads(cases[i].document, 0, NULL),
               *expected = json_loads(cases[i].left, 0, NULL);
        assert_non_null(document);
        assert_non_null(expected);
        json_t *left = erase_find_left(before, document);
        if (!json_equal(left, expected))
            fail_msg("case %zu: %s", i, json_dumps(left, 0));
        json_decref(left);
        json_decref(expected);
        json_decref(document);
        json_decref(before);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verdict_on_the_keys),
        cmocka_unit_test(the_verdict_on_plaintext_from_before),
        cmocka_unit_test(what_an_ordered_erase_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
