#include <sodium.h>

#include "authority/presence.h"
#include "unit.h"

enum { MANY = 20000 };

static int start(void **state)
{
    struct presence *presence = calloc(1, sizeof(*presence));
    *state = presence;
    return presence && secret_start(NULL) == OK && presence_init(presence, NULL) == OK ? 0 : -1;
}

static int end(void **state)
{
    presence_done(*state);
    free(*state);
    return 0;
}

static void id_of(int number, uint8_t id[MESSAGE_HOST_ID_SIZE])
{
    crypto_generichash(id, MESSAGE_HOST_ID_SIZE, (const uint8_t *)&number, sizeof(number), NULL, 0);
}

static struct presence_host *add(struct presence *presence, int number)
{
    uint8_t id[MESSAGE_HOST_ID_SIZE], identity[HPKE_KEY_SIZE] = {0};
    id_of(number, id);
    memcpy(identity, &number, sizeof(number));
    assert_ok(presence_add(presence, id, identity, &error));
    return presence_find(presence, id);
}

static void all_are_found_however_many(void **state)
{
    struct presence *presence = *state;
    uint8_t id[MESSAGE_HOST_ID_SIZE], identity[HPKE_KEY_SIZE];
    for (int i = 0; i < MANY; i++)
        add(presence, i);
    for (int i = 0; i < MANY; i++) {
        id_of(i, id);
        assert_true(presence_get_identity(presence, id, identity));
        assert_memory_equal(identity, &i, sizeof(i));
    }
    id_of(MANY, id);
    assert_false(presence_get_identity(presence, id, identity));
    assert_null(presence_find(presence, id));
    /* Chains stay short: a stranger's id costs no more than a host's. */
    assert_true(presence->slot_count >= presence->count);
}

static void adding_a_host_again_changes_nothing(void **state)
{
    struct presence *presence = *state;
    struct presence_host *host = add(presence, 1);
    host->was_seen = true;
    assert_ptr_equal(add(presence, 1), host);
    assert_true(host->was_seen);
}

static void a_nonce_is_taken_once(void **state)
{
    struct presence *presence = *state;
    struct presence_host *host = add(presence, 1);
    uint8_t nonce[PRESENCE_NONCE_SIZE];
    presence_issue_nonce(presence, host, nonce);
    assert_true(presence_take_nonce(presence, host, nonce));
    assert_false(presence_take_nonce(presence, host, nonce));
}

static void only_the_last_nonces_are_valid(void **state)
{
    struct presence *presence = *state;
    struct presence_host *host = add(presence, 1);
    uint8_t nonces[PRESENCE_NONCES + 1][PRESENCE_NONCE_SIZE];
    for (int i = 0; i <= PRESENCE_NONCES; i++)
        presence_issue_nonce(presence, host, nonces[i]);
    assert_false(presence_take_nonce(presence, host, nonces[0]));
    for (int i = PRESENCE_NONCES; i > 0; i--)
        assert_true(presence_take_nonce(presence, host, nonces[i]));
    for (int i = 0; i <= PRESENCE_NONCES; i++)
        assert_false(presence_take_nonce(presence, host, nonces[i]));
}

