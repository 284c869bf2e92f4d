/* Keys and addresses that change under enrolled hosts. */
#include <fcntl.h>
#include <sys/wait.h>

#include "authority_scene.h"

#include "authority/sql.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "secret/secret.h"

static struct secret *read_root(const struct world *world)
{
    char path[192];
    struct secret *root = NULL;
    snprintf(path, sizeof(path), "%s/root.key", world->directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(secret_read_fd(fd, SIGN_KEY_SIZE, SIGN_KEY_SIZE, "root.key", &root, &error));
    close(fd);
    return root;
}

/* Bytes of a text signed with root, in hexadecimal. */
static char *sign_with(const struct secret *root, const char *text)
{
    struct buffer wire = {0};
    assert_ok(descriptor_sign(text, strlen(text), root, &wire, &error));
    char *hex = malloc(2 * wire.length + 1);
    assert_non_null(hex);
    text_format_hex(hex, (const uint8_t *)wire.data, wire.length);
    buffer_done(&wire);
    return hex;
}

static char *prepare(struct world *world, json_t *arguments)
{
    _cleanup_(json_freep) json_t *result = world_operate(world, "descriptor prepare", arguments);
    return strdup(json_string_value(json_object_get(result, "text")));
}

static char *prepare_signed(struct world *world, json_t *arguments)
{
    struct secret *root = read_root(world);
    char *text = prepare(world, arguments), *hex = sign_with(root, text);
    free(text);
    secret_free(root);
    return hex;
}

static enum error_code install(struct world *world, const char *hex, int64_t keep_s, bool *ret_changed,
                               struct error *reterr)
{
    json_t *result = NULL;
    enum error_code code = world_try(world, 1000, "descriptor install",
                                     json_pack("{s:s, s:I}", "descriptor", hex, "keep", (json_int_t)keep_s),
                                     &result, ret_changed, reterr);
    json_decref(result);
    return code;
}

enum { KEEP_S = 7 * 86400 };

static void rotate(struct world *world)
{
    bool changed = false;
    char *hex = prepare_signed(world, NULL);
    assert_ok(install(world, hex, KEEP_S, &changed, &error));
    assert_true(changed);
    free(hex);
}

static json_t *beat(struct world_host *host)
{
    json_t *message = host_message("heartbeat");
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    if (host->has_lineage)
        assert_ok(json_set_hex(message, "lineage", host->lineage, WORLD_ID, &error));
    assert_ok(json_set_new(message, "facts", json_pack("{s:s}", "kernel", "6.1"), &error));
    assert_ok(json_set_new(message, "descriptor_sequence",
                           json_integer((json_int_t)host->descriptor.sequence), &error));
    json_t *answer = host_send(host, message);
    if (answer) {
        assert_ok(
            json_get_hex(json_object_get(answer, "result"), "lineage", host->lineage, WORLD_ID, &error));
        host->has_lineage = true;
    }
    return answer;
}

/* As a host does: only what the pinned root signed, and only a higher sequence. */
static void take(struct world_host *host, const void *bytes, size_t length)
{
    struct descriptor got;
    assert_ok(descriptor_parse(bytes, length, host->descriptor.root, &got, &error));
    assert_true(got.sequence > host->descriptor.sequence);
    host->descriptor = got;
    memcpy(host->message_key, got.message_key, HPKE_KEY_SIZE);
}

static void take_from(struct world_host *host, json_t *answer)
{
    struct buffer bytes = {0};
    const char *text = json_string_value(json_object_get(json_object_get(answer, "result"), "descriptor"));
    assert_non_null(text);
    assert_ok(text_append_bytes(&bytes, text, &error));
    take(host, bytes.data, bytes.length);
    buffer_done(&bytes);
    json_decref(answer);
}

static void a_host_gets_the_new_descriptor_with_any_answer_and_uses_it(void **state)
{
    struct scene *scene = *state;
    struct world_host *host = &scene->host;
    const struct descriptor before = host->descriptor;
    assert_true(before.has_next);
    rotate(&scene->world);
    take_from(host, beat(host)); /* the message was sealed to the key of before */
    assert_int_equal(host->descriptor.sequence, 2);
    assert_memory_equal(host->descriptor.message_key, before.next_message_key, HPKE_KEY_SIZE);
    assert_memory_not_equal(host->descriptor.next_message_key, before.next_message_key, HPKE_KEY_SIZE);
    assert_memory_not_equal(host->descriptor.signing_key, before.signing_key, SIGN_PUBLIC_SIZE);
    json_t *answer = beat(host);
    assert_null(json_object_get(json_object_get(answer, "result"), "descriptor"));
    json_decref(answer);
    scene_opens(host, &scene->keyslot);
    world_reopen(&scene->world);
    scene_opens(host, &scene->keyslot);
    assert_true(has_entry(&scene->world, "keys-prepared") && has_entry(&scene->world, "descriptor"));
}

static bool is_read(struct world_host *host, const uint8_t *key)
{
    uint8_t kept[HPKE_KEY_SIZE];
    struct descriptor descriptor = host->descriptor;
    memcpy(kept, host->message_key, HPKE_KEY_SIZE);
    memcpy(host->message_key, key, HPKE_KEY_SIZE);
    json_t *answer = beat(host);
    const bool is = answer != NULL;
    json_decref(answer);
    host->descriptor = descriptor;
    memcpy(host->message_key, kept, HPKE_KEY_SIZE);
    return is;
}

/* A descriptor has a sequence of its own. */
static void the_ledger_shows_its_entries_by_their_own_numbers(void **state)
{
    struct scene *scene = *state;
    rotate(&scene->world);
    host_heartbeat(&scene->host);
    json_t *ledger = world_operate(&scene->world, "ledger show", NULL),
           *entries = json_object_get(ledger, "entries");
    json_int_t descriptor = 0;
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const json_t *entry = json_array_get(entries, i);
        assert_int_equal(json_integer_value(json_object_get(entry, "sequence")), i + 1);
        if (!strcmp(json_string_value(json_object_get(entry, "kind")), "descriptor"))
            descriptor = json_integer_value(json_object_get(entry, "descriptor_sequence"));
    }
    assert_int_equal(descriptor, 2);
    json_decref(ledger);
}

