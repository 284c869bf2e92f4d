/* Verbs about requests of hosts to open. */
#include "ask.h"
#include "base/text.h"
#include "table.h"
#include "json/json.h"

static const char *const operands[] = {"request", NULL};

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
    return code ? code : table_show(run, requests, columns, "no host asks", reterr);
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

static enum error_code approve(struct run *run, struct error *reterr)
{
    return decide(run, "approved by you", reterr);
}

static enum error_code deny(struct run *run, struct error *reterr)
{
    return decide(run, "denied", reterr);
}

const struct verb verb_request_list = {
    .name = "request list",
    .operands = "",
    .summary = "List the requests of hosts that wait for a decision.",
    .text =
        "Flags say why a request is never granted without people; reasons say it in words. What a host tells "
        "of its boot is reported by the host: a tampered boot can lie.",
    .effect = VERB_READS,
    .act = list,
};

const struct verb verb_request_approve = {
    .name = "request approve",
    .operands = "ID",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Let the vaults of one request open, once.",
    .text = "ID is that of the list, or its beginning of at least eight digits, which the host shows. The "
            "request "
            "is fixed since it was made: what is approved is that boot of that host. Where the group "
            "wants several people, each of them approves. A flagged request needs the code that the host's "
            "console shows; three wrong ones deny it.",
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
    .text = "ID as with request approve. The host can be booted again, which makes another request.",
    .effect = VERB_ACTS,
    .act = deny,
};
