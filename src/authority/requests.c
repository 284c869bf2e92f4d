#include "authority/requests.h"

#define COLUMNS                                                                                              \
    "SELECT id, host, boot, message, state, code, wrong_codes, flags, lineage, planned, address, opens, "    \
    "created_at, expires_at, asked FROM requests "

static enum error_code read_request(struct sql_rows *rows, struct request *request, struct error *reterr)
{
    bool is_there = false;
    size_t length = 0;
    enum error_code code = sql_next(rows, &is_there, reterr);
    if (!code && !is_there)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such request");
    if (code)
        return code;
    struct policy_request *policy = &request->policy;
    const void *opens = sql_blob(rows, 11, &length);
    if (!sql_bytes(rows, 0, request->id, sizeof(request->id)) ||
        !sql_bytes(rows, 1, request->host, sizeof(request->host)) ||
        !sql_bytes(rows, 2, policy->boot, sizeof(policy->boot)) ||
        !sql_bytes(rows, 3, request->message, sizeof(request->message)) || !opens ||
        length % sizeof(struct request_open) || length > sizeof(request->opens) ||
        sql_integer(rows, 4) >= POLICY_REQUEST_STATES)
        return error_set(reterr, ERR_FAILED, 0, "the database is damaged: a request is incomplete");
    memcpy(request->opens, opens, length);
    request->open_count = length / sizeof(struct request_open);
    policy->state = (enum policy_request_state)sql_integer(rows, 4);
    snprintf(request->code, sizeof(request->code), "%s", sql_text(rows, 5));
    request->wrong_codes = sql_integer(rows, 6);
    policy->flags = (unsigned)sql_integer(rows, 7);
    policy->has_lineage = sql_bytes(rows, 8, policy->lineage, sizeof(policy->lineage));
    policy->planned = sql_integer(rows, 9);
    snprintf(policy->address, sizeof(policy->address), "%s", sql_text(rows, 10));
    request->created_at_unix_s = sql_integer(rows, 12);
    policy->expires_at_unix_s = sql_integer(rows, 13);
    request->was_asked = sql_integer(rows, 14);
    return OK;
}

/* Root, and of the others at most as many as a group can want: those who saw most flags, of them those who
 * said restored. Whoever saw too few does not take the place of somebody whose approval counts. */
static enum error_code read_approvals(struct clerk *clerk, struct request *request, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    size_t count = 0;
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT uid, flags, restored FROM approvals WHERE request = ? AND "
                                      "(flags & ?) = ? ORDER BY uid <> 0, flags DESC, restored DESC",
                                      "bii", request->id, sizeof(request->id), (int64_t)request->policy.flags,
                                      (int64_t)request->policy.flags);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there &&
           count < ARRAY_SIZE(request->approvals))
        request->approvals[count++] = (struct policy_approval){.uid = (unsigned)sql_integer(&rows, 0),
                                                               .flags = (unsigned)sql_integer(&rows, 1),
                                                               .restored = sql_integer(&rows, 2) != 0};
    sql_done(&rows);
    request->policy.approval_count = count;
    return code;
}

enum error_code request_note_denied(struct clerk *clerk, struct request *request, struct error *reterr)
{
    return sql_exists(clerk->sql, &request->policy.boot_was_denied, reterr,
                      "SELECT 1 FROM requests WHERE host = ? AND boot = ? AND state = ? AND id <> ?", "bbib",
                      request->host, sizeof(request->host), request->policy.boot,
                      sizeof(request->policy.boot), (int64_t)POLICY_DENIED, request->id, sizeof(request->id));
}

/* Takes over rows. */
static enum error_code finish_find(struct clerk *clerk, struct sql_rows *rows, struct request *ret_request,
                                   struct error *reterr)
{
    struct request request = {0};
    enum error_code code = read_request(rows, &request, reterr);
    sql_done(rows);
    if (!code)
        code = read_approvals(clerk, &request, reterr);
    if (!code)
        code = request_note_denied(clerk, &request, reterr);
    if (code)
        return code;
    *ret_request = request;
    ret_request->policy.approvals = ret_request->approvals;
    return OK;
}

enum error_code request_find(struct clerk *clerk, const uint8_t id[MESSAGE_ID_SIZE],
                             struct request *ret_request, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, COLUMNS "WHERE id = ?", "b", id, (size_t)MESSAGE_ID_SIZE);
    return code ? code : finish_find(clerk, &rows, ret_request, reterr);
}

enum error_code request_find_by_message(struct clerk *clerk, const uint8_t host[MESSAGE_HOST_ID_SIZE],
                                        const uint8_t boot[POLICY_TOKEN_SIZE],
                                        const uint8_t message[MESSAGE_ID_SIZE], struct request *ret_request,
                                        struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr, COLUMNS "WHERE host = ? AND boot = ? AND message = ?", "bbb", host,
        (size_t)MESSAGE_HOST_ID_SIZE, boot, (size_t)POLICY_TOKEN_SIZE, message, (size_t)MESSAGE_ID_SIZE);
    return code ? code : finish_find(clerk, &rows, ret_request, reterr);
}

