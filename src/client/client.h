/*
 * A host's side of docs/protocol.md: its identity, the authorities it trusts, where it stands with each
 * (lineage, nonce), and the messages it sends them. It opens no vault and knows no keyslot files: it carries
 * elements. Functions that talk block, at most as long as they are told, and end with ERR_INTERRUPTED on a
 * signal. Only authenticated answers change anything here.
 *
 * On disk, below DIR/.husk (husk-vault(5)):
 *   host.key               the identity, 48 bytes, 0600; it opens nothing by itself
 *   authorities/ID.json    one authority each: root, descriptor, this host's id and name there
 *   authorities/ID.ledger  the highest checkpoint of its ledger (ledger.h)
 *   authorities/ID.orders  the highest sequence of an order it gave, and orders that are not answered yet
 *   boot-files.json        hashes of the kernels and images in /boot; may be lost at any time
 *   lineage                per authority the token to present next; it is replaced before it is presented
 * In memory, below /run/husk/HOST, where HOST is device and inode of DIR: what dies with the boot.
 *   boot                   the boot id
 *   ID.nonce               the nonce of the last sealed answer
 */
#pragma once
#include "base/clock.h"
#include "base/finding.h"
#include "message/descriptor.h"
#include "message/message.h"
#include "message/statement.h"

#define CLIENT_AUTHORITIES_MAXIMUM 8
#define CLIENT_NAME_MAXIMUM 64
#define CLIENT_ELEMENTS_MAXIMUM 16
#define CLIENT_IDENTITY_NAME "host.key"
/* The answers of its authorities, once it is erased for good (erase/host.c). */
#define CLIENT_ERASED_NAME "host.erased"
#define CLIENT_ID_SIZE 16 /* of hosts, boots, keyslots, vaults, requests, authorities, tokens, nonces */
#define CLIENT_ELEMENT_SIZE 32

/* An authority this host trusts. */
struct client_pin {
    uint8_t id[CLIENT_ID_SIZE]; /* fingerprint of the root */
    uint8_t host[CLIENT_ID_SIZE];
    char name[CLIENT_NAME_MAXIMUM + 1]; /* what this host is called there */
    int64_t enrolled_unix_s;
    struct descriptor descriptor;    /* root, keys, addresses */
    struct buffer descriptor_signed; /* the bytes it was read from; owned */
    bool has_nonce;                  /* of the last answer, in this memory */
    uint8_t nonce[CLIENT_ID_SIZE];
};

struct client {
    int husk_fd;    /* DIR/.husk; -1 where there is none */
    int runtime_fd; /* /run/husk/HOST; -1 until something is asked */
    bool has_boot;  /* once it was asked for it stays, whatever happens to the file */
    uint8_t boot[CLIENT_ID_SIZE];
    uint64_t device, inode;
    struct secret *identity; /* owned; NULL until it is needed */
    struct client_pin pins[CLIENT_AUTHORITIES_MAXIMUM];
    size_t pin_count;
    json_t *facts; /* owned; what it says of its boot; NULL: not looked up yet */
    bool is_early; /* the initramfs speaks: the boot before may have left something that this one finishes */
    json_t *names; /* owned; what names stood for when they were last looked up, or were given; or NULL */
};

/* Read which authorities the host at trusts. None is fine, and no .husk either. A file that is damaged is
 * ERR_CORRUPT. Free with client_close. */
must_check enum error_code client_open(const char *at, struct client **ret_client, struct error *reterr);
/* The same some time later: what before (may be NULL) has verified and is still the same takes less. */
must_check enum error_code client_open_again(const char *at, struct client *before,
                                             struct client **ret_client, struct error *reterr);
void client_close(struct client *client); /* NULL is fine */
static inline void client_closep(struct client **client)
{
    client_close(*client);
    *client = NULL;
}

/* The authority of that id; NULL when it is not trusted. */
struct client_pin *client_find(struct client *client, const uint8_t id[CLIENT_ID_SIZE]);
/* The one text means: its id or the unambiguous beginning of at least four digits; NULL text: the only one.
 * ERR_NOT_FOUND, ERR_USAGE. */
