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
    struct world_open open;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    group_set(&scene->world, "auto", "approvals", json_integer(8));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    json_decref(approve(&scene->world, 0, open.request, NULL));
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
    struct world_open open;
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

static void approve_restored(struct scene *scene, unsigned uid, struct world_open *open)
{
    json_t *result = NULL;
    bool changed;
    assert_ok(
        world_try(&scene->world, uid, "request approve",
                  json_pack("{s:s, s:s, s:b}", "request", open->request, "code", open->code, "restored", 1),
                  &result, &changed, &error));
    json_decref(result);
}

static void one_of_two_approvers_does_not_make_a_copy_the_host(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host old;
    ask_with_an_old_disk(scene, &old, &open);
    json_decref(approve(&scene->world, 1000, open.request, open.code));
    approve_restored(scene, 1001, &open);
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
    struct world_open open;
    struct world_host old;
    ask_with_an_old_disk(scene, &old, &open);
    approve_restored(scene, 1000, &open);
    json_decref(approve(&scene->world, 1001, open.request, open.code));
    approve_restored(scene, 1002, &open);
    assert_granted(&open, open_again(&open, 0));
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
    scene_opens(&old, &scene->keyslot);
    buffer_done(&old.last_wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(root_and_eight_people_are_eight_people),
        scene_test(approvals_that_do_not_count_do_not_crowd_out_those_that_do),
        scene_test(one_of_two_approvers_does_not_make_a_copy_the_host),
        scene_test(two_of_three_approvers_make_a_copy_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
