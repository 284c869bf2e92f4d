#include "authority/facts.h"

#include "authority/messages.h"

enum { FACTS_MAXIMUM = 4096 };

static const char *const names[] = {"kernel", "kernel_hash", "initramfs_hash", "cmdline_hash"};

enum error_code facts_keep(struct clerk *clerk, struct job *job, const struct host *host,
                           const uint8_t boot[POLICY_TOKEN_SIZE], struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = FACTS_MAXIMUM};
    json_t *facts;
    enum error_code code = json_get_object(job->object, "facts", &facts, reterr);
    if (!code)
        code = json_format(facts, &text, reterr);
    if (code || !message_is_live_boot(host, boot))
        return code;
    return sql_run(
        clerk->sql, reterr,
        "UPDATE hosts SET facts = ?, address = ? WHERE id = ? AND (facts IS NOT ? OR address IS NOT ?)",
        "ttbtt", text.data, job->peer, host->id, sizeof(host->id), text.data, job->peer);
}

enum error_code facts_accept(struct clerk *clerk, const struct request *request, struct error *reterr)
{
    if (request->is_new)
        return sql_run(clerk->sql, reterr, "UPDATE hosts SET facts = ? WHERE id = ?", "tb", request->facts,
                       request->host, sizeof(request->host));
    return sql_run(clerk->sql, reterr,
                   "UPDATE hosts SET facts = (SELECT facts FROM requests WHERE id = ?) WHERE id = ?", "bb",
                   request->id, sizeof(request->id), request->host, sizeof(request->host));
}

/* The known ones of a text that a host sent. Empty where there are none; NULL without memory. */
static json_t *read_facts(const char *text)
{
    _cleanup_(json_freep) json_t *all = text ? json_loads(text, 0, NULL) : NULL;
    json_t *facts = json_object();
    for (size_t i = 0; facts && i < ARRAY_SIZE(names); i++) {
        json_t *value = json_object_get(all, names[i]);
        if (json_is_string(value) && json_object_set(facts, names[i], value) != 0)
            json_decref(TAKE(facts));
    }
    return facts;
}

static json_t *compare(const json_t *left, const json_t *right)
{
    json_t *changed = json_array();
    for (size_t i = 0; changed && i < ARRAY_SIZE(names); i++) {
        const json_t *one = json_object_get(left, names[i]), *other = json_object_get(right, names[i]);
        if (one && other && !json_equal(one, other) &&
            json_array_append_new(changed, json_string(names[i])) != 0)
            json_decref(TAKE(changed));
    }
    return changed;
}

enum error_code facts_show(struct clerk *clerk, const struct request *request, json_t *object,
                           struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    json_t *reported = NULL, *accepted = NULL;
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT r.facts, h.facts FROM requests r JOIN hosts h ON h.id = r.host "
                                      "WHERE r.id = ?",
                                      "b", request->id, sizeof(request->id));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there) {
        reported = read_facts(sql_text(&rows, 0));
        accepted = sql_is_null(&rows, 1) ? json_null() : read_facts(sql_text(&rows, 1));
    }
    sql_done(&rows);
    json_t *changed = compare(reported, accepted);
    if (!code)
        code = json_set_new(object, "changed_facts", changed, reterr);
    if (!code)
        code = json_set_new(object, "reported_facts", TAKE(reported), reterr);
    if (!code)
        code = json_set_new(object, "accepted_facts", TAKE(accepted), reterr);
    json_decref(reported);
    json_decref(accepted);
    return code;
}
