/* The authority in this process: what is damaged or away keeps nobody from what is whole. */
#include <sodium.h>
#include <sqlite3.h>
#include <unistd.h>

#include "authority_scene.h"
#include "base/text.h"

static _Atomic(const char *) failing; /* once: the statement that begins so */

int __real_sqlite3_step(sqlite3_stmt *statement);
int __wrap_sqlite3_step(sqlite3_stmt *statement);
int __wrap_sqlite3_step(sqlite3_stmt *statement)
{
    const char *wanted = atomic_load(&failing);
    if (!wanted || strncmp(sqlite3_sql(statement), wanted, strlen(wanted)) != 0)
        return __real_sqlite3_step(statement);
    atomic_store(&failing, NULL);
    return SQLITE_NOMEM;
}

static void a_batch_that_fails_at_its_begin_keeps_no_other_from_being_served(void **state)
{
    struct scene *scene = *state;
    host_heartbeat(&scene->host);
    atomic_store(&failing, "SELECT clock_highest");
    assert_refused(host_send(&scene->host, poll_message(&scene->host, 0)), "try-again");
    scene_opens(&scene->host, &scene->keyslot);
}

static void erase_web1(struct scene *scene)
{
    json_t *result = NULL;
    bool changed;
    assert_ok(world_try(&scene->world, 0, "host erase",
                        json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1"), &result, &changed,
                        &error));
    json_decref(result);
    assert_int_equal(world_keyrings(&scene->world), 1);
}

/* Beside the scalar that is erased lie a damaged one, which no key opens any more and nothing waits for, and
 * a whole one. */
static void erase_beside_damage(struct scene *scene, const char *damage)
{
    struct world_host other;
    struct world_keyslot first, more[5];
    struct world_keyslot *const damaged = &more[0], *const whole = &more[4];
    char hex[2 * WORLD_ID + 1], sql[160];
    scene_another(scene, &other, &first);
    for (unsigned i = 0; i < ARRAY_SIZE(more); i++)
        host_bind(&other, &more[i]);
    assert_int_equal(world_count(&scene->world, "SELECT max(scalars) FROM buckets"), 3);
    text_format_hex(hex, damaged->id, WORLD_ID);
    snprintf(sql, sizeof(sql), "UPDATE scalars SET sealed = %s WHERE keyslot = x'%s'", damage, hex);
    (void)world_count(&scene->world, sql);
    erase_web1(scene);
    assert_true(has_entry(&scene->world, "scalar-damaged"));
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM scalars"), 6);
    scene_opens(&other, whole);
    host_done(&other);
}

static void a_damaged_scalar_keeps_no_other_from_being_erased(void **state)
{
    erase_beside_damage(*state, "zeroblob(length(sealed))");
}

static void a_scalar_that_was_cut_keeps_no_other_from_being_erased(void **state)
{
    erase_beside_damage(*state, "x'00'");
}

static void name_key_of(struct scene *scene, const char *key)
{
    char sql[160];
    snprintf(sql, sizeof(sql), "UPDATE buckets SET key = %s WHERE id = 1", key);
    (void)world_count(&scene->world, sql);
}

/* It would take the other's key away, and leave its own. */
static void a_bucket_that_names_no_key_of_its_own_destroys_none(void **state)
{
    static const char *const wrong[] = {"(SELECT key FROM buckets WHERE id = 2)", "4711"};
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    struct world_open open;
    json_t *result = NULL;
    bool changed;
    scene_another(scene, &other, &keyslot);
    assert_int_equal(world_count(&scene->world, "SELECT key FROM buckets WHERE id = 1"), 1);
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        name_key_of(scene, wrong[i]);
        assert_fails(ERR_INCOMPLETE, world_try(&scene->world, 0, "host erase",
                                               json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1"),
                                               &result, &changed, &error));
        assert_false(has_entry(&scene->world, "erased"));
        world_reopen(&scene->world); /* a start cannot carry it out either, and serves all the same */
        scene_opens(&other, &keyslot);
        assert_refused(open_first(&open, &scene->host, &scene->keyslot, 0), "erased");
        open_done(&open);
    }
    name_key_of(scene, "1");
    erase_web1(scene);
    assert_true(has_entry(&scene->world, "erased"));
    scene_opens(&other, &keyslot);
    host_done(&other);
}

