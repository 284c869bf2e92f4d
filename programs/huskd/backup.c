#include <unistd.h>

#include "ask.h"
#include "backup_key.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "out_file.h"
#include "secret/secret.h"

/* The key that is made with this backup. */
static enum error_code make_key(const char *name, json_t *arguments, struct error *reterr)
{
    uint8_t public_key[HPKE_KEY_SIZE];
    _cleanup_(out_file_drop) struct out_file file = OUT_FILE_NONE;
    enum error_code code = secret_start(reterr);
    if (!code)
        code = backup_key_make(name, public_key, &file, reterr);
    if (!code)
        code = json_set_hex(arguments, "backup_key", public_key, sizeof(public_key), reterr);
    return code ? code : out_file_finish(&file, reterr); /* before anything is sealed to it */
}

/* A file that is there says that backups are sealed to its key, or may be. */
static void tell_key(struct run *run, const char *name, enum error_code code)
{
    if (!code) {
        report_truth(&run->report, "%s is the backup key, the only copy: take it offline, keep it twice",
                     text_shown(name));
    } else if (run->changed) {
        report_warning(&run->report,
                       "%s may be the key of backups from now on: keep it, and the one of before",
                       text_shown(name));
    } else {
        unlink(name);
    }
}

static enum error_code act(struct run *run, struct error *reterr)
{
    const char *bulk_out = argument_value(&run->arguments, OPTION_OUT),
               *envelope_out = argument_value(&run->arguments, OPTION_ENVELOPE_OUT),
               *key_out = argument_value(&run->arguments, OPTION_BACKUP_KEY_OUT);
    _cleanup_(out_file_drop) struct out_file bulk = OUT_FILE_NONE, envelope = OUT_FILE_NONE;
    _cleanup_(json_freep) json_t *arguments = json_object();
    json_t *result;
    const char *id = NULL;
    enum error_code code = out_file_make(bulk_out, &bulk, reterr);
    if (!code)
        code = out_file_make(envelope_out, &envelope, reterr);
    if (!code && key_out)
        code = make_key(key_out, arguments, reterr);
    const bool has_key = !code && key_out;
    if (!code)
        code = ask_with_files(run, run->verb->name, arguments, (const int[]){bulk.fd, envelope.fd}, 2,
                              &result, reterr);
    if (!code)
        code = out_file_finish(&bulk, reterr);
    if (!code)
        code = out_file_finish(&envelope, reterr);
    if (!code)
        code = json_get_string(result, "id", &id, reterr);
    if (has_key)
        tell_key(run, key_out, code);
    if (code)
        return code;
    report_truth(&run->report, "%s is the bulk: noise without the envelope", text_shown(bulk_out));
    report_truth(
        &run->report,
        "%s is the envelope of backup %s, a key copy of every host here: keep it apart from the bulk "
        "and from the backup key, and destroy it when a later one takes its place",
        text_shown(envelope_out), text_shown(id));
    return OK;
}

const struct verb verb_backup = {
    .name = "backup",
    .operands = "",
    .summary = "Write a backup of the authority.",
    .text =
        "Two files. The bulk holds database and keyring, encrypted under a key of its own. The envelope, "
        "4096 "
        "bytes, holds that key, sealed to the backup key that is kept offline. Whoever has all three can "
        "open "
        "what this authority can, also hosts that are erased later: the envelope is a key copy, listed by "
        "keycopy list until keycopy destroyed says that it is gone. The service goes on meanwhile.\n\n"
        "The backup key is made by init --backup-key-out, or here, at any time: --backup-key-out makes a new "
        "one. Envelopes of before need the key of before. Where the backup fails before the new key is in "
        "force its file is removed again; where it may be in force the file stays, and is told: keep it and "
        "the one before.",
    .options = (const struct verb_option[]){{OPTION_OUT, ROLE_REQUIRED, NULL},
                                            {OPTION_ENVELOPE_OUT, ROLE_REQUIRED, NULL},
                                            {OPTION_BACKUP_KEY_OUT, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = act,
};
