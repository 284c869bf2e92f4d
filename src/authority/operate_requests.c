#include <sodium.h>

#include "authority/facts.h"
#include "authority/operations.h"
#include "authority/record.h"
#include "base/text.h"

enum { WRONG_CODES_MOST = 3, REQUEST_DIGITS_LEAST = 8 };

/* A request as it is seen now. */
struct view {
    char name[HOST_NAME_SIZE]; /* of the host */
    char group[HOST_NAME_SIZE];
    struct policy_host host;
    struct policy_ticket ticket;
    struct policy_decision decision;
    unsigned needed; /* people who have to approve */
};

/* What policy would say of it now, without carrying anything out. */
static enum error_code look(struct clerk *clerk, const struct request *request, struct view *view,
                            struct error *reterr)
{
    struct host host;
    struct group group = {0};
    enum error_code code = host_find(clerk, request->host, &host, reterr);
    if (!code)
        code = group_find(clerk, host.group_id, &group, reterr);
    if (!code)
        code = ticket_find(clerk, host.id, &view->ticket, reterr);
    if (!code) {
        view->host = host_for_policy(clerk, &host);
        struct policy_request policy = request->policy;
        policy.clock_went_back = clerk->clock_went_back;
        policy_decide(&view->host, &group.policy, &policy, &view->ticket, clerk->now_unix_s, &view->decision);
        memcpy(view->name, host.name, HOST_NAME_SIZE);
        snprintf(view->group, sizeof(view->group), "%s", group.name);
        view->needed = group.policy.approvals > 0 ? group.policy.approvals : 1;
    }
    group_done(&group);
    return code;
}

static json_t *ticket_json(const struct policy_ticket *ticket)
{
    if (!ticket->exists)
        return json_null();
    return json_pack("{s:s, s:I, s:b}", "purpose",
                     ticket->purpose == POLICY_TICKET_FINISH ? "finish" : "reboot", "expires_at",
                     (json_int_t)ticket->expires_at_unix_s, "used", ticket->is_used);
}

static enum error_code append_request(struct clerk *clerk, const struct request *request, json_t *array,
                                      struct error *reterr)
{
    struct view view = {0};
    const struct policy_decision *decision = &view.decision;
    enum error_code code = look(clerk, request, &view, reterr);
    if (code)
        return code;
    const bool is_over = decision->denial == POLICY_REQUEST_EXPIRED && request->policy.state < POLICY_GRANTED;
    json_t *object = json_pack(
        "{s:o, s:s, s:s, s:s, s:o, s:o, s:s, s:I, s:I, s:i, s:b, s:o, s:o}", "id", record_hex(request->id),
        "host", view.name, "state", policy_request_words[is_over ? POLICY_EXPIRED : request->policy.state],
        "code", request->code, "flags", request_flags_json(decision->flags), "reasons",
        request_reasons_json(decision), "address", request->policy.address, "created_at",
        (json_int_t)request->created_at_unix_s, "expires_at", (json_int_t)request->policy.expires_at_unix_s,
        "approvals", (int)decision->approvals, "planned", request->policy.planned, "ticket",
        ticket_json(&view.ticket), "last_seen",
        view.host.was_seen ? json_integer((json_int_t)view.host.last_seen_unix_s) : json_null());
    code = object ? facts_show(clerk, request, object, reterr) : OK;
    if (json_array_append_new(array, object) != 0)
        return code ? code : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return code;
}

/* Ids first: one statement at a time. */
static enum error_code list_ids(struct clerk *clerk, struct buffer *ids, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT id FROM requests WHERE state IN (?, ?) AND expires_at > ? AND NOT EXISTS "
                   "(SELECT 1 FROM hosts h WHERE h.id = requests.host AND h.erased <> 0) ORDER BY created_at",
                   "iii", (int64_t)POLICY_PENDING, (int64_t)POLICY_APPROVED, clerk->now_unix_s);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        uint8_t id[MESSAGE_ID_SIZE];
        if (sql_bytes(&rows, 0, id, sizeof(id)))
            code = buffer_append(ids, id, sizeof(id), reterr);
    }
    sql_done(&rows);
    return code;
}