/* An open of the scene's keyslot and of this one; the second has the same blinded element. */
static json_t *open_two(struct scene *scene, struct world_open *open, const uint8_t *second)
{
    memset(open, 0, sizeof(*open));
    host_boot(&scene->host);
    json_t *message = open_message(open, &scene->host, &scene->keyslot, 30), *one = json_object();
    assert_ok(json_set_hex(one, "keyslot", second, WORLD_ID, &error));
    assert_ok(json_set_hex(one, "blinded", open->blinded, WORLD_ELEMENT, &error));
    assert_int_equal(json_array_append_new(json_object_get(message, "open"), one), 0);
    return host_send(&scene->host, message);
}

/* The first is answered, and for the second it says that it has nothing. */
static void assert_first_alone(struct world_open *open, json_t *answer)
{
    json_t *evaluated = json_object_get(json_object_get(answer, "result"), "evaluated");
    assert_int_equal(json_array_size(evaluated), 2);
    assert_true(json_is_null(json_array_get(evaluated, 1)));
    assert_int_equal(json_array_remove(evaluated, 1), 0);
    assert_granted(open, answer);
    open_done(open);
}

static void a_keyslot_that_is_not_here_keeps_no_other_from_opening(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot unknown, others;
    struct world_open open;
    keyslot_draw(&unknown);
    scene_another(scene, &other, &others);
    assert_first_alone(&open, open_two(scene, &open, unknown.id));
    assert_first_alone(&open, open_two(scene, &open, others.id)); /* nor does it say whose it is */
    host_boot(&scene->host);
    assert_refused(open_first(&open, &scene->host, &others, 0), "not-found");
    open_done(&open);
    host_done(&other);
}

static void open_beside(struct scene *scene, const char *damage)
{
    struct world_keyslot second;
    struct world_open open;
    char hex[2 * WORLD_ID + 1], sql[160];
    host_bind(&scene->host, &second);
    text_format_hex(hex, second.id, WORLD_ID);
    snprintf(sql, sizeof(sql), "%s WHERE keyslot = x'%s'", damage, hex);
    (void)world_count(&scene->world, sql);
    assert_first_alone(&open, open_two(scene, &open, second.id));
    host_boot(&scene->host);
    assert_refused(open_first(&open, &scene->host, &second, 0), "try-again"); /* alone: when it is mended */
    open_done(&open);
}

static void a_damaged_scalar_keeps_no_other_from_opening(void **state)
{
    open_beside(*state, "UPDATE scalars SET sealed = zeroblob(length(sealed))");
}

static void a_scalar_that_is_gone_keeps_no_other_from_opening(void **state)
{
    open_beside(*state, "DELETE FROM scalars");
}

static void one_that_is_erased_refuses_what_is_asked_with_it(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot second;
    struct world_open open;
    host_bind(&scene->host, &second);
    json_t *message = host_message("unbind");
    assert_ok(json_set_hex(message, "keyslot", second.id, WORLD_ID, &error));
    json_decref(host_send(&scene->host, message));
    json_t *answer = open_two(scene, &open, second.id);
    json_object_del(answer, "result");
    assert_refused(answer, "erased");
    open_done(&open);
}

/* Messages that come close together are one batch, with one commit. */
static void a_bind_that_needs_a_keyring_while_the_holder_is_away_fails_alone(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot second;
    struct world_open open = {0};
    host_make(&other, &scene->world, "web2");
    host_enroll(&other, "auto");
    host_heartbeat(&other);
    scene_move_holder(scene, true);
    scene_opens(&scene->host, &scene->keyslot); /* the next batch is 10 ms away */
    host_boot(&scene->host);
    struct pending *binds = host_post(&other, bind_message(&second));
    struct pending *opens = host_post(&scene->host, open_message(&open, &scene->host, &scene->keyslot, 30));
    assert_refused(pending_take(binds), "try-again");
    assert_granted(&open, pending_take(opens));
    scene_move_holder(scene, false);
    host_bind(&other, &second);
    scene_opens(&other, &second);
    open_done(&open);
    host_done(&other);
}

