#include "authority/operations.h"
#include "authority/record.h"
#include "base/text.h"

enum { SHOW_USUAL = 1000, SHOW_MOST = 100000 };

static enum error_code append_entry(const struct sql_rows *rows, json_t *array, struct error *reterr)
{
    uint8_t hash[LEDGER_HASH_SIZE];
    char text[2 * LEDGER_HASH_SIZE + 1];
    size_t length;
    json_t *shown = json_object();
    const void *bytes = sql_blob(rows, 2, &length);
    json_t *entry = bytes ? json_loadb(bytes, length, 0, NULL) : NULL;
    if (sql_bytes(rows, 1, hash, sizeof(hash)))
        text_format_hex(text, hash, sizeof(hash));
    else
        text[0] = '\0';
    /* An entry that cannot be read is shown all the same; ledger verify names it. Whatever it says, these are
     * its place and its hash. */
    const bool is_added = shown && (!entry || json_object_update(shown, entry) == 0) &&
                          json_object_set_new(shown, "sequence", json_integer(sql_integer(rows, 0))) == 0 &&
                          json_object_set_new(shown, "hash", json_string(text)) == 0;
    json_decref(entry);
    if (is_added && json_array_append_new(array, shown) == 0)
        return OK;
    if (!is_added)
        json_decref(shown);
    return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

enum error_code operation_ledger_show(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    int64_t from = 0, count = SHOW_USUAL;
    struct ledger_head head = {0};
    json_t *array = json_array();
    job->result = json_pack("{s:o}", "entries", array);
    enum error_code code = argument_integer(job, "from", 0, INT64_MAX, &from, reterr);
    if (!code)
        code = argument_integer(job, "count", 1, SHOW_MOST, &count, reterr);
    /* Without from: the last ones, oldest first. */
    if (!code)
        code = sql_select(
            clerk->sql, &rows, reterr,
            "SELECT sequence, hash, entry FROM ledger WHERE sequence >= "
            "CASE WHEN ?1 > 0 THEN ?1 ELSE (SELECT coalesce(max(sequence), 0) FROM ledger) - ?2 + 1 "
            "END ORDER BY sequence LIMIT ?2",
            "ii", from, count);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        code = append_entry(&rows, array, reterr);
    sql_done(&rows);
    if (!code)
        code = record_get_head(clerk->sql, clerk->epoch, &head, reterr);
    return code ? code : json_set_new(job->result, "last", json_integer((json_int_t)head.sequence), reterr);
}

/* checkpoint: an array of signed ones in hexadecimal, as hosts keep them. */
static enum error_code parse_checkpoints(struct clerk *clerk, struct job *job,
                                         struct ledger_checkpoint **ret_checkpoints, size_t *ret_count,
                                         struct error *reterr)
{
    json_t *array = json_object_get(job->arguments, "checkpoint");
    const size_t count = json_array_size(array);
    _cleanup_(freep) struct ledger_checkpoint *checkpoints = calloc(count ? count : 1, sizeof(*checkpoints));
    if (!checkpoints)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[LEDGER_CHECKPOINT_MAXIMUM];
        const char *text = json_string_value(json_array_get(array, i));
        const size_t length = text ? strlen(text) / 2 : 0;
        if (!text || length > sizeof(bytes) || text_parse_hex(text, bytes, length, NULL) != OK)
            return error_set(reterr, ERR_USAGE, 0, "a checkpoint that is no hexadecimal");
        enum error_code code = record_parse_checkpoint(clerk, bytes, length, &checkpoints[i], reterr);
        if (code)
            return code;
    }
    *ret_checkpoints = TAKE(checkpoints);
    *ret_count = count;
    return OK;
}

enum error_code operation_ledger_verify(struct clerk *clerk, struct job *job, struct error *reterr)
{
    _cleanup_(freep) struct ledger_checkpoint *checkpoints = NULL;
    size_t count = 0;
    struct ledger_head head;
    char hash[2 * LEDGER_HASH_SIZE + 1];
    enum error_code code = parse_checkpoints(clerk, job, &checkpoints, &count, reterr);
    if (!code)
        code = record_verify(clerk->sql, clerk->epoch, checkpoints, count, &head, reterr);
    if (code)
        return code;
    text_format_hex(hash, head.hash, sizeof(head.hash));
    job->result = json_pack("{s:I, s:I, s:s, s:I, s:s?}", "epoch", (json_int_t)clerk->epoch, "entries",
                            (json_int_t)head.sequence, "hash", hash, "checkpoints", (json_int_t)count,
                            "checkpoint", clerk->checkpoint);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}
