/* Tokens: made, told without what is secret of them, revoked. One that expired is told no more. */
#include <sodium.h>

#include "authority/operations.h"
#include "authority/record.h"
#include "base/sure.h"
#include "base/text.h"

enum { TOKEN_SIZE = 16, TOKEN_TTL_S = 86400, TOKEN_TTL_MOST_S = 90 * 86400 };
enum { TOKEN_ID_SIZE = 16, TOKEN_DIGITS_LEAST = 8, HASH_SIZE = crypto_hash_sha256_BYTES };

/* husk1.TOKEN.FINGERPRINT, docs/protocol.md "Enrolling". */
static json_t *format_token(const struct clerk *clerk, const uint8_t token[TOKEN_SIZE])
{
    uint8_t fingerprint[DESCRIPTOR_FINGERPRINT_SIZE];
    char token_text[2 * TOKEN_SIZE + 1], fingerprint_text[2 * DESCRIPTOR_FINGERPRINT_SIZE + 1];
    descriptor_fingerprint(clerk->face->descriptor.root, fingerprint);
    text_format_hex(token_text, token, TOKEN_SIZE);
    text_format_hex(fingerprint_text, fingerprint, sizeof(fingerprint));
    json_t *text = json_sprintf("husk1.%s.%s", token_text, fingerprint_text);
    sodium_memzero(token_text, sizeof(token_text));
    return text;
}

/* A token's id is the beginning of its hash: nobody gets the token from it. */
static enum error_code record_token(struct clerk *clerk, struct job *job, const char *kind,
                                    const uint8_t *hash, const char *group, int64_t expires_at,
                                    struct error *reterr)
{
    json_t *details = json_pack("{s:o, s:s, s:I}", "token", record_hex(hash), "group", group, "expires_at",
                                (json_int_t)expires_at);
    enum error_code code = operation_set_actor(job, details, reterr);
    if (!code)
        code = record_append(clerk, kind, TAKE(details), reterr);
    json_decref(details);
    return code;
}

