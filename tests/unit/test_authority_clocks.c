/* Clocks that went back: nothing is automatic then. */
#include "authority_scene.h"

/* Each of its boots asks people, and the next one again. */
static void assert_clock_alarm(struct scene *scene)
{
    struct world_open open;
    for (unsigned i = 0; i < 2; i++) {
        host_boot(&scene->host);
        assert_flagged(&open, &scene->host, &scene->keyslot, "clock");
        json_decref(approve(&scene->world, 1000, open.request, open.code));
        assert_granted(&open, open_again(&open, 30));
        open_done(&open);
    }
    assert_refused(ask_ticket(&scene->host), "denied");
}

static void accept_clock(struct scene *scene)
{
    json_decref(world_operate(&scene->world, "clock accept", NULL));
    assert_true(has_entry(&scene->world, "clock-accepted"));
    scene_opens(&scene->host, &scene->keyslot);
    host_ticket(&scene->host, "reboot");
}

static void a_clock_that_went_back_makes_nothing_automatic_until_it_is_accepted(void **state)
{
    struct scene *scene = *state;
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, -59);
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, -3600);
    assert_clock_alarm(scene);
    world_reopen(&scene->world);
    assert_clock_alarm(scene);
    accept_clock(scene);
}

static void assert_seen_at_no_known_time(struct scene *scene)
{
    json_t *result = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", "web1")),
           *seen = json_object_get(json_array_get(json_object_get(result, "hosts"), 0), "last_seen");
    assert_true(json_is_integer(seen) && json_integer_value(seen) == 0);
    json_decref(result);
}

/* By a clock that was ahead: when is not known, which is too long ago for a group that asks for it. */
static void a_host_that_was_heard_in_the_future_was_heard(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "liveness", json_integer(7200));
    world_pass(&scene->world, -3600);
    host_boot(&scene->host);
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    json_decref(world_operate(&scene->world, "clock accept", NULL));
    assert_seen_at_no_known_time(scene);
    json_t *answer = open_first(&open, &scene->host, &scene->keyslot, 0);
    json_t *reasons = json_object_get(json_object_get(answer, "result"), "reasons");
    assert_int_equal(json_array_size(reasons), 1);
    assert_non_null(strstr(json_string_value(json_array_get(reasons, 0)), "liveness"));
    assert_state(answer, "pending");
    world_reopen(&scene->world);
    assert_seen_at_no_known_time(scene);
    group_set(&scene->world, "auto", "liveness", json_integer(0));
    assert_granted(&open, open_again(&open, 30));
    open_done(&open);
}

/* Nothing was decided for hours, and the clock goes back by less than that. */
static void a_clock_that_goes_back_on_a_quiet_authority_is_seen(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, 11 * 3600);
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    world_pass(&scene->world, -10 * 3600);
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    assert_clock_alarm(scene);
    world_reopen(&scene->world);
    assert_clock_alarm(scene);
    /* Right again it is without anybody's word. */
    world_pass(&scene->world, 10 * 3600);
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, -10 * 3600);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "clock");
    json_decref(world_operate(&scene->world, "request deny", json_pack("{s:s}", "request", open.request)));
    open_done(&open);
    accept_clock(scene);
}

/* Whoever answers its requests for the time could take it back a little at a time. */
static void small_steps_back_add_up(void **state)
{
    struct scene *scene = *state;
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, 11 * 3600);
    json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    for (unsigned i = 0; i < 2; i++) {
        world_pass(&scene->world, -40);
        json_decref(host_send(&scene->host, poll_message(&scene->host, 0)));
    }
    assert_clock_alarm(scene);
    accept_clock(scene);
    world_pass(&scene->world, -40);
    scene_opens(&scene->host, &scene->keyslot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(a_clock_that_went_back_makes_nothing_automatic_until_it_is_accepted),
        scene_test(a_host_that_was_heard_in_the_future_was_heard),
        scene_test(a_clock_that_goes_back_on_a_quiet_authority_is_seen),
        scene_test(small_steps_back_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
