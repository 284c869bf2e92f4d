#include "authority/keyring.h"

#include <sodium.h>

#include "authority/keyring_file.h"
#include "base/text.h"

enum { BUCKET_KEY_SIZE = AEAD_KEY_SIZE };

void keyring_free(struct keyring *keyring)
{
    if (!keyring)
        return;
    secret_free(keyring->signing_key);
    secret_free(keyring->message_key);
    secret_free(keyring->next_message_key);
    for (size_t i = 0; i < keyring->bucket_count; i++)
        secret_free(keyring->buckets[i].key);
    free(keyring->buckets);
    free(keyring);
}

enum error_code keyring_new(struct keyring **ret_keyring, struct error *reterr)
{
    uint8_t public_key[HPKE_KEY_SIZE];
    _cleanup_(keyring_freep) struct keyring *keyring = calloc(1, sizeof(*keyring));
    if (!keyring)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    keyring->generation = 1;
    enum error_code code = sign_key_new(&keyring->signing_key, public_key, reterr);
    if (!code)
        code = hpke_key_new(&keyring->message_key, public_key, reterr);
    if (!code)
        *ret_keyring = TAKE(keyring);
    return code;
}

/* Takes over key. */
static enum error_code append_bucket(struct keyring *keyring, uint64_t id, struct secret *key,
                                     struct error *reterr)
{
    struct keyring_bucket *buckets = NULL;
    if (keyring->bucket_count < KEYRING_BUCKETS_MAXIMUM)
        buckets = reallocarray(keyring->buckets, keyring->bucket_count + 1, sizeof(*buckets));
    if (!buckets) {
        secret_free(key);
        return keyring->bucket_count < KEYRING_BUCKETS_MAXIMUM
                   ? error_set(reterr, ERR_NO_MEMORY, 0, "out of memory")
                   : error_set(reterr, ERR_NO_SPACE, 0, "the keyring holds %d buckets, and no more fit",
                               KEYRING_BUCKETS_MAXIMUM);
    }
    keyring->buckets = buckets;
    keyring->buckets[keyring->bucket_count++] = (struct keyring_bucket){.id = id, .key = key};
    return OK;
}

/* There may be thousands of them. */
static enum error_code bucket_key_copy(const uint8_t *bytes, struct secret **ret_key, struct error *reterr)
{
    enum error_code code = secret_new_packed(BUCKET_KEY_SIZE, ret_key, reterr);
    if (!code)
        memcpy((*ret_key)->bytes, bytes, BUCKET_KEY_SIZE);
    return code;
}

static enum error_code copy_secret(const struct secret *from, struct secret **ret_secret,
                                   struct error *reterr)
{
    return from ? secret_new_copy(from->bytes, from->length, ret_secret, reterr) : OK;
}

enum error_code keyring_copy(const struct keyring *keyring, struct keyring **ret_keyring,
                             struct error *reterr)
{
    _cleanup_(keyring_freep) struct keyring *copy = calloc(1, sizeof(*copy));
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    copy->generation = keyring->generation + 1;
    enum error_code code = copy_secret(keyring->signing_key, &copy->signing_key, reterr);
    if (!code)
        code = copy_secret(keyring->message_key, &copy->message_key, reterr);
    if (!code)
        code = copy_secret(keyring->next_message_key, &copy->next_message_key, reterr);
    for (size_t i = 0; !code && i < keyring->bucket_count; i++) {
        struct secret *key = NULL;
        code = bucket_key_copy(keyring->buckets[i].key->bytes, &key, reterr);
        if (!code)
            code = append_bucket(copy, keyring->buckets[i].id, key, reterr);
    }
    if (!code)
        *ret_keyring = TAKE(copy);
    return code;
}

static const struct secret *find_bucket(const struct keyring *keyring, uint64_t id)
{
    for (size_t i = 0; i < keyring->bucket_count; i++)
        if (keyring->buckets[i].id == id)
            return keyring->buckets[i].key;
    return NULL;
}

