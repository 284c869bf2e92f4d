#include "authorities.h"
#include "base/cleanup.h"
#include "boot/boot.h"
#include "convert/convert.h"
#include "held.h"
#include "keys.h"

/* The vault has to be unlocked; after a reboot in the middle this opens it again. */
static enum error_code make_unlocked(struct run *run, struct vault *vault, struct error *reterr)
{
    enum vault_state state;
    enum error_code code = vault_get_state(vault, &state, reterr);
    if (code || state == VAULT_UNLOCKED)
        return code;
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    enum keyslot_kind kind;
    code = keys_read(run, &keys_plain, KEYS_TO_OPEN, &answers, reterr);
    if (!code)
        code = keys_open(run, vault, &keys_plain, &answers, KEYS_ANY_SOURCE, &vault_secret, &kind, reterr);
    if (!code)
        code = authorities_unlock(run, vault, vault_secret, NULL, VAULT_ACCEPT_NOTHING, reterr);
    if (code)
        return code;
    run->changed = true;
    report_truth(&run->report, "vault %s is unlocked, by its %s", vault->name, key_word(kind));
    return OK;
}

/* Everything runs from it, and would be named as in the way. */
static enum error_code check_root(const struct run *run, const struct vault *vault, struct error *reterr)
{
    if (strcmp(run->at, "/") != 0 || !boot_needs("/", vault))
        return OK;
    error_set(reterr, ERR_DENIED, 0, "the vault %s holds the root that runs", vault->name);
    return error_remedy(
        reterr, "attach the disk to another machine, or boot a rescue system: husk unprotect %s --at DIR",
        vault->name);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    const char *name = run->arguments.operands[0];
    _cleanup_(held_done) struct held_vault held = HELD_NONE;
    enum error_code code = held_take(run, name, HELD_READABLE, &held, reterr);
    run_result(run, "vault", json_text(name));
    if (!code)
        code = held_check_active(held.vault, reterr);
    if (!code)
        code = check_root(run, held.vault, reterr);
    if (!code)
        code = make_unlocked(run, held.vault, reterr);
    if (code)
        return code;
    const struct convert_options options = {.clock = clock_system(),
                                            .report = &run->report,
                                            .findings = &run->findings,
                                            .free_space = CONVERT_SKIP_FREE_SPACE};
    bool changed = false;
    code = convert_unprotect(held.vault, &options, &changed, reterr);
    run->changed |= changed;
    if (!code)
        report_truth(&run->report,
                     "the vault %s stays, with its keyslots and no directory: husk erase %s --confirm %s "
                     "destroys it, and "
                     "with it what was moved out of its directories before: that is encrypted still, and "
                     "nothing tells "
                     "where it lies",
                     name, name, name);
    return code;
}

const struct verb verb_unprotect = {
    .name = "unprotect",
    .operands = "NAME",
    .operands_least = 1,
    .operands_most = 1,
    .key = "[KEY]...",
    .summary = "Take the encryption off all directories of a vault.",
    .text =
        "The same machine as protect with plain twins: it is refused for the same reasons, and after an "
        "interruption the same command goes on. What was moved out of the directories before (mv) is not "
        "found "
        "and stays encrypted under the vault: copy it while that is open. The vault and its keyslots stay, "
        "with no directory; husk "
        "erase destroys them. husk protect --abort --vault NAME goes back, as long as nothing was exchanged. "
        "KEY is needed only while the vault is locked.",
    .options = (const struct verb_option[]){{OPTION_KEYFILE, ROLE_KEY, NULL},
                                            {OPTION_PASSPHRASE_FILE, ROLE_KEY, NULL},
                                            {OPTION_RECOVERY_KEY_FILE, ROLE_KEY, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
