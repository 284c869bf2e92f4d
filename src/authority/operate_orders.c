/* Operations that a running host has to carry out too. */
#include "authority/erasing.h"
#include "authority/operations.h"
#include "authority/orders.h"
#include "authority/record.h"
#include "authority/unreached.h"
#include "base/text.h"

enum { ORDER_DIGITS_LEAST = 8 };

static enum error_code order_result(struct job *job, const struct host *host, const uint8_t *id,
                                    struct error *reterr)
{
    enum error_code code = operation_name_host(job, host, reterr);
    return code ? code : json_set_hex(job->result, "order", id, STATEMENT_ID_SIZE, reterr);
}

/* One that waits is the same order. */
static enum error_code give(struct clerk *clerk, struct job *job, enum order_action action,
                            struct error *reterr)
{
    struct host host;
    uint8_t id[STATEMENT_ID_SIZE];
    char actor[OPERATION_ACTOR_SIZE];
    enum error_code code = operation_find_host(clerk, job, &host, reterr);
    if (!code && host.is_erased) {
        error_set(reterr, ERR_ERASED, 0, "host %s is erased", host.name);
        code = error_remedy(reterr, "it gets no further orders; its provider can switch it off");
    }
    if (code)
        return code;
    operation_actor(job, actor);
    code = order_find_open(clerk, &host, action, id, reterr);
    if (code == ERR_NOT_FOUND) {
        code = order_insert(clerk, &host, action, actor, id, reterr);
        job->changed = !code;
    }
    return code ? code : order_result(job, &host, id, reterr);
}

enum error_code operation_host_lock(struct clerk *clerk, struct job *job, struct error *reterr)
{
    return give(clerk, job, ORDER_LOCK, reterr);
}

enum error_code operation_host_power_off(struct clerk *clerk, struct job *job, struct error *reterr)
{
    return give(clerk, job, ORDER_POWER_OFF, reterr);
}

struct found_order {
    uint8_t id[STATEMENT_ID_SIZE];
    int64_t action, end;
    bool is_given;
};

static enum error_code find_order(struct clerk *clerk, struct job *job, const struct host *host,
                                  struct found_order *ret_found, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct found_order found = {0};
    bool is_there = false, is_another = false;
    uint8_t least[STATEMENT_ID_SIZE], most[STATEMENT_ID_SIZE];
    const char *text = NULL;
    enum error_code code = argument_id(job, "order", ORDER_DIGITS_LEAST, &text, least, most, reterr);
    if (code)
        return code;
    code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT id, action, is_done, given_at FROM orders WHERE host = ? AND id BETWEEN ? AND ? "
                   "LIMIT 2",
                   "bbb", host->id, sizeof(host->id), least, sizeof(least), most, sizeof(most));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && (!is_there || !sql_bytes(&rows, 0, found.id, sizeof(found.id)))) {
        code = error_set(reterr, ERR_NOT_FOUND, 0, "host %s has no order %s", host->name, text_shown(text));
        error_remedy(reterr, "huskd host show tells its orders");
    }
    if (!code) {
        found.action = sql_integer(&rows, 1);
        found.end = sql_integer(&rows, 2);
        found.is_given = !sql_is_null(&rows, 3);
        code = sql_next(&rows, &is_another, reterr);
    }
    if (!code && is_another)
        code = error_set(reterr, ERR_USAGE, 0, "more than one order begins with %s", text_shown(text));
    sql_done(&rows);
    if (!code)
        *ret_found = found;
    return code;
}

static enum error_code refuse_cancel(const struct found_order *order, struct error *reterr)
{
    if (order->action == ORDER_ERASE)
        return error_set(reterr, ERR_DENIED, 0,
                         "an erase is not cancelled: what opens the host's vaults is destroyed here already");
    return order->end == ORDER_IS_DONE ? error_set(reterr, ERR_DENIED, 0, "the host has carried it out") : OK;
}

enum error_code operation_host_cancel(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    struct found_order order = {0};
    enum error_code code = operation_find_host(clerk, job, &host, reterr);
    if (!code)
        code = find_order(clerk, job, &host, &order, reterr);
    if (!code)
        code = refuse_cancel(&order, reterr);
    if (!code)
        code = order_result(job, &host, order.id, reterr);
    if (!code)
        code = json_set_new(job->result, "was_given", json_boolean(order.is_given), reterr);
    if (code || order.end != ORDER_OPEN)
        return code;
    json_t *details = record_of_host(host.id);
    code = json_set_hex(details, "order", order.id, sizeof(order.id), reterr);
    if (!code)
        code = json_set_new(details, "action", json_string(order_action_words[order.action]), reterr);
    if (!code)
        code = operation_set_actor(job, details, reterr);
    if (!code)
        code = record_append(clerk, "order-cancelled", TAKE(details), reterr);
    json_decref(details);
    if (!code)
        code = order_cancel(clerk, &host, order.id, reterr);
    job->changed = !code;
    return code;
}

static enum error_code tell_erased(struct clerk *clerk, struct job *job, const struct host *host,
                                   struct error *reterr)
{
    json_t *erased = NULL;
    job->changed = job->has_begun;
    enum error_code code = erasing_list(clerk, host, &erased, reterr);
    if (!code)
        code = operation_name_host(job, host, reterr);
    if (code) {
        json_decref(erased);
        return code;
    }
    code = json_set_new(job->result, "erased", erased, reterr);
    return code ? code : unreached_add(clerk, host->id, 0, host->name, job->result, reterr);
}