must_check enum error_code client_choose(struct client *client, const char *text, struct client_pin **ret_pin,
                                         struct error *reterr);

/* The names in the addresses of its authorities, each with what it stood for when it was last looked up:
 * {"authority.example":["192.0.2.1","2001:db8::1"]}. Owned by the caller. ERR_NO_MEMORY. */
must_check enum error_code client_names_get(const struct client *client, json_t **ret_names,
                                            struct error *reterr);
/* Whether there is such an address of this host among those from which the kernel would send to an authority.
 * Looks up the names of its addresses, for 5 s at most each. */
#define CLIENT_ADDRESS_SIZE 46
bool client_find_local(const struct client *client, const struct client_pin *pin,
                       bool (*is_it)(const char *address, void *context), void *context);

/* Where no name server answers, names stand for these (copied). What is no address is left out then. */
must_check enum error_code client_names_give(struct client *client, const json_t *names,
                                             struct error *reterr);

/* Forget, in memory, all authorities but the one text means. */
must_check enum error_code client_keep_only(struct client *client, const char *text, struct error *reterr);

/* How a message is sent: how long the authority may hold the answer back, and for how long to try again where
 * none comes (0: each address once). */
struct client_effort {
    unsigned wait_s, patience_s;
};
#define CLIENT_PROMPT ((struct client_effort){0, 3}) /* for what a person waits for */

/* A token of huskd: "husk1.", 16 bytes and the fingerprint of the root in hexadecimal, joined by a dot. */
struct client_token {
    uint8_t token[CLIENT_ID_SIZE];
    uint8_t fingerprint[CLIENT_ID_SIZE];
};
must_check enum error_code client_token_parse(const char *text, struct client_token *ret_token,
                                              struct error *reterr);

/* Sleep, unless a signal comes: ERR_INTERRUPTED. */
must_check enum error_code client_sleep(int64_t ns, struct error *reterr);

/* Whether the identity is there. Without it nothing can be told any more: an erase of the host takes it last.
 */
bool client_has_identity(const struct client *client);

/* Become a host of the authority at url: makes the identity where there is none, checks that the root is the
 * token's, enrols as name, pins, and confirms. Already trusted: the descriptor at url is taken where the
 * pinned root signed it and it is newer, which *ret_changed tells, and it is confirmed. ERR_DENIED when
 * another authority answers there or it refuses the token; ERR_UNREACHABLE. */
must_check enum error_code client_enroll(const char *at, const char *url, const struct client_token *token,
                                         const char *name, const struct clock *clock,
                                         struct client_pin *ret_pin, bool *ret_changed, struct error *reterr);

/* 1 to 64 of letters, digits, '.', '_', '-'. ERR_USAGE. */
must_check enum error_code client_check_name(const char *name, struct error *reterr);

/* One question: a keyslot and the blinded element. */
struct client_element {
    uint8_t keyslot[CLIENT_ID_SIZE];
    uint8_t blinded[CLIENT_ELEMENT_SIZE];
};

/* Have the authority draw a scalar for a new keyslot, durable there, and evaluate two elements under it. */
must_check enum error_code client_bind(struct client *client, struct client_pin *pin,
                                       const uint8_t keyslot[CLIENT_ID_SIZE],
                                       const uint8_t vault[CLIENT_ID_SIZE], const char *vault_name,
                                       const uint8_t blinded[2][CLIENT_ELEMENT_SIZE],
                                       uint8_t ret_evaluated[2][CLIENT_ELEMENT_SIZE], struct error *reterr);

/* Have it destroy the scalar. ERR_NOT_FOUND when it has none. */
must_check enum error_code client_unbind(struct client *client, struct client_pin *pin,
                                         const uint8_t keyslot[CLIENT_ID_SIZE], struct error *reterr);

enum client_state { CLIENT_PENDING, CLIENT_GRANTED, CLIENT_DENIED, CLIENT_EXPIRED };

