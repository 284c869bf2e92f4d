/* Orders, `erased` answers and checkpoints: first as they come, then with a signature that fits. */
#include "crypto/sign.h"
#include "ledger/ledger.h"
#include "message/statement.h"
#include "target.h"

static struct secret *key;
static uint8_t public_key[SIGN_PUBLIC_SIZE];

static void parse_all(const void *wire, size_t length, const uint8_t *host)
{
    struct order order;
    struct ledger_checkpoint checkpoint;
    _cleanup_(erased_done) struct erased erased = {0};
    _cleanup_(buffer_done) struct buffer text = {0};
    (void)!ledger_checkpoint_read(wire, length, &checkpoint, NULL);
    (void)!ledger_checkpoint_parse(wire, length, public_key, &checkpoint, NULL);
    if (order_parse(wire, length, public_key, host, &order, NULL) == OK)
        must_hold(order_format(&order, &text, NULL) == OK && !memcmp(order.host, host, sizeof(order.host)));
    if (erased_parse(wire, length, public_key, host, &erased, NULL) == OK)
        must_hold(erased_format(&erased, &text, NULL) == OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const kinds[] = {ORDER_KIND, ERASED_KIND, "husk checkpoint v1"};
    static const uint8_t host[MESSAGE_HOST_ID_SIZE];
    if (!key)
        must_hold(sign_key_new(&key, public_key, NULL) == OK);
    parse_all(data, size, host);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        _cleanup_(buffer_done) struct buffer wire = {0};
        must_hold(sign_append(key, kinds[i], data, size, &wire, NULL) == OK);
        parse_all(wire.data, wire.length, host);
    }
    return 0;
}
