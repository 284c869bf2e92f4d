/*
 * Keyslots: one way to open a vault, each a file of exactly 4096 bytes. This room knows the format and the
 * kinds; it never talks to a person or a network, and never decides where an answer comes from (unlock/
 * does). A kind is two pure steps: keyslot_begin says what is asked for, keyslot_finish turns the answer into
 * the vault secret. The answer to an authority keyslot is an OPRF output: what keyslot_blind gives goes to
 * the authority, keyslot_unblind makes the answer of what comes back.
 *
 * Format 1: little-endian integers, validated by one table before anything uses them.
 *
 *    at  size
 *     0     8  "HUSKSLOT"
 *     8     4  format version: 1
 *    12     4  suite: 1 = HKDF-SHA256, Argon2id, XChaCha20-Poly1305
 *    16     4  kind
 *    20     4  Argon2id passes           (passphrase; else 0)
 *    24     8  Argon2id memory in bytes  (passphrase; else 0)
 *    32    16  keyslot id
 *    48    16  vault id
 *    64    32  salt; of an authority keyslot also x, what the OPRF is evaluated of
 *    96     8  created, seconds since 1970
 *   104    16  authority: fingerprint of its root (authority; else 0)
 *   120     8  zero, reserved
 *   128    24  nonce
 *   152    48  ciphertext of the 32-byte vault secret, and tag
 *   200    32  SHA-256 of bytes 0 to 199: tells damage without a key (keyslot_is_whole)
 *   232  3864  random padding
 *
 * Bytes 0 to 127 are the associated data of the ciphertext. Its key is HKDF-SHA256 of the answer with
 * the salt and the label "husk keyslot KIND v1"; a passphrase goes through Argon2id first, with the salt's
 * first 16 bytes. An authority's is the OPRF output (RFC 9497, ristretto255-SHA512) of x.
 */
#pragma once
#include "base/clock.h"
#include "crypto/kdf.h"
#include "crypto/oprf.h"
#include "secret/secret.h"

#define KEYSLOT_FILE_SIZE 4096
#define KEYSLOT_FORMAT_VERSION 1
#define VAULT_SECRET_SIZE 32

struct keyslot_id {
    uint8_t bytes[16];
};
struct vault_id {
    uint8_t bytes[16];
};
/* An authority, by the first 16 bytes of the SHA-256 of its root. */
struct authority_id {
    uint8_t bytes[16];
};

enum keyslot_kind {
    KEYSLOT_AUTHORITY = 1,
    KEYSLOT_KEYFILE = 2,
    KEYSLOT_PASSPHRASE = 3,
    KEYSLOT_RECOVERY = 4
};

struct keyslot {
    struct keyslot_id id;
    struct vault_id vault;
    enum keyslot_kind kind;
    int64_t created_unix_s;
    uint8_t salt[32];
    struct authority_id authority; /* zeros for other kinds */
    uint32_t argon2_passes;
    uint64_t argon2_memory_bytes;
    uint8_t file[KEYSLOT_FILE_SIZE]; /* the file as it is on disk */
};

/* "keyfile", "passphrase", "recovery", "authority". Static storage. */
const char *keyslot_kind_word(enum keyslot_kind kind);

/* Validate the bytes of a keyslot file. ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code keyslot_parse(const uint8_t *bytes, size_t length, struct keyslot *ret_keyslot,
                                         struct error *reterr);

/* Whether header and ciphertext are as they were written: what a key cannot be tried on shows damage all the
 * same. Proves nothing against who writes the disk on purpose, and nothing about who has the key. */
bool keyslot_is_whole(const struct keyslot *keyslot);

/* Make a keyslot of a local kind that wraps vault_secret under answer (the bytes of the key file, passphrase
 * or recovery key). machine_memory_bytes bounds Argon2id. The id is drawn at random. Blocks for about a
 * second for a passphrase. */
must_check enum error_code keyslot_new(enum keyslot_kind kind, const struct vault_id *vault,
                                       const struct secret *vault_secret, const struct secret *answer,
                                       uint64_t machine_memory_bytes, const struct clock *clock,
                                       struct keyslot *ret_keyslot, struct error *reterr);

/*
 * An authority keyslot is made in two steps, because its answer depends on its salt: keyslot_draft draws id
 * and salt, keyslot_seal wraps vault_secret under the answer. A draft opens nothing.
 */
must_check enum error_code keyslot_draft(const struct authority_id *authority, const struct vault_id *vault,
                                         const struct clock *clock, struct keyslot *ret_keyslot,
                                         struct error *reterr);
must_check enum error_code keyslot_seal(struct keyslot *keyslot, const struct secret *vault_secret,
                                        const struct secret *answer, struct error *reterr);

/* One question to the authority: the blinded element is sent, the blind stays in this memory. */
struct keyslot_question {
    struct secret *blind; /* owned */
    uint8_t blinded[OPRF_ELEMENT_SIZE];
};
void keyslot_question_done(struct keyslot_question *question);

/* A new question each time. ERR_UNSUPPORTED for another kind. */
must_check enum error_code keyslot_blind(const struct keyslot *keyslot, struct keyslot_question *ret_question,
                                         struct error *reterr);
/* The answer, OPRF_OUTPUT_SIZE bytes. ERR_CORRUPT when evaluated is no element. */
must_check enum error_code keyslot_unblind(const struct keyslot *keyslot, const struct secret *blind,
                                           const uint8_t evaluated[OPRF_ELEMENT_SIZE],
                                           struct secret **ret_answer, struct error *reterr);

/* What an answer must be: its kind and length bounds, so that a prompt or file can be checked before it is
 * tried. */
struct keyslot_challenge {
    enum keyslot_kind kind;
    size_t answer_least, answer_most;
    bool slow; /* takes about a second */
};
must_check enum error_code keyslot_begin(const struct keyslot *keyslot,
                                         struct keyslot_challenge *ret_challenge, struct error *reterr);

/* The vault secret, or ERR_WRONG_KEY (also for an answer that is too short or too long). Everything is taken
 * from keyslot->file, validated again. */
must_check enum error_code keyslot_finish(const struct keyslot *keyslot, const struct secret *answer,
                                          struct secret **ret_vault_secret, struct error *reterr);

/*
 * A recovery key as people write it: 256 random bits and a checksum in thirteen groups of five letters,
 * "husk-XXXXX-XXXXX-...", Crockford's base32 (no I, L, O, U). Read without regard to case, blanks and dashes,
 * with or without "husk", I and L as 1, O as 0. Each group has a check letter of its own (recovery_key.c).
 */
#define RECOVERY_KEY_SIZE 32
#define RECOVERY_TEXT_SIZE 128
must_check enum error_code recovery_key_new(struct secret **ret_key, struct error *reterr);
/* The text is a secret too; a NUL that its length does not count lies behind it. */
must_check enum error_code recovery_key_format(const struct secret *key, struct secret **ret_text,
                                               struct error *reterr);
/* ERR_USAGE says which letter or group is wrong, or that the length or the checksum is. */
must_check enum error_code recovery_key_parse(const struct secret *text, struct secret **ret_key,
                                              struct error *reterr);

#define KEYFILE_LEAST 32
#define KEYFILE_MOST ((size_t)1 << 20)
#define PASSPHRASE_LEAST 8
#define PASSPHRASE_MOST 1024