enum error_code operation_request_list(struct clerk *clerk, struct job *job, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer ids = {0};
    json_t *array = json_array();
    job->result = json_pack("{s:o}", "requests", array);
    enum error_code code =
        job->result ? list_ids(clerk, &ids, reterr) : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t at = 0; !code && at < ids.length; at += MESSAGE_ID_SIZE) {
        struct request request;
        code = request_find(clerk, (const uint8_t *)ids.data + at, &request, reterr);
        request.policy.approvals = request.approvals;
        if (!code)
            code = append_request(clerk, &request, array, reterr);
    }
    return code ? code : operation_add_alarms(clerk, job->result, reterr);
}

/* Of the one request whose id is named or begins so: hosts show the first eight digits. */
static enum error_code find_id(struct clerk *clerk, struct job *job, uint8_t ret_id[MESSAGE_ID_SIZE],
                               struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false, is_another = false;
    const char *text = NULL;
    uint8_t least[MESSAGE_ID_SIZE], most[MESSAGE_ID_SIZE];
    enum error_code code = argument_id(job, "request", REQUEST_DIGITS_LEAST, &text, least, most, reterr);
    if (code)
        return code;
    code = sql_select(clerk->sql, &rows, reterr, "SELECT id FROM requests WHERE id >= ? AND id <= ? LIMIT 2",
                      "bb", least, sizeof(least), most, sizeof(most));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && (!is_there || !sql_bytes(&rows, 0, ret_id, MESSAGE_ID_SIZE))) {
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no request %s", text_shown(text));
        error_remedy(reterr, "huskd request list tells those that wait");
    }
    if (!code)
        code = sql_next(&rows, &is_another, reterr);
    if (!code && is_another)
        code = error_set(reterr, ERR_USAGE, 0, "more than one request begins with %s", text_shown(text));
    sql_done(&rows);
    return code;
}

static enum error_code find_open(struct clerk *clerk, struct job *job, struct request *request,
                                 struct error *reterr)
{
    uint8_t id[MESSAGE_ID_SIZE];
    enum error_code code = find_id(clerk, job, id, reterr);
    if (!code)
        code = request_find(clerk, id, request, reterr);
    if (!code &&
        (request->policy.state == POLICY_EXPIRED ||
         (request->policy.state < POLICY_GRANTED && clerk->now_unix_s >= request->policy.expires_at_unix_s)))
        code = error_set(reterr, ERR_DENIED, 0, "the request has expired");
    return code;
}

static enum error_code record_by(struct clerk *clerk, struct job *job, const struct request *request,
                                 const char *kind, struct error *reterr)
{
    json_t *details = record_of_request(request->host, request->id);
    enum error_code code = operation_set_actor(job, details, reterr);
    if (!code)
        code = json_set_new(details, "flags", request_flags_json(request->policy.flags), reterr);
    if (!code && json_is_true(json_object_get(job->arguments, "restored")))
        code = json_set_new(details, "restored", json_true(), reterr);
    if (!code)
        code = record_append(clerk, kind, TAKE(details), reterr);
    json_decref(details);
    return code;
}

