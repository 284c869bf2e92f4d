/* The verdicts of an erase, case by case. */
#include "unit.h"

#include <string.h>

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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verdict_on_the_keys),
        cmocka_unit_test(the_verdict_on_plaintext_from_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
