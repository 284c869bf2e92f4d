/* Erasing on the authority, and crashes at every step of it; what is in the ledger before anything leaves. */
#include <sodium.h>
#include <sys/wait.h>
#include <unistd.h>

#include "authority_scene.h"
#include "base/fault.h"
#include "base/text.h"
#include "message/statement.h"

static void assert_one_keyring(struct world *world)
{
    char path[192];
    assert_int_equal(world_keyrings(world), 1);
    snprintf(path, sizeof(path), "%s/keyring.%lld", world->directory,
             (long long)world_count(world, "SELECT generation FROM state"));
    assert_int_equal(access(path, F_OK), 0);
}

static json_t *erase_arguments(const char *name)
{
    return json_pack("{s:s, s:s}", "host", name, "confirm", name);
}

/* How many of the answers are about vaults, all signed and for this host. *ret_hosts is how many are about
 * the host itself; vault has to be among them. */
static size_t read_answers(struct world_host *host, json_t *array, const uint8_t *vault, size_t *ret_hosts)
{
    size_t vaults = 0;
    bool found = !vault;
    *ret_hosts = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct buffer wire = {0};
        struct erased erased = {0};
        assert_ok(text_append_bytes(&wire, json_string_value(json_array_get(array, i)), &error));
        assert_ok(
            erased_parse(wire.data, wire.length, host->descriptor.signing_key, host->id, &erased, &error));
        found |= vault && !erased.is_host && memcmp(erased.vault, vault, WORLD_ID) == 0;
        vaults += !erased.is_host;
        *ret_hosts += erased.is_host;
        erased_done(&erased);
        buffer_done(&wire);
    }
    assert_true(found);
    return vaults;
}

static void assert_signed(struct world_host *host, json_t *array, size_t expected, const uint8_t *vault)
{
    size_t hosts = 0;
    assert_int_equal(read_answers(host, array, vault, &hosts), expected);
}

static void assert_host_signed(struct world_host *host, json_t *array)
{
    size_t hosts = 0;
    assert_int_equal(read_answers(host, array, NULL, &hosts), 0);
    assert_int_equal(hosts, 1);
}

static json_t *erase_message(const uint8_t *vault, bool is_final)
{
    json_t *message = host_message("erase"), *vaults = json_array();
    char text[33];
    if (vault) {
        text_format_hex(text, vault, WORLD_ID);
        json_array_append_new(vaults, json_string(text));
    }
    assert_ok(json_set_new(message, "vaults", vaults, &error));
    assert_ok(json_set_new(message, "final", json_boolean(is_final), &error));
    return message;
}

static void assert_open_is_erased(struct world_host *host, struct world_keyslot *keyslot, bool is_host_erased)
{
    struct world_open open;
    host_boot(host);
    json_t *answer = open_first(&open, host, keyslot, 0);
    if (is_host_erased)
        assert_signed(host, json_object_get(json_object_get(answer, "error"), "erased"), 1, keyslot->vault);
    assert_refused(answer, "erased");
    open_done(&open);
}

static void an_administrator_erases_a_host_and_only_that(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    scene_another(scene, &other, &keyslot);
    const int64_t generation = world_count(&scene->world, "SELECT generation FROM state");
    json_t *result = NULL;
    bool changed;
    assert_fails(ERR_USAGE, world_try(&scene->world, 0, "host erase",
                                      json_pack("{s:s, s:s}", "host", "web1", "confirm", "web2"), &result,
                                      &changed, &error));
    assert_ok(world_try(&scene->world, 0, "host erase", erase_arguments("web1"), &result, &changed, &error));
    assert_true(changed);
    assert_signed(&scene->host, json_object_get(result, "erased"), 1, scene->keyslot.vault);
    json_decref(result);
    assert_ok(world_try(&scene->world, 0, "host erase", erase_arguments("web1"), &result, &changed, &error));
    assert_false(changed);
    json_decref(result);
    assert_true(world_count(&scene->world, "SELECT generation FROM state") > generation);
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM scalars"), 1);
    assert_one_keyring(&scene->world);
    assert_open_is_erased(&scene->host, &scene->keyslot, true);
    scene_opens(&other, &keyslot);
    world_reopen(&scene->world);
    assert_open_is_erased(&scene->host, &scene->keyslot, true);
    scene_opens(&other, &keyslot);
    host_done(&other);
}