static void messages_to_the_previous_and_the_next_key_are_read_and_to_older_ones_not(void **state)
{
    struct scene *scene = *state;
    struct descriptor seen[4];
    seen[0] = scene->host.descriptor;
    for (unsigned i = 1; i < ARRAY_SIZE(seen); i++) {
        rotate(&scene->world);
        take_from(&scene->host, beat(&scene->host));
        seen[i] = scene->host.descriptor;
        for (unsigned reopened = 0; reopened < 2; reopened++) {
            assert_true(is_read(&scene->host, seen[i].message_key));
            assert_true(is_read(&scene->host, seen[i].next_message_key));
            assert_true(is_read(&scene->host, seen[i - 1].message_key));
            for (unsigned j = 0; j + 1 < i; j++)
                assert_false(is_read(&scene->host, seen[j].message_key));
            world_reopen(&scene->world);
        }
    }
}

static void a_host_that_slept_through_two_rotations_gets_the_descriptor_in_clear(void **state)
{
    struct scene *scene = *state;
    const struct descriptor before = scene->host.descriptor;
    rotate(&scene->world);
    rotate(&scene->world);
    assert_null(beat(&scene->host)); /* pending_take has read it */
    const struct descriptor got = scene->host.descriptor;
    assert_int_equal(got.sequence, 3);
    assert_memory_equal(got.root, before.root, sizeof(got.root));
    memcpy(scene->host.message_key, got.message_key, HPKE_KEY_SIZE);
    json_decref(beat(&scene->host));
    scene_opens(&scene->host, &scene->keyslot);
}

static void the_previous_key_is_destroyed_when_its_time_is_over(void **state)
{
    struct scene *scene = *state;
    const struct descriptor before = scene->host.descriptor;
    rotate(&scene->world);
    take_from(&scene->host, beat(&scene->host));
    const int64_t generation = world_count(&scene->world, "SELECT generation FROM state");
    world_pass(&scene->world, KEEP_S - 1);
    assert_true(is_read(&scene->host, before.message_key));
    world_pass(&scene->world, 1);
    json_decref(world_operate(&scene->world, "host list", NULL)); /* a batch */
    assert_false(is_read(&scene->host, before.message_key));
    assert_true(has_entry(&scene->world, "message-key-destroyed"));
    assert_int_equal(world_count(&scene->world, "SELECT generation FROM state"), generation + 1);
    world_reopen(&scene->world);
    assert_false(is_read(&scene->host, before.message_key));
    json_decref(beat(&scene->host));
    assert_int_equal(world_count(&scene->world, "SELECT generation FROM state"), generation + 1);
}