/* What became of a request. */
struct client_decision {
    uint8_t request[CLIENT_ID_SIZE];
    enum client_state state;
    char code[8];       /* to be shown at the host; may be empty */
    char flags[256];    /* words joined by ", "; may be empty */
    char reasons[512];  /* sentences for people, joined by "; " */
    int64_t expires_at; /* 0: not said */
    size_t count;       /* of evaluated, when granted: in the order the request was made with */
    bool is_there[CLIENT_ELEMENTS_MAXIMUM]; /* the authority has the key of that keyslot */
    uint8_t evaluated[CLIENT_ELEMENTS_MAXIMUM][CLIENT_ELEMENT_SIZE];
};

/* Make a request for these elements; and ask again what became of one. message is drawn by the caller for
 * these elements: sent again after ERR_UNREACHABLE, when the answer may be all that was lost, it is still the
 * same request. When granted the lineage moves on, on disk, before this returns; where that cannot be written
 * it is a finding, and the next boot presents the token it has, which is no harm. ERR_ERASED, ERR_DENIED,
 * ERR_UNREACHABLE, ERR_PENDING when the host is held. */
must_check enum error_code client_request(struct client *client, struct client_pin *pin,
                                          const uint8_t message[CLIENT_ID_SIZE],
                                          const struct client_element *elements, size_t count,
                                          struct client_effort effort, struct client_decision *ret_decision,
                                          struct finding_list *findings, struct error *reterr);
must_check enum error_code client_request_again(struct client *client, struct client_pin *pin,
                                                const uint8_t request[CLIENT_ID_SIZE], size_t count,
                                                struct client_effort effort,
                                                struct client_decision *ret_decision,
                                                struct finding_list *findings, struct error *reterr);

/* Get a ticket for the next boot, and note it, so that this boot says it was planned. */
enum client_purpose { CLIENT_REBOOT, CLIENT_FINISH };
must_check enum error_code client_ticket(struct client *client, struct client_pin *pin,
                                         enum client_purpose purpose, int64_t *ret_expires_at,
                                         struct error *reterr);

/* What an authority wants of a running host. */
#define CLIENT_ORDERS_GIVEN_MAXIMUM 64
/* What the authority says a boot after this one would meet there. */
enum client_next_boot {
    CLIENT_NEXT_UNKNOWN,
    CLIENT_NEXT_ALONE,     /* it opens without people */
    CLIENT_NEXT_TICKET,    /* so does one that an orderly reboot has got a ticket for */
    CLIENT_NEXT_NO_TICKET, /* this boot would get none: the authority did not open it */
    CLIENT_NEXT_PEOPLE,    /* people are asked at each */
    CLIENT_NEXT_HELD       /* it does not open */
};
struct client_news {
    json_t *orders; /* owned; signed orders in hexadecimal as they came, not checked (client_orders_take) */
    bool is_erased; /* it says that this host is erased: nothing comes from it but orders */
    bool probed;    /* probe is filled: answer it by a heartbeat */
    uint8_t probe[CLIENT_ID_SIZE];
    enum client_next_boot next_boot; /* of a poll */
};
void client_news_done(struct client_news *news);

/* Tell that the host runs; the lineage moves on. probe is that of a poll, or NULL. */
must_check enum error_code client_heartbeat(struct client *client, struct client_pin *pin,
                                            const uint8_t *probe, struct client_effort effort,
                                            struct client_news *ret_news, struct error *reterr);

/* Wait for orders and probes, effort.wait_s at most. */
must_check enum error_code client_poll(struct client *client, struct client_pin *pin,
                                       struct client_effort effort, struct client_news *ret_news,
                                       struct error *reterr);

/* An order this host was given and has to answer. */
struct client_order {
    uint8_t id[CLIENT_ID_SIZE];
    uint64_t sequence;
    enum order_action action;
    char outcome[16]; /* "done", "incomplete", "failed"; "" until it was carried out */
    json_t *report;   /* owned; NULL until then */
};
#define CLIENT_ORDERS_MAXIMUM 16
struct client_orders {
    uint64_t highest; /* sequence ever taken: no other is taken that is not above it */
    struct client_order items[CLIENT_ORDERS_MAXIMUM];
    size_t count;
};
void client_orders_done(struct client_orders *orders);