static void a_waiting_open_hears_of_the_erase(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    group_set(&scene->world, "auto", "unlock", json_string("approve"));
    host_boot(&scene->host);
    assert_state(open_first(&open, &scene->host, &scene->keyslot, 0), "pending");
    struct pending *pending = host_post(&scene->host, open_again_message(&open, 60));
    json_decref(world_operate(&scene->world, "host erase", erase_arguments("web1")));
    assert_refused(pending_take(pending), "erased");
    open_done(&open);
}

static void a_granted_request_opens_nothing_after_the_erase(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    host_boot(&scene->host);
    assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 0));
    json_decref(host_send(&scene->host, erase_message(scene->keyslot.vault, false)));
    assert_refused(open_again(&open, 0), "erased");
    open_done(&open);
}

static void a_host_erases_one_vault_and_keeps_the_other(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot second;
    host_bind(&scene->host, &second);
    json_t *answer = host_send(&scene->host, erase_message(scene->keyslot.vault, false));
    json_t *erased = json_object_get(json_object_get(answer, "result"), "erased");
    assert_signed(&scene->host, erased, 1, scene->keyslot.vault);
    json_t *again = host_send(&scene->host, erase_message(scene->keyslot.vault, false));
    assert_true(json_equal(erased, json_object_get(json_object_get(again, "result"), "erased")));
    json_decref(answer);
    json_decref(again);
    assert_open_is_erased(&scene->host, &scene->keyslot, false);
    scene_opens(&scene->host, &second);
    /* Nothing can be bound to it again. */
    struct world_keyslot third;
    json_t *message = bind_message(&third);
    assert_ok(json_set_hex(message, "vault", scene->keyslot.vault, WORLD_ID, &error));
    assert_refused(host_send(&scene->host, message), "erased");
}

static void a_final_erase_takes_everything_and_the_host_with_it(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot second;
    host_bind(&scene->host, &second);
    for (unsigned i = 0; i < 2; i++) {
        json_t *answer = host_send(&scene->host, erase_message(NULL, true));
        assert_host_signed(&scene->host, json_object_get(json_object_get(answer, "result"), "erased"));
        json_decref(answer);
    }
    json_t *answer = host_send(&scene->host, erase_message(second.vault, false));
    assert_signed(&scene->host, json_object_get(json_object_get(answer, "result"), "erased"), 1,
                  second.vault);
    json_decref(answer);
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM scalars"), 0);
}

static void a_vault_this_authority_never_heard_of_is_erased_all_the_same(void **state)
{
    struct scene *scene = *state;
    uint8_t vault[WORLD_ID];
    randombytes_buf(vault, sizeof(vault));
    json_t *answer = host_send(&scene->host, erase_message(vault, false));
    assert_signed(&scene->host, json_object_get(json_object_get(answer, "result"), "erased"), 1, vault);
    json_decref(answer);
    scene_opens(&scene->host, &scene->keyslot);
}

static void a_host_erases_only_so_many_vaults_that_it_invents(void **state)
{
    struct scene *scene = *state;
    uint8_t vault[WORLD_ID];
    for (unsigned i = 0; i < 4; i++) {
        json_t *message = erase_message(NULL, false), *vaults = json_object_get(message, "vaults");
        for (unsigned k = 0; k < 64; k++) {
            char text[33];
            randombytes_buf(vault, sizeof(vault));
            text_format_hex(text, vault, sizeof(vault));
            json_array_append_new(vaults, json_string(text));
        }
        json_decref(host_send(&scene->host, message));
    }
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM erased_vaults"), 256);
    json_t *again = host_send(&scene->host, erase_message(vault, false)); /* one of those */
    assert_signed(&scene->host, json_object_get(json_object_get(again, "result"), "erased"), 1, vault);
    json_decref(again);
    randombytes_buf(vault, sizeof(vault));
    assert_refused(host_send(&scene->host, erase_message(vault, false)), "denied");
    /* As many more may have come from a restore: what is bound is erased all the same. */
    (void)world_count(&scene->world,
                      "INSERT INTO erased_vaults(host, vault, erase) SELECT host, randomblob(16), "
                      "erase FROM erased_vaults LIMIT 1");
    json_decref(host_send(&scene->host, erase_message(scene->keyslot.vault, false)));
    assert_open_is_erased(&scene->host, &scene->keyslot, false);
    json_t *answer = host_send(&scene->host, erase_message(NULL, true)); /* the host itself */
    assert_host_signed(&scene->host, json_object_get(json_object_get(answer, "result"), "erased"));
    json_decref(answer);
}

