/* What machines watch, and what people are told with the lists they look at. */
#include "authority/operations.h"

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
    {"huskd_backups", "backups whose envelope nobody has declared destroyed",
     "SELECT count(*) FROM backups WHERE destroyed_at IS NULL"},
    {"huskd_backup_made_seconds", "when the last backup was made, since 1970; 0: never",
     "SELECT coalesce(max(made_at), 0) FROM backups"},
    {"huskd_ledger_entries", "entries of the ledger in this epoch",
     "SELECT coalesce(max(sequence), 0) FROM ledger"},
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

struct kept {
    const char *metric, *type, *help;
    uint64_t value;
};

static enum error_code append_kept(const struct kept *kept, struct buffer *text, struct error *reterr)
{
    return buffer_printf(text, reterr, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", kept->metric, kept->help,
                         kept->metric, kept->type, kept->metric, (unsigned long long)kept->value);
}

static enum error_code append_all_kept(struct clerk *clerk, struct buffer *text, struct error *reterr)
{
    const struct face *face = clerk->face;
    const struct kept all[] = {
        {"huskd_messages_total", "counter", "messages that came", atomic_load(&clerk->messages)},
        {"huskd_messages_unreadable_total", "counter",
         "messages that could not be read, answered with the descriptor", atomic_load(&clerk->unreadable)},
        {"huskd_requests_total", "counter", "requests that were made", clerk->requests},
        {"huskd_granted_total", "counter", "requests that were granted", clerk->granted},
        {"huskd_refused_total", "counter", "requests that were denied or expired", clerk->denied},
        {"huskd_batches_total", "counter", "transactions", clerk->batches},
        {"huskd_commits_failed_total", "counter", "transactions that could not be made durable",
         clerk->commits_failed},
        {"huskd_troubles_total", "counter",
         "times that nothing could be decided because of the disk or the memory", clerk->troubles},
        {"huskd_in_trouble", "gauge", "1 when the last attempt failed so", clerk->told[0] != 0},
        {"huskd_waiting", "gauge", "held polls and opens", clerk->waiting_count},
        {"huskd_clock_went_back", "gauge",
         "1 when the clock is behind the ledger: nothing opens without people", clerk->clock_went_back},
        {"huskd_keyrings_undestroyed", "gauge", "1 when an earlier keyring could not be destroyed yet",
         clerk->has_old_keyring},
        {"huskd_awaiting_root", "gauge", "1 when a restored authority waits for its descriptor",
         face->is_awaiting_root},
        {"huskd_descriptor_sequence", "gauge", "sequence of the descriptor in force",
         face->descriptor.sequence},
        {"huskd_ledger_epoch", "gauge", "epoch of the ledger", clerk->epoch},
    };
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(all); i++)
        code = append_kept(&all[i], text, reterr);
    return code;
}

enum error_code operation_metrics(struct clerk *clerk, struct job *job, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(counted); i++)
        code = count(clerk, i, &text, reterr);
    if (!code)
        code = append_all_kept(clerk, &text, reterr);
    if (code)
        return code;
    job->result = json_pack("{s:s}", "text", text.data);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

static enum error_code count_ledger_alarms(struct clerk *clerk, int64_t *ret_count, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT count(*) FROM ledger_alarms", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code)
        *ret_count = sql_integer(&rows, 0);
    sql_done(&rows);
    return code;
}

enum error_code operation_add_alarms(struct clerk *clerk, json_t *result, struct error *reterr)
{
    int64_t ledger_alarms = 0;
    json_t *array = json_array();
    enum error_code code = count_ledger_alarms(clerk, &ledger_alarms, reterr);
    if (code) {
        json_decref(array);
        return code;
    }
    const struct {
        bool is_so;
        const char *kind, *cause, *remedy;
    } alarms[] = {
        {clerk->clock_went_back, "clock-went-back",
         "the clock of the authority is behind its ledger: nothing opens without people",
         "set the clock; where it was wrong before and is right now: huskd clock accept"},
        {clerk->face->is_awaiting_root, "awaiting-root",
         "this authority was restored, and hosts get no answer before its descriptor is installed",
         "huskd descriptor sign and install, of the file that the restore wrote (--out); where it is lost, "
         "huskd descriptor prepare --address URL makes it anew"},
        {ledger_alarms > 0, "ledger-differs", "hosts hold checkpoints of a ledger that is not this one",
         "huskd ledger show names them: kind ledger-differs; huskd ledger verify"},
        {clerk->has_old_keyring, "keyring-not-destroyed", "an earlier keyring could not be destroyed yet",
         "see that directory and holder can be written: it is tried again with everything that is decided"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(alarms); i++)
        if (alarms[i].is_so &&
            json_array_append_new(array, json_pack("{s:s, s:s, s:s}", "kind", alarms[i].kind, "cause",
                                                   alarms[i].cause, "remedy", alarms[i].remedy)) != 0) {
            json_decref(array);
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        }
    if (json_array_size(array) > 0)
        return json_set_new(result, "alarms", array, reterr);
    json_decref(array);
    return OK;
}