#ifdef HUSK_FAULTS
/* Files that are made, eight of them, find no room. Each test has places of its own in the variable. */
static void leave_no_room(unsigned first_place)
{
    char wishes[512] = "";
    for (unsigned place = 0; place < first_place + 8; place++)
        snprintf(wishes + strlen(wishes), sizeof(wishes) - strlen(wishes), "%s,",
                 place < first_place ? "" : "file.create:enospc");
    setenv("HUSK_FAULT", wishes, 1);
}

/* Where there is no room for it: the batch that finds out fails, and of the next ones only the binds do. */
static void binds_that_need_a_keyring_that_cannot_be_written_fail_alone(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot, more;
    int failed = 0;
    scene_another(scene, &other, &keyslot);
    for (int i = 0; i < 2; i++)
        host_bind(&scene->host, &more); /* the next one needs another bucket */
    leave_no_room(0);
    for (int i = 0; i < 8; i++) {
        host_heartbeat(&scene->host); /* for a nonce; and the next batch is 10 ms away, for both */
        struct pending *binds = host_post(&scene->host, bind_message(&more));
        struct pending *polls = host_post(&other, poll_message(&other, 0));
        assert_refused(pending_take(binds), "try-again");
        json_t *polled = pending_take(polls);
        failed += json_object_get(polled, "error") != NULL;
        json_decref(polled);
    }
    unsetenv("HUSK_FAULT");
    assert_true(failed <= 1);
    host_done(&other);
}

static atomic_int told;

static void count_line(void *context, const char *line)
{
    (void)context;
    atomic_fetch_add(&told, strstr(line, "erase is not carried out") != NULL);
}

static void an_erase_that_cannot_be_carried_out_at_a_start_is_told_once(void **state)
{
    struct scene *scene = *state;
    struct world_host other;
    struct world_keyslot keyslot;
    json_t *result = NULL;
    bool changed;
    struct authority_options options = {
        .directory = scene->world.directory, .clock = &scene->world.clock, .workers = 2, .log = count_line};
    scene_another(scene, &other, &keyslot);
    leave_no_room(8);
    assert_fails(ERR_INCOMPLETE, world_try(&scene->world, 0, "host erase",
                                           json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1"),
                                           &result, &changed, &error));
    world_close(&scene->world);
    assert_ok(authority_open(&options, &scene->world.authority, &error));
    host_heartbeat(&other);
    host_heartbeat(&other);
    unsetenv("HUSK_FAULT");
    assert_int_equal(atomic_load(&told), 1);
    host_done(&other);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(a_batch_that_fails_at_its_begin_keeps_no_other_from_being_served),
        scene_test(a_damaged_scalar_keeps_no_other_from_being_erased),
        scene_test(a_scalar_that_was_cut_keeps_no_other_from_being_erased),
        scene_test(a_bucket_that_names_no_key_of_its_own_destroys_none),
        scene_test(a_keyslot_that_is_not_here_keeps_no_other_from_opening),
        scene_test(a_damaged_scalar_keeps_no_other_from_opening),
        scene_test(a_scalar_that_is_gone_keeps_no_other_from_opening),
        scene_test(one_that_is_erased_refuses_what_is_asked_with_it),
        holder_test(a_bind_that_needs_a_keyring_while_the_holder_is_away_fails_alone),
#ifdef HUSK_FAULTS
        scene_test(binds_that_need_a_keyring_that_cannot_be_written_fail_alone),
        scene_test(an_erase_that_cannot_be_carried_out_at_a_start_is_told_once),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
