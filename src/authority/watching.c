#include "authority/watching.h"

#include "authority/record.h"
#include "base/text.h"

/* Whether the ledger has this entry. Cheap: most checkpoints are, and no signature is looked at for those. */
static enum error_code has_entry(struct clerk *clerk, const struct ledger_head *head, bool *ret_has,
                                 struct error *reterr)
{
    struct sql_rows rows = {0};
    struct ledger_head begin;
    uint8_t hash[LEDGER_HASH_SIZE];
    bool is_there = false;
    ledger_begin(clerk->epoch, &begin);
    if (head->sequence == 0) {
        *ret_has = memcmp(begin.hash, head->hash, sizeof(begin.hash)) == 0;
        return OK;
    }
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT hash FROM ledger WHERE sequence = ?",
                                      "i", (int64_t)head->sequence);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    const bool is_read = !code && is_there && sql_bytes(&rows, 0, hash, sizeof(hash));
    sql_done(&rows);
    if (!code)
        *ret_has = is_read && memcmp(hash, head->hash, sizeof(hash)) == 0;
    return code;
}

static enum error_code raise(struct clerk *clerk, const struct host *host,
                             const struct ledger_checkpoint *checkpoint, const struct buffer *wire,
                             struct error *reterr)
{
    enum error_code code =
        sql_run(clerk->sql, reterr,
                "INSERT INTO ledger_alarms(host, checkpoint, at) VALUES(?, ?, ?) ON CONFLICT DO NOTHING",
                "bbi", host->id, sizeof(host->id), wire->data, wire->length, clerk->now_unix_s);
    if (code || sql_changes(clerk->sql) == 0)
        return code;
    json_t *details = record_of_host(host->id);
    code = json_set_new(details, "checkpoint_epoch", json_integer((json_int_t)checkpoint->epoch), reterr);
    if (!code)
        code = json_set_new(details, "checkpoint_sequence",
                            json_integer((json_int_t)checkpoint->head.sequence), reterr);
    if (!code)
        code = json_set_hex(details, "checkpoint_hash", checkpoint->head.hash, LEDGER_HASH_SIZE, reterr);
    if (!code)
        code = record_append(clerk, "ledger-differs", TAKE(details), reterr);
    json_decref(details);
    return code;
}

enum error_code watching_compare(struct clerk *clerk, const struct host *host, const json_t *checkpoint,
                                 struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = LEDGER_CHECKPOINT_MAXIMUM};
    struct ledger_checkpoint seen;
    bool has = false;
    const char *text = json_string_value(json_object_get(checkpoint, "signed"));
    if (!text || text_append_bytes(&wire, text, NULL) ||
        ledger_checkpoint_read(wire.data, wire.length, &seen, NULL) || seen.epoch < clerk->epoch)
        return OK;
    enum error_code code = seen.epoch == clerk->epoch ? has_entry(clerk, &seen.head, &has, reterr) : OK;
    if (code || has)
        return code;
    /* Anybody can write a checkpoint; what this authority signed nobody else can. */
    if (record_parse_checkpoint(clerk, wire.data, wire.length, &seen, NULL))
        return OK;
    return raise(clerk, host, &seen, &wire, reterr);
}
