#include "ask.h"
#include "base/text.h"
#include "table.h"

static enum error_code create(struct run *run, struct error *reterr)
{
    json_t *result;
    const char *token;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_string(result, "token", &token, reterr);
    if (!code)
        run_text(run, "%s\n", token);
    return code;
}

static enum error_code list(struct run *run, struct error *reterr)
{
    static const char *const columns[] = {"id", "group", "made_by", "expires_at", "used_by", NULL};
    json_t *result, *tokens;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_array(result, "tokens", SIZE_MAX, &tokens, reterr);
    return code ? code : table_show(run, tokens, columns, "there is no token that has not expired", reterr);
}

static enum error_code revoke(struct run *run, struct error *reterr)
{
    static const char *const operands[] = {"token", NULL};
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        report_truth(&run->report, "token %s enrols nobody any more", text_shown(run->arguments.operands[0]));
    return code;
}

const struct verb verb_token_create = {
    .name = "token create",
    .operands = "",
    .summary = "Make a token with which one host enrols.",
    .text =
        "It is printed once and kept nowhere; huskd token list tells its id, by which it can be revoked. It "
        "belongs to the first host that uses it, and to the group. "
        "Give it to the host in a file: husk enroll URL --token-file F.",
    .options =
        (const struct verb_option[]){
            {OPTION_GROUP, ROLE_OPTIONAL, "the group the host will be in (default: the group named default)"},
            {OPTION_EXPIRES, ROLE_OPTIONAL, "how long it may be used, as 30m, 1h, 2d up to 90d (default 1d)"},
            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = create,
};

const struct verb verb_token_list = {
    .name = "token list",
    .operands = "",
    .summary = "List the tokens that have not expired.",
    .text = "By an id, which enrols nobody: a token itself is kept nowhere. One that was used tells by which "
            "host.",
    .effect = VERB_READS,
    .act = list,
};

const struct verb verb_token_revoke = {
    .name = "token revoke",
    .operands = "ID",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Take back a token that nobody has used.",
    .text = "ID is that of the list, or its beginning of at least eight digits. A token that was used is "
            "refused: what it made is a host, and huskd host hold or host erase are for that.",
    .effect = VERB_ACTS,
    .act = revoke,
};
