/* Orders, reports, key copies and kept checkpoints at the authority. */

#include "authority_scene.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "message/statement.h"

static json_t *heartbeat_message(struct world_host *host)
{
    json_t *message = host_message("heartbeat");
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    if (host->has_lineage)
        assert_ok(json_set_hex(message, "lineage", host->lineage, WORLD_ID, &error));
    assert_ok(json_set_new(message, "facts", json_pack("{s:s}", "kernel", "6.1.0"), &error));
    assert_ok(json_set_new(message, "descriptor_sequence", json_integer(1), &error));
    return message;
}

/* The orders of a result or refusal; takes over answer. How many; the first is read. */
static size_t read_orders(struct world_host *host, json_t *answer, struct order *ret_first)
{
    json_t *object = json_object_get(answer, "result");
    json_t *array = json_object_get(object ? object : json_object_get(answer, "error"), "orders");
    assert_true(json_is_array(array));
    for (size_t i = json_array_size(array); i > 0; i--) {
        struct buffer wire = {0};
        assert_ok(text_append_bytes(&wire, json_string_value(json_array_get(array, i - 1)), &error));
        assert_ok(
            order_parse(wire.data, wire.length, host->descriptor.signing_key, host->id, ret_first, &error));
        buffer_done(&wire);
    }
    const size_t count = json_array_size(array);
    json_decref(answer);
    return count;
}

static json_t *done_message(const struct world_host *host, const uint8_t *order, const char *outcome)
{
    json_t *message = host_message("done");
    if (host->has_lineage)
        assert_ok(json_set_hex(message, "lineage", host->lineage, sizeof(host->lineage), &error));
    assert_ok(json_set_hex(message, "order", order, STATEMENT_ID_SIZE, &error));
    assert_ok(json_set_new(message, "outcome", json_string(outcome), &error));
    assert_ok(json_set_new(message, "report", json_pack("{s:i}", "status", 0), &error));
    return message;
}

static void lock_host(struct scene *scene)
{
    json_decref(world_operate(&scene->world, "host lock", json_pack("{s:s}", "host", "web1")));
}

static json_t *shown_orders(struct scene *scene, json_t **ret_result)
{
    *ret_result = world_operate(&scene->world, "host show", json_pack("{s:s}", "host", "web1"));
    return json_object_get(json_array_get(json_object_get(*ret_result, "hosts"), 0), "orders");
}

static void assert_shown(struct scene *scene, const char *state)
{
    json_t *result = NULL, *orders = shown_orders(scene, &result);
    assert_string_equal(json_string_value(json_object_get(json_array_get(orders, 0), "state")), state);
    json_decref(result);
}

static void a_held_poll_is_woken_by_an_order_and_gets_it_once(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    struct pending *pending = host_post(&scene->host, poll_message(&scene->host, 300));
    lock_host(scene);
    assert_int_equal(read_orders(&scene->host, pending_take(pending), &order), 1);
    assert_int_equal(order.action, ORDER_LOCK);
    assert_shown(scene, "given");
    /* The next poll of this boot waits; its heartbeat has the order; another boot gets it at once. */
    pending = host_post(&scene->host, poll_message(&scene->host, 1));
    assert_false(pending_is_done(pending));
    assert_int_equal(read_orders(&scene->host, pending_take(pending), &order), 0);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 1);
    host_boot(&scene->host);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, poll_message(&scene->host, 300)), &order), 1);
}

static void an_order_is_over_when_the_host_says_so(void **state)
{
    struct scene *scene = *state;
    struct order order = {0}, later = {0};
    const uint8_t unknown[STATEMENT_ID_SIZE] = {1};
    lock_host(scene);
    assert_shown(scene, "waiting");
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 1);
    assert_refused(host_send(&scene->host, done_message(&scene->host, unknown, "done")), "not-found");
    json_t *answer = host_send(&scene->host, done_message(&scene->host, order.id, "incomplete"));
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
    assert_shown(scene, "done");
    assert_true(has_entry(&scene->world, "order") && has_entry(&scene->world, "done"));
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 0);
    lock_host(scene);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &later), 1);
    assert_true(later.sequence > order.sequence);
}

