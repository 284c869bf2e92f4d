#include "crypto/oprf.h"

#include <sodium.h>

_Static_assert(OPRF_ELEMENT_SIZE == crypto_core_ristretto255_BYTES, "element size");
_Static_assert(OPRF_SCALAR_SIZE == crypto_core_ristretto255_SCALARBYTES, "scalar size");
_Static_assert(OPRF_OUTPUT_SIZE == crypto_hash_sha512_BYTES, "output size");

/* "HashToGroup-" || "OPRFV1-" || I2OSP(mode 0, 1) || "-ristretto255-SHA512" (§3.1, §4.1), and its length in
 * one byte, as expand_message_xmd wants it. */
static const char HASH_TO_GROUP[] = "HashToGroup-OPRFV1-\x00-ristretto255-SHA512";
enum { HASH_TO_GROUP_SIZE = sizeof(HASH_TO_GROUP) - 1, SHA512_BLOCK_SIZE = 128 };

static enum error_code failed(struct error *reterr)
{
    return error_set(reterr, ERR_FAILED, 0, "cannot compute the OPRF");
}

/* libsodium 1.0.18 does not check scalars: canonical means equal to itself modulo the group's order. */
static bool scalar_is_good(const struct secret *scalar)
{
    uint8_t wide[crypto_core_ristretto255_NONREDUCEDSCALARBYTES] = {0}, reduced[OPRF_SCALAR_SIZE];
    if (scalar->length != OPRF_SCALAR_SIZE)
        return false;
    memcpy(wide, scalar->bytes, OPRF_SCALAR_SIZE);
    crypto_core_ristretto255_scalar_reduce(reduced, wide);
    bool good = sodium_memcmp(reduced, scalar->bytes, OPRF_SCALAR_SIZE) == 0 &&
                !sodium_is_zero(scalar->bytes, OPRF_SCALAR_SIZE);
    sodium_memzero(wide, sizeof(wide));
    sodium_memzero(reduced, sizeof(reduced));
    return good;
}

static enum error_code check_scalar(const struct secret *scalar, struct error *reterr)
{
    return scalar_is_good(scalar)
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0, "an OPRF scalar that is zero or not canonical");
}

static enum error_code bad_element(struct error *reterr)
{
    return error_set(reterr, ERR_CORRUPT, 0, "an OPRF element that is the identity or not canonical");
}

/* DeserializeElement (§4.1): canonical, and not the identity, whose encoding is all zeros. */
static enum error_code check_element(const uint8_t element[OPRF_ELEMENT_SIZE], struct error *reterr)
{
    if (sodium_is_zero(element, OPRF_ELEMENT_SIZE) || crypto_core_ristretto255_is_valid_point(element) != 1)
        return bad_element(reterr);
    return OK;
}

/* expand_message_xmd with SHA-512 to 64 bytes (RFC 9380 §5.3.1): there is one output block, b_1. */
static bool expand_message(const void *input, size_t length, uint8_t out[crypto_hash_sha512_BYTES])
{
    static const uint8_t z_pad[SHA512_BLOCK_SIZE], l_i_b_str[3] = {0, crypto_hash_sha512_BYTES, 0};
    static const uint8_t one = 1, dst_length = HASH_TO_GROUP_SIZE;
    uint8_t b_0[crypto_hash_sha512_BYTES];
    crypto_hash_sha512_state state;
    return crypto_hash_sha512_init(&state) == 0 &&
           crypto_hash_sha512_update(&state, z_pad, sizeof(z_pad)) == 0 &&
           (length == 0 || crypto_hash_sha512_update(&state, input, length) == 0) &&
           crypto_hash_sha512_update(&state, l_i_b_str, sizeof(l_i_b_str)) == 0 &&
           crypto_hash_sha512_update(&state, (const uint8_t *)HASH_TO_GROUP, HASH_TO_GROUP_SIZE) == 0 &&
           crypto_hash_sha512_update(&state, &dst_length, 1) == 0 &&
           crypto_hash_sha512_final(&state, b_0) == 0 && crypto_hash_sha512_init(&state) == 0 &&
           crypto_hash_sha512_update(&state, b_0, sizeof(b_0)) == 0 &&
           crypto_hash_sha512_update(&state, &one, 1) == 0 &&
           crypto_hash_sha512_update(&state, (const uint8_t *)HASH_TO_GROUP, HASH_TO_GROUP_SIZE) == 0 &&
           crypto_hash_sha512_update(&state, &dst_length, 1) == 0 &&
           crypto_hash_sha512_final(&state, out) == 0;
}

/* HashToGroup (§4.1). */
static enum error_code hash_to_group(const void *input, size_t length, uint8_t ret_element[OPRF_ELEMENT_SIZE],
                                     struct error *reterr)
{
    uint8_t uniform[crypto_core_ristretto255_HASHBYTES];
    if (length > OPRF_INPUT_MAXIMUM)
        return error_set(reterr, ERR_FAILED, 0, "an OPRF input of %zu bytes is too long", length);
    if (!expand_message(input, length, uniform) ||
        crypto_core_ristretto255_from_hash(ret_element, uniform) != 0)
        return failed(reterr);
    return check_element(ret_element, reterr);
}