static enum error_code insert(struct clerk *clerk, struct job *job, const struct group *group,
                              int64_t expires_at, const uint8_t token[TOKEN_SIZE], struct error *reterr)
{
    uint8_t hash[HASH_SIZE];
    char actor[OPERATION_ACTOR_SIZE];
    operation_actor(job, actor);
    sure(crypto_hash_sha256(hash, token, TOKEN_SIZE));
    enum error_code code = sql_run(clerk->sql, reterr,
                                   "INSERT INTO tokens(hash, group_id, expires_at, made_by) "
                                   "VALUES(?, ?, ?, ?)",
                                   "biit", hash, sizeof(hash), group->id, expires_at, actor);
    if (!code)
        code = record_token(clerk, job, "token", hash, group->name, expires_at, reterr);
    if (code)
        return code;
    job->result = json_pack("{s:o, s:o, s:I}", "token", format_token(clerk, token), "id", record_hex(hash),
                            "expires_at", (json_int_t)expires_at);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

enum error_code operation_token_create(struct clerk *clerk, struct job *job, struct error *reterr)
{
    uint8_t token[TOKEN_SIZE];
    const char *name = "default";
    struct group group = {0};
    int64_t ttl_s = TOKEN_TTL_S;
    enum error_code code =
        json_object_get(job->arguments, "group") ? argument_text(job, "group", &name, reterr) : OK;
    if (!code)
        code = argument_seconds(job, "expires", 1, TOKEN_TTL_MOST_S, &ttl_s, reterr);
    if (!code)
        code = group_find_by_name(clerk, name, &group, reterr);
    if (code)
        return code;
    randombytes_buf(token, sizeof(token));
    code = tokens_forget_expired(clerk, reterr);
    if (!code)
        code = insert(clerk, job, &group, clerk->now_unix_s + ttl_s, token, reterr);
    sodium_memzero(token, sizeof(token));
    job->changed = !code;
    group_done(&group);
    return code;
}

enum error_code tokens_forget_expired(struct clerk *clerk, struct error *reterr)
{
    return sql_run(clerk->sql, reterr, "DELETE FROM tokens WHERE host IS NULL AND expires_at <= ?", "i",
                   clerk->now_unix_s);
}

static enum error_code append_token(const struct sql_rows *rows, json_t *array, struct error *reterr)
{
    json_t *token =
        json_pack("{s:s, s:s, s:s, s:I, s:s?}", "id", sql_text(rows, 0), "group", sql_text(rows, 1),
                  "made_by", sql_text(rows, 2), "expires_at", (json_int_t)sql_integer(rows, 3), "used_by",
                  sql_is_null(rows, 4) ? NULL : sql_text(rows, 4));
    return json_array_append_new(array, token) == 0 ? OK
                                                    : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

enum error_code operation_token_list(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    json_t *array = json_array();
    job->result = json_pack("{s:o}", "tokens", array);
    enum error_code code =
        job->result ? sql_select(clerk->sql, &rows, reterr,
                                 "SELECT lower(hex(substr(t.hash, 1, 16))), g.name, t.made_by, t.expires_at, "
                                 "h.name FROM tokens t JOIN groups g ON g.id = t.group_id LEFT JOIN hosts h "
                                 "ON h.id = t.host WHERE t.expires_at > ? ORDER BY t.expires_at, t.hash",
                                 "i", clerk->now_unix_s)
                    : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    _Static_assert(TOKEN_ID_SIZE == 16, "the statement above");
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        code = append_token(&rows, array, reterr);
    sql_done(&rows);
    return code;
}

struct found_token {
    uint8_t hash[HASH_SIZE];
    char group[HOST_NAME_SIZE];
    char used_by[HOST_NAME_SIZE]; /* empty: nobody yet */
    int64_t expires_at;
};

static enum error_code read_found(struct sql_rows *rows, const char *text, struct found_token *ret_found,
                                  struct error *reterr)
{
    bool is_there = false, is_another = false;
    enum error_code code = sql_next(rows, &is_there, reterr);
    if (!code && (!is_there || !sql_bytes(rows, 0, ret_found->hash, HASH_SIZE))) {
        error_set(reterr, ERR_NOT_FOUND, 0, "there is no token %s", text_shown(text));
        return error_remedy(reterr, "huskd token list tells those that have not expired");
    }
    if (code)
        return code;
    snprintf(ret_found->group, sizeof(ret_found->group), "%s", sql_text(rows, 1));
    ret_found->expires_at = sql_integer(rows, 2);
    snprintf(ret_found->used_by, sizeof(ret_found->used_by), "%s", sql_text(rows, 3));
    code = sql_next(rows, &is_another, reterr);
    return !code && is_another
               ? error_set(reterr, ERR_USAGE, 0, "more than one token begins with %s", text_shown(text))
               : code;
}

static enum error_code find(struct clerk *clerk, struct job *job, struct found_token *ret_found,
                            struct error *reterr)
{
    struct sql_rows rows = {0};
    struct found_token found = {0};
    uint8_t least[HASH_SIZE], most[HASH_SIZE];
    const char *text = NULL;
    memset(least, 0, sizeof(least));
    memset(most, 0xff, sizeof(most));
    enum error_code code = argument_id(job, "token", TOKEN_DIGITS_LEAST, &text, least, most, reterr);
    if (!code)
        code = sql_select(clerk->sql, &rows, reterr,
                          "SELECT t.hash, g.name, t.expires_at, h.name FROM tokens t JOIN groups g ON g.id = "
                          "t.group_id LEFT JOIN hosts h ON h.id = t.host WHERE t.hash BETWEEN ? AND ? AND "
                          "t.expires_at > ? LIMIT 2",
                          "bbi", least, sizeof(least), most, sizeof(most), clerk->now_unix_s);
    if (!code)
        code = read_found(&rows, text, &found, reterr);
    sql_done(&rows);
    if (!code)
        *ret_found = found;
    return code;
}

enum error_code operation_token_revoke(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct found_token found;
    enum error_code code = find(clerk, job, &found, reterr);
    if (code)
        return code;
    if (*found.used_by) {
        error_set(reterr, ERR_DENIED, 0, "host %s has used this token: it enrols nobody else", found.used_by);
        return error_remedy(reterr, "where that host should not be one: huskd host hold or host erase");
    }
    code =
        sql_run(clerk->sql, reterr, "DELETE FROM tokens WHERE hash = ?", "b", found.hash, sizeof(found.hash));
    if (!code)
        code = record_token(clerk, job, "token-revoked", found.hash, found.group, found.expires_at, reterr);
    if (code)
        return code;
    job->result = json_pack("{s:o, s:s}", "id", record_hex(found.hash), "group", found.group);
    job->changed = job->result != NULL;
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}