static void what_an_old_copy_did_the_host_did_not(void **state)
{
    struct scene *scene = *state;
    struct order order = {0}, same = {0};
    struct world_host copy = old_copy(scene);
    lock_host(scene);
    assert_int_equal(read_orders(&copy, host_send(&copy, heartbeat_message(&copy)), &order), 1);
    json_decref(host_send(&copy, done_message(&copy, order.id, "done")));
    assert_true(has_entry(&scene->world, "done-by-copy"));
    copy.has_lineage = false;
    json_decref(host_send(&copy, done_message(&copy, order.id, "done")));
    assert_shown(scene, "given");
    assert_false(has_entry(&scene->world, "done"));
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &same), 1);
    assert_memory_equal(order.id, same.id, sizeof(order.id));
    json_decref(host_send(&scene->host, done_message(&scene->host, order.id, "done")));
    assert_shown(scene, "done");
    assert_true(has_entry(&scene->world, "done"));
    buffer_done(&copy.last_wire);
}

static json_t *vault_message(const struct world_host *host, const char *type, const uint8_t *vault,
                             const char *outcome)
{
    json_t *message = done_message(host, vault, outcome);
    char text[2 * WORLD_ID + 1];
    text_format_hex(text, vault, WORLD_ID);
    json_object_del(message, "order");
    assert_ok(json_set_new(message, "type", json_string(type), &error));
    assert_ok(json_set_new(message, "vault", json_string(text), &error));
    assert_ok(json_set_new(message, "vaults", json_pack("[s]", text), &error));
    assert_ok(json_set_new(message, "final", json_false(), &error));
    assert_ok(json_set_new(message, "report", json_pack("{s:s}", "outcome", outcome), &error));
    return message;
}

static void what_an_old_copy_reports_of_a_vault_is_not_the_hosts_report(void **state)
{
    struct scene *scene = *state;
    struct world_host copy = old_copy(scene), *const host = &scene->host;
    const uint8_t *vault = scene->keyslot.vault;
    json_decref(host_send(host, vault_message(host, "erase", vault, "done")));
    json_decref(host_send(host, vault_message(host, "done", vault, "incomplete")));
    json_decref(host_send(&copy, vault_message(&copy, "done", vault, "done")));
    assert_true(has_entry(&scene->world, "done-by-copy"));
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM erased_vaults WHERE report LIKE "
                                                "'%incomplete%'"),
                     1);
    buffer_done(&copy.last_wire);
}

static void what_a_host_did_counts_where_the_authority_was_restored_and_has_not_heard_it(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    struct world_host old = old_copy(scene);
    lock_host(scene);
    assert_int_equal(read_orders(&old, host_send(&old, heartbeat_message(&old)), &order), 1);
    scene_was_restored(scene);
    json_decref(host_send(&old, done_message(&old, order.id, "done")));
    assert_shown(scene, "done");
    assert_false(has_entry(&scene->world, "done-by-copy"));
    buffer_done(&old.last_wire);
}

static void another_host_cannot_answer_an_order(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    struct order order = {0};
    scene_another(scene, &other, &keyslot);
    lock_host(scene);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 1);
    assert_refused(host_send(&other, done_message(&other, order.id, "done")), "not-found");
    assert_shown(scene, "given");
    host_done(&other);
}

static void sequences_do_not_stay_behind_the_clock_nor_before(void **state)
{
    struct scene *scene = *state;
    struct order orders[3];
    for (size_t i = 0; i < 3; i++) {
        lock_host(scene);
        assert_int_equal(
            read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &orders[i]),
            1);
        json_decref(host_send(&scene->host, done_message(&scene->host, orders[i].id, "done")));
        world_pass(&scene->world, i == 0 ? 1000 : -5000);
    }
    assert_true(orders[0].sequence >= WORLD_START_S);
    assert_true(orders[1].sequence >= WORLD_START_S + 1000);
    assert_true(orders[2].sequence > orders[1].sequence);
}

static json_t *early_done_message(const struct world_host *host, const uint8_t *order, const uint8_t *boot)
{
    json_t *message = done_message(host, order, "done");
    assert_ok(json_set_hex(message, "boot", boot, WORLD_ID, &error));
    return message;
}

