/*
 * The ledger as a file of lines, as it is kept elsewhere: with it a restored authority knows what became of
 * its hosts since the backup.
 *
 *     {"version":1,"epoch":…,"root":…,"from":N,"to":M,"checkpoint":…}    signed, in hexadecimal, of entry M
 *     entry N, its bytes as they were hashed
 *     …
 *     entry M
 */
#pragma once
#include "authority/hosts.h"
#include "ledger/ledger.h"

#define EXPORT_LINE_MAXIMUM (LEDGER_ENTRY_MAXIMUM + 1)

/* One entry of an export that goes on from where a ledger stood. */
typedef enum error_code export_each(void *context, const struct ledger_head *head, const char *bytes,
                                    size_t length, struct error *reterr);

/* Read the head of an export at fd's position, without looking at its signature: whether it is one. Then
 * export_read walks its entries: those up to *head are passed over, and the last of them has to be *head;
 * each is called for all others, and *head moves. The caller checks the checkpoint. ERR_CORRUPT, ERR_CHANGED.
 */
struct export;
must_check enum error_code export_open(int fd, struct export **ret_export, struct error *reterr);
must_check enum error_code export_read(struct export *export, uint64_t epoch, struct ledger_head *head,
                                       export_each *each, void *context, struct error *reterr);
/* The signed checkpoint the export ends with, to be checked with the key of then. */
must_check enum error_code export_check_end(const struct export *export,
                                            const uint8_t signing_key[SIGN_PUBLIC_SIZE], uint64_t epoch,
                                            const struct ledger_head *head, struct error *reterr);
void export_close(struct export *export); /* NULL is fine */
