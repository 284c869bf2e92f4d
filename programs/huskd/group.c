/* Verbs about groups, which are policies. */
#include "ask.h"
#include "base/text.h"
#include "table.h"

static enum error_code set(struct run *run, struct error *reterr)
{
    static const char *const operands[] = {"name", NULL};
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        report_truth(&run->report,
                     json_is_true(json_object_get(result, "made")) ? "group %s is made"
                                                                   : "group %s is as told",
                     text_shown(run->arguments.operands[0]));
    return code;
}

static enum error_code list(struct run *run, struct error *reterr)
{
    static const char *const columns[] = {"name",   "unlock",   "approvals",   "sources",
                                          "window", "liveness", "request_ttl", "ticket_ttl",
                                          "held",   "hosts",    NULL};
    json_t *result, *groups;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_array(result, "groups", SIZE_MAX, &groups, reterr);
    return code ? code : table_show(run, groups, columns, "there is no group", reterr);
}

static enum error_code erase(struct run *run, struct error *reterr)
{
    static const char *const operands[] = {"name", NULL};
    const char *name = run->arguments.operands[0], *typed = argument_value(&run->arguments, OPTION_CONFIRM);
    json_t *result;
    if (!typed || strcmp(typed, name) != 0) {
        error_set(reterr, ERR_USAGE, 0, "nothing is erased: the name has to be typed again");
        error_remedy(reterr, "huskd group erase %s --confirm %s", text_shown(name), text_shown(name));
        return ERR_USAGE;
    }
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        ask_tell_erased(run, result, "group");
    return code;
}

static enum error_code remove_group(struct run *run, struct error *reterr)
{
    static const char *const operands[] = {"name", NULL};
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        report_truth(&run->report, "there is no group %s any more", text_shown(run->arguments.operands[0]));
    return code;
}

const struct verb verb_group_set = {
    .name = "group set",
    .operands = "GROUP",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Make a group of hosts, or change its policy.",
    .text =
        "What is not given stays as it is; a new group has unlock ticket, one approval, requests of an hour, "
        "tickets of ten minutes. --sources given at all replaces the networks there were.\n\n"
        "A flagged request (an old copy of a disk, two boots at once) is never opened without people, "
        "whatever the policy says.\n\n"
        "People are told apart by the user they are on this machine; a number that is no user of it is "
        "nobody. Root can be any of them, also by sudo: "
        "where more than one has to agree, root does not count.",
    .options = (const struct verb_option[]){{OPTION_UNLOCK, ROLE_OPTIONAL, NULL},
                                            {OPTION_APPROVALS, ROLE_OPTIONAL, NULL},
                                            {OPTION_SOURCES, ROLE_OPTIONAL, NULL},
                                            {OPTION_WINDOW, ROLE_OPTIONAL, NULL},
                                            {OPTION_LIVENESS, ROLE_OPTIONAL, NULL},
                                            {OPTION_REQUEST_TTL, ROLE_OPTIONAL, NULL},
                                            {OPTION_TICKET_TTL, ROLE_OPTIONAL, NULL},
                                            {OPTION_HELD, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = set,
};

const struct verb verb_group_list = {
    .name = "group list",
    .operands = "",
    .summary = "List the groups and their policies.",
    .text = "Times are told in seconds.",
    .effect = VERB_READS,
    .act = list,
};

const struct verb verb_group_erase = {
    .name = "group erase",
    .operands = "GROUP",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Destroy what opens the vaults of every host of a group, for ever.",
    .text =
        "As host erase does for one host, for all of the group at once: either none of them is erased or all "
        "are. The group stays, and takes new hosts.\n\n"
        "There is no way back.",
    .options = (const struct verb_option[]){{OPTION_CONFIRM, ROLE_CONFIRMING, NULL}, {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = erase,
};

const struct verb verb_group_remove = {
    .name = "group remove",
    .operands = "GROUP",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Remove a group that nothing belongs to.",
    .text = "It has no hosts, erased ones included, whose verdicts are told with their group, and no tokens "
            "that can still be used. The group default stays.",
    .effect = VERB_ACTS,
    .act = remove_group,
};
