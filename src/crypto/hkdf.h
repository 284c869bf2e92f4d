/* The two halves of HKDF-SHA256 (RFC 5869) on plain buffers, for kdf.c and hpke.c only: callers wipe. */
#pragma once
#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HKDF_HASH_SIZE 32
#define HKDF_LENGTH_MAXIMUM (255 * HKDF_HASH_SIZE)

/* Input is given in pieces, as if they stood one behind the other. */
struct hkdf_piece {
    const void *bytes; /* may be NULL with length 0 */
    size_t length;
};

/* RFC 5869 §2.2. False only when the library fails. */
bool hkdf_extract(const void *salt, size_t salt_length, const struct hkdf_piece *key, size_t count,
                  uint8_t ret_extracted[HKDF_HASH_SIZE]);

/* What is extracted, ready to expand as often as is asked: half of the work of a short expansion. */
struct hkdf_key {
    crypto_auth_hmacsha256_state state;
};
bool hkdf_key_init(struct hkdf_key *key, const uint8_t extracted[HKDF_HASH_SIZE]);
bool hkdf_key_extract(const void *salt, size_t salt_length, const struct hkdf_piece *key, size_t count,
                      struct hkdf_key *ret_key);
void hkdf_key_wipe(struct hkdf_key *key);

/* RFC 5869 §2.3: length bytes (1 to HKDF_LENGTH_MAXIMUM) to out. */
bool hkdf_expand(const struct hkdf_key *key, const struct hkdf_piece *info, size_t count, uint8_t *out,
                 size_t length);
