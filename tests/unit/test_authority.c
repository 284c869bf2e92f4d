/* The authority in this process: enrolling, binding, opening, approving. */
#include <sodium.h>
#include <unistd.h>

#include "authority_scene.h"
#include "base/text.h"

static void an_automatic_open_is_granted_and_gives_the_output_of_the_binding(void **state)
{
    struct scene *scene = *state;
    for (unsigned boot = 0; boot < 3; boot++)
        scene_opens(&scene->host, &scene->keyslot);
}

static void a_token_is_for_the_first_identity_that_uses_it(void **state)
{
    struct scene *scene = *state;
    struct world_host host, thief;
    uint8_t id[WORLD_ID];
    json_t *token = world_operate(&scene->world, "token create", json_pack("{s:s}", "group", "auto"));
    const char *text = json_string_value(json_object_get(token, "token"));
    host_make(&host, &scene->world, "db1");
    host_make(&thief, &scene->world, "db1");
    json_decref(host_enroll_with(&host, text));
    memcpy(id, host.id, sizeof(id));
    json_t *again = host_enroll_with(&host, text);
    assert_memory_equal(id, host.id, sizeof(id));
    assert_non_null(json_object_get(json_object_get(again, "result"), "descriptor"));
    json_decref(again);
    assert_refused(host_enroll_with(&thief, text), "denied");
    snprintf(thief.name, sizeof(thief.name), "db2");
    assert_refused(host_enroll_with(&thief, text), "denied");
    json_decref(token);
    host_done(&host);
    host_done(&thief);
}

static void a_token_expires_and_an_invented_one_is_refused_alike(void **state)
{
    struct scene *scene = *state;
    struct world_host host;
    json_t *token =
        world_operate(&scene->world, "token create", json_pack("{s:s, s:i}", "group", "auto", "expires", 60));
    host_make(&host, &scene->world, "db1");
    world_pass(&scene->world, 60);
    assert_refused(host_enroll_with(&host, json_string_value(json_object_get(token, "token"))), "denied");
    assert_refused(
        host_enroll_with(&host, "husk1.00112233445566778899aabbccddeeff.00000000000000000000000000000000"),
        "denied");
    json_decref(token);
    host_done(&host);
}

static const char *told(json_t *shown, size_t number, const char *member)
{
    json_t *host = json_array_get(json_object_get(shown, "hosts"), number);
    return json_string_value(json_object_get(host, member));
}

static void a_name_that_is_known_needs_its_identity(void **state)
{
    struct scene *scene = *state;
    struct world_host impostor, renamed = scene->host;
    uint8_t id[WORLD_ID];
    json_t *token = world_operate(&scene->world, "token create", json_pack("{s:s}", "group", "auto"));
    const char *text = json_string_value(json_object_get(token, "token"));
    host_make(&impostor, &scene->world, "web1");
    assert_refused(host_enroll_with(&impostor, text), "denied");
    renamed.last_wire = (struct buffer){0};
    snprintf(renamed.name, sizeof(renamed.name), "web9");
    memcpy(id, scene->host.id, sizeof(id));
    json_decref(host_enroll_with(&renamed, text)); /* it keeps the name it has here */
    assert_memory_equal(id, renamed.id, sizeof(id));
    json_t *shown = world_operate(&scene->world, "host list", NULL);
    assert_int_equal(json_array_size(json_object_get(shown, "hosts")), 1);
    assert_string_equal(told(shown, 0, "name"), "web1");
    json_decref(shown);
    buffer_done(&renamed.last_wire);
    json_decref(host_enroll_with(&scene->host, text));
    assert_memory_equal(id, scene->host.id, sizeof(id));
    json_decref(token);
    host_done(&impostor);
}

