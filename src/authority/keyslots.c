#include "authority/keyslots.h"

enum error_code keyslot_find(struct clerk *clerk, const uint8_t id[KEYRING_KEYSLOT_SIZE],
                             struct keyslot *ret_keyslot, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct keyslot keyslot = {0};
    bool is_there = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT k.host, k.vault, b.key, s.sealed, k.erase, k.bound FROM keyslots k "
                   "LEFT JOIN buckets b ON b.id = k.bucket "
                   "LEFT JOIN scalars s ON s.bucket = k.bucket AND s.keyslot = k.id WHERE k.id = ?",
                   "b", id, (size_t)KEYRING_KEYSLOT_SIZE);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && !is_there)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such keyslot");
    if (!code) {
        memcpy(keyslot.id, id, sizeof(keyslot.id));
        keyslot.key = sql_integer(&rows, 2);
        keyslot.has_scalar = sql_bytes(&rows, 3, keyslot.sealed, sizeof(keyslot.sealed));
        keyslot.is_erased = !sql_is_null(&rows, 4);
        if (!sql_bytes(&rows, 0, keyslot.host, sizeof(keyslot.host)) ||
            !sql_bytes(&rows, 1, keyslot.vault, sizeof(keyslot.vault)) ||
            !sql_bytes(&rows, 5, keyslot.bound, sizeof(keyslot.bound)))
            code = error_set(reterr, ERR_FAILED, 0, "the database is damaged: a keyslot is incomplete");
    }
    sql_done(&rows);
    if (!code)
        *ret_keyslot = keyslot;
    return code;
}

enum error_code bucket_key_new(struct clerk *clerk, int64_t *ret_key, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct keyring *keyring;
    int64_t key = 0;
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT next_bucket FROM state", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there)
        key = sql_integer(&rows, 0);
    sql_done(&rows);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE state SET next_bucket = next_bucket + 1", "");
    if (!code)
        code = clerk_change_keyring(clerk, &keyring, reterr);
    if (!code)
        code = keyring_add_bucket(keyring, (uint64_t)key, reterr);
    if (!code)
        *ret_key = key;
    return code;
}

struct bucket {
    int64_t id, key;
};

/* Its id is that of its first key. */
static enum error_code make_bucket(struct clerk *clerk, int64_t group_id, struct bucket *ret_bucket,
                                   struct error *reterr)
{
    int64_t key = 0;
    /* The batch in which it could not be written failed whole: the next ones do not, for a while. */
    if (clerk->now_ns < clerk->keyring_again_ns)
        return error_set(reterr, ERR_FAILED, 0, "the keyring could not be written a moment ago");
    enum error_code code = bucket_key_new(clerk, &key, reterr);
    if (!code)
        code =
            sql_run(clerk->sql, reterr, "INSERT INTO buckets(id, group_id, key, scalars) VALUES(?, ?, ?, 0)",
                    "iii", key, group_id, key);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE groups SET buckets = buckets + 1 WHERE id = ?", "i",
                       group_id);
    if (!code)
        *ret_bucket = (struct bucket){.id = key, .key = key};
    return code;
}

/* The emptiest of the group's buckets; another one as soon as each holds as many scalars as there are
 * buckets, so that an erase reseals about the root of all. */
static enum error_code choose_bucket(struct clerk *clerk, int64_t group_id, struct bucket *ret_bucket,
                                     struct error *reterr)
{
    struct sql_rows rows = {0};
    struct bucket bucket = {0};
    bool is_there = false, is_full = false;
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT b.id, b.key, b.scalars >= g.buckets FROM buckets b JOIN groups g ON g.id = b.group_id "
        "WHERE b.group_id = ? ORDER BY b.scalars, b.id LIMIT 1",
        "i", group_id);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there) {
        bucket = (struct bucket){.id = sql_integer(&rows, 0), .key = sql_integer(&rows, 1)};
        is_full = sql_integer(&rows, 2);
    }
    sql_done(&rows);
    if (!code && (!is_there || is_full))
        return make_bucket(clerk, group_id, ret_bucket, reterr);
    if (!code)
        *ret_bucket = bucket;
    return code;
}

static enum error_code insert_scalar(struct clerk *clerk, const struct bucket *bucket,
                                     const uint8_t keyslot[KEYRING_KEYSLOT_SIZE], struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *scalar = NULL;
    uint8_t sealed[KEYRING_SEALED_SIZE];
    enum error_code code = oprf_key_new(&scalar, reterr);
    if (!code)
        code = keyring_seal(clerk_keyring(clerk), (uint64_t)bucket->key, keyslot, scalar, sealed, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "INSERT INTO scalars(bucket, keyslot, sealed) VALUES(?, ?, ?)",
                       "ibb", bucket->id, keyslot, (size_t)KEYRING_KEYSLOT_SIZE, sealed, sizeof(sealed));
    return code ? code
                : sql_run(clerk->sql, reterr, "UPDATE buckets SET scalars = scalars + 1 WHERE id = ?", "i",
                          bucket->id);
}

enum error_code keyslot_insert(struct clerk *clerk, const struct host *host, const struct keyslot *keyslot,
                               const char *vault_name, struct error *reterr)
{
    struct bucket bucket = {0};
    enum error_code code = choose_bucket(clerk, host->group_id, &bucket, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "INSERT INTO keyslots(id, host, vault, vault_name, created_at, bound, bucket) "
                       "VALUES(?, ?, ?, ?, ?, ?, ?)",
                       "bbbtibi", keyslot->id, sizeof(keyslot->id), host->id, sizeof(host->id),
                       keyslot->vault, sizeof(keyslot->vault), vault_name, clerk->now_unix_s, keyslot->bound,
                       sizeof(keyslot->bound), bucket.id);
    return code ? code : insert_scalar(clerk, &bucket, keyslot->id, reterr);
}

enum error_code keyslot_get_scalar(struct clerk *clerk, const struct keyslot *keyslot,
                                   struct secret **ret_scalar, struct error *reterr)
{
    if (keyslot->is_erased)
        return error_set(reterr, ERR_ERASED, 0, "the keyslot is erased");
    if (!keyslot->has_scalar)
        return error_set(reterr, ERR_FAILED, 0, "the database is damaged: a keyslot without its scalar");
    enum error_code code = keyring_unseal(clerk_keyring(clerk), (uint64_t)keyslot->key, keyslot->id,
                                          keyslot->sealed, ret_scalar, reterr);
    return code == ERR_CORRUPT || code == ERR_NOT_FOUND
               ? error_set(reterr, ERR_FAILED, 0, "the database is damaged: a scalar is not as it was sealed")
               : code;
}

enum error_code keyslot_evaluate(struct clerk *clerk, struct job *job, const struct keyslot *keyslot,
                                 const uint8_t blinded[OPRF_ELEMENT_SIZE], struct error *reterr)
{
    struct job_evaluation *evaluation = &job->evaluations[job->evaluation_count];
    if (job->evaluation_count == JOB_EVALUATIONS_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "too many evaluations in one message");
    enum error_code code = keyslot_get_scalar(clerk, keyslot, &evaluation->scalar, reterr);
    if (!code) {
        memcpy(evaluation->blinded, blinded, OPRF_ELEMENT_SIZE);
        job->evaluation_count++;
    }
    return code;
}
