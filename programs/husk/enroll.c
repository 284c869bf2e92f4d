#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "client/client.h"
#include "host_name.h"
#include "network_note.h"
#include "verb.h"

enum { TOKEN_TEXT_MAXIMUM = 256 };

static enum error_code read_token_file(const char *file, struct secret **ret_text, struct error *reterr)
{
    const bool is_standard_input = !strcmp(file, "-");
    _cleanup_(close_fdp) int fd = is_standard_input ? -1 : open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (!is_standard_input && fd < 0) {
        error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot open %s",
                  text_shown(file));
        return error_remedy(reterr, "name the file that huskd token create was written to");
    }
    return secret_read_fd(is_standard_input ? STDIN_FILENO : fd, 1, TOKEN_TEXT_MAXIMUM,
                          is_standard_input ? "standard input" : text_shown(file), ret_text, reterr);
}

static enum error_code parse_text(const struct secret *text, struct client_token *ret_token,
                                  struct error *reterr)
{
    size_t length = text->length;
    while (length > 0 && strchr(" \t\r\n", text->bytes[length - 1]))
        length--;
    _cleanup_(secret_freep) struct secret *line = NULL;
    enum error_code code = secret_new(length + 1, &line, reterr);
    if (code)
        return code;
    memcpy(line->bytes, text->bytes, length);
    return client_token_parse((const char *)line->bytes, ret_token, reterr);
}

static enum error_code read_token(const struct run *run, struct client_token *ret_token, struct error *reterr)
{
    const char *given = argument_value(&run->arguments, OPTION_TOKEN);
    const char *file = argument_value(&run->arguments, OPTION_TOKEN_FILE);
    _cleanup_(secret_freep) struct secret *text = NULL;
    if (!given == !file)
        return error_set(reterr, ERR_USAGE, 0, "husk enroll needs either --token-file F or --token T");
    if (given)
        return client_token_parse(given, ret_token, reterr);
    enum error_code code = read_token_file(file, &text, reterr);
    return code ? code : parse_text(text, ret_token, reterr);
}

static enum error_code choose_name(const struct run *run, char name[HOST_NAME_MAX + 1], struct error *reterr)
{
    const char *given = argument_value(&run->arguments, OPTION_NAME);
    if (given && strlen(given) > HOST_NAME_MAX)
        return client_check_name(given, reterr);
    if (given)
        snprintf(name, HOST_NAME_MAX + 1, "%s", given);
    else
        host_name_at(run->at, name);
    enum error_code code = client_check_name(name, reterr);
    return code && !given ? error_remedy(reterr, "give another with --name") : code;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    struct client_token token;
    struct client_pin pin = {0};
    char name[HOST_NAME_MAX + 1] = "";
    bool changed = false;
    enum error_code code = read_token(run, &token, reterr);
    if (!code)
        code = choose_name(run, name, reterr);
    if (!code)
        code = client_enroll(run->at, run->arguments.operands[0], &token, name, clock_system(), &pin,
                             &changed, reterr);
    if (code)
        return code;
    const char *id = client_id_shown(pin.id);
    run->changed = changed;
    network_note(run, NULL);
    report_truth(&run->report, "this host is %s at the authority %s%s", pin.name, id,
                 changed ? "" : ", enrolled before");
    if (changed && !strcmp(run->at, "/"))
        report_truth(&run->report,
                     "what it orders this host is carried out, and a reboot gets a ticket, once these "
                     "run: systemctl enable --now husk-agent husk-ticket");
    if (!changed && argument_given(&run->arguments, OPTION_NAME) && strcmp(name, pin.name) != 0)
        finding_add(&run->findings, FINDING_TELLS, "name-kept", pin.name, "",
                    "the host keeps the name it was enrolled with: it is not called %s", text_shown(name));
    run_result(run, "authority", json_string(id));
    run_result(run, "host", json_string(client_id_shown(pin.host)));
    run_result(run, "name", json_string(pin.name));
    buffer_done(&pin.descriptor_signed);
    return OK;
}

const struct verb verb_enroll = {
    .name = "enroll",
    .operands = "URL",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Make this host known to an authority.",
    .text =
        "URL is the address of the authority's huskd, http://HOST[:PORT][/PATH]. The token is one that huskd "
        "token create printed: it is good for one host, and carries the fingerprint of the authority's root. "
        "husk checks that the root which answers at URL is that one, and trusts it and what it signs from "
        "then "
        "on; addresses and keys may change behind it.\n\nThe host gets an identity, .husk/host.key, which "
        "opens "
        "nothing by itself. A host can be enrolled at several authorities. Interrupted, the same command "
        "goes "
        "on.\n\nOn a host that is enrolled there already it tells where the authority is now: what is found "
        "at "
        "URL is taken where the trusted root signed it and it is newer. Any token of that authority will do, "
        "and an agent that runs hears of it.\n\nEnrolled, husk protect "
        "makes authority keyslots unless a KEY says otherwise; husk keyslot "
        "add "
        "NAME --authority gives one to a vault that is there.",
    .options = (const struct verb_option[]){{OPTION_TOKEN_FILE, ROLE_OPTIONAL, NULL},
                                            {OPTION_TOKEN, ROLE_OPTIONAL, NULL},
                                            {OPTION_NAME, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