static void unbinding_destroys_one_scalar(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot second;
    host_bind(&scene->host, &second);
    for (unsigned i = 0; i < 2; i++) {
        json_t *message = host_message("unbind");
        assert_ok(json_set_hex(message, "keyslot", second.id, WORLD_ID, &error));
        json_t *answer = host_send(&scene->host, message);
        assert_non_null(json_object_get(answer, "result"));
        json_decref(answer);
    }
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM scalars"), 1);
    assert_one_keyring(&scene->world);
    assert_open_is_erased(&scene->host, &second, false);
    scene_opens(&scene->host, &scene->keyslot);
}

static void buckets_are_the_root_of_the_scalars_and_never_shared_by_groups(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslots[20], foreign;
    for (unsigned i = 0; i < 20; i++)
        host_bind(&scene->host, &keyslots[i]);
    group_set(&scene->world, "else", "unlock", json_string("auto"));
    host_make(&other, &scene->world, "db1");
    host_enroll(&other, "else");
    host_bind(&other, &foreign);
    assert_int_equal(world_count(&scene->world,
                                 "SELECT count(*) FROM buckets b JOIN groups g ON g.id = b.group_id "
                                 "WHERE g.name = 'auto'"),
                     5);
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM buckets"), 6);
    assert_int_equal(world_count(&scene->world,
                                 "SELECT count(*) FROM keyslots k JOIN buckets b ON b.id = k.bucket "
                                 "JOIN hosts h ON h.id = k.host WHERE h.group_id <> b.group_id"),
                     0);
    json_decref(host_send(&scene->host, erase_message(keyslots[7].vault, false)));
    assert_int_equal(world_count(&scene->world,
                                 "SELECT count(*) FROM buckets WHERE scalars <> (SELECT count(*) FROM "
                                 "keyslots WHERE bucket = buckets.id)"),
                     0);
    for (unsigned i = 0; i < 20; i++)
        if (i != 7)
            scene_opens(&scene->host, &keyslots[i]);
    scene_opens(&other, &foreign);
    host_done(&other);
}

#ifdef HUSK_FAULTS
/* A child of its own erases web1, and is killed at the fault point. True: it got there. */
static bool erase_and_crash(struct scene *scene, const char *point)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char wish[96];
        json_t *result = NULL;
        bool changed;
        world_open(&scene->world);
        snprintf(wish, sizeof(wish), ",,,%s:crash", point); /* a counter that nobody else has used */
        setenv("HUSK_FAULT", wish, 1);
        if (world_try(&scene->world, 0, "host erase", erase_arguments("web1"), &result, &changed, NULL) != OK)
            _exit(2);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void a_crash_at_any_step_of_an_erase_is_finished_at_the_next_start(void **state)
{
    struct scene *scene = *state;
    static const char *const points[] = {"authority.erase.begun",     "authority.keyring.written",
                                         "authority.erase.resealed",  "authority.keyring.destroy",
                                         "authority.erase.destroyed", "authority.erase.done"};
    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        struct world_host other;
        struct world_keyslot keyslot;
        void *fresh = scene;
        if (i > 0)
            assert_int_equal(scene_start(&fresh), 0);
        struct scene *own = fresh;
        scene_another(own, &other, &keyslot);
        world_close(&own->world);
        if (!erase_and_crash(own, points[i]))
            fail_msg("%s was not reached", points[i]);
        world_open(&own->world);
        assert_one_keyring(&own->world);
        assert_int_equal(world_count(&own->world, "SELECT count(*) FROM scalars"), 1);
        assert_int_equal(world_count(&own->world, "SELECT count(*) FROM erases WHERE done_at IS NULL"), 0);
        assert_true(has_entry(&own->world, "erase-begun") && has_entry(&own->world, "erased"));
        json_decref(world_operate(&own->world, "ledger verify", NULL));
        assert_open_is_erased(&own->host, &own->keyslot, true);
        scene_opens(&other, &keyslot);
        host_done(&other);
        if (i > 0)
            scene_end(&fresh);
    }
}

static void an_erase_whose_keyring_cannot_be_destroyed_says_so_and_is_tried_again(void **state)
{
    struct scene *scene = *state;
    json_t *result = NULL;
    bool changed;
    /* The keyring before the scene's bind may still be being destroyed: the clerk answers when that is over.
     */
    json_decref(world_operate(&scene->world, "host list", NULL));
    setenv("HUSK_FAULT", ",,,,authority.keyring.destroy:eio", 1);
    assert_int_not_equal(
        world_try(&scene->world, 0, "host erase", erase_arguments("web1"), &result, &changed, NULL), OK);
    unsetenv("HUSK_FAULT");
    struct world_open open;
    host_boot(&scene->host);
    assert_refused(open_first(&open, &scene->host, &scene->keyslot, 0), "erased");
    open_done(&open);
    assert_ok(world_try(&scene->world, 0, "host erase", erase_arguments("web1"), &result, &changed, &error));
    assert_signed(&scene->host, json_object_get(result, "erased"), 1, scene->keyslot.vault);
    json_decref(result);
    assert_one_keyring(&scene->world);
}

