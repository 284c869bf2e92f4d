#include "authority/operations.h"
#include "authority/orders.h"
#include "authority/record.h"
#include "authority/requests.h"
#include "base/text.h"

/* By name or id. */
enum error_code operation_find_host(struct clerk *clerk, struct job *job, struct host *ret_host,
                                    struct error *reterr)
{
    uint8_t id[MESSAGE_HOST_ID_SIZE];
    const char *name;
    enum error_code code = argument_text(job, "host", &name, reterr);
    if (code)
        return code;
    code = host_find_by_name(clerk, name, ret_host, reterr);
    if (code == ERR_NOT_FOUND && text_parse_hex(name, id, sizeof(id), NULL) == OK)
        code = host_find(clerk, id, ret_host, reterr);
    if (code != ERR_NOT_FOUND)
        return code;
    error_set(reterr, code, 0, "there is no host %s", text_shown(name));
    error_subject(reterr, "%s", text_shown(name));
    return error_remedy(reterr, "huskd host list tells the hosts there are");
}

static const char *state_word(bool confirmed, int64_t held, bool erased)
{
    return erased ? "erased" : held ? "held" : confirmed ? "active" : "enrolled";
}

#define LIST_COLUMNS                                                                                         \
    "SELECT h.id, h.name, g.name, h.confirmed, h.held, h.erased, h.last_seen, "                              \
    "(SELECT count(*) FROM keyslots k WHERE k.host = h.id AND k.erase IS NULL), h.created_at, h.address, "   \
    "h.facts FROM hosts h JOIN groups g ON g.id = h.group_id "

