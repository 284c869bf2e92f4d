#include "authority/orders.h"

#include "authority/record.h"

#define GIVEN_MAXIMUM                                                                                        \
    "32" /* in the statement, as SQLite prepares one anew for every value of a bound limit */
enum { SHOWN_MAXIMUM = 64 };

/* Above every earlier one, and not below the time: an authority restored from a backup does not stay behind
 * what its hosts have seen. */
static enum error_code next_sequence(struct clerk *clerk, const struct host *host, uint64_t *ret_sequence,
                                     struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT coalesce(max(sequence), 0) + 1 FROM orders WHERE host = ?", "b",
                                      host->id, sizeof(host->id));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    const int64_t next = !code && is_there ? sql_integer(&rows, 0) : 1;
    sql_done(&rows);
    if (!code)
        *ret_sequence = (uint64_t)(next > clerk->now_unix_s ? next : clerk->now_unix_s);
    return code;
}

static enum error_code record(struct clerk *clerk, const struct order *order, const char *kind, json_t *more,
                              struct error *reterr)
{
    json_t *details = record_of_host(order->host);
    enum error_code code = json_set_new(details, "order", record_hex(order->id), reterr);
    if (!code)
        code = json_set_new(details, "action", json_string(order_action_words[order->action]), reterr);
    if (!code && json_object_update(details, more) != 0)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    json_decref(more);
    if (!code)
        code = record_append(clerk, kind, TAKE(details), reterr);
    json_decref(details);
    return code;
}

enum error_code order_insert(struct clerk *clerk, const struct host *host, enum order_action action,
                             const char *actor, uint8_t ret_id[STATEMENT_ID_SIZE], struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
    struct order order = {.action = action, .at_unix_s = clerk->now_unix_s};
    clerk_draw_id(clerk, order.id);
    memcpy(order.host, host->id, sizeof(order.host));
    enum error_code code = next_sequence(clerk, host, &order.sequence, reterr);
    if (!code)
        code = order_format(&order, &text, reterr);
    if (!code)
        code = record_keep_text(&text, &wire, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "INSERT INTO orders(id, host, sequence, action, signed, actor, created_at) "
                       "VALUES(?, ?, ?, ?, ?, ?, ?)",
                       "bbiibti", order.id, sizeof(order.id), order.host, sizeof(order.host),
                       (int64_t)order.sequence, (int64_t)action, wire.data, wire.length, actor,
                       clerk->now_unix_s);
    if (!code)
        code = record(clerk, &order, "order", json_pack("{s:s}", "actor", actor), reterr);
    if (code)
        return code;
    clerk_wake(clerk, host->id);
    memcpy(ret_id, order.id, sizeof(order.id));
    return OK;
}

enum error_code order_find_open(struct clerk *clerk, const struct host *host, enum order_action action,
                                uint8_t ret_id[STATEMENT_ID_SIZE], struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT id FROM orders WHERE host = ? AND action = ? AND is_done = 0 "
                                      "ORDER BY sequence DESC LIMIT 1",
                                      "bi", host->id, sizeof(host->id), (int64_t)action);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && (!is_there || !sql_bytes(&rows, 0, ret_id, STATEMENT_ID_SIZE)))
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such order");
    sql_done(&rows);
    return code;
}

enum error_code orders_are_new(struct clerk *clerk, const struct host *host,
                               const uint8_t boot[POLICY_TOKEN_SIZE], bool *ret_are_new, struct error *reterr)
{
    return sql_exists(clerk->sql, ret_are_new, reterr,
                      "SELECT 1 FROM orders WHERE host = ? AND is_done = 0 AND given_boot IS NOT ? LIMIT 1",
                      "bb", host->id, sizeof(host->id), boot, (size_t)POLICY_TOKEN_SIZE);
}

static enum error_code select_open(struct clerk *clerk, struct sql_rows *rows, const struct host *host,
                                   struct error *reterr)
{
    return sql_select(clerk->sql, rows, reterr,
                      "SELECT signed FROM orders WHERE host = ? AND is_done = 0 ORDER BY sequence "
                      "LIMIT " GIVEN_MAXIMUM,
                      "b", host->id, sizeof(host->id));
}

/* The order to erase a host outlives its being done: whoever speaks in its name then is a copy of its disk.
 * Not in one statement with the other: SQLite prepares one anew for every value that it compares with what a
 * partial index is about. */
static enum error_code select_erased(struct clerk *clerk, struct sql_rows *rows, const struct host *host,
                                     struct error *reterr)
{
    return sql_select(clerk->sql, rows, reterr,
                      "SELECT signed FROM orders WHERE host = ? AND (is_done = 0 OR (action = ? AND is_done "
                      "= ?)) ORDER BY sequence LIMIT " GIVEN_MAXIMUM,
                      "bii", host->id, sizeof(host->id), (int64_t)ORDER_ERASE, (int64_t)ORDER_IS_DONE);
}

