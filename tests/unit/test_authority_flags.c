/* Copies of disks, tickets, lineage: what is never granted without people. */
#include <sodium.h>

#include "authority/presence.h"
#include "authority_scene.h"

static void an_old_copy_of_the_disk_is_flagged_even_in_auto(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host old = old_copy(scene);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    open_done(&open);
    buffer_done(&old.last_wire);
}

static void a_copy_without_lineage_is_flagged_too(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    scene_opens(&scene->host, &scene->keyslot);
    scene->host.has_lineage = false;
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "stale-lineage");
    open_done(&open);
}

static void a_host_that_lost_the_answer_before_storing_it_is_not_stale(void **state)
{
    struct scene *scene = *state;
    scene_opens(&scene->host, &scene->keyslot);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t before[WORLD_ID];
        memcpy(before, scene->host.lineage, WORLD_ID);
        scene_opens(&scene->host, &scene->keyslot);
        memcpy(scene->host.lineage, before, WORLD_ID);
        scene_opens(&scene->host, &scene->keyslot);
        host_heartbeat(&scene->host);
    }
}

static void a_copy_let_in_once_stays_stale_and_the_host_stays_the_host(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host old = old_copy(scene);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    json_decref(approve(&scene->world, 1000, open.request, open.code));
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
    host_boot(&old);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    json_decref(world_operate(&scene->world, "request deny", json_pack("{s:s}", "request", open.request)));
    open_done(&open);
    scene_opens(&scene->host, &scene->keyslot);
    buffer_done(&old.last_wire);
}

static void a_restored_copy_is_the_host_and_what_was_the_host_is_stale(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host old = old_copy(scene);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    scene_approve_restored(scene, 1000, &open);
    assert_granted(&open, open_again(&open, 0));
    open_done(&open);
    scene_opens(&old, &scene->keyslot);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "stale-lineage");
    open_done(&open);
    buffer_done(&old.last_wire);
}

static void accept_restore_is_for_the_next_lineage_alone(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host old = old_copy(scene);
    json_decref(world_operate(&scene->world, "host accept-restore", json_pack("{s:s}", "host", "web1")));
    scene_opens(&old, &scene->keyslot);
    scene_opens(&old, &scene->keyslot);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "stale-lineage");
    open_done(&open);
    buffer_done(&old.last_wire);
}

static bool is_restore_accepted(struct scene *scene)
{
    json_t *result = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", "web1")),
           *said = json_object_get(json_array_get(json_object_get(result, "hosts"), 0), "restore_accepted");
    assert_true(json_is_boolean(said));
    const bool is_accepted = json_is_true(said);
    json_decref(result);
    return is_accepted;
}

static void accept_restore_is_for_the_request_that_waits_too(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host old = old_copy(scene);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    assert_false(is_restore_accepted(scene));
    struct pending *waiting = host_post(&old, open_again_message(&open, 60));
    json_decref(world_operate(&scene->world, "host accept-restore", json_pack("{s:s}", "host", "web1")));
    assert_granted(&open, pending_take(waiting));
    assert_false(is_restore_accepted(scene));
    open_done(&open);
    scene_opens(&old, &scene->keyslot);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "stale-lineage");
    open_done(&open);
    buffer_done(&old.last_wire);
}

/* Whatever else flags it still does, and what is let in first uses it up. */
static void accept_restore_lets_nothing_else_open(void **state)
{
    struct scene *scene = *state;
    struct world_open first, second;
    struct world_host old = old_copy(scene);
    assert_flagged(&first, &old, &scene->keyslot, "stale-lineage");
    host_boot(&scene->host);
    assert_flagged(&second, &scene->host, &scene->keyslot, "two-requests");
    json_decref(world_operate(&scene->world, "host accept-restore", json_pack("{s:s}", "host", "web1")));
    json_t *answer = open_again(&first, 0);
    assert_false(has_flag(answer, "stale-lineage"));
    assert_true(has_flag(answer, "two-requests"));
    assert_state(answer, "pending");
    assert_true(is_restore_accepted(scene));
    json_decref(approve(&scene->world, 1000, second.request, second.code));
    assert_granted(&second, open_again(&second, 0));
    answer = open_again(&first, 0);
    assert_true(has_flag(answer, "stale-lineage"));
    assert_state(answer, "pending");
    assert_false(is_restore_accepted(scene));
    open_done(&first);
    open_done(&second);
    buffer_done(&old.last_wire);
}