static void the_name_of_an_erased_host_is_free_and_its_record_stays(void **state)
{
    struct scene *scene = *state;
    struct world_host anew;
    struct world_keyslot keyslot;
    char id[2 * WORLD_ID + 1];
    for (unsigned round = 0; round < 2; round++) { /* and again after that one is erased, too */
        json_decref(world_operate(&scene->world, "host erase",
                                  json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1")));
        json_t *token = world_operate(&scene->world, "token create", json_pack("{s:s}", "group", "auto"));
        assert_refused(host_enroll_with(&scene->host, json_string_value(json_object_get(token, "token"))),
                       "denied");
        json_decref(token);
        host_make(&anew, &scene->world, "web1");
        host_enroll(&anew, "auto");
        host_bind(&anew, &keyslot);
        scene_opens(&anew, &keyslot);
        assert_refused(host_send(&scene->host, host_message("poll")), "erased");
        json_t *shown = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", "web1"));
        text_format_hex(id, anew.id, sizeof(anew.id));
        assert_string_equal(told(shown, 0, "id"), id);
        assert_string_equal(told(shown, 0, "state"), "active");
        json_decref(shown);
        text_format_hex(id, scene->host.id, sizeof(scene->host.id));
        shown = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", id));
        assert_string_equal(told(shown, 0, "state"), "erased");
        assert_string_equal(told(shown, 0, "name"), "web1");
        json_decref(shown);
        host_done(&anew);
    }
    json_t *list = world_operate(&scene->world, "host list", NULL);
    assert_int_equal(json_array_size(json_object_get(list, "hosts")), 3);
    json_decref(list);
    world_reopen(&scene->world);
    json_t *shown = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", "web1"));
    assert_string_equal(told(shown, 0, "state"), "active");
    json_decref(shown);
}

static void a_host_is_counted_once_it_has_shown_its_identity(void **state)
{
    struct scene *scene = *state;
    struct world_host host;
    struct world_keyslot keyslot;
    host_make(&host, &scene->world, "db1");
    host_enroll(&host, "auto");
    json_t *shown = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", "db1"));
    json_t *first = json_array_get(json_object_get(shown, "hosts"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "state")), "enrolled");
    json_decref(shown);
    host_bind(&host, &keyslot);
    shown = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", "db1"));
    first = json_array_get(json_object_get(shown, "hosts"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "state")), "active");
    assert_int_equal(json_integer_value(json_object_get(first, "keyslots")), 1);
    json_decref(shown);
    host_done(&host);
}

static void who_the_authority_does_not_know_gets_the_descriptor(void **state)
{
    struct scene *scene = *state;
    struct world_host stranger;
    host_make(&stranger, &scene->world, "stranger");
    memcpy(stranger.message_key, scene->host.message_key, HPKE_KEY_SIZE);
    randombytes_buf(stranger.id, sizeof(stranger.id));
    assert_null(host_send(&stranger, host_message("poll"))); /* no such host */
    memcpy(stranger.id, scene->host.id, sizeof(stranger.id));
    assert_null(host_send(&stranger, host_message("poll"))); /* not its identity */
    randombytes_buf(scene->host.message_key, HPKE_KEY_SIZE);
    scene->host.message_key[31] &= 0x7f;
    assert_null(host_send(&scene->host, host_message("poll"))); /* not the authority's key */
    host_done(&stranger);
}

static void every_flipped_byte_of_a_message_gets_the_descriptor(void **state)
{
    struct scene *scene = *state;
    struct world_open open = {0};
    struct buffer wire = {0}, answer = {0};
    host_boot(&scene->host);
    json_decref(host_send(&scene->host, open_message(&open, &scene->host, &scene->keyslot, 0)));
    assert_ok(buffer_append(&wire, scene->host.last_wire.data, scene->host.last_wire.length, &error));
    for (size_t at = 0; at < wire.length; at += at < 64 ? 1 : 13) {
        wire.data[at] ^= 0x20;
        assert_int_equal(host_replay(&scene->host, &wire, &answer), ANSWER_DESCRIPTOR);
        wire.data[at] ^= 0x20;
    }
    assert_int_equal(host_replay(&scene->host, &wire, &answer), ANSWER_SEALED);
    buffer_done(&wire);
    buffer_done(&answer);
    open_done(&open);
}

