#include "ledger/ledger.h"

void ledger_verify_begin(struct ledger_verifier *verifier, uint64_t epoch,
                         const struct ledger_checkpoint *checkpoints, size_t count)
{
    *verifier =
        (struct ledger_verifier){.epoch = epoch, .checkpoints = checkpoints, .checkpoint_count = count};
    ledger_begin(epoch, &verifier->head);
}

/* The checkpoints made when the ledger stood where it stands now. */
static enum error_code compare(const struct ledger_verifier *verifier, struct error *reterr)
{
    for (size_t i = 0; i < verifier->checkpoint_count; i++) {
        const struct ledger_checkpoint *checkpoint = &verifier->checkpoints[i];
        if (checkpoint->epoch != verifier->epoch || checkpoint->head.sequence != verifier->head.sequence ||
            memcmp(checkpoint->head.hash, verifier->head.hash, LEDGER_HASH_SIZE) == 0)
            continue;
        return error_set(reterr, ERR_CHANGED, 0,
                         "the ledger was written anew: entry %llu is not the one a checkpoint was made of",
                         (unsigned long long)verifier->head.sequence);
    }
    return OK;
}

enum error_code ledger_verify_entry(struct ledger_verifier *verifier, const struct ledger_entry *entry,
                                    struct error *reterr)
{
    struct ledger_head head;
    const unsigned long long expected = (unsigned long long)verifier->head.sequence + 1;
    if (entry->sequence != expected)
        return error_set(reterr, ERR_CORRUPT, 0, "entry %llu of the ledger is not there: entry %llu follows",
                         expected, (unsigned long long)entry->sequence);
    enum error_code code = ledger_append(&verifier->head, entry->bytes, entry->length, &head, reterr);
    if (code)
        return error_set(reterr, ERR_CORRUPT, 0, "entry %llu of the ledger has %zu bytes", expected,
                         entry->length);
    if (memcmp(head.hash, entry->hash, LEDGER_HASH_SIZE) != 0)
        return error_set(reterr, ERR_CORRUPT, 0,
                         "entry %llu of the ledger is not the one that was written: its hash does not fit",
                         expected);
    verifier->head = head;
    return compare(verifier, reterr);
}

enum error_code ledger_verify_end(const struct ledger_verifier *verifier, struct error *reterr)
{
    for (size_t i = 0; i < verifier->checkpoint_count; i++) {
        const struct ledger_checkpoint *checkpoint = &verifier->checkpoints[i];
        if (checkpoint->epoch > verifier->epoch)
            return error_set(reterr, ERR_CHANGED, 0,
                             "the ledger is in epoch %llu, and a checkpoint was made in epoch %llu",
                             (unsigned long long)verifier->epoch, (unsigned long long)checkpoint->epoch);
        if (checkpoint->epoch == verifier->epoch && checkpoint->head.sequence > verifier->head.sequence)
            return error_set(
                reterr, ERR_CHANGED, 0, "the ledger was cut: it has %llu entries, and a checkpoint saw %llu",
                (unsigned long long)verifier->head.sequence, (unsigned long long)checkpoint->head.sequence);
    }
    return OK;
}