static void a_flagged_request_needs_its_code_and_three_wrong_ones_deny_it(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    json_t *result = NULL;
    bool changed;
    char wrong[8];
    scene_opens(&scene->host, &scene->keyslot);
    scene_opens(&scene->host, &scene->keyslot);
    randombytes_buf(scene->host.lineage, WORLD_ID);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "stale-lineage");
    snprintf(wrong, sizeof(wrong), "%s", open.code);
    wrong[0] = wrong[0] == '9' ? '0' : (char)(wrong[0] + 1);
    assert_fails_saying(ERR_DENIED, "code has to be given",
                        world_try(&scene->world, 1, "request approve",
                                  json_pack("{s:s}", "request", open.request), &result, &changed, &error));
    const char *const said[] = {"2 more wrong ones and", "1 more wrong one and", "for the third time"};
    for (unsigned i = 0; i < 3; i++) {
        assert_state(open_again(&open, 0), "pending");
        assert_fails_saying(ERR_DENIED, said[i],
                            world_try(&scene->world, 1, "request approve",
                                      json_pack("{s:s, s:s}", "request", open.request, "code", wrong),
                                      &result, &changed, &error));
    }
    assert_state(open_again(&open, 0), "denied");
    assert_true(has_entry(&scene->world, "wrong-code"));
    open_done(&open);
}

static void a_ticket_lets_the_next_boot_open_and_no_other(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "unlock", json_string("ticket"));
    host_ticket(&scene->host, "reboot");
    world_reopen(&scene->world);
    scene->host.planned = true;
    scene_opens(&scene->host, &scene->keyslot);
    assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 0)); /* all opens of that boot */
    open_done(&open);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "ticket-reused");
    open_done(&open);
}

static void a_ticket_expires(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "unlock", json_string("ticket"));
    host_ticket(&scene->host, "reboot");
    world_pass(&scene->world, 601);
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    open_done(&open);
}

static void a_finishing_ticket_covers_boots_for_a_day(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "unlock", json_string("ticket"));
    host_ticket(&scene->host, "finish");
    scene->host.planned = true;
    scene_opens(&scene->host, &scene->keyslot);
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, 86400);
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    open_done(&open);
}

static void a_finishing_ticket_stays_one_when_an_orderly_reboot_asks_for_its_own(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "unlock", json_string("ticket"));
    host_ticket(&scene->host, "finish");
    scene->host.planned = true;
    for (unsigned boot = 0; boot < 3; boot++) {
        host_ticket(&scene->host, "reboot");
        scene_opens(&scene->host, &scene->keyslot);
        scene_opens(&scene->host, &scene->keyslot); /* and one that nobody ordered */
    }
    world_pass(&scene->world, 86399); /* what is left of it is less than a ticket's time: this is another */
    host_ticket(&scene->host, "reboot");
    scene_opens(&scene->host, &scene->keyslot);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "ticket-reused");
    open_done(&open);
}

/* Its identity and lineage lie on the disk in the clear; the boot id does not. */
static void who_copied_a_disk_gets_no_ticket(void **state)
{
    struct scene *scene = *state;
    scene_opens(&scene->host, &scene->keyslot);
    struct world_host copy = copy_disk(&scene->host);
    assert_refused(ask_ticket(&copy), "denied");
    host_heartbeat(&copy);
    assert_refused(ask_ticket(&copy), "denied");
    host_ticket(&scene->host, "reboot");
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    assert_refused(ask_ticket(&scene->host), "denied");
    buffer_done(&copy.last_wire);
}

