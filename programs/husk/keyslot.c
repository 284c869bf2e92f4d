#include "authorities.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "keys.h"
#include "keyslot_verbs.h"
#include "render_vault.h"

void keyslot_work_done(struct keyslot_work *work)
{
    secret_free(work->vault_secret);
    held_done(&work->held);
    work->vault_secret = NULL;
}

enum error_code keyslot_hold(struct run *run, struct keyslot_work *ret_work, struct error *reterr)
{
    _cleanup_(held_done) struct held_vault held = HELD_NONE;
    enum error_code code = held_take(run, run->arguments.operands[0], HELD_READABLE, &held, reterr);
    if (!code)
        code = held_check_active(held.vault, reterr);
    if (!code)
        code = held_check_writable(held.vault, reterr);
    if (code)
        return code;
    *ret_work = (struct keyslot_work){.held = held};
    held = HELD_NONE;
    return OK;
}

enum error_code keyslot_open(struct run *run, struct keyslot_work *work, enum keyslot_need need,
                             struct error *reterr)
{
    struct vault *vault = work->held.vault;
    enum vault_state state;
    enum error_code code = vault_get_state(vault, &state, reterr);
    if (code || (state == VAULT_UNLOCKED && need == KEYSLOT_NEEDS_UNLOCKED))
        return code;
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    enum keyslot_kind kind;
    code = keys_read(run, &keys_with, KEYS_TO_OPEN, &answers, reterr);
    if (!code)
        code =
            keys_open(run, vault, &keys_with, &answers, KEYS_ANY_SOURCE, &work->vault_secret, &kind, reterr);
    if (code || state == VAULT_UNLOCKED)
        return code;
    code = authorities_unlock(run, vault, work->vault_secret, NULL, VAULT_ACCEPT_NOTHING, reterr);
    work->lock_again = !code;
    return code;
}

enum error_code keyslot_release(struct run *run, struct keyslot_work *work, enum error_code code,
                                struct error *reterr)
{
    if (!work->lock_again)
        return code;
    work->lock_again = false;
    struct error why = ERROR_NONE;
    bool changed;
    enum error_code lock_code = vault_lock(work->held.vault, &changed, &run->findings, &why);
    if (code || !lock_code)
        return code;
    *reterr = why;
    error_prefix(reterr, "vault %s was unlocked for this and could not be locked again",
                 work->held.vault->name);
    return lock_code;
}

struct search {
    const char *text;
    size_t length, found;
    struct keyslot_id id;
};

static void match(struct search *search, const struct keyslot_id *id)
{
    if (strncmp(keyslot_id_shown(id), search->text, search->length) != 0)
        return;
    if (search->found > 0 && !memcmp(&search->id, id, sizeof(*id)))
        return;
    search->found++;
    search->id = *id;
}

static enum error_code match_on_disk(const struct keyslot_id *id, const struct keyslot *keyslot,
                                     const struct error *why, void *context, struct error *reterr)
{
    (void)keyslot;
    (void)why;
    (void)reterr;
    match(context, id);
    return OK;
}

enum error_code keyslot_find(const struct vault *vault, const char *text, struct keyslot_id *ret_id,
                             struct error *reterr)
{
    struct search search = {.text = text, .length = strlen(text)};
    if (search.length < 4)
        return error_set(reterr, ERR_USAGE, 0,
                         "%s is too short for a keyslot's id: give at least its first four digits",
                         text_shown(text));
    enum error_code code = vault_each_keyslot(vault, match_on_disk, &search, reterr);
    for (size_t i = 0; !code && i < vault->key_copy_count; i++)
        match(&search, &vault->key_copies[i].id);
    if (code)
        return code;
    if (search.found != 1) {
        code = error_set(reterr, search.found ? ERR_USAGE : ERR_NOT_FOUND, 0, "vault %s has %s keyslot %s",
                         vault->name, search.found ? "more than one" : "no", text_shown(text));
        error_subject(reterr, "%s", text_shown(text));
        return error_remedy(reterr, "husk keyslot list %s tells the ids", vault->name);
    }
    *ret_id = search.id;
    return code;
}

/* Where this host looks for the keyfiles of the vault; which keyslot each opens shows only when it is tried.
 */
static enum error_code tell_keyfiles(struct run *run, const struct vault *vault, struct error *reterr)
{
    struct host_record record = {0};
    json_t *array = json_array();
    run_result(run, "keyfiles", array);
    struct error why = ERROR_NONE;
    enum error_code code = OK;
    if (host_read(run->at, &record, &why))
        finding_add(&run->findings, FINDING_TELLS, "host-unreadable", text_shown(run->at), why.remedy,
                    "where keyfiles are recorded cannot be read: %s", why.message);
    for (size_t i = 0; !code && i < record.keyfile_count; i++) {
        if (memcmp(&record.keyfiles[i].vault, &vault->id, sizeof(vault->id)) != 0)
            continue;
        run_text(run, "a keyfile of it is recorded at %s\n", text_shown(record.keyfiles[i].path));
        if (json_array_append_new(array, json_text(record.keyfiles[i].path)) < 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    host_record_done(&record);
    return code;
}

enum error_code keyslot_tell_all(struct run *run, const struct vault *vault, struct error *reterr)
{
    json_t *keyslots = NULL;
    run_text(run, "keyslots of vault %s:\n", vault->name);
    enum error_code code = vault_show_keyslots(run, vault, "  ", &keyslots, reterr);
    if (code)
        return code;
    if (json_array_size(keyslots) == 0)
        run_text(run, "  none\n");
    run_result(run, "vault", json_text(vault->name));
    run_result(run, "keyslots", keyslots);
    return OK;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(vault_freep) struct vault *vault = NULL;
    enum error_code code = vault_check_name(run->arguments.operands[0], reterr);
    if (!code)
        code = vault_find(run->at, run->arguments.operands[0], &vault, reterr);
    if (!code)
        code = keyslot_tell_all(run, vault, reterr);
    return code ? code : tell_keyfiles(run, vault, reterr);
}

const struct verb verb_keyslot_list = {
    .name = "keyslot list",
    .operands = "NAME",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "List the keyslots of a vault.",
    .text =
        "Each with its id, its kind, when it was made and whether it was exported; then where this host has "
        "recorded keyfiles of the vault. Keyslots that cannot be read, and files that the "
        "vault's manifest does not name, are findings.",
    .effect = VERB_READS,
    .act = act,
};
