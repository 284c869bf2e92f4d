/* Verbs for what the authority root signs: keys and addresses. */
#include <errno.h>
#include <fcntl.h>

#include "ask.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
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
    _cleanup_(json_freep) json_t *arguments = json_object();
    json_t *result;
    for (size_t i = 0; i < run->arguments.given_count; i++) {
        if (run->arguments.given[i].id != OPTION_ADDRESS)
            continue;
        if (!json_object_get(arguments, "address"))
            json_object_set_new(arguments, "address", json_array());
        json_array_append_new(json_object_get(arguments, "address"),
                              json_text(run->arguments.given[i].value));
    }
    enum error_code code = ask_with(run, run->verb->name, arguments, &result, reterr);
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

static enum error_code sign(struct run *run, struct error *reterr)
{
    const char *file = run->arguments.operands[0], *out = argument_value(&run->arguments, OPTION_OUT);
    _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
    _cleanup_(secret_freep) struct secret *root = NULL;
    struct descriptor descriptor;
    enum error_code code = secret_start(reterr);
    if (!code)
        code = read_in(file, &text, reterr);
    if (!code)
        code = read_root(argument_value(&run->arguments, OPTION_ROOT), &root, reterr);
    if (!code)
        code = descriptor_sign(text.data ? text.data : "", text.length, root, &wire, reterr);
    if (!code)
        code = descriptor_parse(wire.data, wire.length, NULL, &descriptor, reterr);
    if (!code)
        code = write_out(out, wire.data, wire.length, reterr);
    if (code)
        return code;
    run->changed = true;
    run_result(run, "sequence", json_integer((json_int_t)descriptor.sequence));
    report_truth(&run->report, "%s is descriptor %llu, signed: huskd descriptor install", text_shown(out),
                 (unsigned long long)descriptor.sequence);
    return OK;
}

static enum error_code install(struct run *run, struct error *reterr)
{
    const char *file = run->arguments.operands[0];
    _cleanup_(buffer_done) struct buffer wire = {0};
    _cleanup_(json_freep) json_t *arguments = json_object();
    json_t *result;
    enum error_code code = read_in(file, &wire, reterr);
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
        "With new keys, and the addresses given; without any, those of now stay. Take the file to where the "
        "root is kept, sign it there, bring it back. This authority cannot prepare one yet, and says so.",
    .options = (const struct verb_option[]){{OPTION_OUT, ROLE_REQUIRED, NULL},
                                            {OPTION_ADDRESS, ROLE_OPTIONAL, NULL},
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
    .text = "Needs no authority and no network. Nothing else uses the root.",
    .options = (const struct verb_option[]){{OPTION_ROOT, ROLE_REQUIRED, NULL},
                                            {OPTION_OUT, ROLE_REQUIRED, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = sign,
};

const struct verb verb_descriptor_install = {
    .name = "descriptor install",
    .operands = "FILE",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Put a signed descriptor in force.",
    .text =
        "Hosts get it with their next heartbeat, or when they cannot be read any more, and take it because "
        "their pinned root signed it. This authority cannot install one yet, and says so.",
    .effect = VERB_ACTS,
    .act = install,
};