static enum error_code state_result(struct job *job, const struct request *request, struct error *reterr)
{
    job->result = json_pack("{s:o, s:s}", "id", record_hex(request->id), "state",
                            policy_request_words[request->policy.state]);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* Accepted beforehand is no old copy any more: else the next boot of what was denied is let in. */
static enum error_code withdraw_restore(struct clerk *clerk, struct job *job, const struct request *request,
                                        bool *ret_is_withdrawn, struct error *reterr)
{
    enum error_code code =
        sql_run(clerk->sql, reterr, "UPDATE hosts SET restore_accepted = 0 WHERE id = ? AND restore_accepted",
                "b", request->host, sizeof(request->host));
    if (code)
        return code;
    *ret_is_withdrawn = sql_changes(clerk->sql) > 0;
    if (!*ret_is_withdrawn)
        return OK;
    json_t *details = record_of_host(request->host);
    code = operation_set_actor(job, details, reterr);
    if (!code)
        code = record_append(clerk, "restore-withdrawn", TAKE(details), reterr);
    json_decref(details);
    return code;
}

/* Its entry in the ledger is the caller's. */
static enum error_code deny(struct clerk *clerk, struct job *job, struct request *request,
                            bool *ret_is_withdrawn, struct error *reterr)
{
    request->policy.state = POLICY_DENIED;
    enum error_code code = request_update(clerk, request, reterr);
    if (!code)
        code = withdraw_restore(clerk, job, request, ret_is_withdrawn, reterr);
    if (!code)
        clerk_wake(clerk, request->host);
    return code;
}

/* Where flags are, the code is typed: who approves has seen the console of the boot that asks. After some
 * wrong ones the request is denied. *ret_is_right: go on. Otherwise the refusal is kept. */
static enum error_code check_code(struct clerk *clerk, struct job *job, struct request *request,
                                  bool *ret_is_right, struct error *reterr)
{
    const char *typed = json_string_value(json_object_get(job->arguments, "code"));
    *ret_is_right = true;
    if (!typed && !request->policy.flags)
        return OK;
    if (!typed) {
        error_set(reterr, ERR_DENIED, 0, "the request is flagged: its code has to be given");
        return error_remedy(reterr,
                            "look at the console of the host that asks, and give its code with --code");
    }
    if (strlen(typed) == strlen(request->code) && sodium_memcmp(typed, request->code, strlen(typed)) == 0)
        return OK;
    bool is_withdrawn;
    *ret_is_right = false;
    request->wrong_codes++;
    enum error_code code = request->wrong_codes >= WRONG_CODES_MOST
                               ? deny(clerk, job, request, &is_withdrawn, reterr)
                               : request_update(clerk, request, reterr);
    if (!code)
        code = record_by(clerk, job, request, "wrong-code", reterr);
    if (code)
        return code;
    const int left = WRONG_CODES_MOST - (int)request->wrong_codes;
    return left > 0
               ? job_refuse(job, ERR_DENIED, NULL,
                            "this is not the code the host shows: %d more wrong one%s and the request is "
                            "denied",
                            left, left == 1 ? "" : "s")
               : job_refuse(job, ERR_DENIED, NULL,
                            "this is not the code, for the third time: the request is denied");
}

static enum error_code write_approval(struct clerk *clerk, struct job *job, const struct request *request,
                                      struct error *reterr)
{
    const bool is_restored = json_is_true(json_object_get(job->arguments, "restored"));
    return sql_run(clerk->sql, reterr,
                   "INSERT INTO approvals(request, uid, name, flags, restored, at) VALUES(?, ?, ?, ?, ?, ?) "
                   "ON CONFLICT DO UPDATE SET name = excluded.name, flags = excluded.flags, restored = "
                   "excluded.restored, at = excluded.at",
                   "bitiii", request->id, sizeof(request->id), (int64_t)job->actor->uid, job->actor->name,
                   (int64_t)request->policy.flags, (int64_t)is_restored, clerk->now_unix_s);
}

/* With enough people it is approved; granting is policy's, when the host asks. */
static enum error_code count_approvals(struct clerk *clerk, struct request *request,
                                       struct policy_decision *ret_decision, struct error *reterr)
{
    struct view view = {0};
    uint8_t id[MESSAGE_ID_SIZE];
    const unsigned flags = request->policy.flags;
    memcpy(id, request->id, sizeof(id));
    enum error_code code = request_find(clerk, id, request, reterr);
    request->policy.approvals = request->approvals;
    request->policy.flags = flags;
    if (!code)
        code = look(clerk, request, &view, reterr);
    if (!code && view.decision.verdict == POLICY_GRANT) {
        request->policy.state = POLICY_APPROVED;
        code = request_update(clerk, request, reterr);
    }
    if (!code)
        *ret_decision = view.decision;
    return code;
}

/* Before anything is written: what of people's word would not count. */
static enum error_code check_approver(const struct job *job, const struct view *view, struct error *reterr)
{
    /* Whatever people say: nothing of it opens any more. */
    if (view->decision.denial == POLICY_ERASED)
        return error_set(reterr, ERR_ERASED, 0, "host %s is erased", view->name);
    if (job->actor->is_no_account) {
        error_set(reterr, ERR_DENIED, 0, "this machine has no user %u: nobody knows whose approval it is",
                  job->actor->uid);
        return error_remedy(reterr, "approve it as a user of your own, outside of containers");
    }
    if (job->actor->uid != 0 || view->needed <= 1)
        return OK;
    error_set(reterr, ERR_DENIED, 0,
              "%u people have to approve it, and root is none of them: it can act as any other",
              view->needed);
    return error_remedy(reterr, "approve it as a user of your own who is in the group huskd, without sudo");
}

/* What an approver is told: whose word still lacks, and what keeps it from opening all the same. */
static enum error_code approval_result(struct job *job, const struct view *view, struct error *reterr)
{
    const bool is_held = view->decision.denial == POLICY_HELD;
    json_t *held = !is_held                               ? json_null()
                   : view->host.state == POLICY_HOST_HELD ? json_pack("{s:s}", "host", view->name)
                                                          : json_pack("{s:s}", "group", view->group);
    enum error_code code = json_set_new(job->result, "held", held, reterr);
    if (!code)
        code = json_set_new(job->result, "approvals", json_integer(view->decision.approvals), reterr);
    return code ? code : json_set_new(job->result, "approvals_needed", json_integer(view->needed), reterr);
}

enum error_code operation_request_approve(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct request request = {0};
    struct view view = {0};
    bool is_right = false;
    enum error_code code = find_open(clerk, job, &request, reterr);
    request.policy.approvals = request.approvals;
    if (!code && request.policy.state == POLICY_DENIED) {
        error_set(reterr, ERR_DENIED, 0, "the request was denied");
        code = error_remedy(reterr, "its host has to ask anew: husk unlock there, or its boot by itself");
    }
    if (code)
        return code;
    if (request.policy.state == POLICY_GRANTED)
        return state_result(job, &request, reterr);
    code = look(clerk, &request, &view, reterr);
    if (code)
        return code;
    code = check_approver(job, &view, reterr);
    if (code)
        return code;
    request.policy.flags = view.decision.flags;
    code = check_code(clerk, job, &request, &is_right, reterr);
    if (code || !is_right)
        return code;
    code = write_approval(clerk, job, &request, reterr);
    if (!code)
        code = record_by(clerk, job, &request, "approval", reterr);
    if (!code)
        code = count_approvals(clerk, &request, &view.decision, reterr);
    if (!code)
        clerk_wake(clerk, request.host);
    job->changed = !code;
    if (!code)
        code = state_result(job, &request, reterr);
    return code ? code : approval_result(job, &view, reterr);
}

enum error_code operation_request_deny(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct request request = {0};
    bool is_withdrawn = false;
    enum error_code code = find_open(clerk, job, &request, reterr);
    if (!code && request.policy.state == POLICY_GRANTED)
        code = error_set(reterr, ERR_DENIED, 0, "the request was granted already");
    if (!code && request.policy.state != POLICY_DENIED) {
        code = deny(clerk, job, &request, &is_withdrawn, reterr);
        if (!code)
            code = record_by(clerk, job, &request, "denied", reterr);
        job->changed = !code;
    }
    if (!code)
        code = state_result(job, &request, reterr);
    return code ? code : json_set_new(job->result, "restore_withdrawn", json_boolean(is_withdrawn), reterr);
}
