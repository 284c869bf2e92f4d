/*
 * The erasable keyring, design §6: everything secret of the authority, apart from the database, in one small
 * file per generation. Scalars lie in the database, sealed under bucket keys that are here: destroying a
 * generation of the keyring kills what only its bucket keys open, in every copy of the database.
 *
 *     DIR/keyring.N   generation N; the database says which one is valid
 *     HOLDER.N        32 random bytes that seal keyring.N, on another medium where the team gives one
 *
 * A change makes a copy with the next generation, writes it, commits the new generation in the database, and
 * destroys the old one. A crash before the commit leaves a file too many of the new generation, one after it
 * a file too many of the old: keyring_destroy_others is run at every start.
 */
#pragma once
#include "crypto/aead.h"
#include "crypto/hpke.h"
#include "crypto/oprf.h"
#include "crypto/sign.h"

#define KEYRING_BUCKETS_MAXIMUM 8192
#define KEYRING_SEALED_SIZE (AEAD_NONCE_SIZE + OPRF_SCALAR_SIZE + AEAD_TAG_SIZE)
#define KEYRING_KEYSLOT_SIZE 16 /* id of a keyslot */

struct keyring_bucket {
    uint64_t id;
    struct secret *key;
};

struct keyring {
    uint64_t generation; /* from 1 */
    struct secret *signing_key;
    struct secret *message_key;          /* that hosts seal to */
    struct secret *next_message_key;     /* announced by the descriptor; may be NULL, as all that follow */
    struct secret *previous_message_key; /* for hosts that have not heard of the one of now */
    /* For a descriptor that waits for the signature of the root. */
    struct secret *prepared_message_key, *prepared_signing_key;
    struct keyring_bucket *buckets;
    size_t bucket_count;
};

/* Where keyrings lie. holder is NULL or a path without its generation. */
struct keyring_place {
    int directory_fd;
    const char *holder;
};

/* Generation 1 with new keys, the next message key among them, and no bucket. */
must_check enum error_code keyring_new(struct keyring **ret_keyring, struct error *reterr);

/* The same keys, the next generation. */
must_check enum error_code keyring_copy(const struct keyring *keyring, struct keyring **ret_keyring,
                                        struct error *reterr);
void keyring_free(struct keyring *keyring); /* NULL is fine */
static inline void keyring_freep(struct keyring **keyring)
{
    keyring_free(*keyring);
    *keyring = NULL;
}

/* A bucket with a new key; fine when this id is there already. Ids are never used again. ERR_NO_SPACE when
 * there are too many. */
must_check enum error_code keyring_add_bucket(struct keyring *keyring, uint64_t id, struct error *reterr);
void keyring_remove_bucket(struct keyring *keyring, uint64_t id);
bool keyring_has_bucket(const struct keyring *keyring, uint64_t id);

/* All of it as bytes, and back. What they hold opens everything: for the file, and for a backup. */
must_check enum error_code keyring_format(const struct keyring *keyring, struct secret **ret_payload,
                                          struct error *reterr);
must_check enum error_code keyring_parse(const struct secret *payload, uint64_t generation,
                                         struct keyring **ret_keyring, struct error *reterr);

/* Write holder and keyring of its generation, durable. Blocks. */
must_check enum error_code keyring_write(const struct keyring *keyring, const struct keyring_place *place,
                                         struct error *reterr);

/* ERR_NOT_FOUND; ERR_WRONG_KEY with another holder's file; ERR_USAGE when it is sealed under a holder and
 * none is given, or the other way round. */
must_check enum error_code keyring_read(const struct keyring_place *place, uint64_t generation,
                                        struct keyring **ret_keyring, struct error *reterr);

/* Whether an image of the keyring's filesystem does not open it: its holder lies on another one. */
bool keyring_has_holder_elsewhere(const struct keyring_place *place);

/* Where this generation is here and sealed under a holder, that has to be in its place: else the medium is
 * not mounted, and what is below was not meant to keep a holder. */
must_check enum error_code keyring_check_holder(const struct keyring_place *place, uint64_t generation,
                                                struct error *reterr);

/* Before the first keyring is written: no file of the holder's name is there but one of a keyring of this
 * directory. Another authority's would be replaced, and destroyed as an earlier one. ERR_EXISTS names it. */
must_check enum error_code keyring_check_holder_is_free(const struct keyring_place *place,
                                                        struct error *reterr);

/* Destroy keyrings and holders of every other generation, temporary files too. ERR_FAILED when one could not
 * be overwritten: it is still there, for the next call. Blocks. */
must_check enum error_code keyring_destroy_others(const struct keyring_place *place, uint64_t generation,
                                                  struct error *reterr);

/* A scalar under a bucket's key, bound to bucket and keyslot. ERR_NOT_FOUND without that bucket; ERR_CORRUPT
 * when the sealed bytes are not this keyslot's. */
must_check enum error_code keyring_seal(const struct keyring *keyring, uint64_t bucket,
                                        const uint8_t keyslot[KEYRING_KEYSLOT_SIZE],
                                        const struct secret *scalar, uint8_t ret_sealed[KEYRING_SEALED_SIZE],
                                        struct error *reterr);
must_check enum error_code keyring_unseal(const struct keyring *keyring, uint64_t bucket,
                                          const uint8_t keyslot[KEYRING_KEYSLOT_SIZE],
                                          const uint8_t sealed[KEYRING_SEALED_SIZE],
                                          struct secret **ret_scalar, struct error *reterr);