enum error_code keyring_add_bucket(struct keyring *keyring, uint64_t id, struct error *reterr)
{
    struct secret *key = NULL;
    if (find_bucket(keyring, id))
        return OK;
    enum error_code code = secret_new_packed(BUCKET_KEY_SIZE, &key, reterr);
    if (code)
        return code;
    randombytes_buf(key->bytes, BUCKET_KEY_SIZE);
    return append_bucket(keyring, id, key, reterr);
}

void keyring_remove_bucket(struct keyring *keyring, uint64_t id)
{
    for (size_t i = 0; i < keyring->bucket_count; i++)
        if (keyring->buckets[i].id == id) {
            secret_free(keyring->buckets[i].key);
            keyring->buckets[i] = keyring->buckets[--keyring->bucket_count];
            return;
        }
}

/* What a sealed scalar is bound to. */
struct __attribute__((packed)) bound {
    char label[15];
    uint64_t bucket;
    uint8_t keyslot[KEYRING_KEYSLOT_SIZE];
};

static struct bound bind_to(uint64_t bucket, const uint8_t *keyslot)
{
    struct bound bound = {.label = "husk scalar v1", .bucket = htole64(bucket)};
    memcpy(bound.keyslot, keyslot, sizeof(bound.keyslot));
    return bound;
}

static enum error_code no_bucket(uint64_t bucket, struct error *reterr)
{
    return error_set(reterr, ERR_NOT_FOUND, 0, "the keyring has no bucket %llu", (unsigned long long)bucket);
}

enum error_code keyring_seal(const struct keyring *keyring, uint64_t bucket,
                             const uint8_t keyslot[KEYRING_KEYSLOT_SIZE], const struct secret *scalar,
                             uint8_t ret_sealed[KEYRING_SEALED_SIZE], struct error *reterr)
{
    const struct bound bound = bind_to(bucket, keyslot);
    const struct secret *key = find_bucket(keyring, bucket);
    uint8_t sealed[KEYRING_SEALED_SIZE];
    if (!key)
        return no_bucket(bucket, reterr);
    if (scalar->length != OPRF_SCALAR_SIZE)
        return error_set(reterr, ERR_USAGE, 0, "a scalar of %zu bytes", scalar->length);
    enum error_code code =
        aead_seal(key, &bound, sizeof(bound), scalar, sealed, sealed + AEAD_NONCE_SIZE, reterr);
    if (!code)
        memcpy(ret_sealed, sealed, sizeof(sealed));
    return code;
}

enum error_code keyring_unseal(const struct keyring *keyring, uint64_t bucket,
                               const uint8_t keyslot[KEYRING_KEYSLOT_SIZE],
                               const uint8_t sealed[KEYRING_SEALED_SIZE], struct secret **ret_scalar,
                               struct error *reterr)
{
    const struct bound bound = bind_to(bucket, keyslot);
    const struct secret *key = find_bucket(keyring, bucket);
    _cleanup_(secret_freep) struct secret *scalar = NULL;
    if (!key)
        return no_bucket(bucket, reterr);
    enum error_code code = secret_new_packed(OPRF_SCALAR_SIZE, &scalar, reterr);
    if (!code)
        code = aead_open_into(key, &bound, sizeof(bound), sealed, sealed + AEAD_NONCE_SIZE, scalar, reterr);
    if (!code)
        *ret_scalar = TAKE(scalar);
    return code == ERR_WRONG_KEY ? error_set(reterr, ERR_CORRUPT, 0, "a sealed scalar is not this keyslot's")
                                 : code;
}

/*
 * The payload of the file, design of keyring_file.h around it:
 *     signing key (64), message key (32), 1 when a next one follows (1), next (32), buckets (4,
 * little-endian), each: id (8, little-endian), key (32)
 */
