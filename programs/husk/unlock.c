#include "authorities.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "held.h"
#include "keys.h"
#include "render_vault.h"

enum { WAIT_MOST_S = 7 * 24 * 3600 };

/*
 * Two passes over the vaults. The first opens what opens by itself here. What an authority has to open is put
 * off: all of those are asked for together, while no lock is held, and the second pass opens them.
 */
struct unlocking {
    struct unlock_answers answers; /* given; in the second pass those of authorities */
    enum vault_acceptance accept;
    bool only_authority;   /* --authority */
    const char *authority; /* its ID, NULL for any */
    struct vault_list put_off;
    size_t count; /* of vaults in the first pass */
    bool is_second;
    struct client *asked; /* owned; who asked */
    struct error why;     /* why authorities did not answer for all */
    json_t *vaults;       /* of the run's result */
};

static void unlocking_done(struct unlocking *unlocking)
{
    unlock_answers_done(&unlocking->answers);
    vault_list_done(&unlocking->put_off);
    client_close(unlocking->asked);
}

/* A person's key accepts changes. Where a vault has none its keyfile does: else a directory that is lost
 * would take the others with it. */
static enum error_code check_acceptance(enum keyslot_kind kind, const struct vault *vault,
                                        struct error *reterr)
{
    struct unlock_kinds kinds = {0};
    if (kind == KEYSLOT_PASSPHRASE || kind == KEYSLOT_RECOVERY)
        return OK;
    enum error_code code = unlock_get_kinds(vault, &kinds, reterr);
    if (code || (kind == KEYSLOT_KEYFILE && !kinds.passphrase && !kinds.recovery))
        return code;
    error_set(reterr, ERR_DENIED, 0, "a %s cannot accept changes of vault %s", key_word(kind), vault->name);
    error_subject(reterr, "%s", vault->name);
    return error_remedy(reterr, "accept them with --passphrase-file F or --recovery-key-file F");
}

static enum error_code put_off(struct unlocking *unlocking, struct held_vault *held, struct error *reterr)
{
    struct vault_list *list = &unlocking->put_off;
    struct vault **items = realloc(list->items, (list->count + 1) * sizeof(struct vault *));
    if (!items)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    list->items = items;
    list->items[list->count++] = TAKE(held->vault);
    return OK;
}

static bool is_put_off(const struct unlocking *unlocking, const struct vault *vault)
{
    for (size_t i = 0; i < unlocking->put_off.count; i++)
        if (!memcmp(&unlocking->put_off.items[i]->id, &vault->id, sizeof(vault->id)))
            return true;
    return false;
}

/* *ret_put_off: an authority is to be asked for this one. */
static enum error_code get_secret(struct run *run, struct vault *vault, struct unlocking *unlocking,
                                  struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                                  bool *ret_put_off, struct error *reterr)
{
    const bool accepts = unlocking->accept == VAULT_ACCEPT_CHANGES;
    struct unlock_kinds kinds = {0};
    enum error_code code = OK;
    bool by_itself = unlocking->answers.count > 0 || accepts;
    if (!by_itself) {
        code = unlock_get_kinds(vault, &kinds, reterr);
        by_itself = !kinds.authority && !unlocking->only_authority;
    }
    if (code)
        return code;
    if (by_itself)
        return keys_open(run, vault, &keys_plain, &unlocking->answers,
                         accepts ? KEYS_NOT_RECORDED : KEYS_ANY_SOURCE, ret_vault_secret, ret_kind, reterr);
    code = ERR_WRONG_KEY;
    if (!unlocking->only_authority)
        code = keys_open(run, vault, &keys_plain, &unlocking->answers, KEYS_UNATTENDED, ret_vault_secret,
                         ret_kind, reterr);
    if (code != ERR_WRONG_KEY)
        return code;
    *ret_put_off = true;
    return OK;
}

