/*
 * A backup: what the database and the keyring hold at one moment, while the clerk goes on. In a transaction
 * of the clerk's it is begun: the ledger says that there is one, and a second connection keeps the database
 * as it was before. When that is durable, another thread writes the two files (backup_file.h); whoever made
 * the files makes them durable. A copy of the database is in the directory for a moment.
 */
#pragma once
#include "authority/hosts.h"

/* Note the public key that envelopes are sealed to from now on. In the clerk's transaction. */
must_check enum error_code backup_set_key(struct clerk *clerk, const uint8_t backup_key[HPKE_KEY_SIZE],
                                          const char *by, struct error *reterr);

/* Note a backup that was made. In the clerk's transaction. */
struct backup_facts;
must_check enum error_code backup_note(struct clerk *clerk, const struct backup_facts *facts, const char *by,
                                       struct error *reterr);
