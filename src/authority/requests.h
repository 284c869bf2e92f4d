/* Requests, approvals and tickets in the database, and what policy says of them. In the clerk's transaction.
 */
#pragma once
#include "authority/keyslots.h"

#define REQUEST_OPENS_MAXIMUM JOB_EVALUATIONS_MAXIMUM
#define REQUEST_CODE_SIZE 5

struct __attribute__((packed)) request_open {
    uint8_t keyslot[KEYRING_KEYSLOT_SIZE];
    uint8_t blinded[OPRF_ELEMENT_SIZE];
};

struct request {
    uint8_t id[MESSAGE_ID_SIZE];
    uint8_t host[MESSAGE_HOST_ID_SIZE];
    uint8_t message[MESSAGE_ID_SIZE];
    struct policy_request policy;                            /* approvals point to those below */
    struct policy_approval approvals[POLICY_APPROVALS_READ]; /* those that may count */
    char code[REQUEST_CODE_SIZE];
    int64_t wrong_codes;
    bool was_asked; /* people were told */
    int64_t created_at_unix_s;
    struct request_open opens[REQUEST_OPENS_MAXIMUM];
    size_t open_count;
    bool is_new;       /* not in the database yet: request_decide writes it, as it then is */
    const char *facts; /* of a new one: JSON; borrowed */
};

/* ERR_NOT_FOUND. Approvals are read too. */
must_check enum error_code request_find(struct clerk *clerk, const uint8_t id[MESSAGE_ID_SIZE],
                                        struct request *ret_request, struct error *reterr);

/* The one that a message made. */
must_check enum error_code request_find_by_message(struct clerk *clerk,
                                                   const uint8_t host[MESSAGE_HOST_ID_SIZE],
                                                   const uint8_t boot[POLICY_TOKEN_SIZE],
                                                   const uint8_t message[MESSAGE_ID_SIZE],
                                                   struct request *ret_request, struct error *reterr);

/* A new one, its facts with it. */
must_check enum error_code request_insert(struct clerk *clerk, const struct request *request,
                                          struct error *reterr);

/* Write back state, flags, wrong codes and whether people were told. */
must_check enum error_code request_update(struct clerk *clerk, const struct request *request,
                                          struct error *reterr);

/* Set whether another request of its boot was denied. Those that are found have it. */
must_check enum error_code request_note_denied(struct clerk *clerk, struct request *request,
                                               struct error *reterr);

/* As many requests of a host are open at a time: people are not to look through more. The one that has to
 * make room for another is the oldest, of a boot that hardly still waits. */
enum { REQUESTS_OPEN_MAXIMUM = 16 };
must_check enum error_code request_find_crowded_out(struct clerk *clerk, const struct host *host,
                                                    bool *ret_is_there, struct request *ret_request,
                                                    struct error *reterr);

/* It expires, where there is one. */
must_check enum error_code request_make_room(struct clerk *clerk, const struct host *host,
                                             bool *ret_is_crowding, struct error *reterr);

/* Whether another boot of its host has a request that is not decided; those are flagged too. */
must_check enum error_code request_flag_others(struct clerk *clerk, const struct request *request,
                                               bool *ret_is_another, struct error *reterr);

/* None is fine. */
must_check enum error_code ticket_find(struct clerk *clerk, const uint8_t host[MESSAGE_HOST_ID_SIZE],
                                       struct policy_ticket *ret_ticket, struct error *reterr);

/* Another boot of this host may run: all of them are asked whether they do, before this one is decided. Not
 * for the boot that was let open last: it is no copy of another one, and its other vaults need not wait. One
 * that takes a probe over from another boot finds that one's request open, and both are flagged for that. */
void request_probe(struct clerk *clerk, const struct host *host, const struct request *request);

/* Let policy decide as things are now, and carry out what it says: state, flags, ledger, ticket, lineage. The
 * request is as it then is. While an earlier boot is being asked if it still runs, nothing is granted. */
must_check enum error_code request_decide(struct clerk *clerk, struct request *request, struct host *host,
                                          const struct group *group, struct policy_decision *ret_decision,
                                          struct error *reterr);

/* Flags and reasons as JSON arrays of words. NULL without memory. */
json_t *request_flags_json(unsigned flags);
json_t *request_reasons_json(const struct policy_decision *decision);
