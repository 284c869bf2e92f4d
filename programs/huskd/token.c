#include "ask.h"

static enum error_code act(struct run *run, struct error *reterr)
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

const struct verb verb_token_create = {
    .name = "token create",
    .operands = "",
    .summary = "Make a token with which one host enrols.",
    .text =
        "It is printed once and kept nowhere. It belongs to the first host that uses it, and to the group. "
        "Give it to the host in a file: husk enroll URL --token-file F.",
    .options =
        (const struct verb_option[]){
            {OPTION_GROUP, ROLE_OPTIONAL, "the group the host will be in (default: the group named default)"},
            {OPTION_EXPIRES, ROLE_OPTIONAL, "how long it may be used, as 30m, 1h, 2d (default 1d)"},
            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = act,
};
