/* What approvers see of a request, and what their approvals are worth. */
#include "authority_scene.h"

/* The one request that is listed. */
static json_t *listed(struct scene *scene)
{
    json_t *result = world_operate(&scene->world, "request list", NULL);
    json_t *array = json_object_get(result, "requests");
    assert_int_equal(json_array_size(array), 1);
    json_t *request = json_incref(json_array_get(array, 0));
    json_decref(result);
    return request;
}

static void assert_approvals(struct scene *scene, int count)
{
    json_t *request = listed(scene);
    assert_int_equal(json_integer_value(json_object_get(request, "approvals")), count);
    json_decref(request);
}

static void root_and_eight_people_are_eight_people(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    json_decref(approve(&scene->world, 0, open.request, NULL)); /* alone it would do */
    group_set(&scene->world, "auto", "approvals", json_integer(8));
    for (unsigned i = 0; i < 8; i++) {
        assert_approvals(scene, (int)i);
        world_pass(&scene->world, 1);
        json_decref(approve(&scene->world, 1000 + i, open.request, NULL));
    }
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
}

/* Those who approved before it was flagged do not count; enough others do. */
static void approvals_that_do_not_count_do_not_crowd_out_those_that_do(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    group_set(&scene->world, "auto", "approvals", json_integer(8));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    for (unsigned i = 0; i < 7; i++)
        json_decref(approve(&scene->world, 1000 + i, open.request, NULL));
    world_pass(&scene->world, -3600);
    for (unsigned i = 0; i < 8; i++)
        json_decref(approve(&scene->world, 2000 + i, open.request, open.code));
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
}

/* The disk is an old copy. */
static void ask_with_an_old_disk(struct scene *scene, struct world_host *old, struct world_open *open)
{
    scene_opens(&scene->host, &scene->keyslot);
    *old = copy_disk(&scene->host);
    scene_opens(&scene->host, &scene->keyslot);
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "approvals", json_integer(2));
    assert_flagged(open, old, &scene->keyslot, "stale-lineage");
}

static void one_of_two_approvers_does_not_make_a_copy_the_host(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    struct world_host old;
    ask_with_an_old_disk(scene, &old, &open);
    json_decref(approve(&scene->world, 1000, open.request, open.code));
    scene_approve_restored(scene, 1001, &open);
    assert_granted(&open, open_again(&open, 0));
    /* Asked for again, the answer is the same. */
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
    host_boot(&old);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    json_decref(world_operate(&scene->world, "request deny", json_pack("{s:s}", "request", open.request)));
    open_done(&open);
    scene_opens(&scene->host, &scene->keyslot);
    buffer_done(&old.last_wire);
}

static void two_of_three_approvers_make_a_copy_the_host(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    struct world_host old;
    ask_with_an_old_disk(scene, &old, &open);
    scene_approve_restored(scene, 1000, &open);
    json_decref(approve(&scene->world, 1001, open.request, open.code));
    scene_approve_restored(scene, 1002, &open);
    assert_granted(&open, open_again(&open, 0));
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
    scene_opens(&old, &scene->keyslot);
    buffer_done(&old.last_wire);
}

static json_t *facts_of(const char *kernel, const char *command_line)
{
    return json_pack("{s:s, s:s, s:s*, s:s}", "kernel", kernel, "kernel_hash", "ab", "cmdline_hash",
                     command_line, "something_else", "x");
}

static json_t *open_with(struct scene *scene, struct world_open *open, json_t *facts)
{
    json_t *message = open_message(open, &scene->host, &scene->keyslot, 0);
    json_object_set_new(message, "facts", facts);
    return host_send(&scene->host, message);
}

