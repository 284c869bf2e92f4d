/* huskd restore: a new authority from a backup. */
#include <errno.h>
#include <fcntl.h>

#include "backup_key.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "holder.h"
#include "message/descriptor.h"
#include "out_file.h"
#include "owner.h"
#include "verb.h"

enum { RECORDS_MAXIMUM = 64 };

/* Everything that is read; opened before this becomes the user of the directory. */
struct inputs {
    int bulk_fd, envelope_fd;
    struct secret *backup_key;
    int record_fds[RECORDS_MAXIMUM];
    const char *record_names[RECORDS_MAXIMUM];
    size_t record_count;
    const char *addresses[DESCRIPTOR_ADDRESSES_MAXIMUM];
    unsigned address_count;
};

static void inputs_done(struct inputs *inputs)
{
    close_fdp(&inputs->bulk_fd);
    close_fdp(&inputs->envelope_fd);
    secret_free(inputs->backup_key);
    for (size_t i = 0; i < inputs->record_count; i++)
        close(inputs->record_fds[i]);
}

static enum error_code open_input(const char *name, int *ret_fd, struct error *reterr)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", text_shown(name));
    *ret_fd = fd;
    return OK;
}

static enum error_code take_repeated(const struct given_option *given, struct inputs *inputs,
                                     struct error *reterr)
{
    if (given->id == OPTION_ADDRESS && inputs->address_count == DESCRIPTOR_ADDRESSES_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "at most %d --address", DESCRIPTOR_ADDRESSES_MAXIMUM);
    if (given->id == OPTION_RECORD && inputs->record_count == RECORDS_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "at most %d --record", RECORDS_MAXIMUM);
    if (given->id == OPTION_ADDRESS)
        inputs->addresses[inputs->address_count++] = given->value;
    if (given->id != OPTION_RECORD)
        return OK;
    inputs->record_names[inputs->record_count] = given->value;
    enum error_code code = open_input(given->value, &inputs->record_fds[inputs->record_count], reterr);
    inputs->record_count += !code;
    return code;
}

static enum error_code open_inputs(const struct run *run, struct inputs *inputs, struct error *reterr)
{
    const struct arguments *arguments = &run->arguments;
    enum error_code code = open_input(argument_value(arguments, OPTION_BULK), &inputs->bulk_fd, reterr);
    if (!code)
        code = open_input(argument_value(arguments, OPTION_ENVELOPE), &inputs->envelope_fd, reterr);
    if (!code)
        code = secret_start(reterr);
    if (!code)
        code = backup_key_read(argument_value(arguments, OPTION_BACKUP_KEY), &inputs->backup_key, reterr);
    for (size_t i = 0; !code && i < arguments->given_count; i++)
        code = take_repeated(&arguments->given[i], inputs, reterr);
    return code;
}

static int64_t number(json_t *summary, const char *member)
{
    return json_integer_value(json_object_get(summary, member));
}

static void tell(struct run *run, json_t *summary, const char *out, const struct authority_options *options)
{
    const bool is_complete = json_is_true(json_object_get(summary, "complete"));
    json_object_update(run->result, summary);
    run_result(run, "descriptor", json_text(out));
    report_truth(&run->report, "an authority of %lld hosts is in %s", (long long)number(summary, "hosts"),
                 text_shown(run->at));
    if (number(summary, "erased_since") > 0)
        report_truth(&run->report, "what was erased since the backup is destroyed here too: %lld times",
                     (long long)number(summary, "erased_since"));
    if (!is_complete)
        report_truth(&run->report,
                     "%lld hosts are on hold: look what was erased since the backup, then huskd host release",
                     (long long)number(summary, "held"));
    report_truth(
        &run->report,
        "hosts get no answer before the root has signed %s: huskd descriptor sign, huskd serve, huskd "
        "descriptor install",
        text_shown(out));
    if (number(summary, "not_in_backup") > 0)
        report_warning(&run->report, "%lld hosts were enrolled after the backup: they have to enrol again",
                       (long long)number(summary, "not_in_backup"));
    if (number(summary, "keyslots_not_in_backup") > 0)
        report_warning(
            &run->report,
            "%lld keyslots were bound after the backup and open nothing any more: their hosts have "
            "to bind them anew, husk keyslot remove, husk keyslot add --authority",
            (long long)number(summary, "keyslots_not_in_backup"));
    holder_warn(run, options);
}

