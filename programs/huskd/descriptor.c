/* Verbs for what the authority root signs: keys and addresses. */
#include <errno.h>
#include <fcntl.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "duration.h"
#include "message/descriptor.h"
#include "out_file.h"
#include "secret/secret.h"

static enum error_code write_out(const char *name, const void *bytes, size_t length, struct error *reterr)
{
    _cleanup_(out_file_drop) struct out_file file = OUT_FILE_NONE;
    enum error_code code = out_file_make(name, &file, reterr);
    if (!code)
        code = file_write_all(file.fd, bytes, length, reterr);
    return code ? code : out_file_finish(&file, reterr);
}

static enum error_code read_in(const char *name, struct buffer *bytes, struct error *reterr)
{
    return file_read(AT_FDCWD, name, DESCRIPTOR_MAXIMUM, bytes, reterr);
}

static enum error_code prepare(struct run *run, struct error *reterr)
{
    const char *out = argument_value(&run->arguments, OPTION_OUT), *text;
    json_t *result;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_string(result, "text", &text, reterr);
    if (!code)
        code = write_out(out, text, strlen(text), reterr);
    if (!code)
        report_truth(&run->report, "%s waits for the signature of the root: huskd descriptor sign",
                     text_shown(out));
    return code;
}

static enum error_code read_root(const char *name, struct secret **ret_key, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", text_shown(name));
    return secret_read_fd(fd, SIGN_KEY_SIZE, SIGN_KEY_SIZE, name, ret_key, reterr);
}

/* What is signed, for the person who signs it. */
static void tell_signed(struct run *run, const char *out, const struct descriptor *descriptor)
{
    char fingerprint[2 * DESCRIPTOR_FINGERPRINT_SIZE + 1];
    uint8_t bytes[DESCRIPTOR_FINGERPRINT_SIZE];
    descriptor_fingerprint(descriptor->root, bytes);
    text_format_hex(fingerprint, bytes, sizeof(bytes));
    run_result(run, "sequence", json_integer((json_int_t)descriptor->sequence));
    run_result(run, "epoch", json_integer((json_int_t)descriptor->epoch));
    json_t *addresses = json_array();
    for (unsigned i = 0; i < descriptor->address_count; i++)
        json_array_append_new(addresses, json_text(descriptor->addresses[i]));
    run_result(run, "addresses", addresses);
    report_truth(&run->report, "%s is descriptor %llu of authority %s, signed: huskd descriptor install",
                 text_shown(out), (unsigned long long)descriptor->sequence, fingerprint);
    if (descriptor->epoch > 1)
        report_truth(&run->report,
                     "it is for epoch %llu of the ledger, that of an authority restored from a backup",
                     (unsigned long long)descriptor->epoch);
    for (unsigned i = 0; i < descriptor->address_count; i++)
        report_truth(&run->report, "hosts will look for it at %s", text_shown(descriptor->addresses[i]));
}

static enum error_code check_root(const struct secret *root, const struct descriptor *descriptor,
                                  const char *name, struct error *reterr)
{
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    enum error_code code = sign_public_key(root, public_key, reterr);
    return code || memcmp(public_key, descriptor->root, sizeof(public_key)) == 0
               ? code
               : error_set(reterr, ERR_DENIED, 0, "%s is not the root of the authority the descriptor is of",
                           text_shown(name));
}

static enum error_code sign(struct run *run, struct error *reterr)
{
    const char *file = run->arguments.operands[0], *out = argument_value(&run->arguments, OPTION_OUT),
               *root_name = argument_value(&run->arguments, OPTION_ROOT);
    _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
    _cleanup_(secret_freep) struct secret *root = NULL;
    struct descriptor descriptor;
    enum error_code code = secret_start(reterr);
    if (!code)
        code = read_in(file, &text, reterr);
    if (!code)
        code = descriptor_read_text(text.data ? text.data : "", text.length, &descriptor, reterr);
    if (!code)
        code = descriptor_check_reachable(&descriptor, reterr);
    if (!code)
        code = read_root(root_name, &root, reterr);
    if (!code)
        code = check_root(root, &descriptor, root_name, reterr);
    if (!code)
        code = descriptor_sign(text.data, text.length, root, &wire, reterr);
    if (!code)
        code = descriptor_parse(wire.data, wire.length, NULL, &descriptor, reterr);
    if (!code)
        code = write_out(out, wire.data, wire.length, reterr);
    if (code)
        return code;
    run->changed = true;
    tell_signed(run, out, &descriptor);
    return OK;
}

static enum error_code install(struct run *run, struct error *reterr)
{
    const char *file = run->arguments.operands[0], *keep = argument_value(&run->arguments, OPTION_KEEP);
    int64_t keep_s = 0;
    _cleanup_(buffer_done) struct buffer wire = {0};
    _cleanup_(json_freep) json_t *arguments = json_object();
    json_t *result;
    enum error_code code = read_in(file, &wire, reterr);
    if (!code && keep)
        code = duration_parse(keep, &keep_s, reterr);
    if (!code && keep)
        code = json_set_new(arguments, "keep", json_integer(keep_s), reterr);
    if (!code)
        code = json_set_hex(arguments, "descriptor", (const uint8_t *)wire.data, wire.length, reterr);
    if (!code)
        code = ask_with(run, run->verb->name, arguments, &result, reterr);
    if (!code)
        report_truth(&run->report, "the descriptor of %s is in force", text_shown(file));
    return code;
}

const struct verb verb_descriptor_prepare = {
    .name = "descriptor prepare",
    .operands = "",
    .summary = "Make the next descriptor, to be signed by the root.",
    .text =
        "With new keys, and the addresses given; without any, those of now stay. After huskd restore, until "
        "its "
        "descriptor is installed, they have to be given. The message key that was "
        "announced by the descriptor of now becomes the one hosts use, and another is announced. Nothing "
        "changes yet but that the new keys are kept. Take the file to where the root is kept, sign it there, "
        "bring it back.\n\n"
        "When keys of this authority may have been stolen, the announced key was too: do it twice, with "
        "--keep 0s.",
    .options = (const struct verb_option[]){{OPTION_OUT, ROLE_REQUIRED, NULL},
                                            {OPTION_ADDRESS, ROLE_OPTIONAL, NULL},
                                            {OPTION_SAME_KEYS, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = prepare,
};

const struct verb verb_descriptor_sign = {
    .name = "descriptor sign",
    .operands = "FILE",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Sign a descriptor with the root, offline.",
    .text = "Needs no authority and no network. Nothing else uses the root. What is signed is told: read it.",
    .options = (const struct verb_option[]){{OPTION_ROOT, ROLE_REQUIRED, NULL},
                                            {OPTION_OUT, ROLE_REQUIRED, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .needs = VERB_NEEDS_NOTHING,
    .act = sign,
};

const struct verb verb_descriptor_install = {
    .name = "descriptor install",
    .operands = "FILE",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Put a signed descriptor in force.",
    .text =
        "The service goes on meanwhile. Hosts get it with their next heartbeat or other message, or when "
        "they cannot be read any more, and take it because their pinned root signed it. Messages to the key "
        "of before are read as long as --keep says; then that key is destroyed.\n\n"
        "Refused is one of another root, one that is not newer, and one whose keys are not here.",
    .options = (const struct verb_option[]){{OPTION_KEEP, ROLE_OPTIONAL, NULL}, {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = install,
};
