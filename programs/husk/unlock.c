#include "base/cleanup.h"
#include "base/text.h"
#include "held.h"
#include "keys.h"

struct unlocking {
    struct unlock_answers answers;
    enum vault_acceptance accept;
    json_t *vaults; /* of the run's result */
};

static enum error_code check_acceptance(enum keyslot_kind kind, const struct vault *vault,
                                        struct error *reterr)
{
    if (kind == KEYSLOT_PASSPHRASE || kind == KEYSLOT_RECOVERY)
        return OK;
    error_set(reterr, ERR_DENIED, 0, "a %s cannot accept changes of vault %s", key_word(kind), vault->name);
    error_subject(reterr, "%s", vault->name);
    return error_remedy(reterr, "accept them with --passphrase-file F or --recovery-key-file F");
}

static enum error_code open_vault(struct run *run, struct vault *vault, struct unlocking *unlocking,
                                  enum keyslot_kind *ret_kind, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    bool accepts = unlocking->accept == VAULT_ACCEPT_CHANGES;
    enum error_code code =
        keys_open(run, vault, &keys_plain, &unlocking->answers, accepts ? KEYS_NOT_RECORDED : KEYS_ANY_SOURCE,
                  &vault_secret, ret_kind, reterr);
    if (!code && accepts)
        code = check_acceptance(*ret_kind, vault, reterr);
    if (!code)
        code = vault_unlock(vault, vault_secret, unlocking->accept, &run->findings, reterr);
    if (code == ERR_CHANGED)
        error_remedy(reterr, "where these changes are meant: husk unlock %s --accept-changes", vault->name);
    return code;
}

static enum error_code unlock_one(struct run *run, struct vault *vault, void *context, struct error *reterr)
{
    struct unlocking *unlocking = context;
    enum vault_state before, after;
    enum error_code code = vault_get_state(vault, &before, reterr);
    if (code)
        return code;
    if (argument_given(&run->arguments, OPTION_ALL) && vault->mark != VAULT_ACTIVE) {
        /* --all means those there is something to unlock of. */
        report_truth(&run->report, "vault %s is %s", vault->name, vault_state_word(before));
        return OK;
    }
    code = held_check_active(vault, reterr);
    if (code)
        return code;
    enum keyslot_kind kind = 0;
    bool was_unlocked = before == VAULT_UNLOCKED && unlocking->accept == VAULT_ACCEPT_NOTHING;
    if (was_unlocked) {
        report_truth(&run->report, "vault %s is unlocked already", vault->name);
    } else {
        code = open_vault(run, vault, unlocking, &kind, reterr);
        if (code)
            return code;
        run->changed = true;
        report_truth(&run->report, "vault %s is unlocked, by its %s", vault->name, key_word(kind));
    }
    code = vault_get_state(vault, &after, reterr);
    if (!code)
        json_array_append_new(unlocking->vaults, json_pack("{s:s, s:s, s:s?}", "name", vault->name, "state",
                                                           vault_state_word(after), "opened_by",
                                                           was_unlocked ? NULL : keyslot_kind_word(kind)));
    return code;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    bool accepts = argument_given(&run->arguments, OPTION_ACCEPT_CHANGES);
    struct unlocking unlocking = {.accept = accepts ? VAULT_ACCEPT_CHANGES : VAULT_ACCEPT_NOTHING,
                                  .vaults = json_array()};
    run_result(run, "vaults", unlocking.vaults);
    enum error_code code = keys_read(run, &keys_plain, KEYS_TO_OPEN, &unlocking.answers, reterr);
    if (!code)
        code = held_each(run, HELD_READABLE, unlock_one, &unlocking, reterr);
    unlock_answers_done(&unlocking.answers);
    return code;
}

const struct verb verb_unlock = {
    .name = "unlock",
    .operands = "[NAME|--all]",
    .operands_most = 1,
    .key = "[KEY]...",
    .summary = "Open a vault, so that its directories can be read and written.",
    .text = "Without NAME the only vault of the host is meant. With KEY these keys and no others are tried. "
            "Without, "
            "the keyfiles are tried that this host records, and then the passphrase or recovery key is asked "
            "for, if "
            "standard input is a terminal.\n\nBefore the key is added, the manifest is checked: a protected "
            "directory "
            "that was replaced, or a symlink that now leads elsewhere, stops it and is named. Where such a "
            "change is "
            "meant, a passphrase or recovery key can accept it with --accept-changes.",
    .options = (const struct verb_option[]){{OPTION_KEYFILE, ROLE_KEY, NULL},
                                            {OPTION_PASSPHRASE_FILE, ROLE_KEY, NULL},
                                            {OPTION_RECOVERY_KEY_FILE, ROLE_KEY, NULL},
                                            {OPTION_ALL, ROLE_IN_OPERANDS, "unlock every vault of the host"},
                                            {OPTION_ACCEPT_CHANGES, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
