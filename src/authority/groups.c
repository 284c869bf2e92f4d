#include "authority/hosts.h"

#include "base/text.h"

enum {
    APPROVALS_MOST = POLICY_APPROVALS_MAXIMUM,
    TTL_LEAST_S = 30,
    TTL_MOST_S = 30 * 86400,
    POLICY_MAXIMUM = 8192
};

json_t *group_default_document(void)
{
    return json_pack("{s:i, s:s, s:i, s:[], s:n, s:i, s:i, s:i, s:b}", "version", 1, "unlock",
                     policy_unlock_word(policy_default.unlock), "approvals", (int)policy_default.approvals,
                     "sources", "window", "liveness", (int)policy_default.liveness_s, "request_ttl",
                     (int)policy_default.request_ttl_s, "ticket_ttl", (int)policy_default.ticket_ttl_s,
                     "held", 0);
}

static enum error_code parse_sources(json_t *document, struct policy_group *policy, struct error *reterr)
{
    json_t *array;
    enum error_code code = json_get_array(document, "sources", POLICY_SOURCES_MAXIMUM, &array, reterr);
    for (size_t i = 0; !code && i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));
        code = text ? policy_source_parse(text, &policy->sources[policy->source_count++], reterr)
                    : error_set(reterr, ERR_USAGE, 0, "sources are addresses");
    }
    return code;
}

static enum error_code parse_window(json_t *document, struct policy_group *policy, struct error *reterr)
{
    const json_t *window = json_object_get(document, "window");
    if (json_is_null(window))
        return OK;
    policy->has_window = true;
    return json_is_string(window) ? policy_window_parse(json_string_value(window), &policy->window, reterr)
                                  : error_set(reterr, ERR_USAGE, 0, "window is text");
}

enum error_code group_parse(json_t *document, struct policy_group *ret_policy, struct error *reterr)
{
    struct policy_group policy = {0};
    const char *unlock = NULL;
    int64_t approvals = 0;
    enum error_code code = json_check_version(document, 1, "the policy", reterr);
    if (!code)
        code = json_get_string(document, "unlock", &unlock, reterr);
    if (!code)
        code = policy_unlock_parse(unlock, &policy.unlock, reterr);
    if (!code)
        code = json_get_integer(document, "approvals", 1, APPROVALS_MOST, &approvals, reterr);
    if (!code)
        code = parse_sources(document, &policy, reterr);
    if (!code)
        code = parse_window(document, &policy, reterr);
    if (!code)
        code = json_get_integer(document, "liveness", 0, TTL_MOST_S, &policy.liveness_s, reterr);
    if (!code)
        code =
            json_get_integer(document, "request_ttl", TTL_LEAST_S, TTL_MOST_S, &policy.request_ttl_s, reterr);
    if (!code)
        code =
            json_get_integer(document, "ticket_ttl", TTL_LEAST_S, TTL_MOST_S, &policy.ticket_ttl_s, reterr);
    if (!code)
        code = json_get_boolean(document, "held", &policy.held, reterr);
    if (code == ERR_CORRUPT && reterr)
        reterr->code = ERR_USAGE;
    if (code)
        return code == ERR_CORRUPT ? ERR_USAGE : code;
    policy.approvals = (unsigned)approvals;
    *ret_policy = policy;
    return OK;
}

void group_done(struct group *group)
{
    json_decref(TAKE(group->document));
}

/* The policy that was read last, and the text it was read from: nearly all messages ask for the same one, and
 * as long as the database says the same text it means the same. */
struct policy_kept {
    char *text; /* owned */
    struct policy_group policy;
};

void group_forget(struct clerk *clerk)
{
    if (clerk->policy_kept)
        free(clerk->policy_kept->text);
    free(TAKE(clerk->policy_kept));
}

/* Without memory it is read again the next time. */
static void keep_policy(struct clerk *clerk, const char *text, const struct policy_group *policy)
{
    group_forget(clerk);
    char *copy = strdup(text);
    clerk->policy_kept = copy ? malloc(sizeof(*clerk->policy_kept)) : NULL;
    if (clerk->policy_kept)
        *clerk->policy_kept = (struct policy_kept){.text = copy, .policy = *policy};
    else
        free(copy);
}

static enum error_code read_document(const char *text, struct group *group, struct error *reterr)
{
    enum error_code code = json_parse_object(text, strlen(text), "the policy", &group->document, reterr);
    if (!code && (code = group_parse(group->document, &group->policy, reterr)))
        error_prefix(reterr, "group %s", group->name);
    return code;
}

static enum error_code read_policy(struct clerk *clerk, const char *text, struct group *group,
                                   struct error *reterr)
{
    if (clerk->policy_kept && strcmp(clerk->policy_kept->text, text) == 0) {
        group->policy = clerk->policy_kept->policy;
        return OK;
    }
    enum error_code code = read_document(text, group, reterr);
    if (!code)
        keep_policy(clerk, text, &group->policy);
    group_done(group);
    return code;
}

/* kept_by NULL: with its document. Ends rows. */
static enum error_code read_group(struct clerk *kept_by, struct sql_rows *rows, struct group *ret_group,
                                  struct error *reterr)
{
    bool is_there = false;
    struct group group = {0};
    enum error_code code = sql_next(rows, &is_there, reterr);
    if (!code && !is_there) {
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such group");
        error_remedy(reterr, "huskd group list tells the groups there are, huskd group set makes one");
    }
    if (!code) {
        group.id = sql_integer(rows, 0);
        snprintf(group.name, sizeof(group.name), "%s", sql_text(rows, 1));
        code = kept_by ? read_policy(kept_by, sql_text(rows, 2), &group, reterr)
                       : read_document(sql_text(rows, 2), &group, reterr);
    }
    sql_done(rows);
    if (code)
        group_done(&group);
    else
        *ret_group = group;
    return code;
}

enum error_code group_find(struct clerk *clerk, int64_t id, struct group *ret_group, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, "SELECT id, name, policy FROM groups WHERE id = ?", "i", id);
    return code ? code : read_group(clerk, &rows, ret_group, reterr);
}

enum error_code group_find_by_name(struct clerk *clerk, const char *name, struct group *ret_group,
                                   struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT id, name, policy FROM groups WHERE name = ?", "t", name);
    return code ? code : read_group(NULL, &rows, ret_group, reterr);
}

enum error_code group_write(struct clerk *clerk, const char *name, json_t *document, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = POLICY_MAXIMUM};
    enum error_code code = json_format(document, &text, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "INSERT INTO groups(name, policy) VALUES(?, ?) "
                       "ON CONFLICT(name) DO UPDATE SET policy = excluded.policy",
                       "tt", name, text.data);
    return code;
}

enum error_code group_remove(struct clerk *clerk, int64_t id, struct error *reterr)
{
    enum error_code code =
        sql_run(clerk->sql, reterr,
                "UPDATE tokens SET group_id = (SELECT h.group_id FROM hosts h WHERE h.id = tokens.host) "
                "WHERE group_id = ? AND host IS NOT NULL",
                "i", id);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE buckets SET group_id = (SELECT h.group_id FROM scalars s JOIN keyslots k ON "
                       "k.id = s.keyslot JOIN hosts h ON h.id = k.host WHERE s.bucket = buckets.id LIMIT 1) "
                       "WHERE group_id = ?",
                       "i", id);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE groups SET buckets = (SELECT count(*) FROM buckets b WHERE b.group_id = "
                       "groups.id)",
                       "");
    return code ? code : sql_run(clerk->sql, reterr, "DELETE FROM groups WHERE id = ?", "i", id);
}
