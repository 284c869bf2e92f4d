/* Verbs about requests of hosts to open. */
#include "ask.h"
#include "base/clock.h"
#include "base/text.h"
#include "table.h"
#include "json/json.h"

enum { CODE_DIGITS = 4 };

static const char *const operands[] = {"request", NULL};

static void show_facts(struct run *run, json_t *facts)
{
    const char *name;
    json_t *value;
    json_object_foreach(facts, name, value)
        run_text(run, "  %s: %s\n", text_shown(name), text_shown(json_string_value(value)));
}

static void show_changes(struct run *run, const json_t *changed, const json_t *accepted)
{
    for (size_t i = 0; i < json_array_size(changed); i++) {
        const char *name = json_string_value(json_array_get(changed, i));
        run_text(run, "  differs from the last boot that was let in or enrolled: %s, which was %s\n",
                 text_shown(name), text_shown(json_string_value(json_object_get(accepted, name))));
    }
}

/* What is known of a request besides what policy says of it: what the authority knows, then what the host
 * says. */
static void show_more(struct run *run, const json_t *request)
{
    const json_t *ticket = json_object_get(request, "ticket"), *seen = json_object_get(request, "last_seen"),
                 *changed = json_object_get(request, "changed_facts");
    char time[CLOCK_TEXT_SIZE] = "never", until[CLOCK_TEXT_SIZE] = "";
    if (json_is_integer(seen) && json_integer_value(seen) == 0)
        snprintf(time, sizeof(time), "unknown when");
    else if (json_is_integer(seen))
        clock_format(json_integer_value(seen), time);
    if (json_is_object(ticket))
        clock_format(json_integer_value(json_object_get(ticket, "expires_at")), until);
    run_text(run, "\n%.8s of %s, heard of last: %s; ticket: %s%s\n",
             json_string_value(json_object_get(request, "id")),
             text_shown(json_string_value(json_object_get(request, "host"))), time,
             *until ? json_is_true(json_object_get(ticket, "used")) ? "used, until " : "until " : "none",
             until);
    run_text(run, "  reported by the host (a tampered boot can lie): %s\n",
             json_is_true(json_object_get(request, "planned")) ? "planned" : "not planned");
    show_facts(run, json_object_get(request, "reported_facts"));
    if (json_is_null(json_object_get(request, "accepted_facts")))
        run_text(run, "  nothing to compare with: no boot of it was let in or enrolled yet\n");
    else if (json_array_size(changed) == 0)
        run_text(run, "  nothing of it differs from the last boot that was let in or enrolled\n");
    else
        show_changes(run, changed, json_object_get(request, "accepted_facts"));
}

static enum error_code list(struct run *run, struct error *reterr)
{
    static const char *const columns[] = {"id",      "host",    "state",      "code",      "flags",
                                          "reasons", "address", "created_at", "approvals", NULL};
    json_t *result, *requests;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        code = json_get_array(result, "requests", SIZE_MAX, &requests, reterr);
    if (!code)
        ask_tell_alarms(run, result);
    if (!code)
        code = table_show(run, requests, columns,
                          "no host asks (one on hold makes no request: huskd host list)", reterr);
    for (size_t i = 0; !code && i < json_array_size(requests); i++)
        show_more(run, json_array_get(requests, i));
    return code;
}

static enum error_code decide(struct run *run, const char *word, struct error *reterr)
{
    json_t *result;
    const char *id = NULL;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        code = json_get_string(result, "id", &id, reterr);
    if (!code)
        report_truth(&run->report, "request %s is %s", text_shown(id), word);
    return code;
}

/* What can be no code is no wrong one either, of which three deny the request. */
static enum error_code check_code(const struct run *run, struct error *reterr)
{
    const char *code = argument_value(&run->arguments, OPTION_CODE);
    if (!code || (strlen(code) == CODE_DIGITS && strspn(code, "0123456789") == CODE_DIGITS))
        return OK;
    return error_set(reterr, ERR_USAGE, 0, "%s is no code: it has %d digits, as the host shows it",
                     text_shown(code), CODE_DIGITS);
}

/* People's word opens nothing of what is on hold. */
static void tell_hold(struct run *run)
{
    const json_t *held = json_object_get(run->result, "held");
    const char *host = json_string_value(json_object_get(held, "host")),
               *group = json_string_value(json_object_get(held, "group"));
    if (host)
        report_truth(&run->report, "nothing opens until its hold is ended: huskd host release %s",
                     text_shown(host));
    else if (group)
        report_truth(&run->report,
                     "nothing opens until the hold of its group is ended: huskd group set %s --held=no",
                     text_shown(group));
}

static enum error_code approve(struct run *run, struct error *reterr)
{
    enum error_code code = check_code(run, reterr);
    if (!code)
        code = decide(run, "approved by you", reterr);
    const json_int_t count = json_integer_value(json_object_get(run->result, "approvals")),
                     needed = json_integer_value(json_object_get(run->result, "approvals_needed"));
    if (!code && needed > 1)
        report_truth(&run->report,
                     "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " people have approved it%s", count,
                     needed, count < needed ? ": it waits for the others" : "");
    if (!code)
        tell_hold(run);
    return code;
}

static enum error_code deny(struct run *run, struct error *reterr)
{
    enum error_code code = decide(run, "denied", reterr);
    if (!code && json_is_true(json_object_get(run->result, "restore_withdrawn")))
        report_truth(&run->report, "no old copy of its host's disk is accepted beforehand any more");
    return code;
}

const struct verb verb_request_list = {
    .name = "request list",
    .operands = "",
    .summary = "List the requests of hosts that wait for a decision.",
    .text =
        "Flags say why a request is never granted without people; reasons say it in words. Below the table "
        "stands of each request when its host was heard of last, whether there is a ticket, and what it "
        "reports of its boot: kernel, and hashes of kernel, initramfs and command line where they can be "
        "read. What differs from the last boot that was let in or enrolled is said; what only one of the two "
        "reports is "
        "not compared. A tampered boot can lie.",
    .effect = VERB_READS,
    .act = list,
};

const struct verb verb_request_approve = {
    .name = "request approve",
    .operands = "ID",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Let the vaults of one request open, once.",
    .text =
        "ID is that of the list, or its beginning of at least eight digits. The "
        "request "
        "is fixed since it was made: what is approved is that boot of that host. Where the group "
        "wants several people, each of them approves, and root, who can act as any of them, is none. A "
        "flagged request needs the code that the host's "
        "console shows; three wrong ones deny it. What is on hold does not open by it; that is said, with "
        "what ends the hold.",
    .options = (const struct verb_option[]){{OPTION_CODE, ROLE_OPTIONAL, NULL},
                                            {OPTION_RESTORED, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = approve,
};

const struct verb verb_request_deny = {
    .name = "request deny",
    .operands = "ID",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Refuse a request, for good.",
    .text =
        "ID as with request approve. What the same boot asks for again is granted by people alone, whatever "
        "the policy says. Where an old copy of the host's disk was accepted beforehand (host "
        "accept-restore), it is not any more. The host can be booted again, which makes another request.",
    .effect = VERB_ACTS,
    .act = deny,
};
