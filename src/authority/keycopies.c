#include "authority/keycopies.h"

#include <sodium.h>

#include "authority/operations.h"
#include "authority/record.h"
#include "base/text.h"

enum { ID_SIZE = 16, KIND_MAXIMUM = 32, PLACE_MAXIMUM = 512, ID_LEAST = 4, KNOWN_MOST = 4096 };

static enum error_code count_known(struct clerk *clerk, const struct host *host, int64_t *ret_count,
                                   struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, "SELECT count(*) FROM keycopies WHERE host = ? AND kind <> ''",
                   "b", host->id, sizeof(host->id));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code)
        *ret_count = sql_integer(&rows, 0);
    sql_done(&rows);
    return code;
}

static enum error_code take_one(struct clerk *clerk, const struct host *host, json_t *copy,
                                struct error *reterr)
{
    const char *kind = NULL, *place = NULL;
    uint8_t id[ID_SIZE];
    enum error_code code = json_get_string(copy, "kind", &kind, reterr);
    if (!code)
        code = json_get_string(copy, "place", &place, reterr);
    if (!code && (!*kind || strlen(kind) > KIND_MAXIMUM || strlen(place) > PLACE_MAXIMUM))
        code = error_set(reterr, ERR_CORRUPT, 0, "a key copy with a kind or place that is too long");
    if (code)
        return code;
    randombytes_buf(id, sizeof(id));
    return sql_run(clerk->sql, reterr,
                   "INSERT INTO keycopies(id, host, kind, place, reported_at, is_reported) "
                   "VALUES(?, ?, ?, ?, ?, 1) ON CONFLICT(host, kind, place) DO UPDATE SET is_reported = 1",
                   "bbtti", id, sizeof(id), host->id, sizeof(host->id), kind, place, clerk->now_unix_s);
}

/* That the host has told its list at all, also an empty one. */
static enum error_code note_reported(struct clerk *clerk, const struct host *host, struct error *reterr)
{
    uint8_t id[ID_SIZE];
    randombytes_buf(id, sizeof(id));
    return sql_run(clerk->sql, reterr,
                   "INSERT INTO keycopies(id, host, kind, place, reported_at, is_reported) "
                   "VALUES(?, ?, '', '', ?, 1) ON CONFLICT(host, kind, place) DO NOTHING",
                   "bbi", id, sizeof(id), host->id, sizeof(host->id), clerk->now_unix_s);
}

enum error_code keycopies_take(struct clerk *clerk, const struct host *host, json_t *copies,
                               struct error *reterr)
{
    int64_t before = 0, after = 0;
    json_t *details = NULL;
    enum error_code code = count_known(clerk, host, &before, reterr);
    if (!code)
        code = note_reported(clerk, host, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE keycopies SET is_reported = 0 WHERE host = ? AND is_reported = 1", "b",
                       host->id, sizeof(host->id));
    for (size_t i = 0; !code && i < json_array_size(copies); i++)
        code = take_one(clerk, host, json_array_get(copies, i), reterr);
    if (!code)
        code = count_known(clerk, host, &after, reterr);
    if (!code && after > KNOWN_MOST)
        code = error_set(reterr, ERR_DENIED, 0, "this host has reported too many key copies");
    if (code || after == before)
        return code;
    details = record_of_host(host->id);
    code = json_set_new(details, "known", json_integer((json_int_t)after), reterr);
    if (!code)
        code = record_append(clerk, "keycopies", TAKE(details), reterr);
    json_decref(details);
    return code;
}

/* Why a key copy still counts, or not. */
static const char *state_word(const struct sql_rows *rows)
{
    if (!sql_is_null(rows, 6))
        return "destroyed";
    return sql_integer(rows, 5) ? "reported" : "was reported";
}

static json_t *show(const struct sql_rows *rows)
{
    size_t length;
    const void *id = sql_blob(rows, 0, &length);
    json_t *host_id = sql_is_null(rows, 8) ? json_null() : json_string(sql_text(rows, 8));
    return json_pack("{s:o, s:s, s:o, s:s, s:s, s:s, s:I, s:o, s:s?}", "id", json_hex(id, length), "host",
                     sql_text(rows, 1), "host_id", host_id, "kind", sql_text(rows, 2), "place",
                     sql_text(rows, 3), "state", state_word(rows), "reported_at",
                     (json_int_t)sql_integer(rows, 4), "destroyed_at",
                     sql_is_null(rows, 6) ? json_null() : json_integer((json_int_t)sql_integer(rows, 6)),
                     "destroyed_by", sql_is_null(rows, 7) ? NULL : sql_text(rows, 7));
}

/* Of this authority's backups: each opens every host that was enrolled when it was made and not erased yet.
 */
