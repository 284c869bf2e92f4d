/*
 * The ledger: an append-only record in which every entry carries on a hash of all before it, and signed
 * checkpoints of where it stands. An entry is bytes (JSON text of who writes it), kept as they were hashed
 * and never serialised again. It knows no storage: entries are handed in one after the other, and the caller
 * keeps bytes and hashes.
 *
 *     hash of entry N = SHA-256("husk ledger v1", NUL, hash of entry N-1, N as 8 bytes big-endian, bytes)
 *     before entry 1  = SHA-256("husk ledger epoch v1", NUL, epoch as 8 bytes big-endian)
 *
 * An entry that is removed, changed, moved or put in between breaks the chain. A ledger whose end was cut
 * off, or that was written anew from some entry on, is a whole chain: only a checkpoint that somebody else
 * kept shows it. Nothing here blocks.
 */
#pragma once
#include "base/buffer.h"
#include "crypto/sign.h"

#define LEDGER_HASH_SIZE 32
#define LEDGER_ENTRY_MAXIMUM 65536 /* bytes */

/* Where a ledger stands. Sequences begin at 1; 0: no entry yet. */
struct ledger_head {
    uint64_t sequence;
    uint8_t hash[LEDGER_HASH_SIZE];
};

/* The head of a ledger without entries. A restored authority begins a new epoch. */
void ledger_begin(uint64_t epoch, struct ledger_head *ret_head);

/* The head after one more entry. ERR_USAGE for an entry that is empty or too long. */
must_check enum error_code ledger_append(const struct ledger_head *head, const void *bytes, size_t length,
                                         struct ledger_head *ret_head, struct error *reterr);

/* docs/protocol.md, "Checkpoints". */
struct ledger_checkpoint {
    uint64_t epoch; /* from 1 */
    struct ledger_head head;
    int64_t at_unix_s;
};

#define LEDGER_CHECKPOINT_MAXIMUM 1024 /* bytes, with its signature */

/* Sign a checkpoint: signature and text appended to wire. */
must_check enum error_code ledger_checkpoint_sign(const struct ledger_checkpoint *checkpoint,
                                                  const struct secret *signing_key, struct buffer *wire,
                                                  struct error *reterr);

/* Check and read the bytes of a checkpoint. ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code ledger_checkpoint_parse(const void *wire, size_t length,
                                                   const uint8_t signing_key[SIGN_PUBLIC_SIZE],
                                                   struct ledger_checkpoint *ret_checkpoint,
                                                   struct error *reterr);

/* Read one without looking at its signature: only to find out whether it is worth looking at, or where its
 * signature was checked before. ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code ledger_checkpoint_read(const void *wire, size_t length,
                                                  struct ledger_checkpoint *ret_checkpoint,
                                                  struct error *reterr);

/* One entry as it was kept. */
struct ledger_entry {
    uint64_t sequence;
    uint8_t hash[LEDGER_HASH_SIZE];
    const void *bytes;
    size_t length;
};

/*
 * A walk over all entries, checked one by one:
 *
 *     ledger_verify_begin → ledger_verify_entry for each, in order → ledger_verify_end
 */
struct ledger_verifier {
    uint64_t epoch;
    struct ledger_head head;
    const struct ledger_checkpoint *checkpoints; /* borrowed; whose signatures were checked */
    size_t checkpoint_count;
};

/* checkpoints may be NULL with count 0. A checkpoint of an earlier epoch tells nothing about this one and is
 * passed over. */
void ledger_verify_begin(struct ledger_verifier *verifier, uint64_t epoch,
                         const struct ledger_checkpoint *checkpoints, size_t count);

/* ERR_CORRUPT when the entry does not carry on the chain, naming its sequence: the chain is broken there.
 * ERR_CHANGED when the chain is whole but not the one a checkpoint saw. */
must_check enum error_code ledger_verify_entry(struct ledger_verifier *verifier,
                                               const struct ledger_entry *entry, struct error *reterr);

/* ERR_CHANGED when a checkpoint saw more entries, or a later epoch: the ledger was cut, or is an old copy. */
must_check enum error_code ledger_verify_end(const struct ledger_verifier *verifier, struct error *reterr);
