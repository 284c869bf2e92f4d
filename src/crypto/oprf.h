/*
 * The oblivious pseudorandom function of RFC 9497: ristretto255-SHA512, mode 0 (OPRF). Who holds the key
 * computes it without learning input or output; who holds the input learns the output and nothing of the key.
 *
 *     host:       oprf_blind(x)                → blind (kept), blinded element (sent)
 *     authority:  oprf_evaluate(key, blinded)  → evaluated element (sent back)
 *     host:       oprf_finalize(x, blind, evaluated) → output
 *
 * Elements and scalars are the 32-byte encodings of RFC 9496. Every one that comes from outside is checked:
 * non-canonical encodings, the identity and zero are ERR_CORRUPT. Nothing here blocks or allocates but
 * secrets.
 */
#pragma once
#include "secret/secret.h"

#define OPRF_ELEMENT_SIZE 32
#define OPRF_SCALAR_SIZE 32
#define OPRF_OUTPUT_SIZE 64
#define OPRF_INPUT_MAXIMUM 65535

/* A random private key (RFC 9497 §2.1 RandomScalar), OPRF_SCALAR_SIZE bytes. */
must_check enum error_code oprf_key_new(struct secret **ret_key, struct error *reterr);

/* Blind (§3.3.1). The blind is a secret of OPRF_SCALAR_SIZE bytes. */
must_check enum error_code oprf_blind(const void *input, size_t length, struct secret **ret_blind,
                                      uint8_t ret_blinded[OPRF_ELEMENT_SIZE], struct error *reterr);

/* The same with a blind that is there already. */
must_check enum error_code oprf_blind_with(const void *input, size_t length, const struct secret *blind,
                                           uint8_t ret_blinded[OPRF_ELEMENT_SIZE], struct error *reterr);

/* BlindEvaluate (§3.3.1). ERR_CORRUPT also for a key that is no canonical scalar. */
must_check enum error_code oprf_evaluate(const struct secret *key, const uint8_t blinded[OPRF_ELEMENT_SIZE],
                                         uint8_t ret_evaluated[OPRF_ELEMENT_SIZE], struct error *reterr);

/* Finalize (§3.3.1): OPRF_OUTPUT_SIZE bytes. */
must_check enum error_code oprf_finalize(const void *input, size_t length, const struct secret *blind,
                                         const uint8_t evaluated[OPRF_ELEMENT_SIZE],
                                         struct secret **ret_output, struct error *reterr);
