#include "authorities.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "keyslot_verbs.h"
#include "new_keys.h"
#include "render_vault.h"

/* What stays when one keyslot goes. */
struct others {
    const struct keyslot_id *leaving;
    const struct vault *vault;
    size_t usable, keyfiles, recoveries;
};

static enum error_code count_other(const struct keyslot_id *id, const struct keyslot *keyslot,
                                   const struct error *why, void *context, struct error *reterr)
{
    (void)why;
    (void)reterr;
    struct others *others = context;
    if (!keyslot || !keyslot_is_whole(keyslot) || !memcmp(id, others->leaving, sizeof(*id)))
        return OK;
    for (size_t i = 0; i < others->vault->keyslot_count; i++) {
        if (memcmp(&others->vault->keyslots[i], id, sizeof(*id)) != 0)
            continue;
        others->usable++;
        others->keyfiles += keyslot->kind == KEYSLOT_KEYFILE;
        others->recoveries += keyslot->kind == KEYSLOT_RECOVERY;
    }
    return OK;
}

static enum error_code refuse_last(const struct vault *vault, const struct keyslot_id *id,
                                   struct error *reterr)
{
    error_set(reterr, ERR_DENIED, 0,
              "%s is the last keyslot of vault %s that is not damaged: nothing would open the vault any more",
              keyslot_id_shown(id), vault->name);
    error_subject(reterr, "%s", keyslot_id_shown(id));
    return error_remedy(reterr,
                        "add another one first (husk keyslot add %s --recovery-out F), or destroy the vault: "
                        "husk erase %s --confirm %s",
                        vault->name, vault->name, vault->name);
}

static enum error_code remove_it(struct run *run, struct vault *vault, const struct keyslot_id *id,
                                 struct error *reterr)
{
    struct others others = {.leaving = id, .vault = vault};
    enum error_code code = vault_each_keyslot(vault, count_other, &others, reterr);
    if (code)
        return code;
    if (others.usable == 0)
        return refuse_last(vault, id, reterr);

    struct destroy_result result = {0};
    const struct vault_key_copy *copy = vault_key_copy_of(vault, id);
    const bool exported = copy && copy->exported_unix_s;
    struct keyslot keyslot = {0};
    (void)!vault_read_keyslot(vault, id, &keyslot, NULL);
    const char *id_text = keyslot_id_shown(id);
    run_text(run, "destroying keyslot %s:\n", id_text);
    code = vault_remove_keyslot(vault, id, clock_system(), &result, reterr);
    run_result(run, "removed", json_string(id_text));
    run_result(run, "steps", destroy_show(run, &result));
    if (code)
        return code;
    run->changed = true;
    report_truth(&run->report, "keyslot %s of vault %s is removed and destroyed on this disk", id_text,
                 vault->name);
    if (keyslot.kind == KEYSLOT_RECOVERY && others.recoveries == 0)
        new_keys_tell_no_recovery(run, vault->name);
    if (keyslot.kind == KEYSLOT_AUTHORITY)
        return authorities_unbind(run, vault, id, &keyslot.authority, reterr);
    finding_add(
        &run->findings, FINDING_TELLS, "keyslot-in-snapshots", id_text, "",
        "snapshots and backups of this disk that were taken while the keyslot existed still open with "
        "its key");
    if (exported)
        finding_add(&run->findings, FINDING_TELLS, "key-copy-export", id_text, "destroy the exported file",
                    "the keyslot was exported: with its key that file still opens the vault in any copy of "
                    "the disk");
    return others.keyfiles == 0 ? host_forget_vault(run->at, &vault->id, reterr) : OK;
}

static enum error_code remove_or_tell(struct run *run, struct keyslot_work *work, const struct keyslot_id *id,
                                      struct error *reterr)
{
    struct vault *vault = work->held.vault;
    const struct vault_key_copy *copy = vault_key_copy_of(vault, id);
    struct keyslot unused;
    if (copy && copy->removed_unix_s && vault_read_keyslot(vault, id, &unused, NULL) == ERR_NOT_FOUND) {
        report_truth(&run->report, "keyslot %s of vault %s was removed before", keyslot_id_shown(id),
                     vault->name);
        static const struct authority_id unknown;
        return copy->kind == KEYSLOT_AUTHORITY ? authorities_unbind(run, vault, id, &unknown, reterr) : OK;
    }
    enum error_code code = keyslot_open(run, work, KEYSLOT_NEEDS_UNLOCKED, reterr);
    if (!code)
        code = remove_it(run, vault, id, reterr);
    return keyslot_release(run, work, code, reterr);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(keyslot_work_done) struct keyslot_work work = KEYSLOT_WORK_NONE;
    struct keyslot_id id = {0};
    enum error_code code = keyslot_hold(run, &work, reterr);
    if (!code)
        authorities_settle(run, work.held.vault->filesystem);
    if (!code)
        code = keyslot_find(work.held.vault, run->arguments.operands[1], &id, reterr);
    if (!code)
        code = remove_or_tell(run, &work, &id, reterr);
    return code ? code : keyslot_tell_all(run, work.held.vault, reterr);
}

const struct verb verb_keyslot_remove = {
    .name = "keyslot remove",
    .operands = "NAME ID",
    .operands_least = 2,
    .operands_most = 2,
    .summary = "Remove a keyslot and destroy it in place.",
    .text =
        "ID is the keyslot's id, or its beginning of at least four digits where that is unambiguous. The "
        "keyslot "
        "leaves the manifest, then its file is overwritten, read again, discarded and unlinked, and the "
        "filesystem's journal is zeroed; each step is reported. A key that opens the vault is needed "
        "only while it "
        "is locked.\n\nThe last keyslot that is whole is not removed: see husk erase. Whether somebody "
        "still has its key husk cannot know.\n\nThis does not reach "
        "copies: snapshots and backups taken while the keyslot existed still open with its key. An authority "
        "keyslot is different: its authority is told to destroy its part, and then none of them opens with "
        "it. "
        "Where it cannot be told, husk ends with status 5, and the same command tries it again.",
    .options = (const struct verb_option[]){{OPTION_WITH_KEYFILE, ROLE_OPTIONAL, NULL},
                                            {OPTION_WITH_PASSPHRASE_FILE, ROLE_OPTIONAL, NULL},
                                            {OPTION_WITH_RECOVERY_KEY_FILE, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
