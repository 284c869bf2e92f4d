#include "authority/keyring.h"

#include <sodium.h>

#include "authority/keyring_file.h"
#include "base/text.h"

enum { BUCKET_KEY_SIZE = AEAD_KEY_SIZE, BUCKET_SIZE = 8 + BUCKET_KEY_SIZE };

/* Everything but the buckets, in the order of the file. */
static const struct {
    size_t offset, size;
    bool must_be_there;
} members[] = {
    {offsetof(struct keyring, signing_key), SIGN_KEY_SIZE, true},
    {offsetof(struct keyring, message_key), HPKE_KEY_SIZE, true},
    {offsetof(struct keyring, next_message_key), HPKE_KEY_SIZE, false},
    {offsetof(struct keyring, previous_message_key), HPKE_KEY_SIZE, false},
    {offsetof(struct keyring, prepared_message_key), HPKE_KEY_SIZE, false},
    {offsetof(struct keyring, prepared_signing_key), SIGN_KEY_SIZE, false},
};

static struct secret **member_of(struct keyring *keyring, size_t i)
{
    return (struct secret **)(void *)((char *)keyring + members[i].offset);
}

static const struct secret *get_member(const struct keyring *keyring, size_t i)
{
    return *(struct secret *const *)(const void *)((const char *)keyring + members[i].offset);
}

void keyring_free(struct keyring *keyring)
{
    if (!keyring)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        secret_free(*member_of(keyring, i));
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
        code = hpke_key_new(&keyring->next_message_key, public_key, reterr);
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
    enum error_code code = secret_new(BUCKET_KEY_SIZE, ret_key, reterr);
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
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(members); i++)
        code = copy_secret(get_member(keyring, i), member_of(copy, i), reterr);
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
    enum error_code code = secret_new(BUCKET_KEY_SIZE, &key, reterr);
    if (code)
        return code;
    randombytes_buf(key->bytes, BUCKET_KEY_SIZE);
    return append_bucket(keyring, id, key, reterr);
}

bool keyring_has_bucket(const struct keyring *keyring, uint64_t id)
{
    return find_bucket(keyring, id) != NULL;
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
    enum error_code code = secret_new(OPRF_SCALAR_SIZE, &scalar, reterr);
    if (!code)
        code = aead_open_into(key, &bound, sizeof(bound), sealed, sealed + AEAD_NONCE_SIZE, scalar, reterr);
    if (!code)
        *ret_scalar = TAKE(scalar);
    return code == ERR_WRONG_KEY ? error_set(reterr, ERR_CORRUPT, 0, "a sealed scalar is not this keyslot's")
                                 : code;
}

/*
 * The payload of the file, keyring_file.h around it: for each of the members 1 when it is there, else 0, and
 * its bytes (zeros); then the number of buckets (4, little-endian), each: id (8, little-endian), key (32).
 */
static size_t fixed_size(void)
{
    size_t size = sizeof(uint32_t);
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        size += 1 + members[i].size;
    return size;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t length)
{
    memcpy(at, bytes, length);
    return at + length;
}

enum error_code keyring_format(const struct keyring *keyring, struct secret **ret_payload,
                               struct error *reterr)
{
    const uint32_t count = htole32((uint32_t)keyring->bucket_count);
    struct secret *payload = NULL;
    enum error_code code =
        secret_new(fixed_size() + keyring->bucket_count * (size_t)BUCKET_SIZE, &payload, reterr);
    if (code)
        return code;
    uint8_t *at = payload->bytes;
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        const struct secret *member = get_member(keyring, i);
        *at++ = member != NULL;
        if (member)
            memcpy(at, member->bytes, members[i].size);
        at += members[i].size;
    }
    at = put(at, &count, sizeof(count));
    for (size_t i = 0; i < keyring->bucket_count; i++) {
        const uint64_t id = htole64(keyring->buckets[i].id);
        at = put(at, &id, sizeof(id));
        at = put(at, keyring->buckets[i].key->bytes, BUCKET_KEY_SIZE);
    }
    *ret_payload = payload;
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

static enum error_code parse_members(struct keyring *keyring, const uint8_t *at, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(members); i++) {
        const uint8_t is_there = *at++;
        if (is_there > 1 || (members[i].must_be_there && !is_there))
            return error_set(reterr, ERR_CORRUPT, 0, "a keyring without a key it must have");
        if (is_there)
            code = secret_new_copy(at, members[i].size, member_of(keyring, i), reterr);
        at += members[i].size;
    }
    return code;
}

enum error_code keyring_parse(const struct secret *payload, uint64_t generation, struct keyring **ret_keyring,
                              struct error *reterr)
{
    const size_t fixed = fixed_size();
    _cleanup_(keyring_freep) struct keyring *keyring = calloc(1, sizeof(*keyring));
    uint32_t count = 0;
    if (!keyring)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (payload->length >= fixed)
        memcpy(&count, payload->bytes + fixed - sizeof(count), sizeof(count));
    count = le32toh(count);
    if (payload->length < fixed || count > KEYRING_BUCKETS_MAXIMUM ||
        payload->length != fixed + count * (size_t)BUCKET_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "a keyring of %zu bytes", payload->length);
    keyring->generation = generation;
    enum error_code code = parse_members(keyring, payload->bytes, reterr);
    if (!code)
        code = parse_buckets(keyring, payload->bytes + fixed, count, reterr);
    if (!code)
        *ret_keyring = TAKE(keyring);
    return code;
}

enum error_code keyring_write(const struct keyring *keyring, const struct keyring_place *place,
                              struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *payload = NULL;
    enum error_code code = keyring_format(keyring, &payload, reterr);
    return code ? code : keyring_file_write(place, keyring->generation, payload, reterr);
}

enum error_code keyring_read(const struct keyring_place *place, uint64_t generation,
                             struct keyring **ret_keyring, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *payload = NULL;
    enum error_code code = keyring_file_read(place, generation, &payload, reterr);
    return code ? code : keyring_parse(payload, generation, ret_keyring, reterr);
}
