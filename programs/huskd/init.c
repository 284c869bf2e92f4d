/* huskd init: a new authority. */
#include "backup_key.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "holder.h"
#include "out_file.h"
#include "owner.h"
#include "secret/secret.h"
#include "verb.h"

enum { ADDRESSES_MAXIMUM = 8 };

static enum error_code take_addresses(const struct run *run, const char **addresses, unsigned *count,
                                      struct error *reterr)
{
    for (size_t i = 0; i < run->arguments.given_count; i++) {
        if (run->arguments.given[i].id != OPTION_ADDRESS)
            continue;
        if (*count == ADDRESSES_MAXIMUM)
            return error_set(reterr, ERR_USAGE, 0, "at most %d --address", ADDRESSES_MAXIMUM);
        addresses[(*count)++] = run->arguments.given[i].value;
    }
    return OK;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    const char *root_out = argument_value(&run->arguments, OPTION_ROOT_OUT);
    const char *backup_key_out = argument_value(&run->arguments, OPTION_BACKUP_KEY_OUT);
    const char *addresses[ADDRESSES_MAXIMUM];
    uint8_t backup_key[HPKE_KEY_SIZE];
    unsigned count = 0;
    struct authority_options options = {
        .directory = run->at,
        .holder = argument_value(&run->arguments, OPTION_HOLDER),
        .clock = clock_system(),
    };
    _cleanup_(out_file_drop) struct out_file file = OUT_FILE_NONE, key_file = OUT_FILE_NONE;
    enum error_code code = take_addresses(run, addresses, &count, reterr);
    if (!code)
        code = secret_start(reterr);
    if (!code && backup_key_out)
        code = backup_key_make(backup_key_out, backup_key, &key_file, reterr);
    if (!code && backup_key_out)
        options.backup_key = backup_key;
    if (!code)
        code = out_file_make(root_out, &file, reterr);
    if (!code)
        code = owner_become(run->at, reterr);
    if (!code)
        code = authority_init(&options, file.fd, addresses, count, reterr);
    owner_return();
    if (code)
        return code;
    run->changed = true;
    code = out_file_finish(&file, reterr);
    if (!code && backup_key_out)
        code = out_file_finish(&key_file, reterr);
    if (code)
        return code;
    run_result(run, "directory", json_text(run->at));
    run_result(run, "root_out", json_text(root_out));
    report_truth(&run->report, "an authority is in %s", text_shown(run->at));
    report_truth(&run->report, "%s holds its root and is the only copy: take it offline, keep it twice",
                 text_shown(root_out));
    if (backup_key_out)
        report_truth(&run->report, "%s is the backup key, the only copy: take it offline, keep it twice",
                     text_shown(backup_key_out));
    holder_warn(run, &options);
    return OK;
}

const struct verb verb_init = {
    .name = "init",
    .operands = "",
    .summary = "Make a new authority in a directory.",
    .text =
        "Keys, database and the first descriptor are made. The private key of the authority root, which "
        "signs "
        "descriptors, is written to a file and kept nowhere else: take it offline. Hosts pin the root, so "
        "keys, addresses and machine of the authority can change later without touching them.\n\n"
        "Run by root on a directory that belongs to another user it becomes that user, so that the service "
        "can open what is made.",
    .options = (const struct verb_option[]){{OPTION_ROOT_OUT, ROLE_REQUIRED, NULL},
                                            {OPTION_ADDRESS, ROLE_REQUIRED, NULL},
                                            {OPTION_HOLDER, ROLE_OPTIONAL, NULL},
                                            {OPTION_BACKUP_KEY_OUT, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = act,
};
