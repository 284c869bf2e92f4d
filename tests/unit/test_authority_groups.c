/* What a group's policy says is what counts, not what it says where nobody set it; also after a restart. */
#include "authority_scene.h"

/* Set what the host's group says, as it is kept on the disk. */
static void set_kept(struct scene *scene, const char *option, json_t *value)
{
    group_set(&scene->world, "auto", option, value);
    world_reopen(&scene->world);
}

/* People are asked, for this reason alone. */
static void assert_asked(json_t *answer, const char *reason)
{
    json_t *reasons = json_object_get(json_object_get(answer, "result"), "reasons");
    assert_int_equal(json_array_size(reasons), 1);
    assert_string_equal(json_string_value(json_array_get(reasons, 0)), reason);
    assert_state(answer, "pending");
}

static void is_asked_about(struct scene *scene, const char *reason)
{
    struct world_open open;
    world_reopen(&scene->world);
    host_boot(&scene->host);
    assert_asked(open_first(&open, &scene->host, &scene->keyslot, 0), reason);
    open_done(&open);
}

#define OUTSIDE "it comes outside the group's window"
#define NO_TICKET "nobody ordered this boot: there is no ticket for it"

/* WORLD_START_S is a Monday, 02:40 UTC. */
static void outside_the_window_of_its_group_a_host_asks(void **state)
{
    struct scene *scene = *state;
    set_kept(scene, "window", json_string("mon 02:00-03:00"));
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, 19 * 60 + 59); /* 02:59:59 */
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, 1);
    is_asked_about(scene, OUTSIDE);
    world_pass(&scene->world, 23 * 3600); /* tuesday, 02:00 */
    is_asked_about(scene, OUTSIDE);
    world_pass(&scene->world, 6 * 86400);
    scene_opens(&scene->host, &scene->keyslot);
}

/* A pending request whose answer says that it lasts so long. */
static void ask(struct scene *scene, struct world_open *open, int64_t lasts_s)
{
    host_boot(&scene->host);
    json_t *answer = open_first(open, &scene->host, &scene->keyslot, 0);
    json_t *expires_at = json_object_get(json_object_get(answer, "result"), "expires_at");
    assert_int_equal(json_integer_value(expires_at), atomic_load(&scene->world.now_s) + lasts_s);
    assert_state(answer, "pending");
}

static enum error_code try_to_approve(struct scene *scene, const struct world_open *open,
                                      struct error *reterr)
{
    json_t *result = NULL;
    bool changed;
    enum error_code code = world_try(&scene->world, 1000, "request approve",
                                     json_pack("{s:s}", "request", open->request), &result, &changed, reterr);
    json_decref(result);
    return code;
}

static void a_request_lasts_as_long_as_its_group_says(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    set_kept(scene, "request_ttl", json_integer(120));
    ask(scene, &open, 120);
    world_pass(&scene->world, 119);
    assert_state(open_again(&open, 0), "pending");
    world_pass(&scene->world, 1);
    assert_fails(ERR_DENIED, try_to_approve(scene, &open, &error));
    assert_state(open_again(&open, 0), "expired");
    open_done(&open);

    set_kept(scene, "request_ttl", json_integer(3 * 3600));
    ask(scene, &open, 3 * 3600);
    world_pass(&scene->world, 3 * 3600 - 1);
    assert_ok(try_to_approve(scene, &open, &error));
    assert_granted(&open, open_again(&open, 5));
    open_done(&open);
}

/* A ticket, and the boot it is for seconds later. */
static void restart(struct scene *scene, int64_t seconds)
{
    host_ticket(&scene->host, "reboot");
    world_pass(&scene->world, seconds);
    world_reopen(&scene->world);
    scene->host.planned = true;
    host_boot(&scene->host);
}

static void a_ticket_lasts_as_long_as_its_group_says(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "unlock", json_string("ticket"));
    set_kept(scene, "ticket_ttl", json_integer(3 * 3600));
    restart(scene, 3 * 3600 - 1);
    assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 30));
    open_done(&open);
    restart(scene, 3 * 3600);
    assert_asked(open_first(&open, &scene->host, &scene->keyslot, 0), NO_TICKET);
    open_done(&open);
}

static void a_ticket_may_be_shorter_too(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "unlock", json_string("ticket"));
    set_kept(scene, "ticket_ttl", json_integer(60));
    restart(scene, 60);
    assert_asked(open_first(&open, &scene->host, &scene->keyslot, 0), NO_TICKET);
    open_done(&open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(outside_the_window_of_its_group_a_host_asks),
        scene_test(a_request_lasts_as_long_as_its_group_says),
        scene_test(a_ticket_lasts_as_long_as_its_group_says),
        scene_test(a_ticket_may_be_shorter_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
