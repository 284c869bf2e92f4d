#include "authority/operations.h"
#include "authority/record.h"
#include "base/text.h"

/* Options whose member of the policy has another name, or the same. */
static const struct {
    const char *option, *member;
} settings[] = {
    {"unlock", "unlock"},           {"approvals", "approvals"},
    {"sources", "sources"},         {"window", "window"},
    {"liveness", "liveness"},       {"request-ttl", "request_ttl"},
    {"request_ttl", "request_ttl"}, {"ticket-ttl", "ticket_ttl"},
    {"ticket_ttl", "ticket_ttl"},   {"held", "held"},
};

static enum error_code apply(const struct job *job, json_t *document, struct error *reterr)
{
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        json_t *value = json_object_get(job->arguments, settings[i].option);
        if (!value)
            continue;
        /* An empty window is none. */
        const bool is_empty = json_is_string(value) && !*json_string_value(value);
        if (json_object_set_new(document, settings[i].member,
                                is_empty ? json_null() : json_deep_copy(value)) != 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    return OK;
}

/* The group's hosts are looked at again: a new policy may let them open, or not any more. */
static enum error_code wake_group(struct clerk *clerk, const char *name, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    uint8_t id[MESSAGE_HOST_ID_SIZE];
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT h.id FROM hosts h JOIN groups g ON g.id = h.group_id WHERE g.name = ?", "t", name);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        if (sql_bytes(&rows, 0, id, sizeof(id)))
            clerk_wake(clerk, id);
    sql_done(&rows);
    return code;
}

static enum error_code record_policy(struct clerk *clerk, struct job *job, const char *name, json_t *document,
                                     struct error *reterr)
{
    json_t *details = json_pack("{s:s, s:O}", "group", name, "policy", document);
    enum error_code code = operation_set_actor(job, details, reterr);
    if (!code)
        code = record_append(clerk, "group", TAKE(details), reterr);
    json_decref(details);
    return code;
}

enum error_code operation_group_set(struct clerk *clerk, struct job *job, struct error *reterr)
{
    const char *name = NULL;
    struct group group = {0};
    struct policy_group policy;
    _cleanup_(json_freep) json_t *document = NULL;
    enum error_code code = argument_text(job, "name", &name, reterr);
    if (!code && !host_name_is_valid(name))
        code = error_set(reterr, ERR_USAGE, 0,
                         "a group's name is 1 to 64 letters, digits, \".\", \"_\" and \"-\"");
    if (code)
        return code;
    code = group_find_by_name(clerk, name, &group, reterr);
    const bool is_new = code == ERR_NOT_FOUND;
    if (code && !is_new)
        return code;
    document = is_new ? group_default_document() : json_deep_copy(group.document);
    code = document ? apply(job, document, reterr) : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = group_parse(document, &policy, reterr);
    job->changed = is_new || !json_equal(document, group.document);
    group_done(&group);
    if (!code && job->changed)
        code = group_write(clerk, name, document, reterr);
    if (!code && job->changed)
        code = record_policy(clerk, job, name, document, reterr);
    if (!code && job->changed)
        code = wake_group(clerk, name, reterr);
    if (!code)
        code = json_set_new(document, "name", json_string(name), reterr);
    if (!code)
        code = json_set_new(document, "made", json_boolean(is_new), reterr);
    if (!code)
        job->result = TAKE(document);
    return code;
}

enum error_code operation_group_list(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    json_t *array = json_array();
    job->result = json_pack("{s:o}", "groups", array);
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT name, policy, (SELECT count(*) FROM hosts h WHERE h.group_id = g.id) FROM groups g "
        "ORDER BY name",
        "");
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        json_t *group = json_loads(sql_text(&rows, 1), 0, NULL);
        if (!group || json_object_set_new(group, "name", json_string(sql_text(&rows, 0))) != 0 ||
            json_object_set_new(group, "hosts", json_integer((json_int_t)sql_integer(&rows, 2))) != 0 ||
            json_array_append_new(array, group) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    sql_done(&rows);
    return code;
}

static enum error_code refuse_unless_empty(struct clerk *clerk, const struct group *group,
                                           struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    int64_t hosts = 0, erased = 0, tokens = 0;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT (SELECT count(*) FROM hosts WHERE group_id = ?1 AND erased = 0), (SELECT count(*) "
                   "FROM hosts WHERE group_id = ?1 AND erased <> 0), (SELECT count(*) FROM tokens WHERE "
                   "group_id = ?1 AND host IS NULL)",
                   "i", group->id);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code) {
        hosts = sql_integer(&rows, 0);
        erased = sql_integer(&rows, 1);
        tokens = sql_integer(&rows, 2);
    }
    sql_done(&rows);
    if (code || hosts + erased + tokens == 0)
        return code;
    error_set(reterr, ERR_DENIED, 0,
              "group %s is not empty: %lld hosts, %lld that are erased, %lld tokens that nobody has used",
              group->name, (long long)hosts, (long long)erased, (long long)tokens);
    return error_remedy(reterr, hosts    ? "huskd host move gives them another group"
                                : erased ? "it stays: what became of those hosts is told with it"
                                         : "huskd token list tells them, huskd token revoke takes them back");
}

enum error_code operation_group_remove(struct clerk *clerk, struct job *job, struct error *reterr)
{
    const char *name = NULL;
    struct group group = {0};
    enum error_code code = argument_text(job, "name", &name, reterr);
    if (!code && !strcmp(name, "default"))
        code = error_set(reterr, ERR_DENIED, 0, "the group default stays: tokens are for it by default");
    if (!code)
        code = group_find_by_name(clerk, name, &group, reterr);
    if (!code)
        code = tokens_forget_expired(clerk, reterr);
    if (!code)
        code = refuse_unless_empty(clerk, &group, reterr);
    json_t *details = json_pack("{s:s}", "group", group.name);
    if (!code)
        code = operation_set_actor(job, details, reterr);
    if (!code)
        code = record_append(clerk, "group-removed", TAKE(details), reterr);
    json_decref(details);
    if (!code)
        code = group_remove(clerk, group.id, reterr);
    if (!code) {
        job->result = json_pack("{s:s}", "name", group.name);
        code = job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    job->changed = !code;
    group_done(&group);
    return code;
}
