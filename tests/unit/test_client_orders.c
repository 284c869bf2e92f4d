/* Orders, `erased` answers and checkpoints as a host takes them, or does not. */
#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <sys/stat.h>

#include "base/text.h"
#include "client/files.h"
#include "client/ledger.h"
#include "fake_authority.h"
#include "unit.h"

struct scene {
    char at[64];
    struct fake_authority fake;
    struct client *client;
    struct client_pin *pin;
    struct finding_list findings;
};

static const struct client_effort once = {0, 0};

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    struct client_token token;
    char text[80], url[64];
    bool changed;
    if (!scene || secret_start(NULL))
        return -1;
    snprintf(scene->at, sizeof(scene->at), "/dev/shm/husk-test-orders-XXXXXX");
    if (!mkdtemp(scene->at))
        return -1;
    fake_start(&scene->fake);
    fake_url(&scene->fake, url);
    fake_token(&scene->fake, text);
    assert_ok(client_token_parse(text, &token, &error));
    assert_ok(client_enroll(scene->at, url, &token, "web-1", clock_system(), &pin, &changed, &error));
    assert_ok(client_open(scene->at, &scene->client, &error));
    scene->pin = &scene->client->pins[0];
    *state = scene;
    return 0;
}

static int end(void **state)
{
    struct scene *scene = *state;
    char runtime[128];
    snprintf(runtime, sizeof(runtime), "/run/husk/%llx-%llx", (unsigned long long)scene->client->device,
             (unsigned long long)scene->client->inode);
    client_close(scene->client);
    finding_list_done(&scene->findings);
    fake_stop(&scene->fake);
    nftw(runtime, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    nftw(scene->at, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(scene);
    return 0;
}

static void reopen(struct scene *scene)
{
    client_close(scene->client);
    assert_ok(client_open(scene->at, &scene->client, &error));
    scene->pin = &scene->client->pins[0];
}

static void give(struct scene *scene, size_t place, uint64_t sequence, uint8_t host_flip, bool other_key)
{
    _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
    _cleanup_(secret_freep) struct secret *key = NULL;
    uint8_t unused[SIGN_PUBLIC_SIZE];
    struct order order = {.sequence = sequence, .action = ORDER_LOCK, .at_unix_s = 1};
    memcpy(order.host, scene->fake.host, sizeof(order.host));
    order.host[0] ^= host_flip;
    memcpy(order.id, &sequence, sizeof(sequence));
    assert_ok(order_format(&order, &text, &error));
    if (other_key)
        assert_ok(sign_key_new(&key, unused, &error));
    assert_ok(
        sign_append(key ? key : scene->fake.signing_key, ORDER_KIND, text.data, text.length, &wire, &error));
    text_format_hex(scene->fake.orders[place], (const uint8_t *)wire.data, wire.length);
}

/* One heartbeat; how many orders are to be answered then, and how many were refused. */
static size_t take(struct scene *scene, size_t *ret_refused)
{
    _cleanup_(client_news_done) struct client_news news = {0};
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    const size_t before = scene->findings.count;
    assert_ok(client_heartbeat(scene->client, scene->pin, NULL, once, &news, &error));
    assert_ok(client_orders_take(scene->client, scene->pin, news.orders, &orders, &scene->findings, &error));
    *ret_refused = scene->findings.count - before;
    return orders.count;
}

static void an_order_is_taken_once_and_kept_until_it_is_answered(void **state)
{
    struct scene *scene = *state;
    size_t refused = 0;
    give(scene, 0, 5, 0, false);
    assert_int_equal(take(scene, &refused), 1);
    assert_int_equal(refused, 0);
    reopen(scene);
    assert_int_equal(take(scene, &refused), 1);
    assert_int_equal(refused, 0);
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    assert_ok(client_order_note(scene->client, scene->pin, (uint8_t[CLIENT_ID_SIZE]){5}, "done",
                                json_pack("{s:i}", "status", 0), &error));
    reopen(scene);
    assert_ok(client_orders_read(scene->client, scene->pin, &orders, &error));
    assert_string_equal(orders.items[0].outcome, "done");
    assert_ok(client_order_answer(scene->client, scene->pin, &orders.items[0], &error));
    /* Given again it is passed over: what an old copy answered stays the host's order, and is given on. */
    assert_int_equal(take(scene, &refused), 0);
    assert_int_equal(refused, 0);
}

static void an_older_order_is_refused_also_after_a_restart(void **state)
{
    struct scene *scene = *state;
    size_t refused = 0;
    give(scene, 0, 9, 0, false);
    assert_int_equal(take(scene, &refused), 1);
    reopen(scene);
    give(scene, 0, 8, 0, false);
    assert_int_equal(take(scene, &refused), 1); /* the one before */
    assert_int_equal(refused, 1);
    assert_string_equal(scene->findings.items[0].kind, "order-refused");
    give(scene, 0, 10, 0, false);
    assert_int_equal(take(scene, &refused), 2);
}

static void an_order_that_is_forged_or_for_another_host_is_refused(void **state)
{
    struct scene *scene = *state;
    size_t refused = 0;
    give(scene, 0, 5, 1, false);
    give(scene, 1, 6, 0, true);
    give(scene, 2, 7, 0, false);
    scene->fake.orders[2][200] ^= 1;
    assert_int_equal(take(scene, &refused), 0);
    assert_true(refused >= 2);
    /* None of them counted. */
    memset(scene->fake.orders, 0, sizeof(scene->fake.orders));
    give(scene, 0, 1, 0, false);
    assert_int_equal(take(scene, &refused), 1);
    assert_int_equal(refused, 0);
}

static void more_orders_than_can_be_kept_come_again(void **state)
{
    struct scene *scene = *state;
    size_t refused = 0;
    for (uint64_t sequence = 1; sequence <= CLIENT_ORDERS_MAXIMUM + 4; sequence += 4) {
        for (uint64_t i = 0; i < 4; i++)
            give(scene, i, sequence + i, 0, false);
        const size_t count = take(scene, &refused);
        assert_int_equal(count, sequence + 3 < CLIENT_ORDERS_MAXIMUM ? sequence + 3 : CLIENT_ORDERS_MAXIMUM);
        assert_int_equal(refused, 0);
    }
    assert_ok(client_order_answer(scene->client, scene->pin,
                                  &(struct client_order){.id = {1}, .action = ORDER_LOCK, .outcome = "done"},
                                  &error));
    assert_int_equal(take(scene, &refused), CLIENT_ORDERS_MAXIMUM);
    assert_int_equal(refused, 0);
}

static void only_the_right_signed_answer_is_believed(void **state)
{
    struct scene *scene = *state;
    const uint8_t vault[CLIENT_ID_SIZE] = {7};
    for (enum fake_erased how = FAKE_ERASES; how < FAKE_ERASEDS; how++) {
        _cleanup_(buffer_done) struct buffer wire = {0}, host_wire = {0};
        _cleanup_(erased_done) struct erased erased = {0}, host = {0};
        scene->fake.erased = how;
        if (how == FAKE_ERASES) {
            assert_ok(client_erase_vault(scene->client, scene->pin, vault, &wire, &erased, &error));
            assert_memory_equal(erased.vault, vault, sizeof(vault));
            assert_ok(client_erase_host(scene->client, scene->pin, &host_wire, &host, &error));
            assert_true(host.is_host);
            continue;
        }
        assert_fails(ERR_CORRUPT,
                     client_erase_vault(scene->client, scene->pin, vault, &wire, &erased, &error));
        assert_int_equal(wire.length, 0);
        if (how != FAKE_SIGNS_FOR_ANOTHER_VAULT) /* there is none in it */
            assert_fails(ERR_CORRUPT,
                         client_erase_host(scene->client, scene->pin, &host_wire, &host, &error));
    }
}

static void show_checkpoint(struct scene *scene, uint64_t epoch, uint64_t sequence, uint8_t hash,
                            const struct secret *key)
{
    _cleanup_(buffer_done) struct buffer wire = {0};
    const struct ledger_checkpoint checkpoint = {
        .epoch = epoch, .head = {.sequence = sequence, .hash = {hash}}, .at_unix_s = 1};
    assert_ok(ledger_checkpoint_sign(&checkpoint, key ? key : scene->fake.signing_key, &wire, &error));
    text_format_hex(scene->fake.checkpoint, (const uint8_t *)wire.data, wire.length);
}

static size_t beat_and_count(struct scene *scene)
{
    _cleanup_(client_news_done) struct client_news news = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    assert_ok(client_heartbeat(scene->client, scene->pin, NULL, once, &news, &error));
    client_ledger_tell(scene->client, &findings);
    return findings.count;
}

static void a_ledger_that_goes_back_is_told_and_what_was_seen_is_sent(void **state)
{
    struct scene *scene = *state;
    char kept[2048];
    show_checkpoint(scene, 1, 5, 1, NULL);
    snprintf(kept, sizeof(kept), "%s", scene->fake.checkpoint);
    assert_int_equal(beat_and_count(scene), 0);
    reopen(scene);
    show_checkpoint(scene, 1, 4, 1, NULL);
    assert_int_equal(beat_and_count(scene), 1);
    assert_string_equal(scene->fake.last_checkpoint, kept);
    /* Told until the authority says that it was restored. */
    show_checkpoint(scene, 1, 6, 1, NULL);
    assert_int_equal(beat_and_count(scene), 1);
    show_checkpoint(scene, 2, 1, 1, NULL);
    assert_int_equal(beat_and_count(scene), 1); /* its root has not said so */
    scene->fake.descriptor.epoch = 2;
    fake_rotate(&scene->fake);
    assert_int_equal(beat_and_count(scene), 0);
}

static void another_hash_for_the_same_sequence_is_told(void **state)
{
    struct scene *scene = *state;
    show_checkpoint(scene, 1, 5, 1, NULL);
    assert_int_equal(beat_and_count(scene), 0);
    show_checkpoint(scene, 1, 5, 2, NULL);
    assert_int_equal(beat_and_count(scene), 1);
}

static void a_checkpoint_somebody_else_signed_changes_nothing(void **state)
{
    struct scene *scene = *state;
    uint8_t unused[SIGN_PUBLIC_SIZE];
    _cleanup_(secret_freep) struct secret *key = NULL;
    assert_ok(sign_key_new(&key, unused, &error));
    show_checkpoint(scene, 1, 5, 1, NULL);
    assert_int_equal(beat_and_count(scene), 0);
    show_checkpoint(scene, 1, 500, 1, key);
    assert_int_equal(beat_and_count(scene), 0);
    show_checkpoint(scene, 1, 6, 1, NULL);
    assert_int_equal(beat_and_count(scene), 0);
}

int main(void)
{
#define with_scene(name) cmocka_unit_test_setup_teardown(name, start, end)
    static const struct CMUnitTest tests[] = {
        with_scene(an_order_is_taken_once_and_kept_until_it_is_answered),
        with_scene(an_older_order_is_refused_also_after_a_restart),
        with_scene(an_order_that_is_forged_or_for_another_host_is_refused),
        with_scene(more_orders_than_can_be_kept_come_again),
        with_scene(only_the_right_signed_answer_is_believed),
        with_scene(a_ledger_that_goes_back_is_told_and_what_was_seen_is_sent),
        with_scene(another_hash_for_the_same_sequence_is_told),
        with_scene(a_checkpoint_somebody_else_signed_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
