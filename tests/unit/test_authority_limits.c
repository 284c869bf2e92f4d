/* The authority in this process: what strangers, and hosts that say too much, cost and get. */
#include "authority_scene.h"
#include "crypto/hpke.h"

static atomic_uint exchanges;

enum error_code __real_hpke_exchange(const struct secret *recipient, const uint8_t sender[HPKE_KEY_SIZE],
                                     struct secret **ret_exchange, struct error *reterr);
enum error_code __wrap_hpke_exchange(const struct secret *recipient, const uint8_t sender[HPKE_KEY_SIZE],
                                     struct secret **ret_exchange, struct error *reterr);
enum error_code __wrap_hpke_exchange(const struct secret *recipient, const uint8_t sender[HPKE_KEY_SIZE],
                                     struct secret **ret_exchange, struct error *reterr)
{
    atomic_fetch_add(&exchanges, 1);
    return __real_hpke_exchange(recipient, sender, ret_exchange, reterr);
}

/* A poll that claims to be of this host, under an identity that is not its own; how many exchanges it cost.
 */
static unsigned exchanges_of_garbage(const struct world_host *host, const uint8_t *id)
{
    struct world_host liar = *host;
    struct buffer wire = {0}, answer = {0};
    struct hpke_context *context = NULL;
    json_t *message = host_message("poll");
    assert_ok(hpke_key_new(&liar.identity, liar.identity_public, &error));
    assert_ok(message_seal(message, liar.message_key, liar.identity, id, &wire, &context, &error));
    const unsigned before = atomic_load(&exchanges);
    assert_int_equal(host_replay(&liar, &wire, &answer), ANSWER_DESCRIPTOR);
    assert_true(liar.was_in_vain);
    const unsigned cost = atomic_load(&exchanges) - before;
    json_decref(message);
    hpke_context_free(context);
    secret_free(liar.identity);
    buffer_done(&wire);
    buffer_done(&answer);
    return cost;
}

static void hosts_that_are_known_heard_or_unknown_cost_a_stranger_the_same(void **state)
{
    struct scene *scene = *state;
    static const uint8_t unknown[WORLD_ID] = "sixteen no host";
    world_reopen(&scene->world); /* nothing of any host is kept */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(exchanges_of_garbage(&scene->host, scene->host.id), 1);
        assert_int_equal(exchanges_of_garbage(&scene->host, unknown), 1);
    }
    unsigned before = atomic_load(&exchanges);
    host_heartbeat(&scene->host);
    assert_true(atomic_load(&exchanges) > before);
    before = atomic_load(&exchanges);
    host_heartbeat(&scene->host); /* the kept one */
    assert_int_equal(atomic_load(&exchanges), before);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(exchanges_of_garbage(&scene->host, scene->host.id), 1);
        assert_int_equal(exchanges_of_garbage(&scene->host, unknown), 1);
    }
    before = atomic_load(&exchanges);
    host_heartbeat(&scene->host); /* and garbage has changed nothing of it */
    assert_int_equal(atomic_load(&exchanges), before);
}

static void only_enrolments_that_make_a_host_known_are_not_in_vain(void **state)
{
    struct scene *scene = *state;
    struct world_host host;
    json_t *token = world_operate(&scene->world, "token create", json_pack("{s:s}", "group", "auto"));
    const char *text = json_string_value(json_object_get(token, "token"));
    host_make(&host, &scene->world, "db1");
    assert_refused(
        host_enroll_with(&host, "husk1.00112233445566778899aabbccddeeff.00000000000000000000000000000000"),
        "denied");
    assert_true(host.was_in_vain);
    json_decref(host_enroll_with(&host, text));
    assert_false(host.was_in_vain);
    json_decref(host_enroll_with(&host, text)); /* again, the same answer */
    assert_true(host.was_in_vain);
    host_heartbeat(&host);
    assert_false(host.was_in_vain);
    json_decref(token);
    host_done(&host);
}

static void what_is_more_than_a_host_may_say_is_in_vain(void **state)
{
    struct scene *scene = *state;
    json_t *answer = NULL;
    int said = 0;
    for (; !scene->host.was_in_vain && said < 1000; said++) {
        json_decref(answer);
        answer = host_send(&scene->host, poll_message(&scene->host, 0));
    }
    assert_true(said > 250 && said < 1000);
    assert_refused(answer, "busy");
}

