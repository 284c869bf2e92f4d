#include "base/text.h"
#include "boot/boot.h"
#include "held.h"
#include "host_name.h"
#include "render_vault.h"

/* Locking needs nothing of vault.json but the key's identifier, which private/ has as well. */
static void tell_damage(struct run *run, const struct vault *vault)
{
    if (vault->damage.code && vault->mark == VAULT_ACTIVE)
        finding_add(&run->findings, FINDING_TELLS, "vault-unreadable", vault->name, vault->damage.remedy,
                    "%s", vault->damage.message);
}

/* Nothing could be started any more, husk unlock neither: only a reboot opens the root of a running host
 * again.
 */
static enum error_code check_root(const struct run *run, const struct vault *vault, struct error *reterr)
{
    const char *confirmed = argument_value(&run->arguments, OPTION_CONFIRM);
    char host[HOST_NAME_MAX + 1];
    enum vault_state state;
    if (strcmp(run->at, "/") != 0 || !boot_needs("/", vault) ||
        (vault_get_state(vault, &state, NULL) == OK && state == VAULT_LOCKED))
        return OK;
    host_name_at(run->at, host);
    if (confirmed && (!strcmp(confirmed, vault->name) || !strcmp(confirmed, host)))
        return OK;
    error_set(
        reterr, ERR_DENIED, 0,
        "the vault %s holds the root that runs: nothing could be started here any more, husk unlock neither",
        vault->name);
    return error_remedy(reterr,
                        "power the host off instead, which locks it too; where it is meant: husk lock %s "
                        "--confirm %s",
                        vault->name, vault->name);
}

/* A conversion that is under way needs the key: its machine holds the lock, so that lock is refused then. */
static enum error_code lock_one(struct run *run, struct held_vault *held, void *context, struct error *reterr)
{
    struct vault *vault = held->vault;
    json_t *vaults = context;
    bool changed = false;
    enum error_code code = check_root(run, vault, reterr);
    if (code)
        return code;
    code = vault_lock(vault, &changed, &run->findings, reterr);
    run->changed |= changed || code == ERR_BUSY;
    if (code == ERR_BUSY) {
        /* Not refused: the key is gone, only not all of it. */
        error_set(reterr, ERR_INCOMPLETE, 0,
                  "vault %s is locked only in part: files that are open stay readable until they are closed",
                  vault->name);
        error_subject(reterr, "%s", vault->name);
        error_remedy(reterr,
                     "end what the findings name, then run the same command again; where they should go on "
                     "instead: husk unlock %s",
                     vault->name);
        code = ERR_INCOMPLETE;
    }
    enum vault_state state;
    if (!vault_get_state(vault, &state, NULL))
        json_array_append_new(vaults,
                              json_pack("{s:s, s:s}", "name", vault->name, "state", vault_state_word(state)));
    tell_damage(run, vault);
    if (!code)
        vault_tell_conversion(run, vault);
    if (!code)
        report_truth(&run->report, changed ? "vault %s is locked" : "vault %s is locked already",
                     vault->name);
    return code;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    json_t *vaults = json_array();
    run_result(run, "vaults", vaults);
    return held_each(run, HELD_EVEN_DAMAGED, lock_one, vaults, reterr);
}

const struct verb verb_lock = {
    .name = "lock",
    .operands = "[NAME|--all]",
    .operands_most = 1,
    .summary = "Close a vault: its key leaves the kernel.",
    .text =
        "Without NAME the only vault of the host is meant. Where programs have files of the vault open, the "
        "kernel keeps the keys of those files until they are closed. Exit status 5 then, and the findings "
        "name "
        "the programs. Run it again when they have ended.\n\nThe root of a running host is locked only with "
        "--confirm: nothing can be started on it any more, and only a reboot opens it again.\n\nFreed memory "
        "is not cleared by the kernel "
        "unless "
        "it was booted with init_on_free=1.",
    .options =
        (const struct verb_option[]){
            {OPTION_ALL, ROLE_IN_OPERANDS, "lock every vault of the host"},
            {OPTION_CONFIRM, ROLE_OPTIONAL, "the name of the vault, or of the host: also the root that runs"},
            {.id = OPTION_END}},
    .act = act,
};
