/* The question to an earlier boot whether it still runs: who can disturb it, and how long it takes. */
#include <unistd.h>

#include "authority_scene.h"

/* Right after a start the authority has heard nobody, and the host's agent comes back in a moment. */
static void a_copy_that_asks_right_after_a_restart_is_flagged(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    scene_opens(&scene->host, &scene->keyslot);
    host_heartbeat(&scene->host);
    struct world_host copy = copy_disk(&scene->host);
    world_reopen(&scene->world);
    struct pending *opening = host_post(&copy, open_message(&open, &copy, &scene->keyslot, 5));
    usleep(200000);
    assert_false(pending_is_done(opening));
    json_t *probed = host_send(&scene->host, poll_message(&scene->host, 5));
    const char *probe = probe_in(probed);
    answer_probe(&scene->host, probe);
    json_t *answer = pending_take(opening);
    assert_true(has_flag(answer, "other-boot-answers"));
    assert_state(answer, "pending");
    json_decref(probed);
    open_done(&open);
    buffer_done(&copy.last_wire);
}

/* The copy has the host's identity: it can use up what the host may say, so that the host is not heard. */
static void a_copy_that_shouts_the_host_down_is_not_let_open(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    scene_opens(&scene->host, &scene->keyslot);
    host_heartbeat(&scene->host);
    struct world_host copy = copy_disk(&scene->host);
    struct pending *held = host_post(&scene->host, poll_message(&scene->host, 30));
    usleep(100000);
    while (!copy.was_in_vain)
        json_decref(host_send(&copy, poll_message(&copy, 0)));
    usleep(150000); /* one more is paid for */
    struct pending *opening = host_post(&copy, open_message(&open, &copy, &scene->keyslot, 30));
    json_t *probed = pending_take(held);
    const char *probe = probe_in(probed);
    for (unsigned i = 0; i < 200; i++) { /* 4 s, longer than a probe */
        json_decref(host_send(&copy, poll_message(&copy, 0)));
        usleep(20000);
    }
    assert_false(pending_is_done(opening));
    sleep(4); /* in which the copy is silent, and the host pauses because it was refused */
    assert_false(pending_is_done(opening));
    host_heartbeat(&scene->host); /* for a nonce that is still good */
    answer_probe(&scene->host, probe);
    json_t *answer = pending_take(opening);
    assert_true(has_flag(answer, "other-boot-answers"));
    assert_state(answer, "pending");
    json_decref(probed);
    open_done(&open);
    buffer_done(&copy.last_wire);
}

/* What a refused message said must not have been heard. */
static void a_copy_cannot_spend_the_probe_on_a_message_that_is_refused(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    scene_opens(&scene->host, &scene->keyslot);
    host_heartbeat(&scene->host);
    struct world_host copy = copy_disk(&scene->host), third = copy_disk(&scene->host);
    third.boot[0] ^= 0x55;
    json_decref(host_send(&third, poll_message(&third, 0)));
    struct pending *held = host_post(&third, poll_message(&third, 30));
    usleep(100000);
    struct pending *opening = host_post(&copy, open_message(&open, &copy, &scene->keyslot, 2));
    json_t *probed = pending_take(held);
    json_t *probe = json_object_get(json_object_get(probed, "result"), "probe");
    json_t *message = host_message("heartbeat");
    assert_ok(json_set_hex(message, "boot", third.boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "facts", json_object(), &error));
    assert_ok(json_set_new(message, "descriptor_sequence", json_string("x"), &error));
    assert_ok(json_set_new(message, "probe", json_incref(probe), &error));
    assert_refused(host_send(&third, message), "bad-message");
    json_t *answer = pending_take(opening);
    assert_state(answer, "pending");
    json_decref(probed);
    open_done(&open);
    buffer_done(&copy.last_wire);
    buffer_done(&third.last_wire);
}

static void a_host_that_crashed_and_does_not_answer_opens_after_the_probe(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    scene_opens(&scene->host, &scene->keyslot);
    host_heartbeat(&scene->host);
    host_boot(&scene->host);
    const int64_t before = clock_monotonic_ns();
    assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 30));
    const int64_t waited = clock_monotonic_ns() - before;
    assert_true(waited >= 2900 * INT64_C(1000000) && waited < 10 * CLOCK_NS_PER_S);
    open_done(&open);
}

/* Its agent and what opens its vaults start side by side, and a host has more than one vault. */
static void a_reboot_waits_for_one_probe_whoever_speaks_first(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    scene_opens(&scene->host, &scene->keyslot);
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    host_boot(&scene->host);
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    const int64_t before = clock_monotonic_ns();
    for (unsigned i = 0; i < 3; i++) {
        assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 30));
        open_done(&open);
    }
    assert_true(clock_monotonic_ns() - before < 5 * CLOCK_NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(a_copy_that_asks_right_after_a_restart_is_flagged),
        scene_test(a_copy_that_shouts_the_host_down_is_not_let_open),
        scene_test(a_copy_cannot_spend_the_probe_on_a_message_that_is_refused),
        scene_test(a_host_that_crashed_and_does_not_answer_opens_after_the_probe),
        scene_test(a_reboot_waits_for_one_probe_whoever_speaks_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
