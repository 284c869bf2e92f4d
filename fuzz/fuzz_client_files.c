/* authorities/ID.json, ID.ledger, ID.orders and lineage: what parses is written and read back as the same. */
#include "client/files.h"
#include "client/ledger.h"
#include "target.h"

static void try_pin(const char *text, size_t length)
{
    /* The id of the seed. Any other is refused, whatever the file says. */
    static const uint8_t id[CLIENT_ID_SIZE] = {0x9f, 0x5a, 0x9f, 0x31, 0x67, 0xd3, 0xc3, 0xde,
                                               0x9f, 0x04, 0x5e, 0xea, 0x4c, 0xee, 0x84, 0xe9};
    static const uint8_t other[CLIENT_ID_SIZE];
    _cleanup_(client_pin_done) struct client_pin pin = {0}, again = {0};
    _cleanup_(buffer_done) struct buffer written = {0};
    must_hold(client_pin_parse(text, length, other, &again, NULL) != OK);
    enum error_code code = client_pin_parse(text, length, id, &pin, NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_TOO_NEW);
    if (code)
        return;
    must_hold(client_pin_format(&pin, &written, NULL) == OK);
    must_hold(client_pin_parse(written.data, written.length, id, &again, NULL) == OK);
    must_hold(!memcmp(&pin.descriptor, &again.descriptor, sizeof(pin.descriptor)));
}

static void try_lineage(const char *text, size_t length)
{
    struct lineage lineage, again;
    _cleanup_(buffer_done) struct buffer written = {0};
    enum error_code code = lineage_parse(text, length, &lineage, NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_TOO_NEW);
    if (code)
        return;
    must_hold(lineage.count <= CLIENT_AUTHORITIES_MAXIMUM);
    must_hold(lineage_format(&lineage, &written, NULL) == OK);
    must_hold(lineage_parse(written.data, written.length, &again, NULL) == OK);
    must_hold(!memcmp(&lineage, &again, sizeof(lineage)));
}

static void try_ledger(const char *text, size_t length)
{
    struct client_ledger ledger, again;
    _cleanup_(buffer_done) struct buffer written = {0};
    enum error_code code = client_ledger_parse(text, length, &ledger, NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_TOO_NEW);
    must_hold(ledger.count <= CLIENT_EPOCHS_MAXIMUM);
    if (code)
        return;
    must_hold(client_ledger_format(&ledger, &written, NULL) == OK);
    must_hold(client_ledger_parse(written.data, written.length, &again, NULL) == OK);
    must_hold(again.count == ledger.count && again.differs == ledger.differs);
    for (size_t i = 0; i < ledger.count; i++)
        must_hold(client_ledger_compare(&again, &ledger.kept[i].head) != LEDGER_ADVANCES);
}

static void try_orders(const char *text, size_t length)
{
    _cleanup_(client_orders_done) struct client_orders orders = {0}, again = {0};
    _cleanup_(buffer_done) struct buffer written = {0};
    enum error_code code = client_orders_parse(text, length, &orders, NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_TOO_NEW);
    if (code)
        return;
    must_hold(orders.count <= CLIENT_ORDERS_MAXIMUM);
    must_hold(client_orders_format(&orders, &written, NULL) == OK);
    must_hold(client_orders_parse(written.data, written.length, &again, NULL) == OK);
    must_hold(again.count == orders.count && again.highest == orders.highest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_pin((const char *)data, size);
    try_lineage((const char *)data, size);
    try_ledger((const char *)data, size);
    try_orders((const char *)data, size);
    return 0;
}
