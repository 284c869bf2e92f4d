#include "authority/schema.h"

/* Times are seconds since 1970, ids blobs of 16 bytes unless said. Secrets: none but scalars, and those
 * sealed. */
static const char tables[] =
    "CREATE TABLE state("
    "  one INTEGER PRIMARY KEY CHECK(one = 1),"
    "  epoch INTEGER NOT NULL,"         /* of the ledger */
    "  generation INTEGER NOT NULL,"    /* of the keyring that is valid */
    "  next_bucket INTEGER NOT NULL,"   /* ids of buckets and their keys are never used again */
    "  clock_highest INTEGER NOT NULL," /* the latest time of a ledger entry, or that was seen */
    "  descriptor BLOB NOT NULL"        /* as signed */
    ") STRICT;"

    "CREATE TABLE groups("
    "  id INTEGER PRIMARY KEY,"
    "  name TEXT NOT NULL UNIQUE,"
    "  policy TEXT NOT NULL,"              /* JSON, groups.c */
    "  buckets INTEGER NOT NULL DEFAULT 0" /* how many it has */
    ") STRICT;"

    "CREATE TABLE tokens("
    "  hash BLOB PRIMARY KEY," /* SHA-256 of the token: a copy of the database enrols nobody */
    "  group_id INTEGER NOT NULL REFERENCES groups(id),"
    "  expires_at INTEGER NOT NULL,"
    "  made_by TEXT NOT NULL,"
    "  host BLOB" /* that used it */
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE hosts("
    "  id BLOB PRIMARY KEY,"
    "  name TEXT NOT NULL,"
    "  group_id INTEGER NOT NULL REFERENCES groups(id),"
    "  identity BLOB NOT NULL UNIQUE," /* 32 bytes */
    "  created_at INTEGER NOT NULL,"
    "  confirmed INTEGER NOT NULL DEFAULT 0,"
    "  held INTEGER NOT NULL DEFAULT 0," /* 1 by an administrator, 2 by restoring */
    "  erased INTEGER NOT NULL DEFAULT 0,"
    "  lineage_current BLOB,"
    "  lineage_offered BLOB,"
    "  restore_accepted INTEGER NOT NULL DEFAULT 0," /* the next stale lineage is the host's */
    "  live_boot BLOB,"    /* the boot id this authority let open, or first heard of */
    "  last_seen INTEGER," /* 0: not known when */
    "  address TEXT,"
    "  facts TEXT," /* that the boot let open last reports, JSON */
    "  notes TEXT"
    ") STRICT, WITHOUT ROWID;"
    /* A name is one host's until that is erased. */
    "CREATE UNIQUE INDEX hosts_name ON hosts(name, CASE erased WHEN 0 THEN x'' ELSE id END);"
    "CREATE INDEX hosts_group ON hosts(group_id, erased);"

    /* In the order of hosts, whose ids begin with their time (clerk_draw_id): what is done to a whole group
     * touches pages side by side. So are orders. */
    "CREATE TABLE keyslots("
    "  id BLOB NOT NULL UNIQUE,"
    "  host BLOB NOT NULL REFERENCES hosts(id),"
    "  vault BLOB NOT NULL,"
    "  vault_name TEXT NOT NULL,"
    "  created_at INTEGER NOT NULL,"
    "  bound BLOB NOT NULL,"                 /* the blinded elements it was bound with, 64 bytes */
    "  bucket INTEGER,"                      /* that holds the scalar; null once erased */
    "  erase INTEGER REFERENCES erases(id)," /* being erased, or erased: it opens no more */
    "  erased_at INTEGER,"
    "  PRIMARY KEY(host, vault, id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX keyslots_erasing ON keyslots(bucket) WHERE erase IS NOT NULL AND bucket IS NOT NULL;"

    /* Scalars that are destroyed together. The bucket stays where it is, with those of its scalars that are
     * to stay, and gets another key: erasing one rewrites the few pages of a bucket. */
    "CREATE TABLE buckets("
    "  id INTEGER PRIMARY KEY,"
    "  group_id INTEGER NOT NULL REFERENCES groups(id)," /* whose new scalars go here */
    "  key INTEGER NOT NULL,"                            /* in the keyring */
    "  scalars INTEGER NOT NULL"                         /* how many */
    ") STRICT;"
    "CREATE INDEX buckets_group ON buckets(group_id, scalars);"

    "CREATE TABLE scalars("
    "  bucket INTEGER NOT NULL REFERENCES buckets(id),"
    "  keyslot BLOB NOT NULL REFERENCES keyslots(id),"
    "  sealed BLOB NOT NULL,"
    "  PRIMARY KEY(bucket, keyslot)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE erases("
    "  id INTEGER PRIMARY KEY,"
    "  host BLOB NOT NULL REFERENCES hosts(id),"
    "  final INTEGER NOT NULL," /* the host is erased with it */
    "  order_id BLOB NOT NULL," /* the order to the host that goes with it, or one of its own */
    "  signed BLOB," /* of a final one: the answer about the host, once it is done, with room for its
                        signature */
    "  begun_at INTEGER NOT NULL,"
    "  generation INTEGER," /* of the keyring without its scalars, once that is valid */
    "  done_at INTEGER"
    ") STRICT;"
    "CREATE INDEX erases_host ON erases(host);"
    "CREATE INDEX erases_generation ON erases(id) WHERE generation IS NULL;"
    "CREATE INDEX erases_open ON erases(id) WHERE done_at IS NULL;"

    "CREATE TABLE erased_vaults("
    "  host BLOB NOT NULL REFERENCES hosts(id),"
    "  vault BLOB NOT NULL,"
    "  erase INTEGER NOT NULL REFERENCES erases(id),"
    "  signed BLOB," /* the answer, once it is done, with room for its signature */
    "  report TEXT," /* what the host says that it did itself, JSON */
    "  PRIMARY KEY(host, vault)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX erased_vaults_open ON erased_vaults(erase) WHERE signed IS NULL;"

    "CREATE TABLE orders("
    "  id BLOB NOT NULL UNIQUE,"
    "  host BLOB NOT NULL REFERENCES hosts(id),"
    "  sequence INTEGER NOT NULL,"
    "  action INTEGER NOT NULL," /* enum order_action */
    "  signed BLOB NOT NULL,"    /* with room for its signature */
    "  actor TEXT NOT NULL,"
    "  created_at INTEGER NOT NULL,"
    "  given_boot BLOB,"  /* the boot that got it last */
    "  given_at INTEGER," /* when it got it first */
    "  outcome TEXT,"     /* as the host says last */
    "  report TEXT,"      /* with it, JSON */
    "  reported_at INTEGER,"
    "  is_done INTEGER NOT NULL DEFAULT 0," /* enum order_end */
    "  PRIMARY KEY(host, sequence)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX orders_open ON orders(host) WHERE is_done = 0;"

    /* What else opens a host's vaults, as it reports. A row is never deleted: copies of a disk keep what was.
     */
    "CREATE TABLE keycopies("
    "  id BLOB PRIMARY KEY,"
    "  host BLOB NOT NULL REFERENCES hosts(id),"
    "  kind TEXT NOT NULL,"
    "  place TEXT NOT NULL,"
    "  reported_at INTEGER NOT NULL," /* first */
    "  is_reported INTEGER NOT NULL," /* in the host's last list */
    "  destroyed_at INTEGER,"         /* as a person declares */
    "  destroyed_by TEXT,"
    "  UNIQUE(host, kind, place)"
    ") STRICT, WITHOUT ROWID;"

    /* Hosts that hold a checkpoint of a ledger that is not this one. */
    "CREATE TABLE ledger_alarms("
    "  host BLOB PRIMARY KEY REFERENCES hosts(id),"
    "  checkpoint BLOB NOT NULL," /* as signed */
    "  at INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE requests("
    "  id BLOB PRIMARY KEY,"
    "  host BLOB NOT NULL REFERENCES hosts(id),"
    "  boot BLOB NOT NULL,"
    "  message BLOB NOT NULL,"  /* id of the message: decided once */
    "  state INTEGER NOT NULL," /* enum policy_request_state */
    "  code TEXT NOT NULL,"
    "  wrong_codes INTEGER NOT NULL DEFAULT 0,"
    "  flags INTEGER NOT NULL DEFAULT 0,"
    "  lineage BLOB,"
    "  planned INTEGER NOT NULL,"
    "  address TEXT NOT NULL,"
    "  facts TEXT NOT NULL,"
    "  opens BLOB NOT NULL," /* per keyslot: its id and the blinded element, 48 bytes */
    "  created_at INTEGER NOT NULL,"
    "  expires_at INTEGER NOT NULL,"
    "  asked INTEGER NOT NULL DEFAULT 0,"
    "  UNIQUE(host, boot, message)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX requests_state ON requests(state, created_at);"
    "CREATE INDEX requests_open ON requests(host) WHERE state <= 1;" /* pending or approved */

    "CREATE TABLE approvals("
    "  request BLOB NOT NULL REFERENCES requests(id),"
    "  uid INTEGER NOT NULL,"
    "  name TEXT NOT NULL,"
    "  flags INTEGER NOT NULL,"    /* of the request then */
    "  restored INTEGER NOT NULL," /* this copy is the host now */
    "  at INTEGER NOT NULL,"
    "  PRIMARY KEY(request, uid)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE tickets("
    "  host BLOB PRIMARY KEY REFERENCES hosts(id),"
    "  purpose INTEGER NOT NULL," /* enum policy_ticket_purpose */
    "  taken_by BLOB NOT NULL,"
    "  expires_at INTEGER NOT NULL,"
    "  used_by BLOB"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE ledger("
    "  sequence INTEGER PRIMARY KEY,"
    "  hash BLOB NOT NULL,"
    "  entry BLOB NOT NULL" /* as hashed */
    ") STRICT;"

    /* Entries of the epochs before this one, as they were in a backup. */
    "CREATE TABLE ledger_earlier("
    "  epoch INTEGER NOT NULL,"
    "  sequence INTEGER NOT NULL,"
    "  hash BLOB NOT NULL,"
    "  entry BLOB NOT NULL,"
    "  PRIMARY KEY(epoch, sequence)"
    ") STRICT;"

    /* Every descriptor that was in force, as signed: whose checkpoints are whose. */
    "CREATE TABLE descriptors("
    "  sequence INTEGER PRIMARY KEY,"
    "  signed BLOB NOT NULL,"
    "  installed_at INTEGER NOT NULL"
    ") STRICT;"

    "CREATE TABLE moving("
    "  one INTEGER PRIMARY KEY CHECK(one = 1),"
    "  previous_until INTEGER NOT NULL DEFAULT 0," /* when the previous message key is destroyed; 0: none */
    "  backup_key BLOB,"                           /* the public key envelopes are sealed to, 32 bytes */
    "  imaged_until INTEGER NOT NULL DEFAULT 0" /* keyslots made until then are opened by images of a disk on
                                                   which no holder elsewhere sealed the keyring */
    ") STRICT;"

    /* Hosts whose lineage may have gone on since the backup: the boot that was open then tells it. */
    "CREATE TABLE restored_hosts(host BLOB PRIMARY KEY REFERENCES hosts(id)) STRICT, WITHOUT ROWID;"

    /* Each is a key copy: its envelope opens every scalar there was. */
    "CREATE TABLE backups("
    "  id BLOB PRIMARY KEY,"
    "  backup_key BLOB NOT NULL," /* 32 bytes */
    "  made_at INTEGER NOT NULL,"
    "  made_by TEXT NOT NULL,"
    "  destroyed_at INTEGER," /* the envelope, as a person declares */
    "  destroyed_by TEXT"
    ") STRICT, WITHOUT ROWID;"

    "PRAGMA application_id = " SCHEMA_APPLICATION ";"
    "PRAGMA user_version = 1;";
_Static_assert(SCHEMA_VERSION == 1, "the last line above");

enum error_code schema_create(struct sql *sql, struct error *reterr)
{
    return sql_script(sql, tables, reterr);
}

enum error_code schema_check(struct sql *sql, struct error *reterr)
{
    int64_t version = 0;
    enum error_code code = sql_get_version(sql, &version, reterr);
    if (code)
        return code;
    if (version > SCHEMA_VERSION)
        return error_set(reterr, ERR_TOO_NEW, 0, "the database has version %lld, this huskd knows %d",
                         (long long)version, SCHEMA_VERSION);
    return version == SCHEMA_VERSION ? OK
                                     : error_set(reterr, ERR_CORRUPT, 0, "the database is not one of huskd");
}
