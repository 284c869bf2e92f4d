#include "crypto/hkdf.h"

#include <string.h>

_Static_assert(HKDF_HASH_SIZE == crypto_auth_hmacsha256_BYTES, "hash size");

static bool update(crypto_auth_hmacsha256_state *state, const struct hkdf_piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pieces[i].length > 0 &&
            crypto_auth_hmacsha256_update(state, pieces[i].bytes, pieces[i].length) != 0)
            return false;
    return true;
}

bool hkdf_extract(const void *salt, size_t salt_length, const struct hkdf_piece *key, size_t count,
                  uint8_t ret_extracted[HKDF_HASH_SIZE])
{
    /* A missing salt is HashLen zeros, for HMAC the same as an empty key; the library may not be given NULL.
     */
    static const uint8_t none[1];
    crypto_auth_hmacsha256_state state;
    bool done = crypto_auth_hmacsha256_init(&state, salt ? salt : none, salt_length) == 0 &&
                update(&state, key, count) && crypto_auth_hmacsha256_final(&state, ret_extracted) == 0;
    sodium_memzero(&state, sizeof(state));
    return done;
}

bool hkdf_key_init(struct hkdf_key *key, const uint8_t extracted[HKDF_HASH_SIZE])
{
    return crypto_auth_hmacsha256_init(&key->state, extracted, HKDF_HASH_SIZE) == 0;
}

bool hkdf_key_extract(const void *salt, size_t salt_length, const struct hkdf_piece *key, size_t count,
                      struct hkdf_key *ret_key)
{
    uint8_t extracted[HKDF_HASH_SIZE];
    const bool done =
        hkdf_extract(salt, salt_length, key, count, extracted) && hkdf_key_init(ret_key, extracted);
    sodium_memzero(extracted, sizeof(extracted));
    return done;
}

void hkdf_key_wipe(struct hkdf_key *key)
{
    sodium_memzero(key, sizeof(*key));
}

bool hkdf_expand(const struct hkdf_key *key, const struct hkdf_piece *info, size_t count, uint8_t *out,
                 size_t length)
{
    crypto_auth_hmacsha256_state state;
    uint8_t block[HKDF_HASH_SIZE]; /* T(number - 1), then T(number) */
    bool done = true;
    for (size_t at = 0; done && at < length; at += sizeof(block)) {
        const uint8_t number = (uint8_t)(at / sizeof(block) + 1);
        state = key->state;
        done = (at == 0 || crypto_auth_hmacsha256_update(&state, block, sizeof(block)) == 0) &&
               update(&state, info, count) && crypto_auth_hmacsha256_update(&state, &number, 1) == 0 &&
               crypto_auth_hmacsha256_final(&state, block) == 0;
        memcpy(out + at, block, length - at < sizeof(block) ? length - at : sizeof(block));
    }
    sodium_memzero(&state, sizeof(state));
    sodium_memzero(block, sizeof(block));
    return done;
}
