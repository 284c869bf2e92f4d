#include <errno.h>
#include <sys/random.h>

#include "authorities.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "plan_vault.h"
#include "protect.h"

enum error_code protect_find_vault(struct protect *protect, struct error *reterr)
{
    return plan_find_vault(protect->run, protect->plan, protect->name, &protect->held.vault, reterr);
}

enum error_code protect_read_keys(struct protect *protect, struct error *reterr)
{
    const struct convert_plan *plan = protect->plan;
    _cleanup_(freep) const char **directories = calloc(plan->directory_count + 1, sizeof(*directories));
    if (!directories)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < plan->directory_count; i++)
        directories[i] = plan->directories[i].path;
    const struct placement_rules rules = {plan->filesystem, directories, plan->directory_count, NULL};
    enum error_code code =
        new_keys_read(protect->run, &rules, NULL, NEW_KEYS_DRAW_RECOVERY, &protect->keys, reterr);
    if (code)
        return code;
    if (new_keys_count(&protect->keys) == 0) {
        error_set(reterr, ERR_USAGE, 0, "vault %s is new and needs a key", protect->name);
        return error_remedy(
            reterr, "give it one with --keyfile F, --passphrase-file F (- asks) or --recovery-out F, or "
                    "enroll this host at an authority");
    }
    if (protect->is_root)
        code = protect_root_check_keys(protect, reterr);
    const bool has_recovery = protect->keys.recovery_text;
    if (!code && protect->is_root)
        code = new_keys_ask_back(protect->run, &protect->keys, reterr);
    if (!code && !has_recovery)
        new_keys_tell_no_recovery(protect->run, protect->name);
    return code;
}

static enum error_code create(struct protect *protect, const struct vault_id *id,
                              const struct secret *vault_secret, const struct keyslot *slots,
                              struct error *reterr)
{
    struct filesystem *filesystem = NULL;
    enum error_code code = filesystem_of(protect->plan->filesystem->root_fd, &filesystem, reterr);
    if (!code)
        code = vault_create(filesystem, protect->name, id, vault_secret, slots,
                            new_keys_count(&protect->keys), clock_system(), &protect->held.vault, reterr);
    if (code)
        filesystem_free(filesystem);
    return code;
}

enum error_code protect_make_vault(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    const struct filesystem *filesystem = protect->plan->filesystem;
    struct vault_id id;
    if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
        return error_set(reterr, ERR_FAILED, errno, "cannot draw random bytes");
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    _cleanup_(freep) struct keyslot *slots = NULL;
    enum error_code code = secret_new_random(VAULT_SECRET_SIZE, &vault_secret, reterr);
    if (!code)
        code = new_keys_make_slots(run, &protect->keys, filesystem, &id, protect->name, vault_secret, &slots,
                                   reterr);
    if (!code)
        code = new_keys_write_recovery(&protect->keys, slots, reterr);
    if (!code)
        code = create(protect, &id, vault_secret, slots, reterr);
    if (code) {
        if (slots)
            new_keys_unbind(run, &protect->keys, filesystem, slots, 0, NULL);
        new_keys_withdraw(&protect->keys);
        return code;
    }
    for (size_t i = 0; i < protect->keys.authority_count; i++)
        new_keys_bound(filesystem, &slots[i]);
    run->changed = true;
    report_truth(&run->report, "vault %s is made on the filesystem at %s", protect->name,
                 text_shown(protect->plan->filesystem->mount_point));
    return new_keys_publish(run, &protect->keys, &id, reterr);
}

/* After a crash between making the vault and recording its keyfiles the same command records them. */
static void record_keyfiles(struct run *run, const struct vault *vault, const struct unlock_answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        const struct unlock_answers one = {&answers->items[i], 1};
        if (one.items->kind != KEYSLOT_KEYFILE)
            continue;
        _cleanup_(secret_freep) struct secret *vault_secret = NULL;
        _cleanup_(finding_list_done) struct finding_list findings = {0};
        _cleanup_(freep) char *real = realpath(one.items->source, NULL);
        if (real && !unlock_open(vault, &one, &vault_secret, NULL, &findings, NULL))
            new_keys_record_keyfile(run, &vault->id, real);
    }
}

static enum error_code note_recovery(const struct keyslot_id *id, const struct keyslot *keyslot,
                                     const struct error *why, void *context, struct error *reterr)
{
    (void)id;
    (void)why;
    (void)reterr;
    if (keyslot && keyslot->kind == KEYSLOT_RECOVERY)
        *(bool *)context = true;
    return OK;
}

/* A command that begins anew with a vault that is there goes on with one that was interrupted. */
static bool was_interrupted(const struct vault *vault)
{
    _cleanup_(convert_status_done) struct convert_status status = {0};
    return vault->directory_count == 0 || convert_get_status(vault, &status, NULL) || status.state;
}

/* --recovery-out with a vault that is there: what the interrupted command made counts, but no further keyslot
 * is made. */
