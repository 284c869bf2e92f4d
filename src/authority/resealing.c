#include "authority/resealing.h"

#include "authority/keyslots.h"
#include "authority/record.h"

/* A bucket that holds a scalar to be erased, or a scalar that stays. */
struct bucket {
    int64_t id, group_id, key;
};

struct survivor {
    uint8_t keyslot[KEYRING_KEYSLOT_SIZE], sealed[KEYRING_SEALED_SIZE];
};

static enum error_code find_bucket(struct clerk *clerk, struct bucket *ret_bucket, bool *ret_is_there,
                                   struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT b.id, b.group_id, b.key FROM keyslots k JOIN buckets b ON b.id = k.bucket "
                   "WHERE k.erase IS NOT NULL AND k.bucket IS NOT NULL LIMIT 1",
                   "");
    if (!code)
        code = sql_next(&rows, ret_is_there, reterr);
    if (!code && *ret_is_there)
        *ret_bucket = (struct bucket){
            .id = sql_integer(&rows, 0), .group_id = sql_integer(&rows, 1), .key = sql_integer(&rows, 2)};
    sql_done(&rows);
    return code;
}

/* Every key in the keyring is that of one bucket. One that is not there, or is another bucket's as well, is
 * not the one this bucket's scalars lie under: that would live on, and what lies under the other would be
 * lost. */
static enum error_code check_key(struct clerk *clerk, const struct bucket *bucket, struct error *reterr)
{
    bool is_others = false;
    enum error_code code =
        sql_exists(clerk->sql, &is_others, reterr, "SELECT 1 FROM buckets WHERE key = ? AND id <> ? LIMIT 1",
                   "ii", bucket->key, bucket->id);
    if (code || (!is_others && keyring_has_bucket(clerk_keyring(clerk), (uint64_t)bucket->key)))
        return code;
    error_set(reterr, ERR_FAILED, 0, "the database is damaged: bucket %lld does not name its key",
              (long long)bucket->id);
    return error_remedy(reterr, "look after its disk; a backup is restored by huskd restore");
}

/* The scalars that are to be erased leave the database. */
static enum error_code take_out(struct clerk *clerk, const struct bucket *bucket, struct error *reterr)
{
    enum error_code code = sql_run(clerk->sql, reterr,
                                   "DELETE FROM scalars WHERE bucket = ? AND keyslot IN (SELECT id FROM "
                                   "keyslots WHERE bucket = ? AND erase IS NOT NULL)",
                                   "ii", bucket->id, bucket->id);
    return code ? code
                : sql_run(clerk->sql, reterr,
                          "UPDATE keyslots SET bucket = NULL, erased_at = ? "
                          "WHERE bucket = ? AND erase IS NOT NULL",
                          "ii", clerk->now_unix_s, bucket->id);
}

static enum error_code read_survivors(struct clerk *clerk, const struct bucket *bucket,
                                      struct buffer *survivors, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr, "SELECT keyslot, sealed FROM scalars WHERE bucket = ?", "i", bucket->id);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        struct survivor survivor;
        if (!sql_bytes(&rows, 0, survivor.keyslot, sizeof(survivor.keyslot)))
            code = error_set(reterr, ERR_FAILED, 0, "the database is damaged: a scalar of no keyslot");
        if (!sql_bytes(&rows, 1, survivor.sealed, sizeof(survivor.sealed)))
            memset(survivor.sealed, 0, sizeof(survivor.sealed)); /* opens no more than what is there */
        if (!code)
            code = buffer_append(survivors, &survivor, sizeof(survivor), reterr);
    }
    sql_done(&rows);
    return code;
}

/* One that is damaged opens nothing any more. It keeps no other from being erased: it is told in the ledger,
 * and lies where it was. */
