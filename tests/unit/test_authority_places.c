/* Hosts that get another group or another name, and groups that go. */
#include <sqlite3.h>

#include "authority_scene.h"
#include "base/text.h"

static enum error_code try_two(struct scene *scene, const char *operation, const char *host,
                               const char *member, const char *value, struct error *reterr)
{
    json_t *result = NULL;
    bool changed;
    json_t *arguments = json_pack("{s:s, s:s*}", "host", host, member, value);
    enum error_code code = world_try(&scene->world, 1000, operation, arguments, &result, &changed, reterr);
    json_decref(result);
    return code;
}

static enum error_code try_to_remove(struct scene *scene, const char *group, struct error *reterr)
{
    json_t *result = NULL;
    bool changed;
    enum error_code code = world_try(&scene->world, 1000, "group remove", json_pack("{s:s}", "name", group),
                                     &result, &changed, reterr);
    json_decref(result);
    return code;
}

static void move(struct scene *scene, const char *group)
{
    assert_ok(try_two(scene, "host move", "web1", "group", group, &error));
}

static void make_group(struct scene *scene, const char *name, const char *unlock, int approvals)
{
    group_set(&scene->world, name, "unlock", json_string(unlock));
    group_set(&scene->world, name, "approvals", json_integer(approvals));
}

/* A host of a group whose people are asked, and one group beside it that opens by itself. */
static void ask_people(struct scene *scene, struct world_open *open)
{
    make_group(scene, "asked", "approve", 2);
    make_group(scene, "lenient", "auto", 1);
    move(scene, "asked");
    host_boot(&scene->host);
    assert_state(open_first(open, &scene->host, &scene->keyslot, 0), "pending");
}

/* Still waiting, for a person who types the code. */
static void assert_waits_for_people(struct scene *scene, struct world_open *open)
{
    json_t *result = NULL, *answer = open_again(open, 0);
    bool changed;
    assert_true(has_flag(answer, "moved"));
    assert_state(answer, "pending");
    assert_fails_saying(ERR_DENIED, "code has to be given",
                        world_try(&scene->world, 1000, "request approve",
                                  json_pack("{s:s}", "request", open->request), &result, &changed, &error));
}

static void the_new_group_counts_from_the_next_request_on(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    ask_people(scene, &open);
    open_done(&open);
    world_pass(&scene->world, 3600);
    move(scene, "lenient");
    assert_true(has_entry(&scene->world, "host-moved"));
    scene_opens(&scene->host, &scene->keyslot);
    move(scene, "asked");
    world_reopen(&scene->world);
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    open_done(&open);
}

static void a_request_that_waits_while_its_host_is_moved_is_for_people(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    ask_people(scene, &open);
    struct pending *pending = host_post(&scene->host, open_again_message(&open, 2));
    move(scene, "lenient");
    assert_state(pending_take(pending), "pending");
    assert_waits_for_people(scene, &open);
    world_reopen(&scene->world);
    assert_waits_for_people(scene, &open);
    json_decref(approve(&scene->world, 1000, open.request, open.code));
    assert_granted(&open, open_again(&open, 5));
    open_done(&open);
    scene_opens(&scene->host, &scene->keyslot);
}

static void approvals_given_before_a_move_do_not_count_after_it(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    ask_people(scene, &open);
    json_decref(approve(&scene->world, 1000, open.request, NULL));
    make_group(scene, "single", "approve", 1);
    move(scene, "single"); /* where one is enough */
    assert_waits_for_people(scene, &open);
    move(scene, "asked");
    json_decref(approve(&scene->world, 1000, open.request, open.code));
    assert_state(open_again(&open, 0), "pending");
    json_decref(approve(&scene->world, 1001, open.request, open.code));
    assert_granted(&open, open_again(&open, 5));
    open_done(&open);
}

static void a_request_that_was_approved_is_not_granted_after_a_move(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    ask_people(scene, &open);
    json_decref(approve(&scene->world, 1000, open.request, NULL));
    json_decref(approve(&scene->world, 1001, open.request, NULL));
    move(scene, "lenient");
    assert_waits_for_people(scene, &open);
    open_done(&open);
}