static void a_boot_that_finishes_an_erase_waits_for_any_other_to_be_silent(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    uint8_t first[WORLD_ID];
    host_heartbeat(&scene->host);
    memcpy(first, scene->host.boot, sizeof(first));
    json_decref(world_operate(&scene->world, "host erase",
                              json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1")));
    host_boot(&scene->host);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, poll_message(&scene->host, 0)), &order), 1);
    /* Each of the two was heard of: neither is believed while the other may run. */
    assert_refused(host_send(&scene->host, early_done_message(&scene->host, order.id, first)), "waits");
    assert_refused(host_send(&scene->host, early_done_message(&scene->host, order.id, scene->host.boot)),
                   "waits");
    json_decref(host_send(&scene->host, done_message(&scene->host, order.id, "incomplete")));
    assert_shown(scene, "given");
    assert_false(has_entry(&scene->world, "done-by-copy"));
    /* One that is no number of a boot is refused as such; a host that runs says done without one. */
    json_t *message = done_message(&scene->host, order.id, "done");
    assert_ok(json_set_new(message, "boot", json_string("x"), &error));
    assert_refused(host_send(&scene->host, message), "bad-message");
    json_decref(host_send(&scene->host, done_message(&scene->host, order.id, "done")));
    assert_shown(scene, "done");
}

static void an_erased_host_gets_its_order_with_the_refusal(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    struct pending *pending = host_post(&scene->host, poll_message(&scene->host, 300));
    json_decref(world_operate(&scene->world, "host erase",
                              json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1")));
    assert_int_equal(read_orders(&scene->host, pending_take(pending), &order), 1);
    assert_int_equal(order.action, ORDER_ERASE);
    /* Not whole: it stays. */
    json_decref(host_send(&scene->host, done_message(&scene->host, order.id, "incomplete")));
    assert_shown(scene, "given");
    world_reopen(&scene->world);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 1);
    json_decref(host_send(&scene->host, done_message(&scene->host, order.id, "done")));
    assert_shown(scene, "done");
    /* Whoever has the host's identity after that is a copy of its disk, and gets it as well. */
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 1);
    /* What was erased carries the order's id. */
    json_t *message = host_message("erase");
    assert_ok(json_set_new(message, "vaults", json_array(), &error));
    assert_ok(json_set_new(message, "final", json_true(), &error));
    json_t *answer = host_send(&scene->host, message);
    struct buffer wire = {0};
    struct erased erased = {0};
    assert_ok(text_append_bytes(
        &wire,
        json_string_value(json_array_get(json_object_get(json_object_get(answer, "result"), "erased"), 0)),
        &error));
    assert_ok(erased_parse(wire.data, wire.length, scene->host.descriptor.signing_key, scene->host.id,
                           &erased, &error));
    assert_memory_equal(erased.order, order.id, sizeof(order.id));
    erased_done(&erased);
    buffer_done(&wire);
    json_decref(answer);
}

static void a_host_that_erases_itself_is_given_no_order(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    json_t *message = host_message("erase");
    assert_ok(json_set_new(message, "vaults", json_array(), &error));
    assert_ok(json_set_new(message, "final", json_true(), &error));
    json_decref(host_send(&scene->host, message));
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 0);
}

static void reports_are_bounded_and_about_vaults_that_are_erased(void **state)
{
    struct scene *scene = *state;
    for (int erased = 0; erased < 2; erased++) {
        json_t *message = host_message("done");
        assert_ok(json_set_hex(message, "vault", scene->keyslot.vault, WORLD_ID, &error));
        assert_ok(json_set_new(message, "outcome", json_string("done"), &error));
        assert_ok(
            json_set_new(message, "report", json_pack("{s:s}", "schema", "husk.erase-report/1"), &error));
        if (!erased)
            assert_refused(host_send(&scene->host, message), "not-found");
        else
            json_decref(host_send(&scene->host, message));
        if (!erased) {
            json_t *erase = host_message("erase");
            char text[33];
            text_format_hex(text, scene->keyslot.vault, WORLD_ID);
            assert_ok(json_set_new(erase, "vaults", json_pack("[s]", text), &error));
            assert_ok(json_set_new(erase, "final", json_false(), &error));
            json_decref(host_send(&scene->host, erase));
        }
    }
    assert_true(has_entry(&scene->world, "done"));
    char *large = malloc(50001);
    assert_non_null(large);
    memset(large, 'a', 50000);
    large[50000] = '\0';
    json_t *message = host_message("done");
    assert_ok(json_set_hex(message, "vault", scene->keyslot.vault, WORLD_ID, &error));
    assert_ok(json_set_new(message, "outcome", json_string("done"), &error));
    assert_ok(json_set_new(message, "report", json_pack("{s:s}", "x", large), &error));
    assert_refused(host_send(&scene->host, message), "bad-message");
    free(large);
}

