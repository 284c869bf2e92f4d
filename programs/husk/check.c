#include "base/cleanup.h"
#include "check_root.h"
#include "plan_vault.h"

static enum error_code act(struct run *run, struct error *reterr)
{
    const bool is_root = argument_given(&run->arguments, OPTION_ROOT);
    const bool is_boot = argument_given(&run->arguments, OPTION_BOOT);
    if (is_root + is_boot + (run->arguments.operand_count > 0) != 1) {
        error_set(reterr, ERR_USAGE, 0, "husk check needs either PATH..., --root or --boot");
        return error_remedy(reterr, "see husk help check");
    }
    if (is_root || is_boot)
        return is_root ? check_root(run, reterr) : check_boot(run, reterr);
    const char *vault_name = argument_value(&run->arguments, OPTION_VAULT);
    enum error_code code = vault_name ? vault_check_name(vault_name, reterr) : OK;
    _cleanup_(convert_plan_freep) struct convert_plan *plan = NULL;
    if (!code)
        code = convert_plan_new(run->arguments.operands, run->arguments.operand_count, vault_name,
                                &run->report, &plan, reterr);
    if (!code)
        code = plan_check_vault(run, plan, vault_name, reterr);
    if (!code)
        code = plan_show(run, plan, vault_name, reterr);
    if (!code)
        run_text(run, "nothing is in the way: husk protect would go ahead\n");
    return code;
}

const struct verb verb_check = {
    .name = "check",
    .operands = "PATH...|--root|--boot",
    .operands_most = VAULT_DIRECTORIES_MAXIMUM,
    .summary = "Print the plan protect would carry out, and what forbids it.",
    .text =
        "Reads only. For each directory PATH: what would be done with it, and how much there is to copy. "
        "Then "
        "the space that takes, and the findings. Exit status 0 means that protect would go ahead, 3 that "
        "findings are in the way.\n\n--root means the root of the host that --at names: on a disk attached "
        "from "
        "outside the same plan, on the running system what would not boot. --boot rehearses the next boot of "
        "a "
        "host with an encrypted root: its initramfs, its directories and keyslots, the network that is "
        "recorded, and whether "
        "its authorities answer.",
    .options = (const struct verb_option[]){{OPTION_VAULT, ROLE_OPTIONAL, "plan for joining this vault"},
                                            {OPTION_ROOT, ROLE_IN_OPERANDS, NULL},
                                            {OPTION_BOOT, ROLE_IN_OPERANDS, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = act,
};