/* Asked by a new boot that reports these; its request is denied again. */
static void assert_changed(struct scene *scene, json_t *facts, const char *expected_changed)
{
    struct world_open open = {0};
    host_boot(&scene->host);
    json_t *answer = open_with(scene, &open, facts);
    snprintf(open.request, sizeof(open.request), "%s",
             json_string_value(json_object_get(json_object_get(answer, "result"), "request")));
    json_t *request = listed(scene), *changed = json_object_get(request, "changed_facts");
    json_t *expected = json_loads(expected_changed, 0, NULL);
    assert_true(json_equal(changed, expected));
    json_decref(expected);
    json_decref(request);
    json_decref(answer);
    json_decref(world_operate(&scene->world, "request deny", json_pack("{s:s}", "request", open.request)));
    open_done(&open);
}

static void beat_with(struct scene *scene, json_t *facts)
{
    json_t *message = host_message("heartbeat");
    assert_ok(json_set_hex(message, "boot", scene->host.boot, WORLD_ID, &error));
    assert_ok(json_set_hex(message, "lineage", scene->host.lineage, WORLD_ID, &error));
    assert_ok(json_set_new(message, "facts", facts, &error));
    json_decref(host_send(&scene->host, message));
}

static void approvers_see_what_differs_from_the_last_boot_that_was_let_in(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    json_decref(open_with(scene, &open, facts_of("6.1.0-1", "aa")));
    json_t *request = listed(scene);
    assert_true(json_is_null(json_object_get(request, "accepted_facts")));
    assert_int_equal(json_array_size(json_object_get(request, "changed_facts")), 0);
    snprintf(open.request, sizeof(open.request), "%s", json_string_value(json_object_get(request, "id")));
    json_decref(request);
    json_decref(approve(&scene->world, 1000, open.request, NULL));
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
    assert_changed(scene, facts_of("6.1.0-1", "aa"), "[]");
    assert_changed(scene, facts_of("6.1.0-1", "bb"), "[\"cmdline_hash\"]");
    assert_changed(scene, facts_of("6.1.0-2", "bb"), "[\"kernel\", \"cmdline_hash\"]");
    assert_changed(scene, facts_of("6.1.0-1", NULL), "[]"); /* where it cannot be read, nothing can be said */
    /* Nor does a boot that was not let in say what is usual. */
    beat_with(scene, facts_of("6.1.0-1", "bb"));
    assert_changed(scene, facts_of("6.1.0-1", "bb"), "[\"cmdline_hash\"]");
}

static void what_the_running_host_reports_is_what_its_next_boot_is_compared_with(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    scene_opens(&scene->host, &scene->keyslot);
    host_ticket(&scene->host, "reboot");
    beat_with(scene, facts_of("6.1.0-1", "aa"));
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    scene->host.planned = true;
    host_boot(&scene->host);
    json_decref(open_with(scene, &open, facts_of("6.1.0-1", "cc")));
    json_t *request = listed(scene), *reported = json_object_get(request, "reported_facts");
    assert_string_equal(json_string_value(json_object_get(reported, "cmdline_hash")), "cc");
    assert_null(json_object_get(reported, "something_else"));
    json_t *accepted = json_object_get(request, "accepted_facts"),
           *ticket = json_object_get(request, "ticket");
    assert_string_equal(json_string_value(json_object_get(accepted, "cmdline_hash")), "aa");
    assert_string_equal(json_string_value(json_object_get(ticket, "purpose")), "reboot");
    assert_true(json_is_true(json_object_get(request, "planned")));
    assert_int_equal(json_integer_value(json_object_get(request, "last_seen")), WORLD_START_S);
    json_decref(request);
    open_done(&open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(root_and_eight_people_are_eight_people),
        scene_test(approvals_that_do_not_count_do_not_crowd_out_those_that_do),
        scene_test(one_of_two_approvers_does_not_make_a_copy_the_host),
        scene_test(two_of_three_approvers_make_a_copy_the_host),
        scene_test(approvers_see_what_differs_from_the_last_boot_that_was_let_in),
        scene_test(what_the_running_host_reports_is_what_its_next_boot_is_compared_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