enum { FIXED_SIZE = SIGN_KEY_SIZE + 2 * HPKE_KEY_SIZE + 1 + 4, BUCKET_SIZE = 8 + BUCKET_KEY_SIZE };

static uint8_t *put(uint8_t *at, const void *bytes, size_t length)
{
    memcpy(at, bytes, length);
    return at + length;
}

static enum error_code format(const struct keyring *keyring, struct secret **ret_payload,
                              struct error *reterr)
{
    const uint8_t has_next = keyring->next_message_key != NULL;
    const uint32_t count = htole32((uint32_t)keyring->bucket_count);
    enum error_code code =
        secret_new(FIXED_SIZE + keyring->bucket_count * (size_t)BUCKET_SIZE, ret_payload, reterr);
    if (code)
        return code;
    uint8_t *at = (*ret_payload)->bytes;
    at = put(at, keyring->signing_key->bytes, SIGN_KEY_SIZE);
    at = put(at, keyring->message_key->bytes, HPKE_KEY_SIZE);
    at = put(at, &has_next, 1);
    if (has_next)
        memcpy(at, keyring->next_message_key->bytes, HPKE_KEY_SIZE);
    at = put(at + HPKE_KEY_SIZE, &count, sizeof(count));
    for (size_t i = 0; i < keyring->bucket_count; i++) {
        const uint64_t id = htole64(keyring->buckets[i].id);
        at = put(at, &id, sizeof(id));
        at = put(at, keyring->buckets[i].key->bytes, BUCKET_KEY_SIZE);
    }
    return OK;
}

static enum error_code parse_buckets(struct keyring *keyring, const uint8_t *at, size_t count,
                                     struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < count; i++, at += BUCKET_SIZE) {
        uint64_t id;
        struct secret *key = NULL;
        memcpy(&id, at, sizeof(id));
        code = bucket_key_copy(at + sizeof(id), &key, reterr);
        if (!code)
            code = append_bucket(keyring, le64toh(id), key, reterr);
    }
    return code;
}

static enum error_code parse(const struct secret *payload, uint64_t generation, struct keyring **ret_keyring,
                             struct error *reterr)
{
    _cleanup_(keyring_freep) struct keyring *keyring = calloc(1, sizeof(*keyring));
    uint32_t count = 0;
    if (!keyring)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (payload->length >= FIXED_SIZE)
        memcpy(&count, payload->bytes + FIXED_SIZE - sizeof(count), sizeof(count));
    count = le32toh(count);
    if (payload->length < FIXED_SIZE || count > KEYRING_BUCKETS_MAXIMUM ||
        payload->length != FIXED_SIZE + count * (size_t)BUCKET_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "a keyring of %zu bytes", payload->length);
    keyring->generation = generation;
    const uint8_t *at = payload->bytes;
    enum error_code code = secret_new_copy(at, SIGN_KEY_SIZE, &keyring->signing_key, reterr);
    at += SIGN_KEY_SIZE;
    if (!code)
        code = secret_new_copy(at, HPKE_KEY_SIZE, &keyring->message_key, reterr);
    at += HPKE_KEY_SIZE;
    if (!code && *at)
        code = secret_new_copy(at + 1, HPKE_KEY_SIZE, &keyring->next_message_key, reterr);
    if (!code)
        code = parse_buckets(keyring, payload->bytes + FIXED_SIZE, count, reterr);
    if (!code)
        *ret_keyring = TAKE(keyring);
    return code;
}

enum error_code keyring_write(const struct keyring *keyring, const struct keyring_place *place,
                              struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *payload = NULL;
    enum error_code code = format(keyring, &payload, reterr);
    return code ? code : keyring_file_write(place, keyring->generation, payload, reterr);
}

enum error_code keyring_read(const struct keyring_place *place, uint64_t generation,
                             struct keyring **ret_keyring, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *payload = NULL;
    enum error_code code = keyring_file_read(place, generation, &payload, reterr);
    return code ? code : parse(payload, generation, ret_keyring, reterr);
}
