#include <sodium.h>

#include "base/sure.h"
#include "ledger/ledger.h"

static void write_u64(uint8_t bytes[8], uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* sizeof of both labels counts the NUL behind them. */
void ledger_begin(uint64_t epoch, struct ledger_head *ret_head)
{
    static const char label[] = "husk ledger epoch v1";
    uint8_t number[8];
    crypto_hash_sha256_state state;
    write_u64(number, epoch);
    sure(crypto_hash_sha256_init(&state));
    sure(crypto_hash_sha256_update(&state, (const uint8_t *)label, sizeof(label)));
    sure(crypto_hash_sha256_update(&state, number, sizeof(number)));
    ret_head->sequence = 0;
    sure(crypto_hash_sha256_final(&state, ret_head->hash));
}

enum error_code ledger_append(const struct ledger_head *head, const void *bytes, size_t length,
                              struct ledger_head *ret_head, struct error *reterr)
{
    static const char label[] = "husk ledger v1";
    if (length == 0 || length > LEDGER_ENTRY_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "an entry of the ledger of %zu bytes", length);
    uint8_t number[8];
    crypto_hash_sha256_state state;
    write_u64(number, head->sequence + 1);
    sure(crypto_hash_sha256_init(&state));
    sure(crypto_hash_sha256_update(&state, (const uint8_t *)label, sizeof(label)));
    sure(crypto_hash_sha256_update(&state, head->hash, sizeof(head->hash)));
    sure(crypto_hash_sha256_update(&state, number, sizeof(number)));
    sure(crypto_hash_sha256_update(&state, bytes, length));
    ret_head->sequence = head->sequence + 1;
    sure(crypto_hash_sha256_final(&state, ret_head->hash));
    return OK;
}