static void tell_copies(struct scene *scene, json_t *copies)
{
    json_t *message = host_message("keycopies");
    assert_ok(json_set_new(message, "copies", copies, &error));
    json_t *answer = host_send(&scene->host, message);
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
}

static void key_copies_are_never_forgotten(void **state)
{
    struct scene *scene = *state;
    tell_copies(scene, json_pack("[{s:s, s:s}, {s:s, s:s}]", "kind", "recovery", "place", "a", "kind",
                                 "keyfile", "place", "b"));
    tell_copies(scene, json_pack("[{s:s, s:s}]", "kind", "recovery", "place", "a"));
    json_t *result = world_operate(&scene->world, "keycopy list", NULL);
    json_t *copies = json_object_get(result, "keycopies");
    assert_int_equal(json_array_size(copies), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(copies, 0), "state")),
                        "was reported");
    assert_string_equal(json_string_value(json_object_get(json_array_get(copies, 1), "state")), "reported");
    json_decref(result);
    json_t *message = host_message("keycopies");
    assert_ok(json_set_new(message, "copies", json_pack("[{s:s}]", "kind", "recovery"), &error));
    assert_refused(host_send(&scene->host, message), "bad-message");
}

static void beat_with(struct scene *scene, const char *checkpoint)
{
    json_t *message = heartbeat_message(&scene->host);
    assert_ok(json_set_new(message, "checkpoint", json_pack("{s:s}", "signed", checkpoint), &error));
    json_t *answer = host_send(&scene->host, message);
    assert_non_null(json_object_get(answer, "result"));
    assert_ok(
        json_get_hex(json_object_get(answer, "result"), "lineage", scene->host.lineage, WORLD_ID, &error));
    scene->host.has_lineage = true;
    json_decref(answer);
}

static void assert_alarms(struct scene *scene, unsigned number)
{
    char line[64];
    json_t *result = world_operate(&scene->world, "metrics", NULL);
    snprintf(line, sizeof(line), "\nhuskd_ledger_alarms %u\n", number);
    assert_non_null(strstr(json_string_value(json_object_get(result, "text")), line));
    json_decref(result);
}

static void change_last_entry(struct world *world)
{
    (void)world_count(world, "UPDATE ledger SET hash = zeroblob(32) WHERE sequence = (SELECT max(sequence) "
                             "FROM ledger)");
}

static void a_kept_checkpoint_that_is_not_of_this_ledger_raises_an_alarm_once(void **state)
{
    struct scene *scene = *state;
    char kept[2 * LEDGER_CHECKPOINT_MAXIMUM + 1], changed[sizeof(kept)];
    json_t *answer = host_send(&scene->host, heartbeat_message(&scene->host));
    snprintf(kept, sizeof(kept), "%s",
             json_string_value(json_object_get(json_object_get(answer, "checkpoint"), "signed")));
    json_decref(answer);
    beat_with(scene, kept);
    beat_with(scene, "00");
    snprintf(changed, sizeof(changed), "%s", kept);
    changed[0] =
        changed[0] == '0' ? '1' : '0'; /* anybody's: the signature does not fit, but the entry is there */
    beat_with(scene, changed);
    assert_alarms(scene, 0);
    /* The ledger written anew from its last entry on: what the host keeps is signed, and not in it. */
    world_close(&scene->world);
    change_last_entry(&scene->world);
    world_open(&scene->world);
    beat_with(scene, changed);
    assert_alarms(scene, 0);
    for (unsigned i = 0; i < 2; i++) {
        beat_with(scene, kept);
        assert_alarms(scene, 1);
    }
    assert_true(has_entry(&scene->world, "ledger-differs"));
}

static enum error_code try_to_cancel(struct scene *scene, const char *order, bool *ret_changed,
                                     struct error *reterr)
{
    json_t *result = NULL;
    enum error_code code =
        world_try(&scene->world, 1000, "host cancel", json_pack("{s:s, s:s}", "host", "web1", "order", order),
                  &result, ret_changed, reterr);
    json_decref(result);
    return code;
}

/* The id of the newest. */
static void get_id(struct scene *scene, char id[33])
{
    json_t *result = NULL, *orders = shown_orders(scene, &result);
    snprintf(id, 33, "%s", json_string_value(json_object_get(json_array_get(orders, 0), "id")));
    json_decref(result);
}