/* Those that are not answered yet, as authorities/ID.orders has them. ERR_CORRUPT. */
must_check enum error_code client_orders_read(struct client *client, const struct client_pin *pin,
                                              struct client_orders *ret_orders, struct error *reterr);

/* Check orders as they came: signed by the authority, for this host, above every one before. New ones are on
 * disk when this returns. One that is not taken becomes a finding, "order-refused". ret_orders are all that
 * are not answered yet. */
must_check enum error_code client_orders_take(struct client *client, const struct client_pin *pin,
                                              const json_t *given, struct client_orders *ret_orders,
                                              struct finding_list *findings, struct error *reterr);

/* Remove the file of orders, where it cannot be read and the host has ended: with it goes the highest
 * sequence ever taken. */
must_check enum error_code client_orders_forget(struct client *client, const struct client_pin *pin,
                                                struct error *reterr);

/* Note durably what became of an order, takes over report. */
must_check enum error_code client_order_note(struct client *client, const struct client_pin *pin,
                                             const uint8_t id[CLIENT_ID_SIZE], const char *outcome,
                                             json_t *report, struct error *reterr);

/* Tell the authority what became of it. Once that has it, it is not kept here any more, but for an erase that
 * is not done. */
must_check enum error_code client_order_answer(struct client *client, struct client_pin *pin,
                                               const struct client_order *order, struct error *reterr);

/* Have the authority destroy the scalars of a vault, and, for good, of all this host has there. The signed
 * answer is checked; appended to wire as it came. ERR_CORRUPT when it is not signed by this authority for
 * this host and vault: nothing was erased then as far as this host knows. erased_done frees. */
must_check enum error_code client_erase_vault(struct client *client, struct client_pin *pin,
                                              const uint8_t vault[CLIENT_ID_SIZE], struct buffer *wire,
                                              struct erased *ret_erased, struct error *reterr);
must_check enum error_code client_erase_host(struct client *client, struct client_pin *pin,
                                             struct buffer *wire, struct erased *ret_erased,
                                             struct error *reterr);

/* Tell what this host did itself about a vault that is erased: report is an object of at most 48
 * KiB, taken over. */
must_check enum error_code client_report_vault(struct client *client, struct client_pin *pin,
                                               const uint8_t vault[CLIENT_ID_SIZE], const char *outcome,
                                               json_t *report, struct error *reterr);

/* Tell what else opens this host's vaults: an array of {"kind","place"}, the whole of it. */
#define CLIENT_KEYCOPIES_MAXIMUM 400
must_check enum error_code client_keycopies(struct client *client, struct client_pin *pin, json_t *copies,
                                            struct error *reterr);

/* A finding "ledger-differs" for every authority whose ledger went back, or is another one than it was. */
void client_ledger_tell(struct client *client, struct finding_list *findings);

/* Keep the hashes of the kernels and images in /boot that a request tells of, in .husk/boot-files.json, for
 * the next boot to take where a file still looks the same: reading them all there takes seconds on slow
 * disks. Reads those that changed, and those whose names end in read_anyway (NULL: none). What cannot be kept
 * is not. */
void client_boot_files_keep(const struct client *client, const char *read_anyway);

/* This boot's id: drawn by the first that asks. */
must_check enum error_code client_boot_id(struct client *client, uint8_t ret_boot[CLIENT_ID_SIZE],
                                          struct error *reterr);

/* "0123456789abcdef..." of an id, for one expression. */
#define CLIENT_ID_TEXT_SIZE (2 * CLIENT_ID_SIZE + 1)
const char *client_id_text(char out[CLIENT_ID_TEXT_SIZE], const uint8_t id[CLIENT_ID_SIZE]);
#define client_id_shown(id) client_id_text((char[CLIENT_ID_TEXT_SIZE]){0}, (id))