/* The second pass: what was granted, or else what a person types. */
static enum error_code get_granted(struct run *run, struct vault *vault, const struct unlocking *unlocking,
                                   struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                                   struct error *reterr)
{
    struct error tried = unlocking->why;
    enum error_code code = ERR_WRONG_KEY;
    if (unlocking->answers.count > 0) {
        struct error why = ERROR_NONE;
        code = unlock_open(vault, &unlocking->answers, ret_vault_secret, ret_kind, &run->findings, &why);
        if (code && !(code == ERR_WRONG_KEY && tried.code))
            tried = why;
    }
    if (!code)
        return OK;
    if (!unlocking->only_authority && tried.code != ERR_INTERRUPTED)
        return keys_ask(run, vault, &keys_plain, KEYS_ANY_SOURCE, &tried, ret_vault_secret, ret_kind, reterr);
    *reterr = tried;
    return tried.code;
}

static enum error_code open_vault(struct run *run, struct vault *vault, struct unlocking *unlocking,
                                  enum keyslot_kind *ret_kind, bool *ret_put_off, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    bool accepts = unlocking->accept == VAULT_ACCEPT_CHANGES;
    enum error_code code =
        unlocking->is_second
            ? get_granted(run, vault, unlocking, &vault_secret, ret_kind, reterr)
            : get_secret(run, vault, unlocking, &vault_secret, ret_kind, ret_put_off, reterr);
    if (code || *ret_put_off)
        return code;
    if (accepts)
        code = check_acceptance(*ret_kind, vault, reterr);
    if (!code)
        code = authorities_unlock(run, vault, vault_secret, unlocking->asked, unlocking->accept, reterr);
    if (code == ERR_CHANGED)
        error_remedy(reterr, "where these changes are meant: husk unlock %s --accept-changes", vault->name);
    return code;
}

static enum error_code tell(struct run *run, const struct vault *vault, struct unlocking *unlocking,
                            const char *opened_by, struct error *reterr)
{
    enum vault_state after;
    enum error_code code = vault_get_state(vault, &after, reterr);
    vault_tell_conversion(run, vault);
    if (!code)
        json_array_append_new(unlocking->vaults, json_pack("{s:s, s:s, s:s?}", "name", vault->name, "state",
                                                           vault_state_word(after), "opened_by", opened_by));
    return code;
}

/* The keys given are tried all the same: who asks whether one opens the vault need not lock it first. */
static enum error_code keep_unlocked(struct run *run, const struct vault *vault, struct unlocking *unlocking,
                                     struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    enum keyslot_kind kind;
    if (unlocking->answers.count == 0) {
        report_truth(&run->report, "vault %s is unlocked already", vault->name);
        return tell(run, vault, unlocking, NULL, reterr);
    }
    enum error_code code =
        unlock_open(vault, &unlocking->answers, &vault_secret, &kind, &run->findings, reterr);
    if (code)
        return code;
    report_truth(&run->report, "vault %s is unlocked already, and the %s that was given opens it",
                 vault->name, key_word(kind));
    return tell(run, vault, unlocking, keyslot_kind_word(kind), reterr);
}

static enum error_code unlock_one(struct run *run, struct held_vault *held, void *context,
                                  struct error *reterr)
{
    struct unlocking *unlocking = context;
    struct vault *vault = held->vault;
    enum vault_state before;
    enum error_code code = vault_get_state(vault, &before, reterr);
    unlocking->count += !unlocking->is_second;
    if (!code && unlocking->is_second && !is_put_off(unlocking, vault))
        code = error_set(reterr, ERR_CHANGED, 0, "vault %s is another one than was asked for", vault->name);
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
    if (before == VAULT_UNLOCKED && unlocking->accept == VAULT_ACCEPT_NOTHING)
        return keep_unlocked(run, vault, unlocking, reterr);
    enum keyslot_kind kind = 0;
    bool was_put_off = false;
    code = open_vault(run, vault, unlocking, &kind, &was_put_off, reterr);
    if (code)
        return code;
    if (was_put_off)
        return put_off(unlocking, held, reterr);
    run->changed = true;
    report_truth(&run->report, "vault %s is unlocked, by its %s", vault->name, key_word(kind));
    return tell(run, vault, unlocking, keyslot_kind_word(kind), reterr);
}

