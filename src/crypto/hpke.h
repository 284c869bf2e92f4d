/*
 * Hybrid public key encryption, RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, modes
 * base (the sender stays unknown) and auth (only who has the sender's private key can have made it); and the
 * encrypted answer to such a message as RFC 9458 §4.4 makes it.
 *
 * HPKE alone gives no protection against replay, and none of older messages once a recipient's private key is
 * stolen; who has the recipient's private key can also pose as any sender towards it (§9.1.1). Nothing here
 * blocks; a context is for one thread at a time.
 */
#pragma once
#include "secret/secret.h"

#define HPKE_KEY_SIZE 32            /* private and public keys */
#define HPKE_ENCAPSULATED_SIZE 32   /* "enc" */
#define HPKE_TAG_SIZE 16            /* a ciphertext is this much longer than its plaintext */
#define HPKE_RESPONSE_NONCE_SIZE 32 /* before the ciphertext of an answer */

/* A random X25519 key pair. */
must_check enum error_code hpke_key_new(struct secret **ret_private, uint8_t ret_public[HPKE_KEY_SIZE],
                                        struct error *reterr);

/* The public key of a private one. */
must_check enum error_code hpke_public_key(const struct secret *private_key,
                                           uint8_t ret_public[HPKE_KEY_SIZE], struct error *reterr);

/* Both ends of one setup: key, nonces and exporter secret, in locked memory. */
struct hpke_context;

void hpke_context_free(struct hpke_context *context); /* NULL is fine */
static inline void hpke_context_freep(struct hpke_context **context)
{
    hpke_context_free(*context);
    *context = NULL;
}

/* SetupBaseS and SetupAuthS (§5.1.1, §5.1.3): sender is its private key, NULL for base. A public key of low
 * order is ERR_CORRUPT. */
must_check enum error_code hpke_setup_sender(const uint8_t recipient[HPKE_KEY_SIZE],
                                             const struct secret *sender, const void *info,
                                             size_t info_length,
                                             uint8_t ret_encapsulated[HPKE_ENCAPSULATED_SIZE],
                                             struct hpke_context **ret_context, struct error *reterr);

/* The same with a given ephemeral private key, which is never to be used twice. */
must_check enum error_code hpke_setup_sender_with(const struct secret *ephemeral,
                                                  const uint8_t recipient[HPKE_KEY_SIZE],
                                                  const struct secret *sender, const void *info,
                                                  size_t info_length,
                                                  uint8_t ret_encapsulated[HPKE_ENCAPSULATED_SIZE],
                                                  struct hpke_context **ret_context, struct error *reterr);

/* SetupBaseR and SetupAuthR: recipient is its private key, sender a public one, NULL for base. */
must_check enum error_code hpke_setup_recipient(const uint8_t encapsulated[HPKE_ENCAPSULATED_SIZE],
                                                const struct secret *recipient, const uint8_t *sender,
                                                const void *info, size_t info_length,
                                                struct hpke_context **ret_context, struct error *reterr);

/* DH(skR, pkS) of §4.1: the half of mode auth that is the same for all messages of a sender to a recipient.
 * HPKE_KEY_SIZE bytes: without the other half it opens nothing; with it anybody can pose as the sender. */
must_check enum error_code hpke_exchange(const struct secret *recipient, const uint8_t sender[HPKE_KEY_SIZE],
                                         struct secret **ret_exchange, struct error *reterr);

/* Who sent something in mode auth. */
struct hpke_sender {
    const uint8_t *public_key;
    const struct secret *exchange; /* with the recipient; NULL: not at hand */
};

/* The same where the public key that belongs to recipient is at hand. sender NULL for base. */
must_check enum error_code hpke_setup_recipient_with(const uint8_t encapsulated[HPKE_ENCAPSULATED_SIZE],
                                                     const struct secret *recipient,
                                                     const uint8_t recipient_public[HPKE_KEY_SIZE],
                                                     const struct hpke_sender *sender, const void *info,
                                                     size_t info_length, struct hpke_context **ret_context,
                                                     struct error *reterr);

/* Seal and Open (§5.2) of the next message in sequence. ciphertext has room for length + HPKE_TAG_SIZE,
 * plaintext for length - HPKE_TAG_SIZE. Open: ERR_WRONG_KEY when the tag does not fit, and then the same
 * number is expected again. */
must_check enum error_code hpke_seal(struct hpke_context *context, const void *associated,
                                     size_t associated_length, const void *plaintext, size_t length,
                                     uint8_t *ciphertext, struct error *reterr);
must_check enum error_code hpke_open(struct hpke_context *context, const void *associated,
                                     size_t associated_length, const uint8_t *ciphertext, size_t length,
                                     uint8_t *plaintext, struct error *reterr);

/* Export (§5.3): length bytes, 1 to 8160. */
must_check enum error_code hpke_export(const struct hpke_context *context, const void *exporter_context,
                                       size_t exporter_context_length, uint8_t *out, size_t length,
                                       struct error *reterr);

/* The answer to the message the context was set up for (RFC 9458 §4.4): a fresh nonce, then the ciphertext.
 * label is the exporter context. sealed has room for HPKE_RESPONSE_NONCE_SIZE + length + HPKE_TAG_SIZE. */
must_check enum error_code hpke_response_seal(const struct hpke_context *context, const char *label,
                                              const void *plaintext, size_t length, uint8_t *sealed,
                                              struct error *reterr);

/* Its plaintext is HPKE_RESPONSE_NONCE_SIZE + HPKE_TAG_SIZE shorter. ERR_WRONG_KEY as above. */
must_check enum error_code hpke_response_open(const struct hpke_context *context, const char *label,
                                              const uint8_t *sealed, size_t length, uint8_t *plaintext,
                                              struct error *reterr);