static enum error_code append_host(struct clerk *clerk, const struct sql_rows *rows, json_t *array,
                                   struct error *reterr)
{
    uint8_t id[MESSAGE_HOST_ID_SIZE];
    if (!sql_bytes(rows, 0, id, sizeof(id)))
        return error_set(reterr, ERR_FAILED, 0, "the database is damaged: a host without id");
    const struct presence_host *known = presence_find(&clerk->presence, id);
    const bool was_seen = known && known->was_seen;
    json_t *seen = was_seen ? json_integer((json_int_t)known->last_seen_unix_s) : json_null();
    json_t *facts = json_loads(sql_text(rows, 10), 0, NULL);
    json_t *host = json_pack("{s:o, s:s, s:s, s:s, s:o, s:I, s:I, s:s, s:o}", "id", record_hex(id), "name",
                             sql_text(rows, 1), "group", sql_text(rows, 2), "state",
                             state_word(sql_integer(rows, 3), sql_integer(rows, 4), sql_integer(rows, 5)),
                             "last_seen", seen, "keyslots", (json_int_t)sql_integer(rows, 7), "created_at",
                             (json_int_t)sql_integer(rows, 8), "address", sql_text(rows, 9), "reported_facts",
                             facts ? facts : json_null());
    return json_array_append_new(array, host) == 0 ? OK
                                                   : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* Takes over rows. */
static enum error_code list_hosts(struct clerk *clerk, struct job *job, struct sql_rows *rows,
                                  struct error *reterr)
{
    bool is_there = false;
    json_t *array = json_array();
    job->result = json_pack("{s:o}", "hosts", array);
    enum error_code code = job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    while (!code && !(code = sql_next(rows, &is_there, reterr)) && is_there)
        code = append_host(clerk, rows, array, reterr);
    sql_done(rows);
    return code;
}

enum error_code operation_host_list(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct sql_rows rows = {0};
    const char *group = json_string_value(json_object_get(job->arguments, "group"));
    struct group named = {0};
    enum error_code code = group ? group_find_by_name(clerk, group, &named, reterr) : OK;
    group_done(&named);
    if (code)
        return code;
    code = sql_select(clerk->sql, &rows, reterr, LIST_COLUMNS "WHERE ? IS NULL OR g.name = ? ORDER BY h.name",
                      "tt", group, group);
    if (!code)
        code = list_hosts(clerk, job, &rows, reterr);
    return code ? code : operation_add_alarms(clerk, job->result, reterr);
}

static enum error_code add_orders(struct clerk *clerk, struct job *job, const struct host *host,
                                  struct error *reterr)
{
    json_t *shown = json_array_get(json_object_get(job->result, "hosts"), 0), *orders = NULL;
    enum error_code code = orders_show(clerk, host, &orders, reterr);
    if (!code)
        code = json_set_new(shown, "restore_accepted", json_boolean(host->restore_accepted), reterr);
    return code ? code : json_set_new(shown, "orders", orders, reterr);
}

/* Vaults that are erased here, with the verdicts of what the host reported of them, if it did. */
static enum error_code add_erased_vaults(struct clerk *clerk, struct job *job, const struct host *host,
                                         struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    json_t *shown = json_array_get(json_object_get(job->result, "hosts"), 0), *array = json_array();
    enum error_code code = json_set_new(shown, "erased_vaults", array, reterr);
    if (!code)
        code = sql_select(clerk->sql, &rows, reterr,
                          "SELECT lower(hex(vault)), report FROM erased_vaults WHERE host = ? LIMIT 256", "b",
                          host->id, sizeof(host->id));
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        _cleanup_(json_freep) json_t *report = json_loads(sql_text(&rows, 1), 0, NULL);
        json_t *verdicts = json_object_get(report, "verdicts"), *vault = json_object_get(report, "vault");
        json_t *item =
            json_pack("{s:s, s:s?, s:s?, s:s?}", "vault", sql_text(&rows, 0), "name",
                      json_string_value(json_object_get(vault, "name")), "key_destruction",
                      json_string_value(json_object_get(verdicts, "key_destruction")), "plaintext_before",
                      json_string_value(json_object_get(verdicts, "plaintext_before_conversion")));
        if (json_array_append_new(array, item) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    sql_done(&rows);
    return code;
}

enum error_code operation_host_show(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct host host;
    enum error_code code = operation_find_host(clerk, job, &host, reterr);
    if (!code)
        code = sql_select(clerk->sql, &rows, reterr, LIST_COLUMNS "WHERE h.id = ?", "b", host.id,
                          sizeof(host.id));
    if (!code)
        code = list_hosts(clerk, job, &rows, reterr);
    if (!code)
        code = add_orders(clerk, job, &host, reterr);
    return code ? code : add_erased_vaults(clerk, job, &host, reterr);
}

/* Takes over more, the members it has beside host and actor. */
static enum error_code record(struct clerk *clerk, struct job *job, const struct host *host, const char *kind,
                              json_t *more, struct error *reterr)
{
    json_t *details = record_of_host(host->id);
    enum error_code code = operation_set_actor(job, details, reterr);
    if (!code && json_object_update(details, more) != 0)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    json_decref(more);
    if (!code)
        code = record_append(clerk, kind, TAKE(details), reterr);
    json_decref(details);
    return code;
}

/* Write a changed host, with its entry in the ledger; whatever waits is looked at again. */
static enum error_code change(struct clerk *clerk, struct job *job, const struct host *host, const char *kind,
                              struct error *reterr)
{
    enum error_code code = record(clerk, job, host, kind, json_object(), reterr);
    if (!code)
        code = host_update(clerk, host, reterr);
    if (!code)
        clerk_wake(clerk, host->id);
    job->changed = !code;
    return code;
}

enum error_code operation_name_host(struct job *job, const struct host *host, struct error *reterr)
{
    job->result = json_pack("{s:o, s:s}", "id", record_hex(host->id), "name", host->name);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* One that is not erased, with its id and name as the result. */
static enum error_code find_living(struct clerk *clerk, struct job *job, struct host *ret_host,
                                   struct error *reterr)
{
    enum error_code code = operation_find_host(clerk, job, ret_host, reterr);
    if (!code && ret_host->is_erased)
        code = error_set(reterr, ERR_ERASED, 0, "host %s is erased", ret_host->name);
    return code ? code : operation_name_host(job, ret_host, reterr);
}

static enum error_code set_held(struct clerk *clerk, struct job *job, enum host_held held, const char *kind,
                                struct error *reterr)
{
    struct host host;
    enum error_code code = find_living(clerk, job, &host, reterr);
    if (code || (host.held != HOST_NOT_HELD) == (held != HOST_NOT_HELD))
        return code;
    host.held = held;
    return change(clerk, job, &host, kind, reterr);
}

enum error_code operation_host_hold(struct clerk *clerk, struct job *job, struct error *reterr)
{
    return set_held(clerk, job, HOST_HELD, "host-held", reterr);
}

enum error_code operation_host_release(struct clerk *clerk, struct job *job, struct error *reterr)
{
    return set_held(clerk, job, HOST_NOT_HELD, "host-released", reterr);
}

enum error_code operation_host_accept_restore(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    enum error_code code = find_living(clerk, job, &host, reterr);
    if (code || host.restore_accepted)
        return code;
    host.restore_accepted = true;
    /* What waits is judged by it too. */
    code = sql_run(clerk->sql, reterr,
                   "UPDATE requests SET flags = flags & ~? WHERE host = ? AND " REQUEST_IS_OPEN, "ib",
                   (int64_t)POLICY_STALE_LINEAGE, host.id, sizeof(host.id));
    return code ? code : change(clerk, job, &host, "restore-accepted", reterr);
}

static enum error_code move(struct clerk *clerk, struct job *job, const struct host *host,
                            const struct group *group, struct error *reterr)
{
    struct group from = {0};
    enum error_code code = json_set_new(job->result, "group", json_string(group->name), reterr);
    if (code || group->id == host->group_id)
        return code;
    code = group_find(clerk, host->group_id, &from, reterr);
    if (!code)
        code = record(clerk, job, host, "host-moved",
                      json_pack("{s:s, s:s}", "group", group->name, "from", from.name), reterr);
    if (!code)
        code = host_move(clerk, host, group->id, reterr);
    if (!code)
        clerk_wake(clerk, host->id);
    job->changed = !code;
    group_done(&from);
    return code;
}

enum error_code operation_host_move(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    struct group group = {0};
    const char *name = NULL;
    enum error_code code = argument_text(job, "group", &name, reterr);
    if (!code)
        code = find_living(clerk, job, &host, reterr);
    if (!code)
        code = group_find_by_name(clerk, name, &group, reterr);
    if (!code)
        code = move(clerk, job, &host, &group, reterr);
    group_done(&group);
    return code;
}

enum error_code operation_host_rename(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    const char *name = NULL;
    enum error_code code = argument_text(job, "name", &name, reterr);
    if (!code)
        code = find_living(clerk, job, &host, reterr);
    if (code || !strcmp(host.name, name))
        return code;
    code = host_rename(clerk, &host, name, reterr);
    if (!code)
        code = record(clerk, job, &host, "host-renamed",
                      json_pack("{s:s, s:s}", "name", name, "was", host.name), reterr);
    if (!code)
        code = json_set_new(job->result, "name", json_string(name), reterr);
    job->changed = !code;
    return code;
}