/* It was kept for a week by a clock that was ahead by more: it is a week all the same. */
static void the_time_of_the_previous_key_follows_a_clock_that_was_ahead(void **state)
{
    enum { AHEAD_S = 40 * 86400 };
    struct scene *scene = *state;
    const struct descriptor before = scene->host.descriptor;
    world_pass(&scene->world, AHEAD_S);
    rotate(&scene->world);
    take_from(&scene->host, beat(&scene->host));
    world_pass(&scene->world, -AHEAD_S);
    json_decref(beat(&scene->host));
    json_decref(world_operate(&scene->world, "clock accept", NULL));
    world_pass(&scene->world, KEEP_S - 1);
    assert_true(is_read(&scene->host, before.message_key));
    world_reopen(&scene->world);
    assert_true(is_read(&scene->host, before.message_key));
    world_pass(&scene->world, 1);
    json_decref(world_operate(&scene->world, "host list", NULL)); /* a batch */
    assert_false(is_read(&scene->host, before.message_key));
    assert_true(has_entry(&scene->world, "message-key-destroyed"));
}

static void without_time_to_keep_the_key_of_before_reads_nothing_more(void **state)
{
    struct scene *scene = *state;
    const struct descriptor before = scene->host.descriptor;
    bool changed = false;
    char *hex = prepare_signed(&scene->world, NULL);
    assert_ok(install(&scene->world, hex, 0, &changed, &error));
    free(hex);
    assert_false(is_read(&scene->host, before.message_key));
}

static void addresses_change_with_the_same_keys(void **state)
{
    struct scene *scene = *state;
    struct world_host *host = &scene->host;
    const struct descriptor before = host->descriptor;
    bool changed = false;
    char *hex = prepare_signed(&scene->world, json_pack("{s:b, s:[s, s]}", "same-keys", 1, "address",
                                                        "http://198.51.100.7:80", "http://[2001:db8::7]"));
    assert_ok(install(&scene->world, hex, KEEP_S, &changed, &error));
    take_from(host, beat(host));
    assert_int_equal(host->descriptor.address_count, 2);
    assert_string_equal(host->descriptor.addresses[1], "http://[2001:db8::7]");
    assert_memory_equal(host->descriptor.message_key, before.message_key, HPKE_KEY_SIZE);
    assert_memory_equal(host->descriptor.signing_key, before.signing_key, SIGN_PUBLIC_SIZE);
    /* Again is no change. */
    assert_ok(install(&scene->world, hex, KEEP_S, &changed, &error));
    assert_false(changed);
    free(hex);
    assert_fails(ERR_USAGE,
                 world_try(&scene->world, 0, "descriptor prepare", json_pack("{s:[s]}", "address", "ftp://x"),
                           &(json_t *){NULL}, &changed, &error));
}

static void no_address_that_strands_hosts_is_prepared_or_installed(void **state)
{
    struct scene *scene = *state;
    struct world *world = &scene->world;
    bool changed = false;
    assert_fails(ERR_USAGE, world_try(world, 0, "descriptor prepare",
                                      json_pack("{s:[s, s]}", "address", "http://a", "https://a"),
                                      &(json_t *){NULL}, &changed, &error));
    assert_fails(ERR_USAGE,
                 world_try(world, 0, "descriptor prepare", json_pack("{s:[s]}", "address", "https://a"),
                           &(json_t *){NULL}, &changed, &error));
    /* Signed all the same. */
    struct secret *root = read_root(world);
    char *text = prepare(world, json_pack("{s:[s]}", "address", "http://husk")),
         *at = strstr(text, "http://husk");
    memcpy(at, "https://a.b", strlen("https://a.b"));
    char *hex = sign_with(root, text);
    assert_fails(ERR_UNSUPPORTED, install(world, hex, KEEP_S, &changed, &error));
    secret_free(root);
    free(text);
    free(hex);
}

