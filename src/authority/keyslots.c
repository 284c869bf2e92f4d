#include "authority/keyslots.h"

enum error_code keyslot_find(struct clerk *clerk, const uint8_t id[KEYRING_KEYSLOT_SIZE],
                             struct keyslot *ret_keyslot, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct keyslot keyslot = {0};
    bool is_there = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT host, vault, bucket, sealed, erase, bound FROM keyslots WHERE id = ?", "b", id,
                   (size_t)KEYRING_KEYSLOT_SIZE);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && !is_there)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such keyslot");
    if (!code) {
        memcpy(keyslot.id, id, sizeof(keyslot.id));
        keyslot.bucket = sql_integer(&rows, 2);
        keyslot.has_scalar = sql_bytes(&rows, 3, keyslot.sealed, sizeof(keyslot.sealed));
        keyslot.is_erased = !sql_is_null(&rows, 4);
        if (!sql_bytes(&rows, 0, keyslot.host, sizeof(keyslot.host)) ||
            !sql_bytes(&rows, 1, keyslot.vault, sizeof(keyslot.vault)) ||
            !sql_bytes(&rows, 5, keyslot.bound, sizeof(keyslot.bound)) ||
            (!keyslot.has_scalar && !keyslot.is_erased))
            code = error_set(reterr, ERR_CORRUPT, 0, "the database: a keyslot is incomplete");
    }
    sql_done(&rows);
    if (!code)
        *ret_keyslot = keyslot;
    return code;
}

static enum error_code select_integers(struct clerk *clerk, struct sql_rows *rows, int64_t *ret_first,
                                       int64_t *ret_second, bool *ret_is_there, struct error *reterr)
{
    (void)clerk;
    enum error_code code = sql_next(rows, ret_is_there, reterr);
    if (!code && *ret_is_there) {
        *ret_first = sql_integer(rows, 0);
        *ret_second = sql_integer(rows, 1);
    }
    sql_done(rows);
    return code;
}

static enum error_code make_bucket(struct clerk *clerk, int64_t group_id, int64_t *ret_bucket,
                                   struct error *reterr)
{
    struct sql_rows rows = {0};
    struct keyring *keyring;
    int64_t bucket = 0, unused = 0;
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT next_bucket, 0 FROM state", "");
    if (!code)
        code = select_integers(clerk, &rows, &bucket, &unused, &is_there, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE state SET next_bucket = next_bucket + 1", "");
    if (!code)
        code = sql_run(clerk->sql, reterr, "INSERT INTO buckets(id, group_id, scalars) VALUES(?, ?, 0)", "ii",
                       bucket, group_id);
    if (!code)
        code = clerk_change_keyring(clerk, &keyring, reterr);
    if (!code)
        code = keyring_add_bucket(keyring, (uint64_t)bucket, reterr);
    if (!code)
        *ret_bucket = bucket;
    return code;
}

/* The emptiest of the group's buckets; another one as soon as the group has more than the square of its
 * buckets in scalars, so that an erase reseals about the root of them. */
static enum error_code choose_bucket(struct clerk *clerk, int64_t group_id, int64_t *ret_bucket,
                                     struct error *reterr)
{
    struct sql_rows rows = {0};
    int64_t buckets = 0, scalars = 0, bucket = 0, unused = 0;
    bool is_there = false;
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT count(*), coalesce(sum(scalars), 0) FROM buckets WHERE group_id = ?", "i", group_id);
    if (!code)
        code = select_integers(clerk, &rows, &buckets, &scalars, &is_there, reterr);
    if (!code && scalars >= buckets * buckets)
        return make_bucket(clerk, group_id, ret_bucket, reterr);
    if (!code)
        code = sql_select(clerk->sql, &rows, reterr,
                          "SELECT id, 0 FROM buckets WHERE group_id = ? ORDER BY scalars, id LIMIT 1", "i",
                          group_id);
    if (!code)
        code = select_integers(clerk, &rows, &bucket, &unused, &is_there, reterr);
    if (!code)
        *ret_bucket = bucket;
    return code;
}

enum error_code keyslot_insert(struct clerk *clerk, const struct host *host, const struct keyslot *keyslot,
                               const char *vault_name, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *scalar = NULL;
    uint8_t sealed[KEYRING_SEALED_SIZE];
    int64_t bucket = 0;
    enum error_code code = choose_bucket(clerk, host->group_id, &bucket, reterr);
    if (!code)
        code = oprf_key_new(&scalar, reterr);
    if (!code)
        code = keyring_seal(clerk_keyring(clerk), (uint64_t)bucket, keyslot->id, scalar, sealed, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "INSERT INTO keyslots(id, host, vault, vault_name, created_at, bound, bucket, sealed) "
                       "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                       "bbbtibib", keyslot->id, sizeof(keyslot->id), host->id, sizeof(host->id),
                       keyslot->vault, sizeof(keyslot->vault), vault_name, clerk->now_unix_s, keyslot->bound,
                       sizeof(keyslot->bound), bucket, sealed, sizeof(sealed));
    if (!code)
        code =
            sql_run(clerk->sql, reterr, "UPDATE buckets SET scalars = scalars + 1 WHERE id = ?", "i", bucket);
    return code;
}

enum error_code keyslot_get_scalar(struct clerk *clerk, const struct keyslot *keyslot,
                                   struct secret **ret_scalar, struct error *reterr)
{
    if (keyslot->is_erased || !keyslot->has_scalar)
        return error_set(reterr, ERR_ERASED, 0, "the keyslot is erased");
    return keyring_unseal(clerk_keyring(clerk), (uint64_t)keyslot->bucket, keyslot->id, keyslot->sealed,
                          ret_scalar, reterr);
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
