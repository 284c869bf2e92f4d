/* What an authority signs for a host, byte by byte; and what a host keeps of it in files. */
#include <sodium.h>

#include "base/text.h"
#include "client/files.h"
#include "client/ledger.h"
#include "message/statement.h"
#include "unit.h"

struct signer {
    struct secret *key;
    uint8_t public_key[SIGN_PUBLIC_SIZE];
};

static int start(void **state)
{
    struct signer *signer = calloc(1, sizeof(*signer));
    if (!signer || secret_start(NULL) || sign_key_new(&signer->key, signer->public_key, NULL))
        return -1;
    *state = signer;
    return 0;
}

static int end(void **state)
{
    struct signer *signer = *state;
    secret_free(signer->key);
    free(signer);
    return 0;
}

static struct order some_order(void)
{
    struct order order = {.sequence = 7, .action = ORDER_ERASE, .at_unix_s = 1770000000};
    randombytes_buf(order.id, sizeof(order.id));
    randombytes_buf(order.host, sizeof(order.host));
    return order;
}

static void sign_text(const struct signer *signer, const char *kind, const struct buffer *text,
                      struct buffer *wire)
{
    assert_ok(sign_append(signer->key, kind, text->data, text->length, wire, &error));
}

static void make_order(const struct signer *signer, const struct order *order, struct buffer *wire)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_ok(order_format(order, &text, &error));
    sign_text(signer, ORDER_KIND, &text, wire);
}

static void an_order_is_read_as_it_was_made(void **state)
{
    struct signer *signer = *state;
    _cleanup_(buffer_done) struct buffer wire = {0};
    struct order order = some_order(), read = {0};
    make_order(signer, &order, &wire);
    assert_ok(order_parse(wire.data, wire.length, signer->public_key, order.host, &read, &error));
    assert_memory_equal(&read, &order, sizeof(order));
}

static void every_changed_byte_of_an_order_fails(void **state)
{
    struct signer *signer = *state;
    _cleanup_(buffer_done) struct buffer wire = {0};
    struct order order = some_order(), read = {0};
    make_order(signer, &order, &wire);
    for (size_t i = 0; i < wire.length; i++) {
        wire.data[i] ^= 1;
        assert_fails(ERR_CORRUPT,
                     order_parse(wire.data, wire.length, signer->public_key, order.host, &read, &error));
        wire.data[i] ^= 1;
        assert_int_not_equal(order_parse(wire.data, i, signer->public_key, order.host, &read, NULL), OK);
    }
    assert_int_equal(read.sequence, 0);
}

static void an_order_is_for_one_host_one_kind_and_one_key(void **state)
{
    struct signer *signer = *state;
    _cleanup_(buffer_done) struct buffer wire = {0}, text = {0}, as_erased = {0};
    struct order order = some_order(), read = {0};
    uint8_t other[MESSAGE_HOST_ID_SIZE] = {1}, unused[SIGN_PUBLIC_SIZE];
    _cleanup_(secret_freep) struct secret *key = NULL;
    make_order(signer, &order, &wire);
    assert_fails(ERR_DENIED, order_parse(wire.data, wire.length, signer->public_key, other, &read, &error));
    assert_ok(sign_key_new(&key, unused, &error));
    assert_fails(ERR_CORRUPT, order_parse(wire.data, wire.length, unused, order.host, &read, &error));
    assert_ok(order_format(&order, &text, &error));
    sign_text(signer, ERASED_KIND, &text, &as_erased);
    assert_fails(ERR_CORRUPT, order_parse(as_erased.data, as_erased.length, signer->public_key, order.host,
                                          &read, &error));
}

