/*
 * What became of the hosts since a backup, learnt from records that somebody kept elsewhere, and done again
 * in the database that is being restored. For restore.c; in the clerk's transaction.
 */
#pragma once
#include "authority/hosts.h"
#include "ledger/ledger.h"

struct restoring {
    struct clerk *clerk;
    struct ledger_head head; /* of the ledger the backup has, and then of what goes on from it */
    uint64_t epoch;          /* of that ledger */
    uint64_t backup_entries; /* how many the backup has */
    bool is_complete;        /* the ledger goes on to an end that was signed: all is known */
    uint8_t signing_key[SIGN_PUBLIC_SIZE]; /* of the last descriptor that was in force there */
    int64_t erased;                        /* hosts, vaults and keyslots that were */
    int64_t enrolled;                      /* hosts that are not in the backup */
    int64_t bound;                         /* keyslots that are not in the backup, of hosts that are */
};

/* A file is signed `erased` answers in hexadecimal, one a line; or an export of the ledger (exporting.h).
 * First each is looked at for an export: its entries are checked, and kept with the ledger of that epoch.
 * Then, when the ledger has begun anew, what they say is done, and what the statements in each file say.
 * ERR_CORRUPT, ERR_CHANGED: then nothing of it counts, and the transaction is to be rolled back. */
must_check enum error_code restoring_keep_export(struct restoring *restoring, int fd, struct error *reterr);
must_check enum error_code restoring_apply_entries(struct restoring *restoring, struct error *reterr);
must_check enum error_code restoring_apply_statements(struct restoring *restoring, int fd,
                                                      struct error *reterr);
