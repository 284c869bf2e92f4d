#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "mapping.h"
#include "secret/packed.h"
#include "unit.h"

enum { MANY = 1000 };

static int start(void **state)
{
    (void)state;
    return secret_start(NULL) == OK ? 0 : -1;
}

static void many_are_zeroed_and_apart(void **state)
{
    (void)state;
    struct secret *secrets[MANY];
    for (int i = 0; i < MANY; i++) {
        assert_ok(secret_new(1 + (size_t)i % PACKED_MAXIMUM, &secrets[i], &error));
        assert_true(sodium_is_zero(secrets[i]->bytes, secrets[i]->length));
        memset(secrets[i]->bytes, i, secrets[i]->length);
    }
    for (int i = 0; i < MANY; i++)
        for (size_t at = 0; at < secrets[i]->length; at++)
            assert_int_equal(secrets[i]->bytes[at], (uint8_t)i);
    for (int i = 0; i < MANY; i++)
        secret_free(secrets[i]);
}

static void what_was_freed_is_wiped_and_used_again(void **state)
{
    (void)state;
    struct secret *secret;
    if (!MLOCK_WORKS) /* it forbids looking there */
        skip();
    assert_ok(secret_new(32, &secret, &error));
    const uint8_t *place = secret->bytes;
    memset(secret->bytes, 0xaa, 32);
    secret_free(secret);
    /* But for where the next free one is. */
    assert_true(sodium_is_zero(place + sizeof(void *), PACKED_MAXIMUM - sizeof(void *)));
    assert_ok(secret_new(PACKED_MAXIMUM, &secret, &error));
    assert_ptr_equal(secret->bytes, place);
    assert_true(sodium_is_zero(secret->bytes, PACKED_MAXIMUM));
    secret_free(secret);
}

static void they_are_locked_and_kept_out_of_dumps(void **state)
{
    (void)state;
    if (!MLOCK_WORKS)
        skip();
    _cleanup_(secret_freep) struct secret *secret = NULL;
    assert_ok(secret_new(32, &secret, &error));
    assert_true(mapping_has(secret->bytes, MAPPING_LOCKED));
    assert_true(mapping_has(secret->bytes, MAPPING_NOT_DUMPED));
}

static void writing_behind_one_ends_the_process_when_it_is_freed(void **state)
{
    (void)state;
    if (!MLOCK_WORKS) /* it ends the process sooner */
        skip();
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};
        struct secret *secret = NULL;
        signal(SIGABRT, SIG_DFL);
        if (setrlimit(RLIMIT_CORE, &none) < 0 || secret_new(PACKED_MAXIMUM, &secret, NULL) != OK)
            _exit(10);
        ((volatile uint8_t *)secret->bytes)[PACKED_MAXIMUM] ^= 1;
        secret_free(secret);
        _exit(11);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void running_out_of_memory_leaves_no_half_secret(void **state)
{
    (void)state;
    struct secret *secret = NULL;
    enum error_code code = OK;
    with_every_allocation_failing(code = secret_new(32, &secret, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(secret);
    });
    assert_int_equal(code, OK);
    secret_free(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_are_zeroed_and_apart),
        cmocka_unit_test(what_was_freed_is_wiped_and_used_again),
        cmocka_unit_test(they_are_locked_and_kept_out_of_dumps),
        cmocka_unit_test(writing_behind_one_ends_the_process_when_it_is_freed),
        cmocka_unit_test(running_out_of_memory_leaves_no_half_secret),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
