#include "crypto/hpke.h"

#include <sodium.h>

#include "crypto/hkdf.h"

enum { NONCE_SIZE = crypto_aead_chacha20poly1305_ietf_NPUBBYTES, MODE_BASE = 0, MODE_AUTH = 2 };

_Static_assert(HPKE_KEY_SIZE == crypto_scalarmult_curve25519_BYTES, "key size");
_Static_assert(HPKE_KEY_SIZE == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "key size");
_Static_assert(HPKE_TAG_SIZE == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag size");

struct keys {
    uint8_t key[HPKE_KEY_SIZE];
    uint8_t base_nonce[NONCE_SIZE];
    uint8_t exporter[HKDF_HASH_SIZE];
};

struct hpke_context {
    struct secret *secret; /* a struct keys */
    uint64_t sequence;
    uint8_t encapsulated[HPKE_ENCAPSULATED_SIZE];
};

/* suite_id of §4.1 and §5.1: kem_id 0x0020, kdf_id 0x0001, aead_id 0x0003. */
static const struct hkdf_piece KEM_SUITE = {"KEM\x00\x20", 5}, SUITE = {"HPKE\x00\x20\x00\x01\x00\x03", 10};

static enum error_code failed(struct error *reterr)
{
    return error_set(reterr, ERR_FAILED, 0, "the cryptographic library failed");
}

static struct keys *keys_of(const struct hpke_context *context)
{
    return (struct keys *)(void *)context->secret->bytes;
}

void hpke_context_free(struct hpke_context *context)
{
    if (!context)
        return;
    secret_free(context->secret);
    free(context);
}

/* LabeledExtract (§4), to be expanded. */
static bool labeled_extract(struct hkdf_piece suite, const uint8_t *salt, size_t salt_length,
                            const char *label, struct hkdf_piece key, struct hkdf_key *ret_key)
{
    const struct hkdf_piece pieces[] = {{"HPKE-v1", 7}, suite, {label, strlen(label)}, key};
    return hkdf_key_extract(salt, salt_length, pieces, 4, ret_key);
}

/* LabeledExpand (§4). */
static bool labeled_expand(struct hkdf_piece suite, const struct hkdf_key *key, const char *label,
                           struct hkdf_piece info, uint8_t *out, size_t length)
{
    const uint8_t length_bytes[2] = {(uint8_t)(length >> 8), (uint8_t)length};
    const struct hkdf_piece pieces[] = {
        {length_bytes, 2}, {"HPKE-v1", 7}, suite, {label, strlen(label)}, info};
    return hkdf_expand(key, pieces, 5, out, length);
}

/* ExtractAndExpand (§4.1). */
static bool shared_secret(const uint8_t *dh, size_t dh_length, const uint8_t *kem_context,
                          size_t kem_context_length, uint8_t ret[HKDF_HASH_SIZE])
{
    _cleanup_(hkdf_key_wipe) struct hkdf_key extracted;
    return labeled_extract(KEM_SUITE, NULL, 0, "eae_prk", (struct hkdf_piece){dh, dh_length}, &extracted) &&
           labeled_expand(KEM_SUITE, &extracted, "shared_secret",
                          (struct hkdf_piece){kem_context, kem_context_length}, ret, HKDF_HASH_SIZE);
}

/* psk_id_hash of §5.1: LabeledExtract("", "psk_id_hash", "") of this suite, the same for every message. */
static const uint8_t PSK_ID_HASH[HKDF_HASH_SIZE] = {
    0x43, 0x1d, 0xf6, 0xcd, 0x95, 0xe1, 0x1f, 0xf4, 0x9d, 0x70, 0x13, 0x56, 0x3b, 0xaf, 0x7f, 0x11,
    0x58, 0x8c, 0x75, 0xa6, 0x61, 0x1e, 0xe2, 0xa4, 0x40, 0x4a, 0x49, 0x30, 0x6a, 0xe4, 0xcf, 0xc5,
};

/* KeySchedule (§5.1) without a PSK. */
static bool key_schedule(uint8_t mode, const uint8_t shared[HKDF_HASH_SIZE], struct hkdf_piece info,
                         struct keys *keys)
{
    _cleanup_(hkdf_key_wipe) struct hkdf_key secret;
    const struct hkdf_piece none = {NULL, 0};
    const struct hkdf_piece infos[] = {{"HPKE-v1", 7}, SUITE, {"info_hash", 9}, info};
    uint8_t context[1 + 2 * HKDF_HASH_SIZE] = {mode};
    const struct hkdf_piece piece = {context, sizeof(context)};
    memcpy(context + 1, PSK_ID_HASH, HKDF_HASH_SIZE);
    return hkdf_extract(NULL, 0, infos, 4, context + 1 + HKDF_HASH_SIZE) &&
           labeled_extract(SUITE, shared, HKDF_HASH_SIZE, "secret", none, &secret) &&
           labeled_expand(SUITE, &secret, "key", piece, keys->key, sizeof(keys->key)) &&
           labeled_expand(SUITE, &secret, "base_nonce", piece, keys->base_nonce, NONCE_SIZE) &&
           labeled_expand(SUITE, &secret, "exp", piece, keys->exporter, sizeof(keys->exporter));
}

enum error_code hpke_public_key(const struct secret *private_key, uint8_t ret_public[HPKE_KEY_SIZE],
                                struct error *reterr)
{
    if (private_key->length != HPKE_KEY_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "an X25519 key of %zu bytes", private_key->length);
    return crypto_scalarmult_curve25519_base(ret_public, private_key->bytes) == 0 ? OK : failed(reterr);
}

enum error_code hpke_key_new(struct secret **ret_private, uint8_t ret_public[HPKE_KEY_SIZE],
                             struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *key = NULL;
    enum error_code code = secret_new_random(HPKE_KEY_SIZE, &key, reterr);
    if (!code)
        code = hpke_public_key(key, ret_public, reterr);
    if (!code)
        *ret_private = TAKE(key);
    return code;
}

/* What a Diffie-Hellman exchange takes on either side: the private key and the other's public key; or what
 * came of it before. */
struct exchange {
    const struct secret *own;
    const uint8_t *other;
    const struct secret *done; /* NULL: it is still to be made */
};

/* Fails for a public key of low order, whose product is zero. */
static enum error_code make_exchange(const struct exchange *exchange, uint8_t ret_dh[HPKE_KEY_SIZE],
                                     struct error *reterr)
{
    if (exchange->done && exchange->done->length == HPKE_KEY_SIZE) {
        memcpy(ret_dh, exchange->done->bytes, HPKE_KEY_SIZE);
        return OK;
    }
    return crypto_scalarmult_curve25519(ret_dh, exchange->own->bytes, exchange->other) == 0
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0, "an X25519 public key that is not one");
}