static enum error_code random_scalar(struct secret **ret_scalar, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *scalar = NULL;
    enum error_code code = secret_new(OPRF_SCALAR_SIZE, &scalar, reterr);
    if (code)
        return code;
    do
        crypto_core_ristretto255_scalar_random(scalar->bytes);
    while (sodium_is_zero(scalar->bytes, OPRF_SCALAR_SIZE));
    *ret_scalar = TAKE(scalar);
    return OK;
}

enum error_code oprf_key_new(struct secret **ret_key, struct error *reterr)
{
    return random_scalar(ret_key, reterr);
}

enum error_code oprf_blind_with(const void *input, size_t length, const struct secret *blind,
                                uint8_t ret_blinded[OPRF_ELEMENT_SIZE], struct error *reterr)
{
    uint8_t element[OPRF_ELEMENT_SIZE];
    enum error_code code = check_scalar(blind, reterr);
    if (!code)
        code = hash_to_group(input, length, element, reterr);
    if (!code && crypto_scalarmult_ristretto255(ret_blinded, blind->bytes, element) != 0)
        code = failed(reterr);
    return code;
}

enum error_code oprf_blind(const void *input, size_t length, struct secret **ret_blind,
                           uint8_t ret_blinded[OPRF_ELEMENT_SIZE], struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *blind = NULL;
    enum error_code code = random_scalar(&blind, reterr);
    if (!code)
        code = oprf_blind_with(input, length, blind, ret_blinded, reterr);
    if (!code)
        *ret_blind = TAKE(blind);
    return code;
}

enum error_code oprf_evaluate(const struct secret *key, const uint8_t blinded[OPRF_ELEMENT_SIZE],
                              uint8_t ret_evaluated[OPRF_ELEMENT_SIZE], struct error *reterr)
{
    enum error_code code = check_scalar(key, reterr);
    /* It decodes the element, and refuses what check_element would: times a scalar that is not zero only the
     * identity is the identity. */
    if (!code && crypto_scalarmult_ristretto255(ret_evaluated, key->bytes, blinded) != 0)
        code = bad_element(reterr);
    return code;
}

/* Hash of §3.3.1's hashInput. */
static bool hash_output(const void *input, size_t length, const uint8_t unblinded[OPRF_ELEMENT_SIZE],
                        uint8_t out[OPRF_OUTPUT_SIZE])
{
    static const char finalize[] = "Finalize";
    const uint8_t input_length[2] = {(uint8_t)(length >> 8), (uint8_t)length};
    const uint8_t element_length[2] = {0, OPRF_ELEMENT_SIZE};
    crypto_hash_sha512_state state;
    bool done = crypto_hash_sha512_init(&state) == 0 &&
                crypto_hash_sha512_update(&state, input_length, sizeof(input_length)) == 0 &&
                (length == 0 || crypto_hash_sha512_update(&state, input, length) == 0) &&
                crypto_hash_sha512_update(&state, element_length, sizeof(element_length)) == 0 &&
                crypto_hash_sha512_update(&state, unblinded, OPRF_ELEMENT_SIZE) == 0 &&
                crypto_hash_sha512_update(&state, (const uint8_t *)finalize, sizeof(finalize) - 1) == 0 &&
                crypto_hash_sha512_final(&state, out) == 0;
    sodium_memzero(&state, sizeof(state));
    return done;
}

enum error_code oprf_finalize(const void *input, size_t length, const struct secret *blind,
                              const uint8_t evaluated[OPRF_ELEMENT_SIZE], struct secret **ret_output,
                              struct error *reterr)
{
    if (length > OPRF_INPUT_MAXIMUM)
        return error_set(reterr, ERR_FAILED, 0, "an OPRF input of %zu bytes is too long", length);
    _cleanup_(secret_freep) struct secret *output = NULL;
    enum error_code code = check_scalar(blind, reterr);
    if (!code)
        code = check_element(evaluated, reterr);
    if (!code)
        code = secret_new(OPRF_OUTPUT_SIZE, &output, reterr);
    if (code)
        return code;
    uint8_t inverse[OPRF_SCALAR_SIZE], unblinded[OPRF_ELEMENT_SIZE];
    bool done = crypto_core_ristretto255_scalar_invert(inverse, blind->bytes) == 0 &&
                crypto_scalarmult_ristretto255(unblinded, inverse, evaluated) == 0 &&
                hash_output(input, length, unblinded, output->bytes);
    sodium_memzero(inverse, sizeof(inverse));
    sodium_memzero(unblinded, sizeof(unblinded));
    if (!done)
        return failed(reterr);
    *ret_output = TAKE(output);
    return OK;
}
