#include "base/cleanup.h"
#include "render_plan.h"

static enum error_code act(struct run *run, struct error *reterr)
{
    const char *vault_name = argument_value(&run->arguments, OPTION_VAULT);
    enum error_code code = vault_name ? vault_check_name(vault_name, reterr) : OK;
    _cleanup_(convert_plan_freep) struct convert_plan *plan = NULL;
    if (!code)
        code = convert_plan_new(run->arguments.operands, run->arguments.operand_count, vault_name,
                                &run->report, &plan, reterr);
    if (!code)
        code = plan_show(run, plan, vault_name, reterr);
    if (!code)
        run_text(run, "nothing is in the way: husk protect would go ahead\n");
    return code;
}

const struct verb verb_check = {
    .name = "check",
    .operands = "PATH...",
    .operands_least = 1,
    .operands_most = VAULT_DIRECTORIES_MAXIMUM,
    .summary = "Print the plan protect would carry out, and what forbids it.",
    .text = "Reads only. For each directory PATH: what would be done with it, and how much there is to copy. "
            "Then "
            "the space that takes, and the findings. Exit status 0 means that protect would go ahead, 3 that "
            "findings are in the way.",
    .options = (const struct verb_option[]){{OPTION_VAULT, ROLE_OPTIONAL, "plan for joining this vault"},
                                            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = act,
};
