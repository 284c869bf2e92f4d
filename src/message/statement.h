/*
 * What an authority signs for one host, docs/protocol.md "Orders and erasing": orders, and the answers that
 * say that a vault is erased. Both travel and are kept as the bytes that were signed. Nothing here blocks.
 */
#pragma once
#include "crypto/sign.h"
#include "message/message.h"

#define STATEMENT_ID_SIZE 16
#define STATEMENT_MAXIMUM 16384 /* bytes, with the signature */
#define ORDER_KIND "husk order v1"
#define ERASED_KIND "husk erased v1"

enum order_action { ORDER_LOCK, ORDER_ERASE, ORDER_POWER_OFF, ORDER_ACTIONS }; /* numbers of the database */
extern const char *const order_action_words[ORDER_ACTIONS];

/* What a running host is to do, with all its vaults. */
struct order {
    uint8_t id[STATEMENT_ID_SIZE];
    uint8_t host[MESSAGE_HOST_ID_SIZE];
    uint64_t sequence; /* goes up with every order to this host */
    enum order_action action;
    int64_t at_unix_s;
};

/* The text to be signed, appended. */
must_check enum error_code order_format(const struct order *order, struct buffer *text, struct error *reterr);

/* Check and read an order. ERR_CORRUPT, ERR_TOO_NEW; ERR_DENIED when it is for another host; ERR_UNSUPPORTED
 * for an action or an extent this husk does not know. */
must_check enum error_code order_parse(const void *wire, size_t length,
                                       const uint8_t signing_key[SIGN_PUBLIC_SIZE],
                                       const uint8_t host[MESSAGE_HOST_ID_SIZE], struct order *ret_order,
                                       struct error *reterr);

/* Key copies of an authority itself, in which the scalars may live on: images of its disk, where no holder on
 * another filesystem seals the keyring; backups that held them, whose envelopes nobody declared destroyed. */
enum erased_copy { ERASED_COPY_IMAGE, ERASED_COPY_BACKUP, ERASED_COPIES };
extern const char *const erased_copy_words[ERASED_COPIES];

/* The scalars of a vault, or of all a host has, are destroyed. */
struct erased {
    uint8_t host[MESSAGE_HOST_ID_SIZE];
    bool is_host; /* everything of the host, for good; then there is no vault */
    uint8_t vault[STATEMENT_ID_SIZE];
    uint8_t order[STATEMENT_ID_SIZE]; /* that asked for it; one of its own where the host did */
    uint64_t sequence;                /* goes up with every erase of this authority */
    int64_t at_unix_s;
    uint8_t (*keyslots)[STATEMENT_ID_SIZE]; /* owned; whose scalars they were */
    size_t keyslot_count;
    bool copies[ERASED_COPIES]; /* that there may be */
    bool other_copies;          /* of a kind this husk does not know */
};
void erased_done(struct erased *erased);

must_check enum error_code erased_format(const struct erased *erased, struct buffer *text,
                                         struct error *reterr);

/* ERR_CORRUPT, ERR_TOO_NEW; ERR_DENIED when it is about another host. Whether it is about the vault that was
 * meant is the caller's to compare. End with erased_done. */
must_check enum error_code erased_parse(const void *wire, size_t length,
                                        const uint8_t signing_key[SIGN_PUBLIC_SIZE],
                                        const uint8_t host[MESSAGE_HOST_ID_SIZE], struct erased *ret_erased,
                                        struct error *reterr);