static void what_was_denied_stays_denied(void **state)
{
    struct scene *scene = *state;
    struct world_open open, another;
    ask_people(scene, &open);
    json_decref(world_operate(&scene->world, "request deny", json_pack("{s:s}", "request", open.request)));
    move(scene, "lenient");
    assert_state(open_again(&open, 0), "denied");
    assert_state(open_first(&another, &scene->host, &scene->keyslot, 0), "pending"); /* of that boot */
    open_done(&open);
    open_done(&another);
    world_pass(&scene->world, 3600);
    scene_opens(&scene->host, &scene->keyslot);
}

static void what_is_flagged_stays_flagged(void **state)
{
    struct scene *scene = *state;
    struct world_open first, second;
    make_group(scene, "lenient", "auto", 1);
    make_group(scene, "other", "auto", 1);
    scene_opens(&scene->host, &scene->keyslot);
    make_group(scene, "asked", "approve", 1);
    move(scene, "asked");
    struct world_host copy = copy_disk(&scene->host);
    host_boot(&scene->host);
    assert_state(open_first(&first, &scene->host, &scene->keyslot, 0), "pending");
    assert_flagged(&second, &copy, &scene->keyslot, "two-requests");
    const char *const groups[] = {"lenient", "other"};
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
        move(scene, groups[i]);
        struct world_open *both[] = {&first, &second};
        for (size_t k = 0; k < ARRAY_SIZE(both); k++) {
            json_t *answer = open_again(both[k], 0);
            assert_true(has_flag(answer, "two-requests"));
            assert_state(answer, "pending");
        }
    }
    open_done(&first);
    open_done(&second);
    buffer_done(&copy.last_wire);
}

