#include "authority/resealing.h"

static enum error_code find_bucket(struct clerk *clerk, int64_t *ret_bucket, int64_t *ret_group,
                                   bool *ret_is_there, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT b.id, b.group_id FROM keyslots k JOIN buckets b ON b.id = k.bucket "
                   "WHERE k.erase IS NOT NULL AND k.sealed IS NOT NULL LIMIT 1",
                   "");
    if (!code)
        code = sql_next(&rows, ret_is_there, reterr);
    if (!code && *ret_is_there) {
        *ret_bucket = sql_integer(&rows, 0);
        *ret_group = sql_integer(&rows, 1);
    }
    sql_done(&rows);
    return code;
}

/* A new bucket for the survivors. */
static enum error_code replace_bucket(struct clerk *clerk, struct keyring *keyring, int64_t group_id,
                                      int64_t *ret_bucket, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    int64_t bucket = 0;
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT next_bucket FROM state", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there)
        bucket = sql_integer(&rows, 0);
    sql_done(&rows);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE state SET next_bucket = next_bucket + 1", "");
    if (!code)
        code = sql_run(clerk->sql, reterr, "INSERT INTO buckets(id, group_id, scalars) VALUES(?, ?, 0)", "ii",
                       bucket, group_id);
    if (!code)
        code = keyring_add_bucket(keyring, (uint64_t)bucket, reterr);
    if (!code)
        *ret_bucket = bucket;
    return code;
}

static enum error_code find_survivor(struct clerk *clerk, int64_t bucket,
                                     uint8_t keyslot[KEYRING_KEYSLOT_SIZE],
                                     uint8_t sealed[KEYRING_SEALED_SIZE], bool *ret_is_there,
                                     struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT id, sealed FROM keyslots WHERE bucket = ? AND erase IS NULL LIMIT 1", "i", bucket);
    if (!code)
        code = sql_next(&rows, ret_is_there, reterr);
    if (!code && *ret_is_there &&
        (!sql_bytes(&rows, 0, keyslot, KEYRING_KEYSLOT_SIZE) ||
         !sql_bytes(&rows, 1, sealed, KEYRING_SEALED_SIZE)))
        code = error_set(reterr, ERR_CORRUPT, 0, "the database: a keyslot without its scalar");
    sql_done(&rows);
    return code;
}

static enum error_code reseal(struct clerk *clerk, struct keyring *keyring, int64_t from, int64_t to,
                              const uint8_t keyslot[KEYRING_KEYSLOT_SIZE],
                              const uint8_t old[KEYRING_SEALED_SIZE], struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *scalar = NULL;
    uint8_t sealed[KEYRING_SEALED_SIZE];
    enum error_code code = keyring_unseal(keyring, (uint64_t)from, keyslot, old, &scalar, reterr);
    if (!code)
        code = keyring_seal(keyring, (uint64_t)to, keyslot, scalar, sealed, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE keyslots SET bucket = ?, sealed = ? WHERE id = ?", "ibb",
                       to, sealed, sizeof(sealed), keyslot, (size_t)KEYRING_KEYSLOT_SIZE);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE buckets SET scalars = scalars + 1 WHERE id = ?", "i", to);
    return code;
}

static enum error_code replace(struct clerk *clerk, int64_t bucket, int64_t group_id, struct error *reterr)
{
    struct keyring *keyring = NULL;
    uint8_t keyslot[KEYRING_KEYSLOT_SIZE], sealed[KEYRING_SEALED_SIZE];
    int64_t replacement = 0; /* ids begin at 1 */
    bool is_there = true;
    enum error_code code = clerk_change_keyring(clerk, &keyring, reterr);
    while (!code && is_there) {
        code = find_survivor(clerk, bucket, keyslot, sealed, &is_there, reterr);
        if (!code && is_there && !replacement)
            code = replace_bucket(clerk, keyring, group_id, &replacement, reterr);
        if (!code && is_there)
            code = reseal(clerk, keyring, bucket, replacement, keyslot, sealed, reterr);
    }
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE keyslots SET bucket = NULL, sealed = NULL, erased_at = ? "
                       "WHERE bucket = ? AND erase IS NOT NULL",
                       "ii", clerk->now_unix_s, bucket);
    if (!code)
        code = sql_run(clerk->sql, reterr, "DELETE FROM buckets WHERE id = ?", "i", bucket);
    if (!code)
        keyring_remove_bucket(keyring, (uint64_t)bucket);
    return code;
}

enum error_code resealing_run(struct clerk *clerk, struct error *reterr)
{
    int64_t bucket = 0, group_id = 0;
    bool is_there = true;
    enum error_code code = clerk_begin(clerk, reterr);
    while (!code && is_there) {
        code = find_bucket(clerk, &bucket, &group_id, &is_there, reterr);
        if (!code && is_there)
            code = replace(clerk, bucket, group_id, reterr);
    }
    if (!code && clerk->next_keyring)
        code = sql_run(clerk->sql, reterr, "UPDATE erases SET generation = ? WHERE generation IS NULL", "i",
                       (int64_t)clerk->next_keyring->generation);
    if (code)
        sql_roll_back(clerk->sql);
    return code ? code : clerk_commit(clerk, reterr);
}
