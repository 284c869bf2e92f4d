/* Keyslots, their buckets, and vaults that are erased, in the database. In the clerk's transaction. */
#pragma once
#include "authority/hosts.h"

struct keyslot {
    uint8_t id[KEYRING_KEYSLOT_SIZE];
    uint8_t host[MESSAGE_HOST_ID_SIZE];
    uint8_t vault[16];
    int64_t key; /* of its bucket, in the keyring */
    bool has_scalar;
    bool is_erased; /* or being erased */
    uint8_t sealed[KEYRING_SEALED_SIZE];
    uint8_t bound[2 * OPRF_ELEMENT_SIZE];
};

/* ERR_NOT_FOUND. */
must_check enum error_code keyslot_find(struct clerk *clerk, const uint8_t id[KEYRING_KEYSLOT_SIZE],
                                        struct keyslot *ret_keyslot, struct error *reterr);

/* Draw a scalar and keep it under a bucket of the host's group. */
must_check enum error_code keyslot_insert(struct clerk *clerk, const struct host *host,
                                          const struct keyslot *keyslot, const char *vault_name,
                                          struct error *reterr);

/* A new key for a bucket, in the keyring that this transaction changes. */
must_check enum error_code bucket_key_new(struct clerk *clerk, int64_t *ret_key, struct error *reterr);

/* Its scalar, for an evaluation. ERR_ERASED. */
must_check enum error_code keyslot_get_scalar(struct clerk *clerk, const struct keyslot *keyslot,
                                              struct secret **ret_scalar, struct error *reterr);

/* Add to a job the evaluation of an element with a keyslot's scalar. */
must_check enum error_code keyslot_evaluate(struct clerk *clerk, struct job *job,
                                            const struct keyslot *keyslot,
                                            const uint8_t blinded[OPRF_ELEMENT_SIZE], struct error *reterr);