static void a_move_to_where_it_is_or_to_nowhere_changes_nothing(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    ask_people(scene, &open);
    json_decref(approve(&scene->world, 1000, open.request, NULL));
    json_t *result = NULL;
    bool changed = true;
    assert_ok(world_try(&scene->world, 1000, "host move",
                        json_pack("{s:s, s:s}", "host", "web1", "group", "asked"), &result, &changed,
                        &error));
    assert_false(changed);
    json_decref(result);
    assert_fails(ERR_NOT_FOUND, try_two(scene, "host move", "web1", "group", "nope", &error));
    assert_fails(ERR_USAGE, try_two(scene, "host move", "web1", "group", NULL, &error));
    json_decref(approve(&scene->world, 1001, open.request, NULL));
    assert_granted(&open, open_again(&open, 5));
    open_done(&open);
    json_decref(world_operate(&scene->world, "host erase",
                              json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1")));
    assert_fails(ERR_ERASED, try_two(scene, "host move", "web1", "group", "lenient", &error));
    assert_fails(ERR_ERASED, try_two(scene, "host rename", "web1", "name", "web2", &error));
}

static void a_group_goes_when_nothing_belongs_to_it(void **state)
{
    struct scene *scene = *state;
    make_group(scene, "lenient", "auto", 1);
    assert_fails(ERR_DENIED, try_to_remove(scene, "default", &error));
    assert_fails(ERR_NOT_FOUND, try_to_remove(scene, "nope", &error));
    assert_fails_saying(ERR_DENIED, "1 hosts", try_to_remove(scene, "auto", &error));
    move(scene, "lenient");
    json_t *token =
        world_operate(&scene->world, "token create", json_pack("{s:s, s:i}", "group", "auto", "expires", 60));
    assert_fails_saying(ERR_DENIED, "1 tokens", try_to_remove(scene, "auto", &error));
    json_decref(token);
    world_pass(&scene->world, 60);
    assert_ok(try_to_remove(scene, "auto", &error));
    assert_true(has_entry(&scene->world, "group-removed"));
    assert_fails(ERR_NOT_FOUND, try_to_remove(scene, "auto", &error));
    world_reopen(&scene->world);
    scene_opens(&scene->host, &scene->keyslot);
}

static void scalars_of_hosts_that_were_moved_are_erased_as_any(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot, later;
    struct world_open open;
    make_group(scene, "lenient", "auto", 1);
    make_group(scene, "other", "auto", 1);
    scene_another(scene, &other, &keyslot);
    move(scene, "lenient");
    assert_ok(try_two(scene, "host move", "web2", "group", "other", &error));
    assert_ok(try_to_remove(scene, "auto", &error));
    assert_int_equal(world_count(&scene->world,
                                 "SELECT count(*) FROM groups g WHERE buckets <> (SELECT count(*) "
                                 "FROM buckets b WHERE b.group_id = g.id)"),
                     0);
    scene_opens(&scene->host, &scene->keyslot);
    scene_opens(&other, &keyslot);
    host_bind(&scene->host, &later);
    json_decref(world_operate(&scene->world, "group erase",
                              json_pack("{s:s, s:s}", "name", "lenient", "confirm", "lenient")));
    host_boot(&scene->host);
    assert_refused(open_first(&open, &scene->host, &scene->keyslot, 0), "erased");
    open_done(&open);
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM scalars"), 1);
    scene_opens(&other, &keyslot);
    assert_fails_saying(ERR_DENIED, "1 that are erased", try_to_remove(scene, "lenient", &error));
    json_decref(world_operate(&scene->world, "host erase",
                              json_pack("{s:s, s:s}", "host", "web2", "confirm", "web2")));
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM scalars"), 0);
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM buckets"), 0);
    host_done(&other);
}

static const char *name_of(struct scene *scene, char name[65])
{
    char id[2 * WORLD_ID + 1];
    text_format_hex(id, scene->host.id, sizeof(scene->host.id));
    json_t *shown = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", id));
    json_t *host = json_array_get(json_object_get(shown, "hosts"), 0);
    snprintf(name, 65, "%s", json_string_value(json_object_get(host, "name")));
    json_decref(shown);
    return name;
}

static void a_host_that_is_renamed_is_the_same_host(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    char name[65];
    uint8_t id[WORLD_ID];
    host_make(&other, &scene->world, "web2");
    host_enroll(&other, "auto");
    const char *const wrong[] = {"", "a b", "00112233445566778899aabbccddeeff"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_fails(ERR_USAGE, try_two(scene, "host rename", "web1", "name", wrong[i], &error));
    assert_fails(ERR_EXISTS, try_two(scene, "host rename", "web1", "name", "web2", &error));
    assert_string_equal(name_of(scene, name), "web1");
    assert_ok(try_two(scene, "host rename", "web1", "name", "db1", &error));
    assert_ok(try_two(scene, "host rename", "web2", "name", "web1", &error));
    assert_true(has_entry(&scene->world, "host-renamed"));
    world_reopen(&scene->world);
    assert_string_equal(name_of(scene, name), "db1");
    scene_opens(&scene->host, &scene->keyslot);
    /* It enrols again under the name it knows, which is another host's now. */
    memcpy(id, scene->host.id, sizeof(id));
    json_t *token = world_operate(&scene->world, "token create", NULL);
    json_decref(host_enroll_with(&scene->host, json_string_value(json_object_get(token, "token"))));
    json_decref(token);
    assert_memory_equal(id, scene->host.id, sizeof(id));
    assert_string_equal(name_of(scene, name), "db1");
    host_done(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(the_new_group_counts_from_the_next_request_on),
        scene_test(a_request_that_waits_while_its_host_is_moved_is_for_people),
        scene_test(approvals_given_before_a_move_do_not_count_after_it),
        scene_test(a_request_that_was_approved_is_not_granted_after_a_move),
        scene_test(what_was_denied_stays_denied),
        scene_test(what_is_flagged_stays_flagged),
        scene_test(a_move_to_where_it_is_or_to_nowhere_changes_nothing),
        scene_test(a_group_goes_when_nothing_belongs_to_it),
        scene_test(scalars_of_hosts_that_were_moved_are_erased_as_any),
        scene_test(a_host_that_is_renamed_is_the_same_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