static enum error_code check_recovery_out(struct run *run, const struct vault *vault, struct error *reterr)
{
    const char *file = argument_value(&run->arguments, OPTION_RECOVERY_OUT);
    bool kept = false;
    enum error_code code = OK;
    if (file && strcmp(file, "-") != 0)
        code = new_keys_find_recovery(run, vault, file, &kept, reterr);
    if (code || !file || kept)
        return code;
    bool has_one = false;
    code = vault_each_keyslot(vault, note_recovery, &has_one, reterr);
    if (code)
        return code;
    if (has_one && was_interrupted(vault)) {
        finding_add(&run->findings, FINDING_TELLS, "recovery-key-made-before", vault->name,
                    "where that key was not kept, remove its keyslot and add another",
                    "no recovery key was written to %s: vault %s has the keyslot of a recovery key that was "
                    "written or shown before",
                    text_shown(file), vault->name);
        return OK;
    }
    error_set(reterr, ERR_EXISTS, 0, "vault %s is there already, protect adds no keyslot to it", vault->name);
    error_subject(reterr, "%s", vault->name);
    return error_remedy(reterr,
                        "leave --recovery-out away; add the recovery key by: husk keyslot add %s "
                        "--recovery-out %s",
                        vault->name, text_shown(file));
}

/* A directory that joins must not hold a keyfile of the vault: not one that is given now, nor one that the
 * host records. */
static enum error_code check_keyfiles_outside(const struct protect *protect,
                                              const struct unlock_answers *answers, struct error *reterr)
{
    const struct convert_plan *plan = protect->plan;
    const struct vault *vault = protect->held.vault;
    const char *at = protect->run->at;
    struct host_record record = {0};
    _cleanup_(freep) const char **directories = calloc(plan->directory_count + 1, sizeof(*directories));
    if (!directories)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < plan->directory_count; i++)
        directories[i] = plan->directories[i].path;
    const struct placement_rules rules = {plan->filesystem, directories, plan->directory_count,
                                          &vault->identifier};
    enum error_code code = host_read(at, &record, reterr);
    for (size_t i = 0; !code && i < record.keyfile_count; i++) {
        _cleanup_(freep) char *path = NULL;
        if (memcmp(&record.keyfiles[i].vault, &vault->id, sizeof(vault->id)))
            continue;
        if (asprintf(&path, "%s/%s", at, record.keyfiles[i].path) < 0) {
            path = NULL;
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        }
        if (!code)
            code = new_keys_check_outside(&rules, path, reterr);
    }
    host_record_done(&record);
    for (size_t i = 0; !code && i < answers->count; i++)
        if (answers->items[i].kind == KEYSLOT_KEYFILE)
            code = new_keys_check_outside(&rules, answers->items[i].source, reterr);
    return code;
}

/* The keys given open nothing. Whoever comes back to an interrupted command looks for another way than who
 * wants one more key. */
static enum error_code explain_wrong_key(const struct vault *vault, struct error *reterr)
{
    _cleanup_(convert_status_done) struct convert_status status = {0};
    struct error unused = ERROR_NONE;
    reterr->remedy[0] = '\0';
    if (!convert_get_status(vault, &status, &unused) && status.state)
        return error_remedy(reterr,
                            "a %s of this vault was interrupted: go on with a key it was begun with%s%s",
                            status.direction == CONVERT_PROTECT ? "protect" : "unprotect",
                            status.may_abort ? ", or give it up: husk protect --abort --vault " : "",
                            status.may_abort ? vault->name : "");
    return error_remedy(reterr,
                        "protect adds no keyslot to a vault that is there; for that: husk keyslot add %s "
                        "--with-keyfile F and the new key",
                        vault->name);
}

enum error_code protect_open_vault(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    struct vault *vault = protect->held.vault;
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    enum keyslot_kind kind;
    enum vault_state state;
    enum error_code code = vault_get_state(vault, &state, reterr);
    if (!code)
        code = check_recovery_out(run, vault, reterr);
    if (!code)
        code = keys_read(run, &keys_plain, KEYS_TO_OPEN, &answers, reterr);
    if (!code)
        code = check_keyfiles_outside(protect, &answers, reterr);
    if (code || (state == VAULT_UNLOCKED && answers.count == 0))
        return code;
    code = keys_open(run, vault, &keys_plain, &answers, KEYS_ANY_SOURCE, &vault_secret, &kind, reterr);
    if (code == ERR_WRONG_KEY && answers.count > 0)
        code = explain_wrong_key(vault, reterr);
    if (!code && state != VAULT_UNLOCKED) {
        code = authorities_unlock(run, vault, vault_secret, NULL, VAULT_ACCEPT_NOTHING, reterr);
        if (!code)
            report_truth(&run->report, "vault %s is unlocked, by its %s", vault->name, key_word(kind));
    }
    if (!code)
        record_keyfiles(run, vault, &answers);
    return code;
}