enum error_code hpke_exchange(const struct secret *recipient, const uint8_t sender[HPKE_KEY_SIZE],
                              struct secret **ret_exchange, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *made = NULL;
    const struct exchange exchange = {recipient, sender, NULL};
    if (recipient->length != HPKE_KEY_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "an X25519 key of %zu bytes", recipient->length);
    enum error_code code = secret_new(HPKE_KEY_SIZE, &made, reterr);
    if (!code)
        code = make_exchange(&exchange, made->bytes, reterr);
    if (!code)
        *ret_exchange = TAKE(made);
    return code;
}

/* enc || pkRm (|| pkSm). */
struct kem_context {
    uint8_t bytes[3 * HPKE_KEY_SIZE];
    size_t length;
};

/* Both sides from the KEM's inputs on: the exchanges in the order of §4.1, and the key schedule. */
static enum error_code set_up(const struct exchange *exchanges, size_t count, const struct kem_context *kem,
                              struct hkdf_piece info, struct hpke_context **ret_context, struct error *reterr)
{
    struct hpke_context *context = calloc(1, sizeof(*context));
    if (!context)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    memcpy(context->encapsulated, kem->bytes, HPKE_ENCAPSULATED_SIZE);
    enum error_code code = secret_new(sizeof(struct keys), &context->secret, reterr);
    uint8_t dh[2 * HPKE_KEY_SIZE], shared[HKDF_HASH_SIZE];
    for (size_t i = 0; !code && i < count; i++)
        code = make_exchange(&exchanges[i], dh + i * HPKE_KEY_SIZE, reterr);
    if (!code && (!shared_secret(dh, count * HPKE_KEY_SIZE, kem->bytes, kem->length, shared) ||
                  !key_schedule(count == 2 ? MODE_AUTH : MODE_BASE, shared, info, keys_of(context))))
        code = failed(reterr);
    sodium_memzero(dh, sizeof(dh));
    sodium_memzero(shared, sizeof(shared));
    if (code)
        hpke_context_free(context);
    else
        *ret_context = context;
    return code;
}

static void kem_context_set(struct kem_context *kem, const uint8_t *encapsulated, const uint8_t *recipient,
                            const uint8_t *sender)
{
    memcpy(kem->bytes, encapsulated, HPKE_KEY_SIZE);
    memcpy(kem->bytes + HPKE_KEY_SIZE, recipient, HPKE_KEY_SIZE);
    kem->length = (size_t)2 * HPKE_KEY_SIZE;
    if (sender) {
        memcpy(kem->bytes + kem->length, sender, HPKE_KEY_SIZE);
        kem->length += HPKE_KEY_SIZE;
    }
}