static void no_grant_leaves_when_the_commit_fails(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    host_boot(&scene->host);
    setenv("HUSK_FAULT", ",,,,,authority.commit:eio", 1);
    assert_refused(open_first(&open, &scene->host, &scene->keyslot, 0), "try-again");
    unsetenv("HUSK_FAULT");
    assert_false(has_entry(&scene->world, "request") || has_entry(&scene->world, "granted"));
    open_done(&open);
    assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 0));
    assert_true(has_entry(&scene->world, "granted"));
    open_done(&open);
    json_decref(world_operate(&scene->world, "ledger verify", NULL));
}

static int count_entries(struct world *world, const char *kind)
{
    json_t *ledger = world_operate(world, "ledger show", NULL), *entries = json_object_get(ledger, "entries");
    int count = 0;
    for (size_t i = 0; i < json_array_size(entries); i++)
        count += !strcmp(json_string_value(json_object_get(json_array_get(entries, i), "kind")), kind);
    json_decref(ledger);
    return count;
}

/* Without a savepoint of its own: all of its batch is undone, and nothing of it is half there. */
static void an_open_that_fails_halfway_takes_its_batch_with_it_and_all_try_again(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    struct world_open opens[2];
    scene_another(scene, &other, &keyslot);
    host_boot(&scene->host);
    host_boot(&other);
    scene_opens(&other, &keyslot); /* it is confirmed, and an entry is there that stays */
    const int requests_before = count_entries(&scene->world, "request");
    setenv("HUSK_FAULT", ",,,,,,,,authority.request.write:enospc", 1);
    assert_refused(open_first(&opens[0], &scene->host, &scene->keyslot, 0), "try-again");
    unsetenv("HUSK_FAULT");
    assert_int_equal(count_entries(&scene->world, "request"), requests_before);
    host_boot(&other);
    open_done(&opens[0]);
    struct pending *first =
        host_post(&scene->host, open_message(&opens[0], &scene->host, &scene->keyslot, 0));
    struct pending *second = host_post(&other, open_message(&opens[1], &other, &keyslot, 0));
    assert_granted(&opens[0], pending_take(first));
    assert_granted(&opens[1], pending_take(second));
    assert_int_equal(count_entries(&scene->world, "request"), requests_before + 2);
    json_decref(world_operate(&scene->world, "ledger verify", NULL));
    world_reopen(&scene->world);
    json_decref(world_operate(&scene->world, "ledger verify", NULL));
    open_done(&opens[0]);
    open_done(&opens[1]);
    host_done(&other);
}

static void a_bind_whose_commit_fails_leaves_the_old_keyring_valid(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot keyslot;
    setenv("HUSK_FAULT", ",,,,,,authority.commit:enospc", 1);
    assert_refused(host_send(&scene->host, bind_message(&keyslot)), "try-again");
    unsetenv("HUSK_FAULT");
    host_bind(&scene->host, &keyslot);
    scene_opens(&scene->host, &keyslot);
    scene_opens(&scene->host, &scene->keyslot);
    world_reopen(&scene->world);
    assert_one_keyring(&scene->world);
    scene_opens(&scene->host, &keyslot);
}
#endif

static char *checkpoint_of(struct world *world)
{
    json_t *result = world_operate(world, "ledger verify", NULL);
    char *text = strdup(json_string_value(json_object_get(result, "checkpoint")));
    json_decref(result);
    return text;
}

static enum error_code verify_with(struct world *world, const char *checkpoint, struct error *reterr)
{
    json_t *result = NULL;
    bool changed;
    enum error_code code = world_try(
        world, 0, "ledger verify", json_pack("{s:[s]}", "checkpoint", checkpoint), &result, &changed, reterr);
    json_decref(result);
    return code;
}