static void what_a_later_authority_may_order_is_unsupported_and_not_guessed(void **state)
{
    struct signer *signer = *state;
    static const struct {
        const char *text;
        enum error_code code;
    } cases[] = {
        {"{\"version\":1,\"host\":\"%s\",\"vault\":null,\"order\":\"%s\",\"sequence\":1,\"action\":\"dance\","
         "\"at\":1}",
         ERR_UNSUPPORTED},
        {"{\"version\":1,\"host\":\"%s\",\"vault\":\"%s\",\"order\":\"00000000000000000000000000000000\","
         "\"sequence\":1,\"action\":\"lock\",\"at\":1}",
         ERR_UNSUPPORTED},
        {"{\"version\":2,\"host\":\"%s\",\"vault\":null,\"order\":\"%s\",\"sequence\":1,\"action\":\"lock\","
         "\"at\":1}",
         ERR_TOO_NEW},
        {"{\"version\":1,\"host\":\"%s\",\"vault\":null,\"order\":\"%s\",\"sequence\":0,\"action\":\"lock\","
         "\"at\":1}",
         ERR_CORRUPT},
        {"{\"version\":1,\"host\":\"%s\",\"vault\":null,\"order\":\"%.30s\",\"sequence\":1,\"action\":"
         "\"lock\",\"at\":1}",
         ERR_CORRUPT},
    };
    uint8_t host[MESSAGE_HOST_ID_SIZE] = {9};
    char digits[33];
    text_format_hex(digits, host, sizeof(host));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
        struct order read;
        char line[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(line, sizeof(line), cases[i].text, digits, digits);
#pragma GCC diagnostic pop
        assert_ok(buffer_append(&text, line, strlen(line), &error));
        sign_text(signer, ORDER_KIND, &text, &wire);
        assert_fails(cases[i].code,
                     order_parse(wire.data, wire.length, signer->public_key, host, &read, &error));
    }
}

static void an_erased_answer_is_read_as_it_was_made(void **state)
{
    struct signer *signer = *state;
    for (int is_host = 0; is_host < 2; is_host++) {
        _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
        uint8_t keyslots[2][STATEMENT_ID_SIZE] = {{1}, {2}}, other[MESSAGE_HOST_ID_SIZE] = {1};
        _cleanup_(erased_done) struct erased read = {0};
        struct erased erased = {.is_host = is_host,
                                .host = {3},
                                .vault = {4},
                                .order = {5},
                                .sequence = 6,
                                .at_unix_s = 7,
                                .keyslots = keyslots,
                                .keyslot_count = is_host ? 0 : 2,
                                .copies = {[ERASED_COPY_BACKUP] = is_host == 0}};
        assert_ok(erased_format(&erased, &text, &error));
        sign_text(signer, ERASED_KIND, &text, &wire);
        assert_fails(ERR_DENIED,
                     erased_parse(wire.data, wire.length, signer->public_key, other, &read, &error));
        for (size_t i = 0; i < wire.length; i++) {
            wire.data[i] ^= 1;
            assert_fails(ERR_CORRUPT, erased_parse(wire.data, wire.length, signer->public_key, erased.host,
                                                   &read, &error));
            wire.data[i] ^= 1;
        }
        assert_ok(erased_parse(wire.data, wire.length, signer->public_key, erased.host, &read, &error));
        assert_int_equal(read.is_host, is_host);
        assert_memory_equal(read.order, erased.order, sizeof(read.order));
        assert_int_equal(read.sequence, 6);
        assert_int_equal(read.at_unix_s, 7);
        assert_int_equal(read.keyslot_count, erased.keyslot_count);
        assert_memory_equal(read.copies, erased.copies, sizeof(read.copies));
        assert_false(read.other_copies);
        assert_memory_equal(read.keyslots, keyslots, erased.keyslot_count * STATEMENT_ID_SIZE);
        if (!is_host)
            assert_memory_equal(read.vault, erased.vault, sizeof(read.vault));
    }
}

static struct client_checkpoint checkpoint(const struct signer *signer, uint64_t epoch, uint64_t sequence,
                                           uint8_t hash)
{
    _cleanup_(buffer_done) struct buffer wire = {0};
    struct client_checkpoint made = {
        .head = {.epoch = epoch, .head = {.sequence = sequence, .hash = {hash}}, .at_unix_s = 1}};
    assert_ok(ledger_checkpoint_sign(&made.head, signer->key, &wire, &error));
    text_format_hex(made.text, (const uint8_t *)wire.data, wire.length);
    return made;
}

