#include "authority/operations.h"
#include "authority/record.h"
#include "base/text.h"

enum { SHOW_USUAL = 1000, SHOW_MOST = 100000 };

static enum error_code append_entry(const struct sql_rows *rows, json_t *array, struct error *reterr)
{
    uint8_t hash[LEDGER_HASH_SIZE];
    char text[2 * LEDGER_HASH_SIZE + 1];
    size_t length;
    json_t *shown = json_pack("{s:I}", "sequence", (json_int_t)sql_integer(rows, 0));
    const void *bytes = sql_blob(rows, 2, &length);
    json_t *entry = bytes ? json_loadb(bytes, length, 0, NULL) : NULL;
    if (sql_bytes(rows, 1, hash, sizeof(hash)))
        text_format_hex(text, hash, sizeof(hash));
    else
        text[0] = '\0';
    /* An entry that cannot be read is shown all the same; ledger verify names it. */
    const bool is_added = shown && (!entry || json_object_update(shown, entry) == 0) &&
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
    return code;
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

/* Everything counted in the database, by one statement each. */
static const struct {
    const char *metric, *help, *sql;
} counted[] = {
    {"huskd_hosts", "hosts that are confirmed and not erased",
     "SELECT count(*) FROM hosts WHERE confirmed = 1 AND erased = 0"},
    {"huskd_hosts_held", "hosts on hold", "SELECT count(*) FROM hosts WHERE held <> 0 AND erased = 0"},
    {"huskd_hosts_erased", "hosts that are erased", "SELECT count(*) FROM hosts WHERE erased = 1"},
    {"huskd_keyslots", "keyslots that can open", "SELECT count(*) FROM keyslots WHERE erase IS NULL"},
    {"huskd_requests_pending", "requests that wait for people",
     "SELECT count(*) FROM requests WHERE state IN (0, 1) AND expires_at > ?"},
    {"huskd_erases_unfinished", "erases that were begun and are not done",
     "SELECT count(*) FROM erases WHERE done_at IS NULL"},
    {"huskd_orders_open", "orders that no host has carried out yet",
     "SELECT count(*) FROM orders WHERE is_done = 0"},
    {"huskd_ledger_alarms", "hosts that hold a checkpoint of another ledger than this one",
     "SELECT count(*) FROM ledger_alarms"},
    {"huskd_ledger_entries", "entries of the ledger", "SELECT coalesce(max(sequence), 0) FROM ledger"},
};

static enum error_code count(struct clerk *clerk, size_t which, struct buffer *text, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    const bool takes_now = strchr(counted[which].sql, '?') != NULL;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, counted[which].sql, takes_now ? "i" : "", clerk->now_unix_s);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code)
        code = buffer_printf(text, reterr, "# HELP %s %s\n# TYPE %s gauge\n%s %lld\n", counted[which].metric,
                             counted[which].help, counted[which].metric, counted[which].metric,
                             is_there ? (long long)sql_integer(&rows, 0) : 0LL);
    sql_done(&rows);
    return code;
}

enum error_code operation_metrics(struct clerk *clerk, struct job *job, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(counted); i++)
        code = count(clerk, i, &text, reterr);
    const struct {
        const char *metric, *type;
        unsigned long long value;
    } kept[] = {
        {"huskd_messages_total", "counter", atomic_load(&clerk->messages)},
        {"huskd_messages_unreadable_total", "counter", atomic_load(&clerk->unreadable)},
        {"huskd_batches_total", "counter", clerk->batches},
        {"huskd_commits_failed_total", "counter", clerk->commits_failed},
        {"huskd_waiting", "gauge", clerk->waiting_count},
        {"huskd_clock_went_back", "gauge", clerk->clock_went_back},
        {"huskd_keyrings_undestroyed", "gauge", clerk->has_old_keyring},
    };
    for (size_t i = 0; !code && i < ARRAY_SIZE(kept); i++)
        code = buffer_printf(&text, reterr, "# TYPE %s %s\n%s %llu\n", kept[i].metric, kept[i].type,
                             kept[i].metric, kept[i].value);
    if (!code) {
        job->result = json_pack("{s:s}", "text", text.data);
        code = job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    return code;
}
