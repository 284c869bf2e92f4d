/* Copies of a disk that ask while the host runs: its boots are asked whether they do. */
#include <unistd.h>

#include "authority_scene.h"

static void a_copy_is_flagged_when_the_host_still_answers(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    scene_opens(&scene->host, &scene->keyslot);
    host_heartbeat(&scene->host);
    struct world_host copy = copy_disk(&scene->host);
    struct pending *held = host_post(&scene->host, poll_message(&scene->host, 300));
    usleep(100000);
    struct pending *opening = host_post(&copy, open_message(&open, &copy, &scene->keyslot, 5));
    json_t *probed = pending_take(held);
    const char *probe = probe_in(probed);
    assert_false(pending_is_done(opening));
    answer_probe(&scene->host, probe);
    json_t *answer = pending_take(opening);
    assert_true(has_flag(answer, "other-boot-answers"));
    assert_state(answer, "pending");
    json_decref(probed);
    open_done(&open);
    buffer_done(&copy.last_wire);
}

/* The host holds a poll; then the copy asks, and is found out. The request stays pending. */
static void find_out(struct scene *scene, struct world_host *copy, char ret_request[33])
{
    struct world_open open = {0};
    struct pending *held = host_post(&scene->host, poll_message(&scene->host, 5));
    usleep(100000);
    json_decref(host_send(copy, poll_message(copy, 0)));
    struct pending *opening = host_post(copy, open_message(&open, copy, &scene->keyslot, 5));
    json_t *probed = pending_take(held);
    const char *probe = probe_in(probed);
    /* The copy gets no probe, and what it might know of one is worth nothing. */
    json_t *nothing = host_send(copy, poll_message(copy, 0));
    assert_null(json_object_get(json_object_get(nothing, "result"), "probe"));
    json_decref(nothing);
    answer_probe(copy, probe);
    assert_false(pending_is_done(opening));
    answer_probe(&scene->host, probe);
    json_t *answer = pending_take(opening);
    assert_true(has_flag(answer, "other-boot-answers"));
    snprintf(ret_request, 33, "%s",
             json_string_value(json_object_get(json_object_get(answer, "result"), "request")));
    assert_state(answer, "pending");
    json_decref(probed);
    open_done(&open);
}

static void assert_copy_is_found_out(struct scene *scene, struct world_host *copy)
{
    char request[33];
    find_out(scene, copy, request);
}

static void deny(struct scene *scene, const char *request)
{
    json_decref(world_operate(&scene->world, "request deny", json_pack("{s:s}", "request", request)));
}

/* The host falls silent; policy alone would let the boot open then. */
static void a_boot_that_was_denied_is_not_opened_without_people(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    char request[33];
    scene_opens(&scene->host, &scene->keyslot);
    host_heartbeat(&scene->host);
    struct world_host copy = copy_disk(&scene->host);
    find_out(scene, &copy, request);
    deny(scene, request);
    json_t *answer = open_first(&open, &copy, &scene->keyslot, 4);
    assert_false(has_flag(answer, "other-boot-answers"));
    assert_state(answer, "pending");
    assert_state(open_again(&open, 0), "pending");
    world_reopen(&scene->world);
    json_decref(approve(&scene->world, 1000, open.request, open.code));
    assert_granted(&open, open_again(&open, 30));
    open_done(&open);
    scene_opens(&copy, &scene->keyslot);
    buffer_done(&copy.last_wire);
}

/* It is the host when it is let in, not when it asks or beats. */
static void an_accepted_copy_that_is_denied_is_not_the_host(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    char request[33];
    struct world_host old = old_copy(scene);
    host_heartbeat(&scene->host);
    json_decref(world_operate(&scene->world, "host accept-restore", json_pack("{s:s}", "host", "web1")));
    find_out(scene, &old, request);
    deny(scene, request);
    deny(scene, request);
    assert_true(has_entry(&scene->world, "restore-withdrawn"));
    host_heartbeat(&scene->host);
    json_t *answer = open_first(&open, &old, &scene->keyslot, 4);
    assert_true(has_flag(answer, "stale-lineage"));
    assert_state(answer, "pending");
    deny(scene, open.request);
    open_done(&open);
    /* Nor is another boot of it; the host is what it was. */
    host_boot(&old);
    answer = open_first(&open, &old, &scene->keyslot, 4);
    assert_true(has_flag(answer, "stale-lineage"));
    assert_state(answer, "pending");
    deny(scene, open.request);
    open_done(&open);
    scene_opens(&scene->host, &scene->keyslot);
    buffer_done(&old.last_wire);
}

static void a_copy_that_polls_before_it_asks_is_flagged(void **state)
{
    struct scene *scene = *state;
    scene_opens(&scene->host, &scene->keyslot);
    host_heartbeat(&scene->host);
    struct world_host copy = copy_disk(&scene->host);
    assert_copy_is_found_out(scene, &copy);
    buffer_done(&copy.last_wire);
}

static void a_poll_of_an_earlier_boot_sent_again_does_not_hide_the_host(void **state)
{
    struct scene *scene = *state;
    struct buffer wire = {0}, answer = {.maximum = 65536};
    scene_opens(&scene->host, &scene->keyslot);
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    assert_ok(buffer_append(&wire, scene->host.last_wire.data, scene->host.last_wire.length, &error));
    scene_opens(&scene->host, &scene->keyslot);
    struct world_host copy = copy_disk(&scene->host);
    json_decref(host_send(&copy, poll_message(&copy, 0)));
    (void)!host_replay(&copy, &wire, &answer);
    assert_copy_is_found_out(scene, &copy);
    buffer_done(&copy.last_wire);
    buffer_done(&answer);
    buffer_done(&wire);
}

/* It was opened by other means than this authority's leave, as with a recovery key. */
static void a_host_that_no_grant_opened_is_asked_too(void **state)
{
    struct scene *scene = *state;
    scene_opens(&scene->host, &scene->keyslot);
    host_boot(&scene->host);
    host_heartbeat(&scene->host);
    struct world_host copy = copy_disk(&scene->host);
    assert_copy_is_found_out(scene, &copy);
    buffer_done(&copy.last_wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(a_copy_is_flagged_when_the_host_still_answers),
        scene_test(a_copy_that_polls_before_it_asks_is_flagged),
        scene_test(a_boot_that_was_denied_is_not_opened_without_people),
        scene_test(an_accepted_copy_that_is_denied_is_not_the_host),
        scene_test(a_poll_of_an_earlier_boot_sent_again_does_not_hide_the_host),
        scene_test(a_host_that_no_grant_opened_is_asked_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
