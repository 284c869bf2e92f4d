#include <fcntl.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "keyslot_verbs.h"
#include "placement.h"
#include "render_vault.h"

/* The directory of the file, and whether the file is there with these bytes already. */
static enum error_code open_place(const char *real, const struct keyslot *keyslot, int *ret_fd,
                                  bool *ret_same, struct error *reterr)
{
    const char *name = strrchr(real, '/') + 1;
    _cleanup_(freep) char *directory = strndup(real, (size_t)(name - real));
    if (!directory)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(AT_FDCWD, directory, &fd, reterr);
    if (code)
        return code;
    _cleanup_(buffer_done) struct buffer there = {0};
    code = file_read(fd, name, KEYSLOT_FILE_SIZE, &there, NULL);
    bool same =
        !code && there.length == KEYSLOT_FILE_SIZE && !memcmp(there.data, keyslot->file, KEYSLOT_FILE_SIZE);
    if (!same && code != ERR_NOT_FOUND) {
        code = error_set(reterr, ERR_EXISTS, 0, "%s is there already", text_shown(real));
        error_remedy(reterr, "name a new file");
        return code;
    }
    *ret_fd = TAKE_FD(fd);
    *ret_same = same;
    return OK;
}

static enum error_code write_copy(struct run *run, struct vault *vault, const struct keyslot *keyslot,
                                  const char *real, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    bool same = false;
    enum error_code code = open_place(real, keyslot, &fd, &same, reterr);
    if (code)
        return code;
    /* Recorded also when it is there: a crash may have come between. */
    code = vault_record_export(vault, &keyslot->id, clock_system(), reterr);
    if (!code && !same)
        code = file_write_durable(fd, strrchr(real, '/') + 1, 0600, keyslot->file, KEYSLOT_FILE_SIZE, reterr);
    if (code)
        return code;
    run->changed |= !same;
    report_truth(&run->report, "keyslot %s is copied to %s", keyslot_id_shown(&keyslot->id),
                 text_shown(real));
    finding_add(&run->findings, FINDING_TELLS, "key-copy", text_shown(real),
                "destroy this copy too before the vault counts as erased",
                "a key copy: together with its key this file opens every copy of the disk, also after the "
                "keyslot is removed here");
    return OK;
}

static enum error_code export_it(struct run *run, struct keyslot_work *work, const struct keyslot_id *id,
                                 struct error *reterr)
{
    struct vault *vault = work->held.vault;
    struct keyslot keyslot;
    _cleanup_(freep) char *real = NULL;
    enum placement placement;
    const struct placement_rules rules = {vault->filesystem, NULL, 0, &vault->identifier};
    enum error_code code = vault_read_keyslot(vault, id, &keyslot, reterr);
    if (!code)
        code = placement_find(&rules, run->arguments.operands[2], &placement, &real, reterr);
    if (!code)
        code = keyslot_open(run, work, KEYSLOT_NEEDS_UNLOCKED, reterr);
    if (code)
        return code;
    code = write_copy(run, vault, &keyslot, real, reterr);
    run_result(run, "exported", json_string(keyslot_id_shown(id)));
    run_result(run, "file", json_text(text_shown(real)));
    return keyslot_release(run, work, code, reterr);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(keyslot_work_done) struct keyslot_work work = KEYSLOT_WORK_NONE;
    struct keyslot_id id = {0};
    enum error_code code = keyslot_hold(run, &work, reterr);
    if (!code)
        code = keyslot_find(work.held.vault, run->arguments.operands[1], &id, reterr);
    if (!code)
        code = export_it(run, &work, &id, reterr);
    return code ? code : keyslot_tell_all(run, work.held.vault, reterr);
}

const struct verb verb_keyslot_export = {
    .name = "keyslot export",
    .operands = "NAME ID FILE",
    .operands_least = 3,
    .operands_most = 3,
    .summary = "Copy a keyslot to a file: a key copy.",
    .text = "Writes the keyslot as it is, wrapped, to the new FILE of 4096 bytes. Whoever has it and its key "
            "opens "
            "every copy of the disk. That there is such a copy is recorded in the manifest first, and an "
            "erase names "
            "it. A key that opens the vault is needed only while it is locked.",
    .options = (const struct verb_option[]){{OPTION_WITH_KEYFILE, ROLE_OPTIONAL, NULL},
                                            {OPTION_WITH_PASSPHRASE_FILE, ROLE_OPTIONAL, NULL},
                                            {OPTION_WITH_RECOVERY_KEY_FILE, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
