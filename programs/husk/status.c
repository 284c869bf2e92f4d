#include "base/cleanup.h"
#include "base/text.h"
#include "client/client.h"
#include "held.h"
#include "render_vault.h"

static enum error_code show(struct run *run, const struct vault *vault, json_t *vaults, struct error *reterr)
{
    json_t *item = NULL;
    enum error_code code = vault_show(run, vault, &item, reterr);
    if (!code && json_array_append_new(vaults, item) < 0)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return code;
}

static enum error_code show_all(struct run *run, json_t *vaults, struct error *reterr)
{
    _cleanup_(vault_list_done) struct vault_list list = {0};
    enum error_code code = vault_list_below(run->at, &list, &run->findings, reterr);
    if (code)
        return code;
    size_t unreadable = run->findings.count;
    for (size_t i = 0; !code && i < list.count; i++)
        code = show(run, list.items[i], vaults, reterr);
    if (!code && list.count == 0 && unreadable == 0)
        run_text(run, "there is no vault below %s\n", text_shown(run->at));
    if (!code && unreadable > 0)
        code = error_set(reterr, ERR_INCOMPLETE, 0, "%zu vault%s cannot be read", unreadable,
                         unreadable == 1 ? "" : "s");
    return code;
}

/* What this host keeps of its authorities' ledgers: one that went back is told until it is explained. */
static void show_ledgers(struct run *run)
{
    _cleanup_(client_closep) struct client *client = NULL;
    if (client_open(run->at, &client, NULL) == OK)
        client_ledger_tell(client, &run->findings);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    json_t *vaults = json_array();
    run_result(run, "vaults", vaults);
    _cleanup_(vault_freep) struct vault *vault = NULL;
    const bool all = run->arguments.operand_count == 0;
    enum error_code code = all ? OK : vault_check_name(run->arguments.operands[0], reterr);
    if (!code && !all)
        code = vault_find(run->at, run->arguments.operands[0], &vault, reterr);
    if (!code)
        code = all ? show_all(run, vaults, reterr) : show(run, vault, vaults, reterr);
    show_ledgers(run);
    return code;
}

const struct verb verb_status = {
    .name = "status",
    .operands = "[NAME]",
    .operands_most = 1,
    .summary = "Tell about the vaults of this host.",
    .text =
        "The state of each vault (unlocked, locked, busy, erasing, erased), its filesystem, directories and "
        "keyslots, and a conversion that is under way. A vault is busy when its key is gone but the "
        "kernel still keeps those of files that were open when it was locked; whether they are open yet is "
        "told. Reads only and waits for no other husk.",
    .effect = VERB_READS,
    .act = act,
};