/* The second pass, over what was put off; code is how the first ended. */
static enum error_code finish(struct run *run, struct unlocking *unlocking, unsigned wait_s,
                              enum error_code code, struct error *reterr)
{
    const struct vault_list *list = &unlocking->put_off;
    if (list->count == 0)
        return code;
    struct error second = ERROR_NONE;
    unlocking->is_second = true;
    if (authorities_ask(run, list->items, list->count, unlocking->authority, wait_s, &unlocking->answers,
                        &unlocking->asked, &unlocking->why) == OK)
        unlocking->why = ERROR_NONE;
    enum error_code second_code = held_each_of(run, list, 0, unlocking->count + (code != OK), HELD_READABLE,
                                               unlock_one, unlocking, &second);
    if (second_code)
        *reterr = second;
    if (second_code != ERR_INCOMPLETE || code ||
        (unlocking->why.code != ERR_PENDING && unlocking->why.code != ERR_UNREACHABLE))
        return second_code ? second_code : code;
    *reterr = unlocking->why; /* of several vaults: all that is missing is an answer */
    return reterr->code;
}

static enum error_code read_wait(const struct run *run, unsigned *ret_wait_s, struct error *reterr)
{
    const char *text = argument_value(&run->arguments, OPTION_WAIT);
    uint64_t wait_s = 0;
    if (text && text_parse_u64(text, WAIT_MOST_S, &wait_s, NULL))
        return error_set(reterr, ERR_USAGE, 0, "--wait takes a number of seconds up to %d, not %s",
                         WAIT_MOST_S, text_shown(text));
    *ret_wait_s = (unsigned)wait_s;
    return OK;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    bool accepts = argument_given(&run->arguments, OPTION_ACCEPT_CHANGES);
    _cleanup_(unlocking_done) struct unlocking unlocking = {
        .accept = accepts ? VAULT_ACCEPT_CHANGES : VAULT_ACCEPT_NOTHING,
        .only_authority = argument_given(&run->arguments, OPTION_AUTHORITY),
        .authority = argument_value(&run->arguments, OPTION_AUTHORITY),
        .vaults = json_array()};
    unsigned wait_s = 0;
    run_result(run, "vaults", unlocking.vaults);
    enum error_code code = read_wait(run, &wait_s, reterr);
    if (!code && accepts && unlocking.only_authority)
        code = error_set(reterr, ERR_USAGE, 0, "an authority cannot accept changes of a vault");
    if (!code)
        code = keys_read(run, &keys_plain, KEYS_TO_OPEN, &unlocking.answers, reterr);
    if (code)
        return code;
    code = held_each(run, HELD_READABLE, unlock_one, &unlocking, reterr);
    return code == ERR_INTERRUPTED ? code : finish(run, &unlocking, wait_s, code, reterr);
}

const struct verb verb_unlock = {
    .name = "unlock",
    .operands = "[NAME|--all]",
    .operands_most = 1,
    .key = "[KEY]...",
    .summary = "Open a vault, so that its directories can be read and written.",
    .text =
        "Without NAME the only vault of the host is meant. With KEY these keys and no others are tried, also "
        "where the vault is open already. Without, "
        "the keyfiles are tried that this host records, then its authorities are asked, and then the "
        "passphrase or recovery key is asked for, if standard input is a terminal.\n\nWhere a person has to "
        "approve, the code to compare is shown and husk ends with status 4, or waits as --wait tells; the "
        "request stays, and the same command takes it up. No answer from any authority is status 4 as well, "
        "a denied request 3.\n\nBefore the key is added, the manifest is checked: a protected "
        "directory "
        "that was replaced, or a symlink that now leads elsewhere, stops it and is named. Where such a "
        "change is "
        "meant, a passphrase or recovery key can accept it with --accept-changes; a keyfile only where the "
        "vault has neither.",
    .options = (const struct verb_option[]){{OPTION_KEYFILE, ROLE_KEY, NULL},
                                            {OPTION_PASSPHRASE_FILE, ROLE_KEY, NULL},
                                            {OPTION_RECOVERY_KEY_FILE, ROLE_KEY, NULL},
                                            {OPTION_AUTHORITY, ROLE_KEY,
                                             "ask the authorities, and try nothing else"},
                                            {OPTION_WAIT, ROLE_OPTIONAL, NULL},
                                            {OPTION_ALL, ROLE_IN_OPERANDS, "unlock every vault of the host"},
                                            {OPTION_ACCEPT_CHANGES, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