static void prepared_keys_wait_and_are_the_same_when_prepared_again(void **state)
{
    struct scene *scene = *state;
    bool changed = false;
    char *first = prepare(&scene->world, NULL);
    world_reopen(&scene->world);
    char *second = prepare(&scene->world, NULL);
    assert_string_equal(first, second);
    free(first);
    free(second);
    /* An erase in between keeps them. */
    struct world_host other;
    struct world_keyslot keyslot;
    char *hex = prepare_signed(&scene->world, NULL);
    scene_another(scene, &other, &keyslot);
    json_decref(world_operate(&scene->world, "host erase",
                              json_pack("{s:s, s:s}", "host", "web2", "confirm", "web2")));
    assert_ok(install(&scene->world, hex, KEEP_S, &changed, &error));
    free(hex);
    take_from(&scene->host, beat(&scene->host));
    scene_opens(&scene->host, &scene->keyslot);
    host_done(&other);
}

/* Text with this member set. */
static char *alter(const char *text, const char *member, json_t *value)
{
    struct buffer altered = {0};
    json_t *object = json_loads(text, 0, NULL);
    assert_int_equal(json_object_set_new(object, member, value), 0);
    assert_ok(json_format(object, &altered, &error));
    json_decref(object);
    return altered.data;
}

static void what_hosts_would_not_take_or_cannot_use_is_refused(void **state)
{
    struct scene *scene = *state;
    bool changed = false;
    struct secret *root = read_root(&scene->world), *other = NULL;
    uint8_t unused[SIGN_PUBLIC_SIZE];
    char zeros[65];
    memset(zeros, '0', 64);
    zeros[63] = '9'; /* no low order point */
    zeros[64] = '\0';
    assert_ok(sign_key_new(&other, unused, &error));
    char *text = prepare(&scene->world, NULL);
    const struct {
        const char *member;
        json_t *value;
        const char *says;
    } bad[] = {{"sequence", json_integer(1), "sequence 1"},
               {"epoch", json_integer(2), "epoch 2"},
               {"message_key", json_string(zeros), "private half"},
               {"next_message_key", json_string(zeros), "private half"},
               {"signing_key", json_string(zeros), "private half"}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *altered = alter(text, bad[i].member, bad[i].value), *hex = sign_with(root, altered);
        assert_fails_saying(ERR_DENIED, bad[i].says, install(&scene->world, hex, KEEP_S, &changed, &error));
        free(altered);
        free(hex);
    }
    char *hex = sign_with(other, text);
    assert_fails_saying(ERR_DENIED, "root", install(&scene->world, hex, KEEP_S, &changed, &error));
    for (size_t at = 0; at < strlen(hex); at += 7) {
        char *flipped = sign_with(root, text);
        flipped[at] = flipped[at] == '0' ? '1' : '0';
        struct error error = ERROR_NONE;
        assert_int_not_equal(install(&scene->world, flipped, KEEP_S, &changed, &error), OK);
        free(flipped);
    }
    free(hex);
    assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM descriptors"), 1);
    json_t *answer = beat(&scene->host);
    assert_null(json_object_get(json_object_get(answer, "result"), "descriptor"));
    json_decref(answer);
    world_reopen(&scene->world);
    hex = sign_with(root, text);
    assert_ok(install(&scene->world, hex, KEEP_S, &changed, &error));
    assert_true(changed);
    free(hex);
    free(text);
    secret_free(root);
    secret_free(other);
}

static void checkpoints_signed_before_a_rotation_are_still_compared(void **state)
{
    struct scene *scene = *state;
    bool changed = false;
    _cleanup_(json_freep) json_t *before = world_operate(&scene->world, "ledger verify", NULL);
    const char *checkpoint = json_string_value(json_object_get(before, "checkpoint"));
    rotate(&scene->world);
    rotate(&scene->world);
    json_decref(
        world_operate(&scene->world, "ledger verify", json_pack("{s:[s]}", "checkpoint", checkpoint)));
    char *forged = strdup(checkpoint);
    forged[10] = forged[10] == '0' ? '1' : '0';
    json_t *result = NULL;
    assert_fails(ERR_CORRUPT,
                 world_try(&scene->world, 0, "ledger verify", json_pack("{s:[s]}", "checkpoint", forged),
                           &result, &changed, &error));
    free(forged);
}

