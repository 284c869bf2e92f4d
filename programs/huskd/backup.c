#include "ask.h"
#include "table.h"

static enum error_code act(struct run *run, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, NULL, &result, reterr);
    return code ? code : object_show(run, result, reterr);
}

const struct verb verb_backup = {
    .name = "backup",
    .operands = "",
    .summary = "Write a backup of the authority.",
    .text = "This authority cannot do that yet, and says so. Until then: stop huskd, and copy its directory "
            "and the "
            "file of its holder to two different places; each copy is a key copy.",
    .options = (const struct verb_option[]){{OPTION_OUT, ROLE_REQUIRED, NULL}, {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = act,
};