/* The bind of a keyslot with the same, or with another, pair of elements. */
static json_t *bind_again(struct world_host *host, const struct world_keyslot *keyslot, const char *first,
                          const char *second)
{
    json_t *message = host_message("bind");
    assert_ok(json_set_hex(message, "keyslot", keyslot->id, WORLD_ID, &error));
    assert_ok(json_set_hex(message, "vault", keyslot->vault, WORLD_ID, &error));
    assert_ok(json_set_new(message, "vault_name", json_string("main"), &error));
    assert_ok(json_set_new(message, "blinded", json_pack("[s, s]", first, second), &error));
    return host_send(host, message);
}

static void draw_element(char text[65])
{
    uint8_t element[crypto_core_ristretto255_BYTES];
    crypto_core_ristretto255_random(element);
    text_format_hex(text, element, sizeof(element));
}

static void binding_again_gives_the_same_answer_and_never_evaluates_anything_else(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot keyslot;
    char first[65], second[65], other[65];
    keyslot_draw(&keyslot);
    draw_element(first);
    draw_element(second);
    draw_element(other);
    json_t *before = bind_again(&scene->host, &keyslot, first, second);
    json_t *after = bind_again(&scene->host, &keyslot, first, second);
    assert_int_equal(json_array_size(json_object_get(json_object_get(before, "result"), "evaluated")), 2);
    assert_true(json_equal(json_object_get(before, "result"), json_object_get(after, "result")));
    assert_refused(bind_again(&scene->host, &keyslot, first, other), "denied");
    assert_refused(bind_again(&scene->host, &keyslot, other, second), "denied");
    assert_refused(bind_again(&scene->host, &scene->keyslot, first, second), "denied");
    json_decref(before);
    json_decref(after);
}

static void another_host_can_neither_bind_nor_open_a_keyslot(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    struct world_open open;
    char first[65], second[65];
    scene_another(scene, &other, &keyslot);
    draw_element(first);
    draw_element(second);
    assert_refused(bind_again(&other, &scene->keyslot, first, second), "denied");
    assert_refused(open_first(&open, &other, &scene->keyslot, 0), "not-found");
    open_done(&open);
    scene_opens(&scene->host, &scene->keyslot);
    host_done(&other);
}

static void broken_members_are_a_bad_message_and_change_nothing(void **state)
{
    struct scene *scene = *state;
    static const char *const members[] = {"boot", "planned", "facts", "open", "wait_s", "lineage"};
    struct world_open open = {0};
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        for (unsigned how = 0; how < 2; how++) {
            json_t *message = open_message(&open, &scene->host, &scene->keyslot, 0);
            if (how == 0 && json_object_del(message, members[i]) != 0) {
                json_decref(message); /* lineage may be missing */
                continue;
            }
            if (how == 1)
                json_object_set_new(message, members[i], json_real(0.5));
            assert_refused(host_send(&scene->host, message), "bad-message");
        }
    json_t *message = open_message(&open, &scene->host, &scene->keyslot, 0);
    json_t *first = json_array_get(json_object_get(message, "open"), 0);
    json_object_set_new(first, "blinded",
                        json_string("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"));
    assert_refused(host_send(&scene->host, message), "bad-message");
    assert_false(has_entry(&scene->world, "request"));
    open_done(&open);
}

static void a_nonce_counts_once_and_not_after_a_restart(void **state)
{
    struct scene *scene = *state;
    uint8_t nonce[WORLD_ID];
    host_heartbeat(&scene->host);
    memcpy(nonce, scene->host.nonce, sizeof(nonce));
    host_ticket(&scene->host, "reboot");
    json_t *message = host_message("ticket");
    assert_ok(json_set_hex(message, "boot", scene->host.boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "purpose", json_string("reboot"), &error));
    memcpy(scene->host.nonce, nonce, sizeof(nonce));
    assert_refused(pending_take(host_post(&scene->host, json_incref(message))), "stale-nonce");
    world_reopen(&scene->world);
    assert_refused(pending_take(host_post(&scene->host, json_incref(message))), "stale-nonce");
    json_t *answer = pending_take(host_post(&scene->host, message));
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
}