/* As somebody who can write to the database leaves it: another epoch, which says of none before it. */
static void begin_ledger_anew(const struct world *world)
{
    static const char entry[] = "{\"version\":1,\"at\":1,\"kind\":\"authority\",\"epoch\":2}";
    char path[192];
    struct sql *sql = NULL;
    struct ledger_head head;
    snprintf(path, sizeof(path), "%s/authority.db", world->directory);
    assert_ok(sql_open(path, SQL_OPEN, &sql, &error));
    ledger_begin(2, &head);
    assert_ok(ledger_append(&head, entry, strlen(entry), &head, &error));
    assert_ok(sql_script(sql, "DELETE FROM ledger; UPDATE state SET epoch = 2", &error));
    assert_ok(sql_run(sql, &error, "INSERT INTO ledger(sequence, hash, entry) VALUES(1, ?, ?)", "bb",
                      head.hash, sizeof(head.hash), entry, strlen(entry)));
    sql_close(sql);
}

static void a_checkpoint_of_an_epoch_that_is_gone_does_not_fit(void **state)
{
    struct scene *scene = *state;
    json_t *result = NULL;
    bool changed = false;
    _cleanup_(json_freep) json_t *before = world_operate(&scene->world, "ledger verify", NULL);
    const char *checkpoint = json_string_value(json_object_get(before, "checkpoint"));
    world_close(&scene->world);
    begin_ledger_anew(&scene->world);
    world_open(&scene->world);
    json_decref(world_operate(&scene->world, "ledger verify", NULL)); /* nothing to compare with */
    assert_fails_saying(ERR_CHANGED, "epoch 1 of the ledger is not there",
                        world_try(&scene->world, 0, "ledger verify",
                                  json_pack("{s:[s]}", "checkpoint", checkpoint), &result, &changed, &error));
}

static void hosts_that_talk_meanwhile_notice_nothing(void **state)
{
    struct scene *scene = *state;
    struct pending *held[32];
    for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
        json_t *message = host_message("poll");
        assert_ok(json_set_hex(message, "boot", scene->host.boot, WORLD_ID, &error));
        assert_ok(json_set_new(message, "wait_s", json_integer(i % 2), &error));
        held[i] = host_post(&scene->host, message);
        if (i % 8 == 0)
            rotate(&scene->world);
        if (i % 8 == 4) /* catches up */
            memcpy(scene->host.message_key, scene->host.descriptor.message_key, HPKE_KEY_SIZE);
        if (i % 8 == 3)
            json_decref(beat(&scene->host));
    }
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        json_decref(pending_take(held[i]));
    memcpy(scene->host.message_key, scene->host.descriptor.message_key, HPKE_KEY_SIZE);
    scene_opens(&scene->host, &scene->keyslot);
}

#ifdef HUSK_FAULTS
static bool install_and_crash(struct scene *scene, const char *point, const char *hex)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char wish[96];
        bool changed;
        world_open(&scene->world);
        snprintf(wish, sizeof(wish), ",,,,,,%s:crash", point);
        setenv("HUSK_FAULT", wish, 1);
        if (install(&scene->world, hex, KEEP_S, &changed, NULL) != OK)
            _exit(2);
        json_decref(world_operate(&scene->world, "host list", NULL)); /* when all of it was done */
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void a_crash_while_one_is_installed_leaves_the_old_or_the_new_one(void **state)
{
    struct scene *scene = *state;
    static const struct {
        const char *point;
        bool is_new;
    } cases[] = {{"file.rename", false},
                 {"authority.keyring.written", false},
                 {"authority.commit", false},
                 {"authority.keyring.destroy", true}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        void *fresh = scene;
        if (i > 0)
            assert_int_equal(scene_start(&fresh), 0);
        struct scene *own = fresh;
        char *hex = prepare_signed(&own->world, NULL);
        world_close(&own->world);
        if (!install_and_crash(own, cases[i].point, hex))
            fail_msg("%s was not reached", cases[i].point);
        world_open(&own->world);
        assert_int_equal(world_count(&own->world, "SELECT max(sequence) FROM descriptors"),
                         1 + cases[i].is_new);
        scene_opens(&own->host, &own->keyslot);
        bool changed = false;
        assert_ok(install(&own->world, hex, KEEP_S, &changed, &error));
        assert_int_equal(changed, !cases[i].is_new);
        take_from(&own->host, beat(&own->host));
        json_decref(world_operate(&own->world, "ledger verify", NULL));
        scene_opens(&own->host, &own->keyslot);
        free(hex);
        if (i > 0)
            scene_end(&fresh);
    }
}