static void a_checkpoint_that_does_not_go_on_from_the_one_kept_differs(void **state)
{
    struct signer *signer = *state;
    struct client_ledger ledger = {0};
    static const struct {
        uint64_t epoch, sequence;
        uint8_t hash;
        enum client_ledger_step step;
    } cases[] = {
        {2, 10, 1, LEDGER_STANDS},   {2, 10, 2, LEDGER_DIFFERS}, {2, 9, 1, LEDGER_DIFFERS},
        {2, 11, 3, LEDGER_ADVANCES}, {3, 1, 4, LEDGER_ADVANCES}, {1, 99, 1, LEDGER_DIFFERS},
    };
    const struct client_checkpoint first = checkpoint(signer, 2, 10, 1);
    assert_int_equal(client_ledger_compare(&ledger, &first.head), LEDGER_ADVANCES);
    client_ledger_keep(&ledger, &first);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct client_checkpoint next =
            checkpoint(signer, cases[i].epoch, cases[i].sequence, cases[i].hash);
        assert_int_equal(client_ledger_compare(&ledger, &next.head), cases[i].step);
    }
}

static void the_highest_of_every_epoch_is_kept_and_a_new_epoch_ends_the_alarm(void **state)
{
    struct signer *signer = *state;
    struct client_ledger ledger = {0}, read = {0};
    for (uint64_t epoch = 1; epoch <= CLIENT_EPOCHS_MAXIMUM + 2; epoch++)
        for (uint64_t sequence = 1; sequence <= 2; sequence++) {
            const struct client_checkpoint next = checkpoint(signer, epoch, sequence, 1);
            client_ledger_keep(&ledger, &next);
            ledger.differs = true;
            ledger.different = next;
            assert_int_equal(ledger.kept[ledger.count - 1].head.head.sequence, sequence);
        }
    assert_int_equal(ledger.count, CLIENT_EPOCHS_MAXIMUM);
    assert_int_equal(ledger.kept[0].head.epoch, 3);
    _cleanup_(buffer_done) struct buffer text = {0};
    assert_ok(client_ledger_format(&ledger, &text, &error));
    assert_ok(client_ledger_parse(text.data, text.length, &read, &error));
    assert_int_equal(read.count, ledger.count);
    assert_true(read.differs);
    assert_string_equal(read.different.text, ledger.different.text);
    const struct client_checkpoint next = checkpoint(signer, 99, 1, 1);
    client_ledger_keep(&read, &next);
    assert_false(read.differs);
    for (size_t i = 0; i < text.length; i++)
        assert_int_not_equal(client_ledger_parse(text.data, i ? i - 1 : 0, &read, NULL), OK);
}

static void orders_are_kept_as_they_were(void **state)
{
    struct client_orders orders = {.highest = 9, .count = 2}, read = {0};
    _cleanup_(buffer_done) struct buffer text = {0};
    (void)state;
    orders.items[0] = (struct client_order){.id = {1}, .sequence = 8, .action = ORDER_LOCK};
    orders.items[1] =
        (struct client_order){.id = {2}, .sequence = 9, .action = ORDER_ERASE, .outcome = "incomplete"};
    orders.items[1].report = json_pack("{s:i}", "status", 5);
    assert_ok(client_orders_format(&orders, &text, &error));
    assert_ok(client_orders_parse(text.data, text.length, &read, &error));
    assert_int_equal(read.highest, 9);
    assert_int_equal(read.count, 2);
    assert_string_equal(read.items[0].outcome, "");
    assert_null(read.items[0].report);
    assert_string_equal(read.items[1].outcome, "incomplete");
    assert_true(json_equal(read.items[1].report, orders.items[1].report));
    client_orders_done(&read);
    for (size_t i = 0; i + 1 < text.length; i++) {
        assert_int_not_equal(client_orders_parse(text.data, i, &read, NULL), OK);
        assert_int_equal(read.count, 0);
    }
    client_orders_done(&orders);
}

int main(void)
{
#define with_signer(name) cmocka_unit_test_setup_teardown(name, start, end)
    static const struct CMUnitTest tests[] = {
        with_signer(an_order_is_read_as_it_was_made),
        with_signer(every_changed_byte_of_an_order_fails),
        with_signer(an_order_is_for_one_host_one_kind_and_one_key),
        with_signer(what_a_later_authority_may_order_is_unsupported_and_not_guessed),
        with_signer(an_erased_answer_is_read_as_it_was_made),
        with_signer(a_checkpoint_that_does_not_go_on_from_the_one_kept_differs),
        with_signer(the_highest_of_every_epoch_is_kept_and_a_new_epoch_ends_the_alarm),
        with_signer(orders_are_kept_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