static void a_replayed_message_changes_nothing(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct buffer wire = {0}, answer = {0};
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    assert_ok(buffer_append(&wire, scene->host.last_wire.data, scene->host.last_wire.length, &error));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(host_replay(&scene->host, &wire, &answer), ANSWER_SEALED);
    world_reopen(&scene->world);
    assert_int_equal(host_replay(&scene->host, &wire, &answer), ANSWER_SEALED);
    json_t *list = world_operate(&scene->world, "request list", NULL);
    assert_int_equal(json_array_size(json_object_get(list, "requests")), 1);
    json_decref(list);
    buffer_done(&wire);
    buffer_done(&answer);
    open_done(&open);
}

static void only_the_boot_that_made_a_request_gets_its_answer(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host other;
    struct world_keyslot keyslot;
    scene_another(scene, &other, &keyslot);
    host_boot(&scene->host);
    assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 0));
    assert_granted(&open, open_again(&open, 0)); /* its answer was lost */
    uint8_t boot[WORLD_ID];
    memcpy(boot, scene->host.boot, sizeof(boot));
    host_boot(&scene->host);
    assert_refused(open_again(&open, 0), "not-found");
    open.host = &other;
    assert_refused(open_again(&open, 0), "not-found");
    memcpy(other.boot, boot, sizeof(boot));
    assert_refused(open_again(&open, 0), "not-found");
    open_done(&open);
    host_done(&other);
}

static void a_waiting_open_is_answered_when_people_approve(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    struct pending *pending = host_post(&scene->host, open_again_message(&open, 60));
    usleep(100000);
    assert_false(pending_is_done(pending));
    json_t *list = world_operate(&scene->world, "request list", NULL);
    json_t *first = json_array_get(json_object_get(list, "requests"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "code")), open.code);
    assert_string_equal(json_string_value(json_object_get(first, "host")), "web1");
    assert_string_equal(json_string_value(json_object_get(first, "address")), "192.0.2.7");
    json_decref(list);
    json_t *approved = approve(&scene->world, 1000, open.request, NULL);
    assert_string_equal(json_string_value(json_object_get(approved, "state")), "approved");
    json_decref(approved);
    assert_granted(&open, pending_take(pending));
    assert_true(has_entry(&scene->world, "approval") && has_entry(&scene->world, "granted"));
    open_done(&open);
}

static void a_waiting_open_is_answered_when_somebody_denies(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    struct pending *pending = host_post(&scene->host, open_again_message(&open, 60));
    json_decref(world_operate(&scene->world, "request deny", json_pack("{s:s}", "request", open.request)));
    assert_state(pending_take(pending), "denied");
    json_t *result = NULL;
    bool changed;
    assert_fails(ERR_DENIED,
                 world_try(&scene->world, 1, "request approve", json_pack("{s:s}", "request", open.request),
                           &result, &changed, &error));
    assert_state(open_again(&open, 0), "denied");
    open_done(&open);
}

/* What an approver is told. Takes over result. */
static void assert_approved(json_t *result, int count, int needed)
{
    assert_int_equal(json_integer_value(json_object_get(result, "approvals")), count);
    assert_int_equal(json_integer_value(json_object_get(result, "approvals_needed")), needed);
    json_decref(result);
}

static void two_people_are_two_uids(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    json_t *result = NULL;
    bool changed;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    group_set(&scene->world, "auto", "approvals", json_integer(2));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    /* Root can act as any other: beside them it is nobody, and is told so. */
    assert_fails_saying(ERR_DENIED, "root is none of them",
                        world_try(&scene->world, 0, "request approve",
                                  json_pack("{s:s}", "request", open.request), &result, &changed, &error));
    assert_approved(approve(&scene->world, 1000, open.request, NULL), 1, 2);
    assert_approved(approve(&scene->world, 1000, open.request, NULL), 1, 2);
    assert_state(open_again(&open, 0), "pending");
    assert_approved(approve(&scene->world, 1001, open.request, NULL), 2, 2);
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
    group_set(&scene->world, "auto", "approvals", json_integer(1));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    assert_approved(approve(&scene->world, 0, open.request, NULL), 1, 1);
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
}

static void a_request_and_its_approval_survive_a_restart(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    world_reopen(&scene->world);
    assert_state(open_again(&open, 0), "pending");
    json_decref(approve(&scene->world, 1000, open.request, NULL));
    world_reopen(&scene->world);
    assert_granted(&open, open_again(&open, 0));
    world_reopen(&scene->world);
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
}