static void one_that_cannot_be_written_changes_nothing(void **state)
{
    struct scene *scene = *state;
    static const char *const points[] = {"file.write:enospc", "authority.commit:enospc"};
    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        char wish[96];
        bool changed = false;
        char *hex = prepare_signed(&scene->world, NULL);
        json_decref(world_operate(&scene->world, "host list", NULL));
        snprintf(wish, sizeof(wish), "%.*s%s", (int)i + 8, ",,,,,,,,,,,,,,,,", points[i]);
        setenv("HUSK_FAULT", wish, 1);
        assert_int_not_equal(install(&scene->world, hex, KEEP_S, &changed, NULL), OK);
        unsetenv("HUSK_FAULT");
        assert_int_equal(world_count(&scene->world, "SELECT count(*) FROM descriptors"), 1 + (int)i);
        scene_opens(&scene->host, &scene->keyslot);
        assert_ok(install(&scene->world, hex, KEEP_S, &changed, &error));
        assert_true(changed);
        take_from(&scene->host, beat(&scene->host));
        free(hex);
    }
}
#endif

static void a_key_that_is_due_while_the_holder_is_away_keeps_nobody_from_being_served(void **state)
{
    struct scene *scene = *state;
    rotate(&scene->world);
    take_from(&scene->host, beat(&scene->host));
    memcpy(scene->host.message_key, scene->host.descriptor.message_key, HPKE_KEY_SIZE);
    scene_opens(&scene->host, &scene->keyslot);
    scene_move_holder(scene, true);
    scene_opens(&scene->host, &scene->keyslot); /* served while the medium is away */
    world_pass(&scene->world, KEEP_S);
    scene_opens(&scene->host, &scene->keyslot);
    assert_false(has_entry(&scene->world, "message-key-destroyed"));
    scene_move_holder(scene, false);
    world_reopen(&scene->world);
    scene_opens(&scene->host, &scene->keyslot);
    assert_true(has_entry(&scene->world, "message-key-destroyed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(a_host_gets_the_new_descriptor_with_any_answer_and_uses_it),
        scene_test(the_ledger_shows_its_entries_by_their_own_numbers),
        scene_test(messages_to_the_previous_and_the_next_key_are_read_and_to_older_ones_not),
        scene_test(a_host_that_slept_through_two_rotations_gets_the_descriptor_in_clear),
        scene_test(the_previous_key_is_destroyed_when_its_time_is_over),
        scene_test(the_time_of_the_previous_key_follows_a_clock_that_was_ahead),
        holder_test(a_key_that_is_due_while_the_holder_is_away_keeps_nobody_from_being_served),
        scene_test(without_time_to_keep_the_key_of_before_reads_nothing_more),
        scene_test(addresses_change_with_the_same_keys),
        scene_test(no_address_that_strands_hosts_is_prepared_or_installed),
        scene_test(prepared_keys_wait_and_are_the_same_when_prepared_again),
        scene_test(what_hosts_would_not_take_or_cannot_use_is_refused),
        scene_test(checkpoints_signed_before_a_rotation_are_still_compared),
        scene_test(a_checkpoint_of_an_epoch_that_is_gone_does_not_fit),
        scene_test(hosts_that_talk_meanwhile_notice_nothing),
#ifdef HUSK_FAULTS
        scene_test(a_crash_while_one_is_installed_leaves_the_old_or_the_new_one),
        scene_test(one_that_cannot_be_written_changes_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