static void a_nonce_that_was_never_issued_is_none(void **state)
{
    struct presence *presence = *state;
    struct presence_host *host = add(presence, 1), *other = add(presence, 2);
    uint8_t nonce[PRESENCE_NONCE_SIZE], zeros[PRESENCE_NONCE_SIZE] = {0};
    assert_false(presence_take_nonce(presence, host, zeros));
    presence_issue_nonce(presence, other, nonce);
    presence_issue_nonce(presence, host, zeros); /* so that host has one of the same serial */
    assert_false(presence_take_nonce(presence, host, nonce));
    for (size_t bit = 0; bit < 8 * sizeof(nonce); bit++) {
        nonce[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(presence_take_nonce(presence, other, nonce));
        nonce[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(presence_take_nonce(presence, other, nonce));
}

static void nonces_from_before_a_restart_are_void(void **state)
{
    (void)state;
    struct presence before = {0}, after = {0};
    uint8_t nonce[PRESENCE_NONCE_SIZE], unused[PRESENCE_NONCE_SIZE];
    assert_ok(presence_init(&before, &error));
    assert_ok(presence_init(&after, &error));
    presence_issue_nonce(&before, add(&before, 1), nonce);
    presence_issue_nonce(&after, add(&after, 1), unused);
    assert_false(presence_take_nonce(&after, add(&after, 1), nonce));
    presence_done(&before);
    presence_done(&after);
}

static void an_exchange_is_kept_for_a_host_and_a_message_key_and_encrypted(void **state)
{
    struct presence *presence = *state;
    struct secret *identity = NULL, *keys[2] = {NULL};
    uint8_t identity_public[HPKE_KEY_SIZE], publics[2][HPKE_KEY_SIZE];
    const uint8_t id[MESSAGE_HOST_ID_SIZE] = "another sixteen";
    struct secret *none = NULL;
    assert_ok(hpke_key_new(&identity, identity_public, &error));
    for (size_t i = 0; i < 2; i++)
        assert_ok(hpke_key_new(&keys[i], publics[i], &error));
    presence_keep_exchange(presence, id, (struct message_key){keys[0], publics[0]}, keys[0]);
    assert_ok(presence_get_exchange(presence, id, (struct message_key){keys[0], publics[0]}, &none, &error));
    assert_null(none);
    assert_ok(presence_add(presence, id, identity_public, &error));
    const struct presence_host *host = presence_find(presence, id);
    for (size_t i = 0; i < 3; i++) { /* the first key, the second, the first again */
        const struct message_key key = {keys[i % 2], publics[i % 2]};
        _cleanup_(secret_freep) struct secret *expected = NULL, *got = NULL;
        assert_ok(hpke_exchange(key.private_key, identity_public, &expected, &error));
        assert_ok(presence_get_exchange(presence, id, key, &got, &error));
        assert_null(got);
        presence_keep_exchange(presence, id, key, expected);
        assert_ok(presence_get_exchange(presence, id, key, &got, &error));
        assert_memory_equal(got->bytes, expected->bytes, HPKE_KEY_SIZE);
        assert_memory_not_equal(host->exchange, expected->bytes, HPKE_KEY_SIZE);
    }
    secret_free(identity);
    for (size_t i = 0; i < 2; i++)
        secret_free(keys[i]);
}

static void a_host_may_say_so_much_and_no_more(void **state)
{
    (void)state;
    struct rate rate = {0};
    const int64_t now_ns = 1000 * CLOCK_NS_PER_S;
    for (int i = 0; i < 10 * 30; i++)
        assert_true(rate_pay(&rate, 10, 30, now_ns));
    assert_false(rate_pay(&rate, 10, 30, now_ns));
    for (int i = 0; i < 10; i++)
        assert_true(rate_pay(&rate, 10, 30, now_ns + CLOCK_NS_PER_S));
    assert_false(rate_pay(&rate, 10, 30, now_ns + CLOCK_NS_PER_S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_are_found_however_many, start, end),
        cmocka_unit_test_setup_teardown(adding_a_host_again_changes_nothing, start, end),
        cmocka_unit_test_setup_teardown(a_nonce_is_taken_once, start, end),
        cmocka_unit_test_setup_teardown(only_the_last_nonces_are_valid, start, end),
        cmocka_unit_test_setup_teardown(a_nonce_that_was_never_issued_is_none, start, end),
        cmocka_unit_test_setup_teardown(an_exchange_is_kept_for_a_host_and_a_message_key_and_encrypted, start,
                                        end),
        cmocka_unit_test(a_host_may_say_so_much_and_no_more),
        cmocka_unit_test(nonces_from_before_a_restart_are_void),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