enum error_code request_insert(struct clerk *clerk, const struct request *request, struct error *reterr)
{
    const struct policy_request *policy = &request->policy;
    return sql_run(
        clerk->sql, reterr,
        "INSERT INTO requests(id, host, boot, message, state, code, flags, lineage, planned, address, "
        "facts, opens, created_at, expires_at, asked) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "bbbbitibittbiii", request->id, sizeof(request->id), request->host, sizeof(request->host),
        policy->boot, sizeof(policy->boot), request->message, sizeof(request->message),
        (int64_t)policy->state, request->code, (int64_t)policy->flags,
        policy->has_lineage ? policy->lineage : NULL, sizeof(policy->lineage), (int64_t)policy->planned,
        policy->address, request->facts, request->opens, request->open_count * sizeof(struct request_open),
        request->created_at_unix_s, policy->expires_at_unix_s, (int64_t)request->was_asked);
}

enum error_code request_update(struct clerk *clerk, const struct request *request, struct error *reterr)
{
    return sql_run(clerk->sql, reterr,
                   "UPDATE requests SET state = ?, flags = ?, wrong_codes = ?, asked = ? WHERE id = ?",
                   "iiiib", (int64_t)request->policy.state, (int64_t)request->policy.flags,
                   request->wrong_codes, (int64_t)request->was_asked, request->id, sizeof(request->id));
}

enum error_code request_flag_others(struct clerk *clerk, const struct request *request, bool *ret_is_another,
                                    struct error *reterr)
{
    enum error_code code = sql_exists(
        clerk->sql, ret_is_another, reterr,
        "SELECT 1 FROM requests WHERE host = ? AND boot <> ? AND expires_at > ? AND " REQUEST_IS_OPEN
        " LIMIT 1",
        "bbi", request->host, sizeof(request->host), request->policy.boot, sizeof(request->policy.boot),
        clerk->now_unix_s);
    if (!code && *ret_is_another)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE requests SET flags = flags | ?1 WHERE host = ?2 AND boot <> ?3 AND expires_at "
                       "> ?4 AND flags & ?1 = 0 AND " REQUEST_IS_OPEN,
                       "ibbi", (int64_t)POLICY_TWO_REQUESTS, request->host, sizeof(request->host),
                       request->policy.boot, sizeof(request->policy.boot), clerk->now_unix_s);
    if (!code && *ret_is_another && sql_changes(clerk->sql) > 0)
        clerk_wake(clerk, request->host);
    return code;
}

enum error_code request_find_crowded_out(struct clerk *clerk, const struct host *host, bool *ret_is_there,
                                         struct request *ret_request, struct error *reterr)
{
    struct sql_rows rows = {0};
    uint8_t id[MESSAGE_ID_SIZE];
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT id FROM requests WHERE host = ? AND expires_at > ? AND " REQUEST_IS_OPEN
                   " ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET 15",
                   "bi", host->id, sizeof(host->id), clerk->now_unix_s);
    _Static_assert(REQUESTS_OPEN_MAXIMUM == 16, "the statement above");
    if (!code)
        code = sql_next(&rows, ret_is_there, reterr);
    if (!code && *ret_is_there && !sql_bytes(&rows, 0, id, sizeof(id)))
        code = error_set(reterr, ERR_FAILED, 0, "the database is damaged: a request is incomplete");
    sql_done(&rows);
    return code || !*ret_is_there ? code : request_find(clerk, id, ret_request, reterr);
}

enum error_code ticket_find(struct clerk *clerk, const uint8_t host[MESSAGE_HOST_ID_SIZE],
                            struct policy_ticket *ret_ticket, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct policy_ticket ticket = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT purpose, taken_by, expires_at, used_by FROM tickets WHERE host = ?", "b", host,
                   (size_t)MESSAGE_HOST_ID_SIZE);
    if (!code)
        code = sql_next(&rows, &ticket.exists, reterr);
    if (!code && ticket.exists) {
        ticket.purpose = (enum policy_ticket_purpose)sql_integer(&rows, 0);
        ticket.exists = sql_bytes(&rows, 1, ticket.taken_by, sizeof(ticket.taken_by));
        ticket.expires_at_unix_s = sql_integer(&rows, 2);
        ticket.is_used = sql_bytes(&rows, 3, ticket.used_by, sizeof(ticket.used_by));
    }
    sql_done(&rows);
    if (!code)
        *ret_ticket = ticket;
    return code;
}

json_t *request_flags_json(unsigned flags)
{
    json_t *array = json_array();
    for (unsigned i = 0; array && i < POLICY_FLAGS; i++)
        if ((flags & (1U << i)) && json_array_append_new(array, json_string(policy_flag_words[i])) != 0)
            json_decref(TAKE(array));
    return array;
}

json_t *request_reasons_json(const struct policy_decision *decision)
{
    json_t *array = json_array();
    for (unsigned i = 0; array && i < decision->reason_count; i++)
        if (json_array_append_new(array, json_string(decision->reasons[i])) != 0)
            json_decref(TAKE(array));
    return array;
}