static enum error_code pass_over(struct clerk *clerk, const struct survivor *survivor, struct error *reterr)
{
    json_t *details = json_object();
    enum error_code code =
        json_set_hex(details, "keyslot", survivor->keyslot, sizeof(survivor->keyslot), reterr);
    if (!code)
        code = record_append(clerk, "scalar-damaged", TAKE(details), reterr);
    json_decref(details);
    return code;
}

static enum error_code reseal(struct clerk *clerk, const struct bucket *bucket, int64_t key,
                              const struct survivor *survivor, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *scalar = NULL;
    uint8_t sealed[KEYRING_SEALED_SIZE];
    const struct keyring *keyring = clerk_keyring(clerk);
    enum error_code code =
        keyring_unseal(keyring, (uint64_t)bucket->key, survivor->keyslot, survivor->sealed, &scalar, reterr);
    if (code == ERR_CORRUPT)
        return pass_over(clerk, survivor, reterr);
    if (!code)
        code = keyring_seal(keyring, (uint64_t)key, survivor->keyslot, scalar, sealed, reterr);
    return code ? code
                : sql_run(clerk->sql, reterr,
                          "UPDATE scalars SET sealed = ? WHERE bucket = ? AND keyslot = ?", "bib", sealed,
                          sizeof(sealed), bucket->id, survivor->keyslot, sizeof(survivor->keyslot));
}

/* Those that stay get a new key. */
static enum error_code keep(struct clerk *clerk, const struct bucket *bucket, const struct buffer *survivors,
                            struct error *reterr)
{
    const size_t count = survivors->length / sizeof(struct survivor);
    int64_t key = 0;
    enum error_code code = bucket_key_new(clerk, &key, reterr);
    for (size_t i = 0; !code && i < count; i++) {
        struct survivor survivor;
        memcpy(&survivor, survivors->data + i * sizeof(survivor), sizeof(survivor));
        code = reseal(clerk, bucket, key, &survivor, reterr);
    }
    return code ? code
                : sql_run(clerk->sql, reterr, "UPDATE buckets SET key = ?, scalars = ? WHERE id = ?", "iii",
                          key, (int64_t)count, bucket->id);
}

static enum error_code give_up(struct clerk *clerk, const struct bucket *bucket, struct error *reterr)
{
    enum error_code code = sql_run(clerk->sql, reterr, "DELETE FROM buckets WHERE id = ?", "i", bucket->id);
    return code ? code
                : sql_run(clerk->sql, reterr, "UPDATE groups SET buckets = buckets - 1 WHERE id = ?", "i",
                          bucket->group_id);
}

static enum error_code replace(struct clerk *clerk, const struct bucket *bucket, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer survivors = {.maximum = SIZE_MAX};
    struct keyring *keyring = NULL;
    enum error_code code = check_key(clerk, bucket, reterr);
    if (!code)
        code = clerk_change_keyring(clerk, &keyring, reterr);
    if (!code)
        code = take_out(clerk, bucket, reterr);
    if (!code)
        code = read_survivors(clerk, bucket, &survivors, reterr);
    if (!code)
        code =
            survivors.length > 0 ? keep(clerk, bucket, &survivors, reterr) : give_up(clerk, bucket, reterr);
    if (!code)
        keyring_remove_bucket(keyring, (uint64_t)bucket->key);
    return code;
}

enum error_code resealing_run(struct clerk *clerk, struct error *reterr)
{
    struct bucket bucket = {0};
    bool is_there = true;
    enum error_code code = clerk_begin(clerk, reterr);
    while (!code && is_there) {
        code = find_bucket(clerk, &bucket, &is_there, reterr);
        if (!code && is_there)
            code = replace(clerk, &bucket, reterr);
    }
    if (!code && clerk->next_keyring)
        code = sql_run(clerk->sql, reterr, "UPDATE erases SET generation = ? WHERE generation IS NULL", "i",
                       (int64_t)clerk->next_keyring->generation);
    if (code)
        sql_roll_back(clerk->sql);
    return code ? code : clerk_commit(clerk, reterr);
}