/* docs/boundaries.md, "An authority": whoever has one recorded message can do that, and no more. */
static void a_recorded_message_said_again_uses_up_what_its_host_may_say(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct buffer recorded = {0}, answer = {0};
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    assert_ok(buffer_append(&recorded, scene->host.last_wire.data, scene->host.last_wire.length, &error));
    const char *refusal = NULL;
    for (int said = 0; said < 1000 && !refusal; said++) { /* what it may say comes back, ten a second */
        buffer_done(&answer);
        assert_int_equal(host_replay(&scene->host, &recorded, &answer), ANSWER_SEALED);
        if (!scene->host.was_in_vain)
            continue;
        json_t *polled = host_send(&scene->host, poll_message(&scene->host, 0));
        refusal = json_object_get(polled, "error") ? "busy" : NULL;
        if (refusal)
            assert_refused(polled, refusal);
        else
            json_decref(polled);
    }
    assert_non_null(refusal);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL); /* when it ends, the host is heard again */
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending"); /* its boot may be away */
    open_done(&open);
    buffer_done(&recorded);
    buffer_done(&answer);
}

static void of_the_open_requests_of_a_host_the_newest_stay(void **state)
{
    struct scene *scene = *state;
    struct world_open opens[16], more;
    uint8_t boots[ARRAY_SIZE(opens)][WORLD_ID];
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    for (unsigned i = 0; i < ARRAY_SIZE(opens); i++) {
        host_boot(&scene->host);
        memcpy(boots[i], scene->host.boot, WORLD_ID);
        assert_state(open_first(&opens[i], &scene->host, &scene->keyslot, 0), "pending");
    }
    assert_false(has_entry(&scene->world, "expired"));
    host_boot(&scene->host);
    assert_state(open_first(&more, &scene->host, &scene->keyslot, 0), "pending");
    assert_true(has_entry(&scene->world, "expired"));
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM requests WHERE state <= 1"), 16);
    for (unsigned i = 0; i < ARRAY_SIZE(opens); i++) {
        memcpy(scene->host.boot, boots[i], WORLD_ID);
        assert_state(open_again(&opens[i], 0), i == 0 ? "expired" : "pending");
        open_done(&opens[i]);
    }
    open_done(&more);
}

static unsigned count_done(struct pending **polls, unsigned count)
{
    unsigned done = 0;
    for (unsigned i = 0; i < count; i++)
        done += pending_is_done(polls[i]);
    return done;
}

static void a_host_is_held_four_times_and_its_oldest_is_answered(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    struct pending *polls[20], *others[4];
    scene_another(scene, &other, &keyslot);
    for (unsigned i = 0; i < 4; i++)
        others[i] = host_post(&other, poll_message(&other, 2));
    for (unsigned i = 0; i < 20; i++) {
        polls[i] = host_post(&scene->host, poll_message(&scene->host, 2));
        nanosleep(&(struct timespec){.tv_nsec = 30 * 1000000L}, NULL); /* one behind the other */
    }
    assert_int_equal(count_done(polls, 20), 16);
    for (unsigned i = 0; i < 20; i++) /* the oldest first */
        assert_int_equal(pending_is_done(polls[i]), i < 16);
    assert_int_equal(count_done(others, 4), 0);
    for (unsigned i = 0; i < 20; i++) {
        json_t *answer = pending_take(polls[i]);
        assert_non_null(json_object_get(json_object_get(answer, "result"), "orders"));
        json_decref(answer);
    }
    for (unsigned i = 0; i < 4; i++)
        json_decref(pending_take(others[i]));
    host_done(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(hosts_that_are_known_heard_or_unknown_cost_a_stranger_the_same),
        scene_test(only_enrolments_that_make_a_host_known_are_not_in_vain),
        scene_test(what_is_more_than_a_host_may_say_is_in_vain),
        scene_test(a_recorded_message_said_again_uses_up_what_its_host_may_say),
        scene_test(of_the_open_requests_of_a_host_the_newest_stay),
        scene_test(a_host_is_held_four_times_and_its_oldest_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
