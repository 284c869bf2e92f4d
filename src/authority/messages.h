/*
 * What each message of docs/protocol.md does. messages.c holds the table of who may say what; the handlers
 * stand one file per concern. A handler sets job->result, or refuses, or says that the job waits; an error it
 * returns is told to the host and nothing is changed.
 */
#pragma once
#include "authority/hosts.h"

must_check enum error_code messages_handle(struct clerk *clerk, struct job *job, struct error *reterr);

/* Handlers. host is NULL for enroll alone. */
typedef enum error_code message_handler(struct clerk *clerk, struct job *job, struct host *host,
                                        struct error *reterr);
message_handler handle_enroll, handle_bind, handle_unbind, handle_open, handle_ticket, handle_heartbeat,
    handle_poll, handle_erase, handle_done, handle_keycopies;

/* The host was heard of for sure: in something that cannot be a replay, from the boot that this authority let
 * open. */
void message_note_seen(struct clerk *clerk, const struct host *host);

/* A boot of the host spoke, or has a poll that is held, up to that time of the monotonic clock. */
void message_note_boot(struct clerk *clerk, const struct host *host, const uint8_t boot[POLICY_TOKEN_SIZE],
                       int64_t at_ns);

/* "boot" of the message, and whether it is the boot this authority let open; the first boot that ever speaks
 * is. */
must_check enum error_code message_get_boot(struct job *job, uint8_t ret_boot[POLICY_TOKEN_SIZE],
                                            struct error *reterr);
bool message_is_live_boot(const struct host *host, const uint8_t boot[POLICY_TOKEN_SIZE]);

/* "lineage" of the message, which need not have one. */
must_check enum error_code message_get_lineage(struct job *job, uint8_t ret_token[POLICY_TOKEN_SIZE],
                                               bool *ret_is_there, struct error *reterr);

/* "wait_s" of the message sets until when it waits, 0 to most. */
must_check enum error_code message_get_wait(struct clerk *clerk, struct job *job, int64_t most,
                                            struct error *reterr);

/* Refuse because the host is erased, with the signed answers. Returns OK. */
must_check enum error_code message_refuse_erased(struct clerk *clerk, struct job *job,
                                                 const struct host *host, struct error *reterr);
