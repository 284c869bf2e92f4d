#include "authorities.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "keyslot_verbs.h"
#include "new_keys.h"
#include "render_vault.h"

static enum error_code read_new_keys(struct run *run, const struct vault *vault, struct new_keys *ret_keys,
                                     struct error *reterr)
{
    const char **directories = calloc(vault->directory_count + 1, sizeof(*directories));
    if (!directories)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < vault->directory_count; i++)
        directories[i] = vault->directories[i].path;
    const struct placement_rules rules = {vault->filesystem, directories, vault->directory_count,
                                          &vault->identifier};
    const char *recovery_out = argument_value(&run->arguments, OPTION_RECOVERY_OUT);
    bool kept = false;
    enum error_code code = OK;
    if (recovery_out && strcmp(recovery_out, "-") != 0)
        code = new_keys_find_recovery(run, vault, recovery_out, &kept, reterr);
    if (!code)
        code = new_keys_read(run, &rules, vault, kept ? NEW_KEYS_RECOVERY_IS_KEPT : NEW_KEYS_DRAW_RECOVERY,
                             ret_keys, reterr);
    free(directories);
    if (!code && kept)
        report_truth(&run->report, "vault %s has a keyslot for the recovery key in %s already", vault->name,
                     text_shown(recovery_out));
    if (!code && new_keys_count(ret_keys) == 0 && !kept) {
        error_set(reterr, ERR_USAGE, 0, "which key is to be added?");
        code = error_remedy(reterr,
                            "name it with --authority, --keyfile F, --passphrase-file F or --recovery-out F");
    }
    return code;
}

/* Those that open the vault already need no keyslot. */
static enum error_code drop_known(struct run *run, const struct vault *vault, struct new_keys *keys,
                                  struct error *reterr)
{
    for (size_t i = 0; i < keys->answers.count;) {
        const struct unlock_answers one = {&keys->answers.items[i], 1};
        _cleanup_(secret_freep) struct secret *vault_secret = NULL;
        _cleanup_(finding_list_done) struct finding_list findings = {0};
        enum error_code code = one.items->kind == KEYSLOT_RECOVERY
                                   ? ERR_WRONG_KEY /* drawn just now */
                                   : unlock_open(vault, &one, &vault_secret, NULL, &findings, reterr);
        if (code && code != ERR_WRONG_KEY)
            return code;
        if (code) {
            i++;
            continue;
        }
        if (one.items->kind == KEYSLOT_KEYFILE)
            report_truth(&run->report, "vault %s has a keyslot for the keyfile %s already", vault->name,
                         text_shown(one.items->source));
        else
            report_truth(&run->report, "vault %s has a keyslot for that %s already", vault->name,
                         key_word(one.items->kind));
        if (keys->keyfile_paths[i])
            new_keys_record_keyfile(run, &vault->id, keys->keyfile_paths[i]);
        new_keys_drop(keys, i);
    }
    return OK;
}

static enum error_code note_authority(const struct keyslot_id *id, const struct keyslot *keyslot,
                                      const struct error *why, void *context, struct error *reterr)
{
    struct new_keys *keys = context;
    (void)id;
    (void)why;
    (void)reterr;
    for (size_t i = 0; keyslot && i < keys->authority_count; i++)
        if (keys->authorities[i] &&
            !memcmp(keys->authorities[i]->id, keyslot->authority.bytes, sizeof(keyslot->authority.bytes)))
            keys->authorities[i] = NULL;
    return OK;
}

/* One keyslot per authority is enough. */
static enum error_code drop_bound(struct run *run, const struct vault *vault, struct new_keys *keys,
                                  struct error *reterr)
{
    size_t kept = 0;
    enum error_code code = vault_each_keyslot(vault, note_authority, keys, reterr);
    for (size_t i = 0; i < keys->authority_count; i++) {
        if (keys->authorities[i])
            keys->authorities[kept++] = keys->authorities[i];
        else
            report_truth(&run->report,
                         "vault %s has a keyslot of that authority already; whether it opens is told by husk "
                         "unlock %s --authority, and one that does not is to be removed first",
                         vault->name, vault->name);
    }
    keys->authority_count = kept;
    return code;
}

