/* The ledger in the database: what the authority writes into it. docs/protocol.md has the checkpoints. */
#pragma once
#include "authority/clerk.h"
#include "ledger/ledger.h"

/* Append an entry of a kind, e.g. "granted": {"version":1,"at":…,"kind":…, and the members of details}. Takes
 * over details, which may be NULL: ERR_NO_MEMORY. In the clerk's transaction. */
must_check enum error_code record_append(struct clerk *clerk, const char *kind, json_t *details,
                                         struct error *reterr);

/* The same with the members as JSON text, one behind the other; there may be none. */
must_check enum error_code record_append_text(struct clerk *clerk, const char *kind, const char *members,
                                              struct error *reterr);

/* {"host":…} and {"host":…,"request":…} in hexadecimal, for details. NULL without memory. */
json_t *record_of_host(const uint8_t host[MESSAGE_HOST_ID_SIZE]);
json_t *record_of_request(const uint8_t host[MESSAGE_HOST_ID_SIZE], const uint8_t request[MESSAGE_ID_SIZE]);

/* "host":…,"request":… as text, appended. */
must_check enum error_code record_format_request(const uint8_t host[MESSAGE_HOST_ID_SIZE],
                                                 const uint8_t request[MESSAGE_ID_SIZE], struct buffer *text,
                                                 struct error *reterr);

/* 16 bytes in hexadecimal as a JSON string. NULL without memory. */
json_t *record_hex(const uint8_t id[16]);

/* Where the ledger stands. */
must_check enum error_code record_get_head(struct sql *sql, uint64_t epoch, struct ledger_head *ret_head,
                                           struct error *reterr);

/* Sign a checkpoint of where it stands. Appended to wire. */
must_check enum error_code record_sign_checkpoint(struct clerk *clerk, struct buffer *wire,
                                                  struct error *reterr);

/* A text that is signed whenever it leaves, as the key may be another one by then. It is kept with room for a
 * signature; what earlier versions kept has one. Both append to wire. */
must_check enum error_code record_keep_text(const struct buffer *text, struct buffer *wire,
                                            struct error *reterr);
must_check enum error_code record_sign_kept(struct clerk *clerk, const char *kind, const void *kept,
                                            size_t length, struct buffer *wire, struct error *reterr);

/* A checkpoint that was signed with any key this authority ever had in a descriptor. ERR_CORRUPT. */
must_check enum error_code record_parse_checkpoint(struct clerk *clerk, const void *wire, size_t length,
                                                   struct ledger_checkpoint *ret_checkpoint,
                                                   struct error *reterr);

/* Walk all entries, of earlier epochs too, and compare with checkpoints. *ret_head is where it stands. */
must_check enum error_code record_verify(struct sql *sql, uint64_t epoch,
                                         const struct ledger_checkpoint *checkpoints, size_t count,
                                         struct ledger_head *ret_head, struct error *reterr);