static enum error_code restore(struct run *run, struct inputs *inputs,
                               const struct authority_options *options, struct buffer *text,
                               json_t **ret_summary, struct error *reterr)
{
    const struct authority_backup backup = {.bulk_fd = inputs->bulk_fd,
                                            .envelope_fd = inputs->envelope_fd,
                                            .backup_key = inputs->backup_key,
                                            .record_fds = inputs->record_fds,
                                            .record_names = inputs->record_names,
                                            .record_count = inputs->record_count};
    enum error_code code = owner_become(run->at, reterr);
    if (!code)
        code = authority_restore(options, &backup, inputs->addresses, inputs->address_count, text,
                                 ret_summary, reterr);
    owner_return();
    return code;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    const char *out = argument_value(&run->arguments, OPTION_OUT);
    const struct authority_options options = {
        .directory = run->at,
        .holder = argument_value(&run->arguments, OPTION_HOLDER),
        .clock = clock_system(),
    };
    _cleanup_(inputs_done) struct inputs inputs = {.bulk_fd = -1, .envelope_fd = -1};
    _cleanup_(out_file_drop) struct out_file file = OUT_FILE_NONE;
    _cleanup_(buffer_done) struct buffer text = {.maximum = DESCRIPTOR_MAXIMUM};
    _cleanup_(json_freep) json_t *summary = NULL;
    enum error_code code = open_inputs(run, &inputs, reterr);
    if (!code)
        code = out_file_make(out, &file, reterr);
    if (!code)
        code = restore(run, &inputs, &options, &text, &summary, reterr);
    if (code)
        return code;
    run->changed = true;
    code = file_write_all(file.fd, text.data, text.length, reterr);
    if (!code)
        code = out_file_finish(&file, reterr);
    if (code) {
        error_prefix(reterr, "the authority is restored");
        return error_remedy(
            reterr, "get its descriptor with huskd serve and huskd descriptor prepare --out F --address URL");
    }
    tell(run, summary, out, &options);
    return OK;
}

const struct verb verb_restore = {
    .name = "restore",
    .operands = "",
    .summary = "Make an authority from a backup, in an empty directory.",
    .text =
        "Needs no network and no authority that runs. The hosts of the backup find it by the descriptor it "
        "writes, which the root has to sign: it has other keys, the addresses given (without any, those of "
        "the backup), and begins another epoch of the ledger. Until that is installed, hosts get no "
        "answer.\n\n"
        "Hosts ask at the addresses of the descriptor they have. Where this machine has none of them they do "
        "not find it: give init an address with a DNS name, which can be moved. Otherwise husk enroll URL, "
        "with the new address and any token of this authority, tells one host after the other.\n\n"
        "A backup does not know what happened since: hosts that were erased would open again. So every host "
        "is "
        "on hold until a person releases it. Records tell: --record takes files of signed erased answers, "
        "one "
        "in hexadecimal a line, as host erase --json and the hosts have them, and one export of the ledger "
        "(ledger export). What they say is erased is destroyed before anything else. Only an export tells "
        "all "
        "there was up to its end: with one hosts are not held, and hold, release and the policies of groups "
        "are "
        "as it says. Tickets, tokens and requests of before are void. Keyslots that were bound after the "
        "backup "
        "open nothing any more, and an export tells how many: their hosts remove them and bind anew.\n\n"
        "How far a host's lineage went on since no record says. The boot that was open when the backup was "
        "made tells it; a host that boots before that was heard is flagged once, as an old copy of it would "
        "be: see host accept-restore.",
    .options = (const struct verb_option[]){{OPTION_BULK, ROLE_REQUIRED, NULL},
                                            {OPTION_ENVELOPE, ROLE_REQUIRED, NULL},
                                            {OPTION_BACKUP_KEY, ROLE_REQUIRED, NULL},
                                            {OPTION_OUT, ROLE_REQUIRED, NULL},
                                            {OPTION_ADDRESS, ROLE_OPTIONAL, NULL},
                                            {OPTION_RECORD, ROLE_OPTIONAL, NULL},
                                            {OPTION_HOLDER, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = act,
};