/* The recovery key's keyslot comes last in the array; its file gets its name only once that is on disk. */
static enum error_code add_slots(struct run *run, struct vault *vault, const struct keyslot *slots,
                                 struct new_keys *keys, struct error *reterr)
{
    json_t *added = json_array();
    run_result(run, "added", added);
    enum error_code code = new_keys_write_recovery(keys, slots, reterr);
    size_t done = 0;
    for (; !code && done < new_keys_count(keys); done++) {
        code = vault_add_keyslot(vault, &slots[done], reterr);
        if (code)
            break;
        new_keys_bound(vault->filesystem, &slots[done]);
        const char *id = keyslot_id_shown(&slots[done].id);
        run->changed = true;
        json_array_append_new(added, json_string(id));
        report_truth(&run->report, "vault %s opens with the new %s keyslot %s", vault->name,
                     keyslot_kind_word(slots[done].kind), id);
    }
    if (code) {
        new_keys_unbind(run, keys, vault->filesystem, slots, done, vault);
        new_keys_withdraw(keys);
        return code;
    }
    return new_keys_publish(run, keys, &vault->id, reterr);
}

static enum error_code add(struct run *run, struct keyslot_work *work, struct new_keys *keys,
                           struct error *reterr)
{
    struct vault *vault = work->held.vault;
    _cleanup_(freep) struct keyslot *slots = NULL;
    enum error_code code = keyslot_open(run, work, KEYSLOT_NEEDS_SECRET, reterr);
    if (!code)
        code = new_keys_make_slots(run, keys, vault->filesystem, &vault->id, vault->name, work->vault_secret,
                                   &slots, reterr);
    if (!code)
        code = add_slots(run, vault, slots, keys, reterr);
    return keyslot_release(run, work, code, reterr);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(keyslot_work_done) struct keyslot_work work = KEYSLOT_WORK_NONE;
    _cleanup_(new_keys_done) struct new_keys keys = {0};
    enum error_code code = keyslot_hold(run, &work, reterr);
    if (!code)
        authorities_settle(run, work.held.vault->filesystem);
    if (!code)
        code = read_new_keys(run, work.held.vault, &keys, reterr);
    if (!code)
        code = drop_known(run, work.held.vault, &keys, reterr);
    if (!code)
        code = drop_bound(run, work.held.vault, &keys, reterr);
    if (!code && new_keys_count(&keys) > 0)
        code = add(run, &work, &keys, reterr);
    return code ? code : keyslot_tell_all(run, work.held.vault, reterr);
}

const struct verb verb_keyslot_add = {
    .name = "keyslot add",
    .operands = "NAME",
    .operands_least = 1,
    .operands_most = 1,
    .key = "KEY...",
    .summary = "Give a vault further keyslots.",
    .text =
        "KEY is new here: a keyslot is made for each. A key that opens the vault is needed as well, also "
        "while "
        "it is unlocked: one given by --with-keyfile, --with-passphrase-file or "
        "--with-recovery-key-file; else "
        "the keyfiles this host records, or an authority that grants it at once; else one asked for on the "
        "terminal. A KEY that opens the vault "
        "already "
        "gets no second keyslot.\n\nAn authority keyslot opens with the leave of the authority alone, and no "
        "more once that destroys its part, from any copy of the disk. Beside it a keyfile or passphrase "
        "bypasses the authority and needs --allow-bypass; a recovery key does not, which is kept off the "
        "server.\n\nEvery other keyslot is a key copy for ever: snapshots and backups of "
        "this disk "
        "taken while it exists open with it, also after it is removed here.",
    .options = (const struct verb_option[]){{OPTION_AUTHORITY, ROLE_KEY, NULL},
                                            {OPTION_KEYFILE, ROLE_KEY, NULL},
                                            {OPTION_PASSPHRASE_FILE, ROLE_KEY, NULL},
                                            {OPTION_RECOVERY_OUT, ROLE_KEY, NULL},
                                            {OPTION_ALLOW_BYPASS, ROLE_OPTIONAL, NULL},
                                            {OPTION_WITH_KEYFILE, ROLE_OPTIONAL, NULL},
                                            {OPTION_WITH_PASSPHRASE_FILE, ROLE_OPTIONAL, NULL},
                                            {OPTION_WITH_RECOVERY_KEY_FILE, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