#define ENVELOPES                                                                                            \
    "SELECT b.id, '(every host)', 'backup', 'envelope of backup ' || lower(hex(b.id)), b.made_at, 1, "       \
    "b.destroyed_at, b.destroyed_by, NULL FROM backups b WHERE ?1 IS NULL OR EXISTS(SELECT 1 FROM hosts h "  \
    "WHERE "                                                                                                 \
    "h.name = ?1 AND h.created_at <= b.made_at AND NOT EXISTS(SELECT 1 FROM erases e WHERE e.host = h.id "   \
    "AND e.final = 1 AND e.done_at < b.made_at))"

/* Hosts whose agent never told: what else opens them is not known. */
static enum error_code add_not_reported(struct clerk *clerk, const char *name, json_t *result,
                                        struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    json_t *array = json_array();
    enum error_code code = json_set_new(result, "not_reported", array, reterr);
    if (!code)
        code =
            sql_select(clerk->sql, &rows, reterr,
                       "SELECT h.name, lower(hex(h.id)) FROM hosts h WHERE (?1 IS NULL OR h.name = ?1) AND "
                       "NOT " KEYCOPIES_WERE_REPORTED " ORDER BY h.name",
                       "t", name);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        if (json_array_append_new(array, json_pack("{s:s, s:s}", "host", sql_text(&rows, 0), "host_id",
                                                   sql_text(&rows, 1))) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    sql_done(&rows);
    return code;
}

enum error_code operation_keycopy_list(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    json_t *array = json_array();
    const char *host = json_string_value(json_object_get(job->arguments, "host"));
    job->result = json_pack("{s:o}", "keycopies", array);
    enum error_code code = job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = sql_select(clerk->sql, &rows, reterr,
                          "SELECT k.id, h.name AS host, k.kind AS kind, k.place AS place, k.reported_at, "
                          "k.is_reported, k.destroyed_at, k.destroyed_by, lower(hex(h.id)) FROM keycopies k "
                          "JOIN hosts h ON h.id = "
                          "k.host WHERE k.kind <> '' AND (?1 IS NULL OR h.name = ?1) UNION ALL " ENVELOPES
                          " ORDER BY host, kind, place",
                          "t", host);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        if (json_array_append_new(array, show(&rows)) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    sql_done(&rows);
    return code ? code : add_not_reported(clerk, host, job->result, reterr);
}

/* By its id or the beginning of it. */
static enum error_code find(struct clerk *clerk, const char *text, uint8_t ret_id[ID_SIZE],
                            bool *ret_is_destroyed, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false, is_another = false;
    if (strlen(text) < ID_LEAST || strspn(text, "0123456789abcdef") != strlen(text))
        return error_set(reterr, ERR_USAGE, 0, "a key copy's id, or at least its first four digits");
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT id, destroyed_at FROM keycopies WHERE kind <> '' AND lower(hex(id)) LIKE ?1 || '%' UNION "
        "ALL "
        "SELECT id, destroyed_at FROM backups WHERE lower(hex(id)) LIKE ?1 || '%' LIMIT 2",
        "t", text);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && (!is_there || !sql_bytes(&rows, 0, ret_id, ID_SIZE))) {
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no key copy %s", text_shown(text));
        error_remedy(reterr, "huskd keycopy list tells the ids");
    }
    if (!code)
        *ret_is_destroyed = !sql_is_null(&rows, 1);
    if (!code)
        code = sql_next(&rows, &is_another, reterr);
    if (!code && is_another)
        code = error_set(reterr, ERR_USAGE, 0, "more than one key copy begins with %s", text_shown(text));
    sql_done(&rows);
    return code;
}

enum error_code operation_keycopy_destroyed(struct clerk *clerk, struct job *job, struct error *reterr)
{
    uint8_t id[ID_SIZE];
    bool is_destroyed = false;
    const char *text = NULL;
    json_t *details = NULL;
    enum error_code code = argument_text(job, "keycopy", &text, reterr);
    if (!code)
        code = find(clerk, text, id, &is_destroyed, reterr);
    if (code)
        return code;
    if (!is_destroyed) {
        details = json_pack("{s:o}", "keycopy", record_hex(id));
        code = operation_set_actor(job, details, reterr);
        if (!code)
            code = sql_run(clerk->sql, reterr,
                           "UPDATE keycopies SET destroyed_at = ?, destroyed_by = ? WHERE id = ?", "itb",
                           clerk->now_unix_s, json_string_value(json_object_get(details, "actor")), id,
                           sizeof(id));
        if (!code)
            code = sql_run(clerk->sql, reterr,
                           "UPDATE backups SET destroyed_at = ?, destroyed_by = ? WHERE id = ?", "itb",
                           clerk->now_unix_s, json_string_value(json_object_get(details, "actor")), id,
                           sizeof(id));
        if (!code)
            code = record_append(clerk, "keycopy-destroyed", TAKE(details), reterr);
        json_decref(details);
        job->changed = !code;
    }
    if (!code)
        job->result = json_pack("{s:o}", "id", record_hex(id));
    return code || job->result ? code : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}
