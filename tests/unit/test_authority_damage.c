/* The authority in this process: what is damaged or away keeps nobody from what is whole. */
#include <sodium.h>
#include <unistd.h>

#include "authority_scene.h"
#include "base/text.h"

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

static void a_damaged_scalar_keeps_no_other_from_opening(void **state)
{
    struct scene *scene = *state;
    struct world_keyslot second;
    struct world_open open;
    char hex[2 * WORLD_ID + 1], sql[160];
    host_bind(&scene->host, &second);
    text_format_hex(hex, second.id, WORLD_ID);
    snprintf(sql, sizeof(sql), "UPDATE scalars SET sealed = zeroblob(length(sealed)) WHERE keyslot = x'%s'",
             hex);
    (void)world_count(&scene->world, sql);
    assert_first_alone(&open, open_two(scene, &open, second.id));
    host_boot(&scene->host);
    assert_refused(open_first(&open, &scene->host, &second, 0), "try-again"); /* alone: when it is mended */
    open_done(&open);
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
    (void)state;
    struct world world;
    struct world_host host, other;
    struct world_keyslot keyslot, second;
    struct world_open open = {0};
    char here[256], away[256];
    world_make(&world, "holder");
    group_set(&world, "auto", "unlock", json_string("auto"));
    host_make(&host, &world, "web1");
    host_enroll(&host, "auto");
    host_bind(&host, &keyslot);
    host_make(&other, &world, "web2");
    host_enroll(&other, "auto");
    host_heartbeat(&other);
    snprintf(here, sizeof(here), "%s/holder.%lld", world.directory,
             (long long)world_count(&world, "SELECT generation FROM state"));
    snprintf(away, sizeof(away), "%s/away", world.directory);
    assert_int_equal(rename(here, away), 0);
    scene_opens(&host, &keyslot); /* the next batch is 10 ms away */
    host_boot(&host);
    struct pending *binds = host_post(&other, bind_message(&second));
    struct pending *opens = host_post(&host, open_message(&open, &host, &keyslot, 30));
    assert_refused(pending_take(binds), "try-again");
    assert_granted(&open, pending_take(opens));
    assert_int_equal(rename(away, here), 0);
    host_bind(&other, &second);
    scene_opens(&other, &second);
    open_done(&open);
    host_done(&host);
    host_done(&other);
    world_remove(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(a_damaged_scalar_keeps_no_other_from_being_erased),
        scene_test(a_scalar_that_was_cut_keeps_no_other_from_being_erased),
        scene_test(a_bucket_that_names_no_key_of_its_own_destroys_none),
        scene_test(a_keyslot_that_is_not_here_keeps_no_other_from_opening),
        scene_test(a_damaged_scalar_keeps_no_other_from_opening),
        scene_test(one_that_is_erased_refuses_what_is_asked_with_it),
        cmocka_unit_test(a_bind_that_needs_a_keyring_while_the_holder_is_away_fails_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