static void nobody_decides_in_time(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    json_t *result = NULL;
    bool changed;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    world_pass(&scene->world, 3600);
    assert_fails(ERR_DENIED,
                 world_try(&scene->world, 1, "request approve", json_pack("{s:s}", "request", open.request),
                           &result, &changed, &error));
    assert_state(open_again(&open, 0), "expired");
    assert_true(has_entry(&scene->world, "expired"));
    open_done(&open);
}

static void nothing_opens_on_hold(void **state)
{
    struct scene *scene = *state;
    struct world_open open, granted;
    host_boot(&scene->host);
    assert_granted(&granted, open_first(&granted, &scene->host, &scene->keyslot, 0));
    json_decref(world_operate(&scene->world, "host hold", json_pack("{s:s}", "host", "web1")));
    assert_refused(open_again(&granted, 0), "held");
    host_boot(&scene->host);
    assert_refused(open_first(&open, &scene->host, &scene->keyslot, 60), "held");
    open_done(&open);
    world_reopen(&scene->world);
    assert_refused(open_first(&open, &scene->host, &scene->keyslot, 0), "held");
    open_done(&open);
    json_decref(world_operate(&scene->world, "host release", json_pack("{s:s}", "host", "web1")));
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "held", json_true());
    assert_refused(open_first(&open, &scene->host, &scene->keyslot, 0), "held");
    open_done(&open);
    open_done(&granted);
}

static void what_waits_is_told_to_try_again_when_the_authority_ends(void **state)
{
    struct scene *scene = *state;
    json_t *message = host_message("poll");
    assert_ok(json_set_hex(message, "boot", scene->host.boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "wait_s", json_integer(300), &error));
    struct pending *pending = host_post(&scene->host, message);
    usleep(100000);
    assert_false(pending_is_done(pending));
    world_close(&scene->world);
    assert_refused(pending_take(pending), "try-again");
}

/* The change may come into the same batch as the question that waits for it. */
static void what_waits_is_woken_by_a_change_that_comes_at_the_same_time(void **state)
{
    struct scene *scene = *state;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    const int64_t begun_ns = clock_monotonic_ns();
    for (unsigned i = 0; i < 60; i++) { /* as often as one host may speak */
        struct world_open open;
        host_boot(&scene->host);
        assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
        struct pending *pending = host_post(&scene->host, open_again_message(&open, 60));
        json_decref(approve(&scene->world, 1000, open.request, open.code));
        assert_granted(&open, pending_take(pending));
        open_done(&open);
    }
    assert_true(clock_monotonic_ns() - begun_ns < 50 * CLOCK_NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(an_automatic_open_is_granted_and_gives_the_output_of_the_binding),
        scene_test(a_token_is_for_the_first_identity_that_uses_it),
        scene_test(a_token_expires_and_an_invented_one_is_refused_alike),
        scene_test(a_name_that_is_known_needs_its_identity),
        scene_test(the_name_of_an_erased_host_is_free_and_its_record_stays),
        scene_test(a_host_is_counted_once_it_has_shown_its_identity),
        scene_test(who_the_authority_does_not_know_gets_the_descriptor),
        scene_test(every_flipped_byte_of_a_message_gets_the_descriptor),
        scene_test(binding_again_gives_the_same_answer_and_never_evaluates_anything_else),
        scene_test(another_host_can_neither_bind_nor_open_a_keyslot),
        scene_test(broken_members_are_a_bad_message_and_change_nothing),
        scene_test(a_nonce_counts_once_and_not_after_a_restart),
        scene_test(a_replayed_message_changes_nothing),
        scene_test(only_the_boot_that_made_a_request_gets_its_answer),
        scene_test(a_waiting_open_is_answered_when_people_approve),
        scene_test(a_waiting_open_is_answered_when_somebody_denies),
        scene_test(two_people_are_two_uids),
        scene_test(a_request_and_its_approval_survive_a_restart),
        scene_test(nobody_decides_in_time),
        scene_test(nothing_opens_on_hold),
        scene_test(what_waits_is_told_to_try_again_when_the_authority_ends),
        scene_test(what_waits_is_woken_by_a_change_that_comes_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
