/* Verbs about the ledger, the record of every decision. */
#include "ask.h"
#include "table.h"

static enum error_code show(struct run *run, struct error *reterr)
{
    static const char *const columns[] = {"sequence", "at", "kind", "host", "actor", NULL};
    json_t *result, *entries;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_array(result, "entries", SIZE_MAX, &entries, reterr);
    return code ? code : table_show(run, entries, columns, "the ledger is empty", reterr);
}

static enum error_code verify(struct run *run, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, NULL, &result, reterr);
    return code ? code : object_show(run, result, reterr);
}

const struct verb verb_ledger_show = {
    .name = "ledger show",
    .operands = "",
    .summary = "Show the record of decisions.",
    .text = "Oldest first. With --json whole entries are printed.",
    .options = (const struct verb_option[]){{OPTION_FROM, ROLE_OPTIONAL, NULL},
                                            {OPTION_COUNT, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = show,
};

const struct verb verb_ledger_verify = {
    .name = "ledger verify",
    .operands = "",
    .summary = "Check that nothing was changed or taken out of the record.",
    .text = "Every entry carries a hash of all before it. That the end was not cut off shows only by a "
            "checkpoint "
            "kept elsewhere: hosts keep the highest they saw and report one that goes back.",
    .options = (const struct verb_option[]){{OPTION_CHECKPOINT, ROLE_OPTIONAL, NULL}, {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = verify,
};
