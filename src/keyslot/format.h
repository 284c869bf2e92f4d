/* The bytes of a keyslot file (the table in keyslot.h). Knows no keys. */
#pragma once
#include "crypto/aead.h"
#include "keyslot/keyslot.h"

#define KEYSLOT_ASSOCIATED_SIZE 128 /* the header: bytes 0 to 127 */
#define KEYSLOT_CIPHERTEXT_SIZE (VAULT_SECRET_SIZE + AEAD_TAG_SIZE)

/* Write the header of keyslot's fields into keyslot->file and random bytes behind it. */
void keyslot_write_header(struct keyslot *keyslot);

/* Write the checksum of header, nonce and ciphertext behind them. */
void keyslot_write_checksum(struct keyslot *keyslot);

/* Where nonce and ciphertext stand in a file. */
static inline uint8_t *keyslot_nonce(uint8_t file[KEYSLOT_FILE_SIZE])
{
    return file + KEYSLOT_ASSOCIATED_SIZE;
}
static inline uint8_t *keyslot_ciphertext(uint8_t file[KEYSLOT_FILE_SIZE])
{
    return file + KEYSLOT_ASSOCIATED_SIZE + AEAD_NONCE_SIZE;
}