enum error_code hpke_setup_sender_with(const struct secret *ephemeral, const uint8_t recipient[HPKE_KEY_SIZE],
                                       const struct secret *sender, const void *info, size_t info_length,
                                       uint8_t ret_encapsulated[HPKE_ENCAPSULATED_SIZE],
                                       struct hpke_context **ret_context, struct error *reterr)
{
    const struct exchange exchanges[] = {{ephemeral, recipient, NULL}, {sender, recipient, NULL}};
    uint8_t sender_public[HPKE_KEY_SIZE];
    enum error_code code = hpke_public_key(ephemeral, ret_encapsulated, reterr);
    if (!code && sender)
        code = hpke_public_key(sender, sender_public, reterr);
    if (code)
        return code;
    struct kem_context kem;
    kem_context_set(&kem, ret_encapsulated, recipient, sender ? sender_public : NULL);
    return set_up(exchanges, sender ? 2 : 1, &kem, (struct hkdf_piece){info, info_length}, ret_context,
                  reterr);
}

enum error_code hpke_setup_sender(const uint8_t recipient[HPKE_KEY_SIZE], const struct secret *sender,
                                  const void *info, size_t info_length,
                                  uint8_t ret_encapsulated[HPKE_ENCAPSULATED_SIZE],
                                  struct hpke_context **ret_context, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *ephemeral = NULL;
    enum error_code code = secret_new_random(HPKE_KEY_SIZE, &ephemeral, reterr);
    return code ? code
                : hpke_setup_sender_with(ephemeral, recipient, sender, info, info_length, ret_encapsulated,
                                         ret_context, reterr);
}

enum error_code hpke_setup_recipient_with(const uint8_t encapsulated[HPKE_ENCAPSULATED_SIZE],
                                          const struct secret *recipient,
                                          const uint8_t recipient_public[HPKE_KEY_SIZE],
                                          const struct hpke_sender *sender, const void *info,
                                          size_t info_length, struct hpke_context **ret_context,
                                          struct error *reterr)
{
    const uint8_t *public_key = sender ? sender->public_key : NULL;
    const struct exchange exchanges[] = {{recipient, encapsulated, NULL},
                                         {recipient, public_key, sender ? sender->exchange : NULL}};
    struct kem_context kem;
    if (recipient->length != HPKE_KEY_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "an X25519 key of %zu bytes", recipient->length);
    kem_context_set(&kem, encapsulated, recipient_public, public_key);
    return set_up(exchanges, sender ? 2 : 1, &kem, (struct hkdf_piece){info, info_length}, ret_context,
                  reterr);
}

enum error_code hpke_setup_recipient(const uint8_t encapsulated[HPKE_ENCAPSULATED_SIZE],
                                     const struct secret *recipient, const uint8_t *sender, const void *info,
                                     size_t info_length, struct hpke_context **ret_context,
                                     struct error *reterr)
{
    uint8_t recipient_public[HPKE_KEY_SIZE];
    const struct hpke_sender from = {sender, NULL};
    enum error_code code = hpke_public_key(recipient, recipient_public, reterr);
    return code ? code
                : hpke_setup_recipient_with(encapsulated, recipient, recipient_public, sender ? &from : NULL,
                                            info, info_length, ret_context, reterr);
}

/* ComputeNonce (§5.2). */
static void next_nonce(const struct hpke_context *context, uint8_t nonce[NONCE_SIZE])
{
    memcpy(nonce, keys_of(context)->base_nonce, NONCE_SIZE);
    for (int i = 0; i < 8; i++)
        nonce[NONCE_SIZE - 1 - i] ^= (uint8_t)(context->sequence >> (8 * i));
}

enum error_code hpke_seal(struct hpke_context *context, const void *associated, size_t associated_length,
                          const void *plaintext, size_t length, uint8_t *ciphertext, struct error *reterr)
{
    uint8_t nonce[NONCE_SIZE];
    next_nonce(context, nonce);
    if (crypto_aead_chacha20poly1305_ietf_encrypt(ciphertext, NULL, plaintext, length, associated,
                                                  associated_length, NULL, nonce, keys_of(context)->key) != 0)
        return failed(reterr);
    context->sequence++;
    return OK;
}

static enum error_code too_short(size_t length, struct error *reterr)
{
    return error_set(reterr, ERR_CORRUPT, 0, "a ciphertext of %zu bytes is too short", length);
}

static enum error_code does_not_open(struct error *reterr)
{
    return error_set(reterr, ERR_WRONG_KEY, 0, "the key does not open this");
}