static void a_ledger_that_was_cut_or_changed_in_the_database_is_found(void **state)
{
    struct scene *scene = *state;
    scene_opens(&scene->host, &scene->keyslot);
    char *checkpoint = checkpoint_of(&scene->world);
    scene_opens(&scene->host, &scene->keyslot);
    assert_ok(verify_with(&scene->world, checkpoint, &error));
    world_close(&scene->world);
    (void)world_count(&scene->world, "DELETE FROM ledger WHERE sequence > 3");
    world_open(&scene->world);
    json_decref(world_operate(&scene->world, "ledger verify", NULL));
    assert_fails_saying(ERR_CHANGED, "was cut", verify_with(&scene->world, checkpoint, &error));
    world_close(&scene->world);
    (void)world_count(&scene->world,
                      "UPDATE ledger SET entry = CAST(replace(CAST(entry AS TEXT), 'auto', 'evil') AS BLOB)");
    world_open(&scene->world);
    assert_fails(ERR_CORRUPT, verify_with(&scene->world, checkpoint, &error));
    free(checkpoint);
}

static void every_answer_carries_a_checkpoint_of_what_is_committed(void **state)
{
    struct scene *scene = *state;
    json_t *message = host_message("poll");
    assert_ok(json_set_hex(message, "boot", scene->host.boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "wait_s", json_integer(0), &error));
    json_t *answer = host_send(&scene->host, message);
    const char *text = json_string_value(json_object_get(json_object_get(answer, "checkpoint"), "signed"));
    char *now = checkpoint_of(&scene->world);
    assert_string_equal(text, now);
    assert_ok(verify_with(&scene->world, text, &error));
    free(now);
    json_decref(answer);
}

static void only_one_process_has_an_authority_and_init_keeps_what_is_there(void **state)
{
    struct scene *scene = *state;
    static const char *const addresses[] = {"http://192.0.2.1"};
    struct authority *second = NULL;
    const struct authority_options options = {.directory = scene->world.directory,
                                              .clock = &scene->world.clock};
    assert_fails(ERR_BUSY, authority_open(&options, &second, &error));
    assert_fails(ERR_BUSY, authority_init(&options, -1, addresses, 1, &error));
    world_close(&scene->world);
    assert_fails(ERR_EXISTS, authority_init(&options, -1, addresses, 1, &error));
    assert_fails(ERR_USAGE, authority_init(&options, -1, addresses, 0, &error));
    const struct authority_options nowhere = {.directory = "/nowhere/at/all", .clock = &scene->world.clock};
    assert_fails(ERR_NOT_FOUND, authority_open(&nowhere, &second, &error));
    world_open(&scene->world);
    scene_opens(&scene->host, &scene->keyslot);
}

static void a_holder_seals_the_authority_through_erases_and_restarts(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot second;
    struct authority *without = NULL;
    host_bind(&scene->host, &second);
    json_decref(host_send(&scene->host, erase_message(second.vault, false)));
    world_close(&scene->world);
    const struct authority_options options = {.directory = scene->world.directory,
                                              .clock = &scene->world.clock};
    assert_fails(ERR_USAGE, authority_open(&options, &without, &error));
    world_open(&scene->world);
    scene_opens(&scene->host, &scene->keyslot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef HUSK_FAULTS
        scene_test(a_crash_at_any_step_of_an_erase_is_finished_at_the_next_start),
        scene_test(an_erase_whose_keyring_cannot_be_destroyed_says_so_and_is_tried_again),
        scene_test(no_grant_leaves_when_the_commit_fails),
        scene_test(an_open_that_fails_halfway_takes_its_batch_with_it_and_all_try_again),
        scene_test(a_bind_whose_commit_fails_leaves_the_old_keyring_valid),
#endif
        scene_test(an_administrator_erases_a_host_and_only_that),
        scene_test(a_waiting_open_hears_of_the_erase),
        scene_test(a_granted_request_opens_nothing_after_the_erase),
        scene_test(a_host_erases_one_vault_and_keeps_the_other),
        scene_test(a_final_erase_takes_everything_and_the_host_with_it),
        scene_test(a_vault_this_authority_never_heard_of_is_erased_all_the_same),
        scene_test(a_host_erases_only_so_many_vaults_that_it_invents),
        scene_test(unbinding_destroys_one_scalar),
        scene_test(buckets_are_the_root_of_the_scalars_and_never_shared_by_groups),
        scene_test(a_ledger_that_was_cut_or_changed_in_the_database_is_found),
        scene_test(every_answer_carries_a_checkpoint_of_what_is_committed),
        scene_test(only_one_process_has_an_authority_and_init_keeps_what_is_there),
        holder_test(a_holder_seals_the_authority_through_erases_and_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