static enum error_code append_open(struct clerk *clerk, const struct host *host, json_t *array,
                                   struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        host->is_erased ? select_erased(clerk, &rows, host, reterr) : select_open(clerk, &rows, host, reterr);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        _cleanup_(buffer_done) struct buffer wire = {0};
        size_t length;
        const void *bytes = sql_blob(&rows, 0, &length);
        code = record_sign_kept(clerk, ORDER_KIND, bytes, length, &wire, reterr);
        if (!code && json_array_append_new(array, json_hex(wire.data, wire.length)) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    sql_done(&rows);
    return code;
}

enum error_code orders_give(struct clerk *clerk, const struct host *host, const uint8_t *boot, json_t *result,
                            struct error *reterr)
{
    json_t *array = json_array();
    enum error_code code = json_set_new(result, "orders", array, reterr);
    if (!code)
        code = append_open(clerk, host, array, reterr);
    if (code || json_array_size(array) == 0 || !boot) /* told beside another answer */
        return code;
    return sql_run(clerk->sql, reterr,
                   "UPDATE orders SET given_boot = ?1, given_at = coalesce(given_at, ?2) "
                   "WHERE host = ?3 AND is_done = 0 AND (given_at IS NULL OR given_boot IS NOT ?1)",
                   "bib", boot, (size_t)POLICY_TOKEN_SIZE, clerk->now_unix_s, host->id, sizeof(host->id));
}

enum error_code order_get_action(struct clerk *clerk, const struct host *host,
                                 const uint8_t id[STATEMENT_ID_SIZE], enum order_action *ret_action,
                                 struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, "SELECT action FROM orders WHERE id = ? AND host = ?", "bb", id,
                   (size_t)STATEMENT_ID_SIZE, host->id, sizeof(host->id));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    const int64_t action = !code && is_there ? sql_integer(&rows, 0) : -1;
    sql_done(&rows);
    if (!code && (action < 0 || action >= ORDER_ACTIONS))
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such order");
    if (!code)
        *ret_action = (enum order_action)action;
    return code;
}

enum error_code order_report(struct clerk *clerk, const struct host *host,
                             const uint8_t id[STATEMENT_ID_SIZE], enum order_progress progress,
                             const char *outcome, const char *report, bool *ret_changed, struct error *reterr)
{
    enum error_code code = sql_run(
        clerk->sql, reterr,
        "UPDATE orders SET outcome = ?1, report = ?2, reported_at = ?3, is_done = max(is_done, ?4) WHERE "
        "id = ?5 AND host = ?6 AND (outcome IS NOT ?1 OR report IS NOT ?2 OR is_done < ?4)",
        "ttiibb", outcome, report, clerk->now_unix_s, (int64_t)(progress == ORDER_DONE), id,
        (size_t)STATEMENT_ID_SIZE, host->id, sizeof(host->id));
    if (!code)
        *ret_changed = sql_changes(clerk->sql) > 0;
    return code;
}

enum error_code order_cancel(struct clerk *clerk, const struct host *host,
                             const uint8_t id[STATEMENT_ID_SIZE], struct error *reterr)
{
    return sql_run(clerk->sql, reterr,
                   "UPDATE orders SET is_done = ? WHERE id = ? AND host = ? AND is_done = 0", "ibb",
                   (int64_t)ORDER_IS_CANCELLED, id, (size_t)STATEMENT_ID_SIZE, host->id, sizeof(host->id));
}

static const char *state_word(const struct sql_rows *rows)
{
    switch ((enum order_end)sql_integer(rows, 4)) {
    case ORDER_IS_DONE:
        return "done";
    case ORDER_IS_CANCELLED:
        return "cancelled";
    case ORDER_OPEN:
        break;
    }
    return sql_is_null(rows, 3) ? "waiting" : "given";
}

static enum error_code append_shown(const struct sql_rows *rows, json_t *array, struct error *reterr)
{
    uint8_t id[STATEMENT_ID_SIZE];
    const int64_t action = sql_integer(rows, 1);
    if (!sql_bytes(rows, 0, id, sizeof(id)) || action < 0 || action >= ORDER_ACTIONS)
        return error_set(reterr, ERR_FAILED, 0, "the database is damaged: an order without id or action");
    json_t *report = sql_is_null(rows, 5) ? NULL : json_loads(sql_text(rows, 5), 0, NULL);
    json_t *order = json_pack(
        "{s:o, s:s, s:s, s:s?, s:s, s:I, s:o, s:o, s:o}", "id", record_hex(id), "action",
        order_action_words[action], "state", state_word(rows), "outcome",
        sql_is_null(rows, 8) ? NULL : sql_text(rows, 8), "actor", sql_text(rows, 7), "created_at",
        (json_int_t)sql_integer(rows, 2), "given_at",
        sql_is_null(rows, 3) ? json_null() : json_integer((json_int_t)sql_integer(rows, 3)), "reported_at",
        sql_is_null(rows, 6) ? json_null() : json_integer((json_int_t)sql_integer(rows, 6)), "report",
        report ? report : json_null());
    return json_array_append_new(array, order) == 0 ? OK
                                                    : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

enum error_code orders_show(struct clerk *clerk, const struct host *host, json_t **ret_array,
                            struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    _cleanup_(json_freep) json_t *array = json_array();
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT id, action, created_at, given_at, is_done, report, reported_at, actor, outcome FROM orders "
        "WHERE host = ? ORDER BY sequence DESC LIMIT ?",
        "bi", host->id, sizeof(host->id), (int64_t)SHOWN_MAXIMUM);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        code = append_shown(&rows, array, reterr);
    sql_done(&rows);
    if (!code)
        *ret_array = TAKE(array);
    return code;
}