/* The scalars go at once; what lies on the host's own disk goes when it hears of the order. */
static enum error_code begin(struct clerk *clerk, struct job *job, const struct host *host,
                             struct error *reterr)
{
    char actor[OPERATION_ACTOR_SIZE];
    uint8_t id[STATEMENT_ID_SIZE];
    operation_actor(job, actor);
    job->has_begun = true;
    job->outcome = JOB_ERASES;
    if (host->is_erased)
        return OK;
    enum error_code code = order_insert(clerk, host, ORDER_ERASE, actor, id, reterr);
    return code ? code : erasing_begin(clerk, host, ERASING_ALL, NULL, 0, id, actor, reterr);
}

enum error_code operation_host_erase(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    bool is_done = false;
    const char *confirm;
    enum error_code code = operation_find_host(clerk, job, &host, reterr);
    if (!code)
        code = argument_text(job, "confirm", &confirm, reterr);
    if (!code && strcmp(confirm, json_string_value(json_object_get(job->arguments, "host"))) != 0)
        code = error_set(reterr, ERR_USAGE, 0, "nothing is erased: confirm is not the host that is named");
    if (!code)
        code = erasing_is_host_done(clerk, &host, &is_done, reterr);
    if (code)
        return code;
    if (is_done)
        return tell_erased(clerk, job, &host, reterr);
    if (job->has_begun)
        return error_set(
            reterr, ERR_INCOMPLETE, 0,
            "host %s opens nothing any more, and its scalars could not be destroyed yet: it is tried "
            "again at the next erase and at every start",
            host.name);
    return begin(clerk, job, &host, reterr);
}

/* The ids of the group's hosts that are not erased, 16 bytes each. */
static enum error_code find_hosts(struct clerk *clerk, int64_t group_id, struct buffer *ids,
                                  struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr, "SELECT id FROM hosts WHERE group_id = ? AND erased = 0", "i", group_id);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        size_t length;
        const void *id = sql_blob(&rows, 0, &length);
        code = length == MESSAGE_HOST_ID_SIZE
                   ? buffer_append(ids, id, length, reterr)
                   : error_set(reterr, ERR_FAILED, 0, "the database is damaged: a host without id");
    }
    sql_done(&rows);
    return code;
}

/* A piece of the transaction remembers every page as it was, and SQLite walks through what it remembers at
 * the end of every statement: a piece for all hosts would take their number squared. */
enum { PIECE_HOSTS = 16 };
static enum error_code next_piece(struct clerk *clerk, struct error *reterr)
{
    enum error_code code = sql_piece_keep(clerk->sql, reterr);
    return code ? code : sql_piece_begin(clerk->sql, reterr);
}

static enum error_code begin_all(struct clerk *clerk, struct job *job, int64_t group_id, size_t *ret_count,
                                 struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer ids = {.maximum = SIZE_MAX};
    enum error_code code = find_hosts(clerk, group_id, &ids, reterr);
    const size_t count = ids.length / MESSAGE_HOST_ID_SIZE;
    for (size_t i = 0; !code && i < count; i++) {
        struct host host;
        uint8_t id[MESSAGE_HOST_ID_SIZE];
        memcpy(id, ids.data + i * sizeof(id), sizeof(id));
        code = host_find(clerk, id, &host, reterr);
        if (!code)
            code = begin(clerk, job, &host, reterr);
        if (!code && i % PIECE_HOSTS == PIECE_HOSTS - 1)
            code = next_piece(clerk, reterr);
    }
    if (code) /* none of them: what is kept of earlier pieces goes with the whole batch, which is tried again
               */
        sql_roll_back(clerk->sql);
    *ret_count = count;
    return code;
}

static enum error_code count_hosts(struct clerk *clerk, int64_t group_id, int64_t *ret_erased,
                                   int64_t *ret_open, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT count(*), coalesce(sum(EXISTS(SELECT 1 FROM erases e WHERE "
                                      "e.host = h.id AND e.done_at IS NULL)), "
                                      "0) FROM hosts h WHERE h.group_id = ? AND h.erased = 1",
                                      "i", group_id);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there) {
        *ret_erased = sql_integer(&rows, 0);
        *ret_open = sql_integer(&rows, 1);
    }
    sql_done(&rows);
    return code;
}

/* As of one host after the other, in one commit: the scalars of all go with one keyring. */
enum error_code operation_group_erase(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct group group = {0};
    const char *name, *confirm;
    size_t begun = 0;
    int64_t erased = 0, open = 0;
    enum error_code code = argument_text(job, "name", &name, reterr);
    if (!code)
        code = argument_text(job, "confirm", &confirm, reterr);
    if (!code && strcmp(confirm, name) != 0)
        code = error_set(reterr, ERR_USAGE, 0, "nothing is erased: confirm is not the group that is named");
    if (!code)
        code = group_find_by_name(clerk, name, &group, reterr);
    if (code)
        return code;
    const int64_t group_id = group.id;
    group_done(&group);
    if (!job->has_begun)
        code = begin_all(clerk, job, group_id, &begun, reterr);
    if (!code)
        code = count_hosts(clerk, group_id, &erased, &open, reterr);
    if (code || begun > 0)
        return code;
    if (open > 0 && job->has_begun)
        return error_set(
            reterr, ERR_INCOMPLETE, 0,
            "%lld hosts of %s open nothing any more, and their scalars could not be destroyed yet: "
            "it is tried again at the next erase and at every start",
            (long long)open, name);
    if (open > 0) { /* begun before, and not carried out */
        job->has_begun = true;
        job->outcome = JOB_ERASES;
        return OK;
    }
    job->changed = job->has_begun;
    job->result = json_pack("{s:s, s:I}", "name", name, "erased_hosts", (json_int_t)erased);
    code = job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return code ? code : unreached_add(clerk, NULL, group_id, name, job->result, reterr);
}