enum error_code hpke_open(struct hpke_context *context, const void *associated, size_t associated_length,
                          const uint8_t *ciphertext, size_t length, uint8_t *plaintext, struct error *reterr)
{
    uint8_t nonce[NONCE_SIZE];
    next_nonce(context, nonce);
    if (length < HPKE_TAG_SIZE)
        return too_short(length, reterr);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(plaintext, NULL, NULL, ciphertext, length, associated,
                                                  associated_length, nonce, keys_of(context)->key) != 0)
        return does_not_open(reterr);
    context->sequence++;
    return OK;
}

enum error_code hpke_export(const struct hpke_context *context, const void *exporter_context,
                            size_t exporter_context_length, uint8_t *out, size_t length, struct error *reterr)
{
    const struct hkdf_piece piece = {exporter_context, exporter_context_length};
    if (length == 0 || length > HKDF_LENGTH_MAXIMUM)
        return error_set(reterr, ERR_FAILED, 0, "HPKE exports 1 to %d bytes", HKDF_LENGTH_MAXIMUM);
    _cleanup_(hkdf_key_wipe) struct hkdf_key exporter;
    return hkdf_key_init(&exporter, keys_of(context)->exporter) &&
                   labeled_expand(SUITE, &exporter, "sec", piece, out, length)
               ? OK
               : failed(reterr);
}

/* The AEAD key and nonce of an answer: steps 1 to 5 of RFC 9458 §4.4. */
struct response_keys {
    uint8_t key[HPKE_KEY_SIZE];
    uint8_t nonce[NONCE_SIZE];
};

static void response_keys_wipe(struct response_keys *keys)
{
    sodium_memzero(keys, sizeof(*keys));
}

static enum error_code response_keys_derive(const struct hpke_context *context, const char *label,
                                            const uint8_t response_nonce[HPKE_RESPONSE_NONCE_SIZE],
                                            struct response_keys *ret_keys, struct error *reterr)
{
    uint8_t secret[HPKE_RESPONSE_NONCE_SIZE];
    _cleanup_(hkdf_key_wipe) struct hkdf_key extracted;
    uint8_t salt[HPKE_ENCAPSULATED_SIZE + HPKE_RESPONSE_NONCE_SIZE];
    memcpy(salt, context->encapsulated, HPKE_ENCAPSULATED_SIZE);
    memcpy(salt + HPKE_ENCAPSULATED_SIZE, response_nonce, HPKE_RESPONSE_NONCE_SIZE);
    const struct hkdf_piece secret_piece = {secret, sizeof(secret)}, key_label = {"key", 3},
                            nonce_label = {"nonce", 5};
    enum error_code code = hpke_export(context, label, strlen(label), secret, sizeof(secret), reterr);
    if (!code && (!hkdf_key_extract(salt, sizeof(salt), &secret_piece, 1, &extracted) ||
                  !hkdf_expand(&extracted, &key_label, 1, ret_keys->key, sizeof(ret_keys->key)) ||
                  !hkdf_expand(&extracted, &nonce_label, 1, ret_keys->nonce, sizeof(ret_keys->nonce))))
        code = failed(reterr);
    sodium_memzero(secret, sizeof(secret));
    return code;
}

enum error_code hpke_response_seal(const struct hpke_context *context, const char *label,
                                   const void *plaintext, size_t length, uint8_t *sealed,
                                   struct error *reterr)
{
    _cleanup_(response_keys_wipe) struct response_keys keys;
    randombytes_buf(sealed, HPKE_RESPONSE_NONCE_SIZE);
    enum error_code code = response_keys_derive(context, label, sealed, &keys, reterr);
    if (!code && crypto_aead_chacha20poly1305_ietf_encrypt(sealed + HPKE_RESPONSE_NONCE_SIZE, NULL, plaintext,
                                                           length, NULL, 0, NULL, keys.nonce, keys.key) != 0)
        code = failed(reterr);
    return code;
}

enum error_code hpke_response_open(const struct hpke_context *context, const char *label,
                                   const uint8_t *sealed, size_t length, uint8_t *plaintext,
                                   struct error *reterr)
{
    _cleanup_(response_keys_wipe) struct response_keys keys;
    if (length < HPKE_RESPONSE_NONCE_SIZE + HPKE_TAG_SIZE)
        return too_short(length, reterr);
    enum error_code code = response_keys_derive(context, label, sealed, &keys, reterr);
    if (!code && crypto_aead_chacha20poly1305_ietf_decrypt(
                     plaintext, NULL, NULL, sealed + HPKE_RESPONSE_NONCE_SIZE,
                     length - HPKE_RESPONSE_NONCE_SIZE, NULL, 0, keys.nonce, keys.key) != 0)
        code = does_not_open(reterr);
    return code;
}