static void an_order_that_is_cancelled_is_given_to_nobody(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    char id[33], first[9];
    bool changed = false;
    lock_host(scene);
    get_id(scene, id);
    assert_fails(ERR_NOT_FOUND, try_to_cancel(scene, "0123456789", &changed, &error));
    assert_fails(ERR_USAGE, try_to_cancel(scene, "1234567", &changed, &error));
    snprintf(first, sizeof(first), "%.8s", id);
    assert_ok(try_to_cancel(scene, first, &changed, &error));
    assert_true(changed && has_entry(&scene->world, "order-cancelled"));
    assert_ok(try_to_cancel(scene, id, &changed, &error));
    assert_false(changed);
    world_reopen(&scene->world);
    assert_shown(scene, "cancelled");
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 0);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, poll_message(&scene->host, 0)), &order), 0);
    lock_host(scene); /* another one */
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 1);
    json_decref(host_send(&scene->host, done_message(&scene->host, order.id, "done")));
    get_id(scene, id);
    assert_fails(ERR_DENIED, try_to_cancel(scene, id, &changed, &error));
    assert_shown(scene, "done");
}

static void one_that_the_host_took_before_is_told_as_what_it_became(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    char id[33];
    bool changed = false;
    lock_host(scene);
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, heartbeat_message(&scene->host)), &order), 1);
    get_id(scene, id);
    assert_ok(try_to_cancel(scene, id, &changed, &error));
    json_t *answer = host_send(&scene->host, done_message(&scene->host, order.id, "done"));
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
    assert_shown(scene, "cancelled");
    json_t *result = NULL, *orders = shown_orders(scene, &result);
    assert_string_equal(json_string_value(json_object_get(json_array_get(orders, 0), "outcome")), "done");
    json_decref(result);
}

static void an_erase_is_never_cancelled(void **state)
{
    struct scene *scene = *state;
    struct order order = {0};
    char id[33];
    bool changed = false;
    json_decref(world_operate(&scene->world, "host erase",
                              json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1")));
    get_id(scene, id);
    assert_fails_saying(ERR_DENIED, "an erase is not cancelled", try_to_cancel(scene, id, &changed, &error));
    assert_int_equal(
        read_orders(&scene->host, host_send(&scene->host, poll_message(&scene->host, 0)), &order), 1);
    assert_int_equal(order.action, ORDER_ERASE);
}

static void after_a_restore_what_an_old_copy_did_ends_nothing_once_another_boot_was_let_in(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    struct order order = {0};
    struct world_host old = old_copy(scene), copy = copy_disk(&old);
    scene_was_restored(scene);
    assert_flagged(&open, &old, &scene->keyslot, "stale-lineage");
    scene_approve_restored(scene, 1000, &open);
    assert_granted(&open, open_again(&open, 30));
    open_done(&open);
    for (int i = 0; i < 4; i++)
        host_heartbeat(&old);
    lock_host(scene);
    assert_int_equal(read_orders(&copy, host_send(&copy, heartbeat_message(&copy)), &order), 1);
    json_decref(host_send(&copy, done_message(&copy, order.id, "done")));
    assert_true(has_entry(&scene->world, "done-by-copy"));
    assert_shown(scene, "given");
    buffer_done(&old.last_wire);
    buffer_done(&copy.last_wire);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        scene_test(a_held_poll_is_woken_by_an_order_and_gets_it_once),
        scene_test(an_order_is_over_when_the_host_says_so),
        scene_test(what_an_old_copy_did_the_host_did_not),
        scene_test(what_an_old_copy_reports_of_a_vault_is_not_the_hosts_report),
        scene_test(what_a_host_did_counts_where_the_authority_was_restored_and_has_not_heard_it),
        scene_test(another_host_cannot_answer_an_order),
        scene_test(an_order_that_is_cancelled_is_given_to_nobody),
        scene_test(one_that_the_host_took_before_is_told_as_what_it_became),
        scene_test(an_erase_is_never_cancelled),
        scene_test(sequences_do_not_stay_behind_the_clock_nor_before),
        scene_test(a_boot_that_finishes_an_erase_waits_for_any_other_to_be_silent),
        scene_test(an_erased_host_gets_its_order_with_the_refusal),
        scene_test(a_host_that_erases_itself_is_given_no_order),
        scene_test(reports_are_bounded_and_about_vaults_that_are_erased),
        scene_test(key_copies_are_never_forgotten),
        scene_test(a_kept_checkpoint_that_is_not_of_this_ledger_raises_an_alarm_once),
        scene_test(after_a_restore_what_an_old_copy_did_ends_nothing_once_another_boot_was_let_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