static void two_boots_that_ask_at_once_flag_each_other(void **state)
{
    struct scene *scene = *state;
    struct world_open first, second;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    struct world_host copy = copy_disk(&scene->host);
    host_boot(&scene->host);
    assert_state(open_first(&first, &scene->host, &scene->keyslot, 0), "pending");
    json_decref(approve(&scene->world, 1000, first.request, NULL));
    assert_flagged(&second, &copy, &scene->keyslot, "two-requests");
    /* What was approved before the second came is not granted any more. */
    json_t *answer = open_again(&first, 0);
    assert_true(has_flag(answer, "two-requests"));
    assert_null(json_object_get(json_object_get(answer, "result"), "evaluated"));
    json_decref(answer);
    group_set(&scene->world, "auto", "unlock", json_string("auto"));
    answer = open_again(&second, 0);
    assert_true(has_flag(answer, "two-requests"));
    assert_state(answer, "pending");
    json_decref(approve(&scene->world, 1000, first.request, first.code));
    assert_granted(&first, open_again(&first, 0));
    open_done(&first);
    open_done(&second);
    buffer_done(&copy.last_wire);
}

static void an_address_outside_the_sources_asks(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    group_set(&scene->world, "auto", "sources", json_pack("[s, s]", "192.0.2.0/28", "2001:db8::/32"));
    scene_opens(&scene->host, &scene->keyslot);
    snprintf(scene->host.peer, sizeof(scene->host.peer), "2001:db8::9");
    scene_opens(&scene->host, &scene->keyslot);
    snprintf(scene->host.peer, sizeof(scene->host.peer), "192.0.2.16");
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    open_done(&open);
}

static void a_host_not_heard_of_asks_and_an_orderly_restart_remembers(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    scene_opens(&scene->host, &scene->keyslot);
    group_set(&scene->world, "auto", "liveness", json_integer(7200));
    world_pass(&scene->world, 7000);
    host_heartbeat(&scene->host);
    world_reopen(&scene->world);
    world_pass(&scene->world, 7000);
    scene_opens(&scene->host, &scene->keyslot);
    world_pass(&scene->world, 7201);
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    open_done(&open);
}

