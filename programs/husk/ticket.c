#include "base/cleanup.h"
#include "base/text.h"
#include "client/client.h"
#include "network_note.h"
#include "verb.h"

static enum error_code get_one(struct run *run, struct client *client, struct client_pin *pin,
                               enum client_purpose purpose, json_t *tickets, struct error *reterr)
{
    int64_t expires_at = 0;
    char until[CLOCK_TEXT_SIZE];
    const char *id = client_id_shown(pin->id);
    enum error_code code = client_ticket(client, pin, purpose, &expires_at, reterr);
    if (code)
        return code;
    clock_format(expires_at, until);
    run->changed = true;
    report_truth(&run->report, "the authority %.8s gave a ticket: %s that come%s before %s pass%s", id,
                 purpose == CLIENT_FINISH ? "boots" : "the boot", purpose == CLIENT_FINISH ? "" : "s", until,
                 purpose == CLIENT_FINISH ? "" : "es");
    json_array_append_new(tickets, json_pack("{s:s, s:s}", "authority", id, "expires_at", until));
    return OK;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    const enum client_purpose purpose =
        argument_given(&run->arguments, OPTION_FINISH) ? CLIENT_FINISH : CLIENT_REBOOT;
    json_t *tickets = json_array();
    size_t failed = 0;
    run_result(run, "tickets", tickets);
    enum error_code code = client_open(run->at, &client, reterr);
    if (!code && client->pin_count == 0) {
        error_set(reterr, ERR_NOT_FOUND, 0, "this host is enrolled at no authority");
        return error_remedy(reterr, "husk enroll URL --token-file F");
    }
    if (!code) {
        network_note(run, NULL); /* the boot that is to come will want it */
        network_names(run, client);
    }
    for (size_t i = 0; !code && i < client->pin_count; i++) {
        struct error why = ERROR_NONE;
        if (get_one(run, client, &client->pins[i], purpose, tickets, &why) == OK)
            continue;
        failed++;
        *reterr = why;
        if (why.code == ERR_INTERRUPTED)
            return why.code;
        finding_add(&run->findings, FINDING_TELLS, "no-ticket", client_id_shown(client->pins[i].id),
                    why.remedy, "%s", why.message);
    }
    if (!code) {
        network_note(run, client);
        client_boot_files_keep(client, NULL);
    }
    if (code || failed == 0)
        return code;
    /* Any of them opens: one ticket is enough, but none is not. */
    return failed == client->pin_count
               ? reterr->code
               : error_set(reterr, ERR_INCOMPLETE, 0, "%zu of %zu authorities gave no ticket", failed,
                           client->pin_count);
}

const struct verb verb_ticket = {
    .name = "ticket",
    .operands = "",
    .summary = "Get leave for the next boot from the authority.",
    .text =
        "A ticket lets the next boot open its vaults without a human, once and for some minutes: take it "
        "just "
        "before an orderly reboot. husk-ticket.service does so whenever a reboot is queued. A boot nobody "
        "ordered has none, and is decided by the policy of the host's group.",
    .options = (const struct verb_option[]){{OPTION_FINISH, ROLE_OPTIONAL, NULL}, {.id = OPTION_END}},
    .act = act,
};
