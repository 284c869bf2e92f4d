/*
 * What an authority says about itself, signed by its root: keys and addresses, with a sequence that only
 * grows. docs/protocol.md, "Keys". It is kept and sent as the bytes that were signed.
 */
#pragma once
#include "base/buffer.h"
#include "crypto/hpke.h"
#include "crypto/sign.h"
#include "message/url.h"

#define DESCRIPTOR_ADDRESSES_MAXIMUM 8
#define DESCRIPTOR_ADDRESS_SIZE URL_SIZE
#define DESCRIPTOR_MAXIMUM 8192 /* bytes, with its signature */

struct descriptor {
    uint64_t sequence; /* from 1 */
    uint64_t epoch;    /* of the ledger, from 1: a checkpoint of another is none of this authority's */
    int64_t issued_at_unix_s;
    uint8_t root[SIGN_PUBLIC_SIZE];
    uint8_t message_key[HPKE_KEY_SIZE];
    bool has_next;
    uint8_t next_message_key[HPKE_KEY_SIZE];
    uint8_t signing_key[SIGN_PUBLIC_SIZE];
    char addresses[DESCRIPTOR_ADDRESSES_MAXIMUM]
                  [DESCRIPTOR_ADDRESS_SIZE]; /* URLs; an https:// one helps nobody */
    unsigned address_count;
};

/* One more address. ERR_USAGE when it is one that no host could use (url.h), or one too many. */
must_check enum error_code descriptor_add_address(struct descriptor *descriptor, const char *address,
                                                  struct error *reterr);

/* Whether a host that takes it can reach an authority any more. ERR_UNSUPPORTED where it could use no
 * address. */
must_check enum error_code descriptor_check_reachable(const struct descriptor *descriptor,
                                                      struct error *reterr);

/* The JSON text to be signed, appended to text. */
must_check enum error_code descriptor_format(const struct descriptor *descriptor, struct buffer *text,
                                             struct error *reterr);

/* Sign such a text with the root's private key: signature and text appended to wire. */
must_check enum error_code descriptor_sign(const char *text, size_t length, const struct secret *root_key,
                                           struct buffer *wire, struct error *reterr);

/* Read such a text before it is signed. ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code descriptor_read_text(const char *text, size_t length,
                                                struct descriptor *ret_descriptor, struct error *reterr);

/* Check and read the bytes of a descriptor. root is the pinned one; NULL takes the one the descriptor names,
 * for the first contact, where its fingerprint is checked afterwards. ERR_CORRUPT, ERR_TOO_NEW; ERR_DENIED
 * when another root made it. */
must_check enum error_code descriptor_parse(const void *wire, size_t length, const uint8_t *root,
                                            struct descriptor *ret_descriptor, struct error *reterr);

/* The first 16 bytes of the SHA-256 of a root: what a token carries. */
#define DESCRIPTOR_FINGERPRINT_SIZE 16
void descriptor_fingerprint(const uint8_t root[SIGN_PUBLIC_SIZE],
                            uint8_t ret_fingerprint[DESCRIPTOR_FINGERPRINT_SIZE]);