static void a_group_refuses_a_policy_that_is_none(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *option, *value;
    } bad[] = {
        {"unlock", "\"always\""}, {"approvals", "0"},
        {"approvals", "9"},       {"sources", "[\"10.0.0.1/8\"]"},
        {"sources", "\"all\""},   {"window", "\"morning\""},
        {"liveness", "-1"},       {"request-ttl", "1"},
        {"ticket-ttl", "\"x\""},  {"held", "\"yes\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        json_t *result = NULL;
        bool changed;
        json_t *arguments = json_pack("{s:s, s:o}", "name", "auto", bad[i].option,
                                      json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
        assert_fails(ERR_USAGE,
                     world_try(&scene->world, 0, "group set", arguments, &result, &changed, &error));
    }
    scene_opens(&scene->host, &scene->keyslot);
}

/* Until it is told so. */
static void say_too_much(struct world_host *host)
{
    const int most = PRESENCE_RATE * PRESENCE_BURST_S;
    json_t *answer = NULL;
    for (int said = 0; !json_object_get(answer, "error"); said++) {
        assert_true(said < 4 * most); /* a slow machine may earn some meanwhile */
        json_decref(answer);
        answer = host_send(host, poll_message(host, 0));
    }
    assert_refused(answer, "busy");
}

static void a_host_that_says_too_much_is_told_to_try_again_and_leaves_no_trace(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    struct world_open open;
    bool is_busy = false;
    for (int i = 0; !is_busy; i++) {
        assert_true(i < 50);
        say_too_much(&scene->host);
        json_t *before = world_operate(&scene->world, "ledger show", NULL);
        json_t *answer = open_first(&open, &scene->host, &scene->keyslot, 0);
        json_t *after = world_operate(&scene->world, "ledger show", NULL);
        is_busy = json_object_get(answer, "error") != NULL; /* else it took a tenth of a second to get here */
        assert_int_equal(is_busy, json_equal(before, after));
        json_decref(before);
        json_decref(after);
        json_decref(answer);
        open_done(&open);
    }
    /* Others are heard as before. */
    scene_another(scene, &other, &keyslot);
    assert_granted(&open, open_first(&open, &other, &keyslot, 0));
    open_done(&open);
    host_done(&other);
}

static void a_copy_let_in_once_after_a_restore_stays_a_copy(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct world_host old = old_copy(scene);
    scene_was_restored(scene);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    json_decref(approve(&scene->world, 1000, open.request, open.code));
    assert_granted(&open, open_again(&open, 30));
    open_done(&open);
    host_heartbeat(&old);
    host_boot(&old);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    open_done(&open);
    buffer_done(&old.last_wire);
}

static void a_boot_that_another_one_displaced_gets_no_lineage_by_its_old_request(void **state)
{
    struct scene *scene = *state;
    struct world_open first, open;
    struct world_host old = old_copy(scene);
    host_boot(&scene->host);
    assert_granted(&first, open_first(&first, &scene->host, &scene->keyslot, 30));
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    scene_approve_restored(scene, 1000, &open);
    assert_granted(&open, open_again(&open, 30));
    open_done(&open);
    assert_granted(&first, open_again(&first, 0));
    host_heartbeat(&scene->host);
    open_done(&first);
    host_boot(&scene->host);
    assert_flagged(&open, &scene->host, &scene->keyslot, "stale-lineage");
    open_done(&open);
    buffer_done(&old.last_wire);
}

static bool is_flagged(json_t *answer)
{
    const bool flagged = has_flag(answer, "two-requests");
    json_decref(answer);
    return flagged;
}

/* However often a copy asks: the host's own request is open when it begins to, and gone when it ends. */
static void a_copy_that_crowds_the_host_out_stays_flagged(void **state)
{
    struct scene *scene = *state;
    struct world_open hosts, open;
    struct world_host copy = copy_disk(&scene->host);
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&hosts, &scene->host, &scene->keyslot, 0), "pending");
    host_boot(&copy);
    for (unsigned i = 0; i < 40; i++) {
        assert_true(is_flagged(open_first(&open, &copy, &scene->keyslot, 0)));
        open_done(&open);
    }
    assert_state(open_again(&hosts, 0), "expired");
    open_done(&hosts);
    assert_true(is_flagged(open_first(&hosts, &scene->host, &scene->keyslot, 0)));
    open_done(&hosts);
    buffer_done(&copy.last_wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(an_old_copy_of_the_disk_is_flagged_even_in_auto),
        scene_test(a_copy_that_crowds_the_host_out_stays_flagged),
        scene_test(a_copy_without_lineage_is_flagged_too),
        scene_test(a_host_that_lost_the_answer_before_storing_it_is_not_stale),
        scene_test(a_copy_let_in_once_stays_stale_and_the_host_stays_the_host),
        scene_test(a_restored_copy_is_the_host_and_what_was_the_host_is_stale),
        scene_test(accept_restore_is_for_the_next_lineage_alone),
        scene_test(accept_restore_is_for_the_request_that_waits_too),
        scene_test(accept_restore_lets_nothing_else_open),
        scene_test(a_flagged_request_needs_its_code_and_three_wrong_ones_deny_it),
        scene_test(a_ticket_lets_the_next_boot_open_and_no_other),
        scene_test(a_ticket_expires),
        scene_test(a_finishing_ticket_covers_boots_for_a_day),
        scene_test(a_finishing_ticket_stays_one_when_an_orderly_reboot_asks_for_its_own),
        scene_test(who_copied_a_disk_gets_no_ticket),
        scene_test(two_boots_that_ask_at_once_flag_each_other),
        scene_test(an_address_outside_the_sources_asks),
        scene_test(a_host_not_heard_of_asks_and_an_orderly_restart_remembers),
        scene_test(a_group_refuses_a_policy_that_is_none),
        scene_test(a_host_that_says_too_much_is_told_to_try_again_and_leaves_no_trace),
        scene_test(a_copy_let_in_once_after_a_restore_stays_a_copy),
        scene_test(a_boot_that_another_one_displaced_gets_no_lineage_by_its_old_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
