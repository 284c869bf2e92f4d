#include "authorities.h"

#include <sodium.h>

#include "base/cleanup.h"
#include "base/text.h"

struct telling {
    struct run *run;
    json_t *requests; /* owned */
};

/* On standard error also with --json: people wait in front of it. */
static void on_pending(void *context, const struct client_pin *pin, const struct client_decision *decision)
{
    struct telling *telling = context;
    const char *id = client_id_shown(decision->request);
    char line[900];
    const bool has_code = decision->code[0] != '\0';
    if (!unlock_waits_for_people(decision))
        snprintf(
            line, sizeof(line),
            "the authority %.8s first asks whether an earlier boot of this host still runs (request %.8s)",
            client_id_shown(pin->id), id);
    else
        snprintf(line, sizeof(line), "waiting for approval%s%s (request %.8s at the authority %.8s)%s%s%s%s",
                 has_code ? ", code " : "", decision->code, id, client_id_shown(pin->id),
                 decision->reasons[0] ? ": " : "", decision->reasons,
                 decision->flags[0] ? " - flagged: " : "", decision->flags);
    progress_message(&telling->run->progress, line);
    json_array_append_new(telling->requests,
                          json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "authority", client_id_shown(pin->id),
                                    "request", id, "state", "pending", "code", decision->code, "flags",
                                    json_text(decision->flags), "reasons", json_text(decision->reasons)));
}

enum error_code authorities_ask(struct run *run, struct vault *const *vaults, size_t count, const char *only,
                                unsigned wait_s, struct unlock_answers *answers, struct client **ret_client,
                                struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    struct telling telling = {run, json_array()};
    const struct unlock_watch watch = {on_pending, &telling};
    enum error_code code = client_open(run->at, &client, reterr);
    run_flush(run);
    if (!code && only)
        code = client_keep_only(client, only, reterr);
    if (!code)
        code = unlock_ask(client, vaults, count, wait_s, &watch, answers, &run->findings, reterr);
    run_result(run, "requests", telling.requests);
    if (ret_client)
        *ret_client = TAKE(client);
    return code;
}

enum error_code authorities_unlock(struct run *run, struct vault *vault, const struct secret *vault_secret,
                                   struct client *asked, enum vault_acceptance accept, struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    struct vault_pins pins = {0};
    struct error why = ERROR_NONE;
    if (client_open_again(run->at, asked, &client, &why) == OK)
        unlock_pins(client, &pins);
    else
        finding_add(&run->findings, FINDING_TELLS, "authorities-unreadable", text_shown(run->at), why.remedy,
                    "which authorities this host trusts cannot be read: %s", why.message);
    return vault_unlock(vault, vault_secret, &pins, accept, &run->findings, reterr);
}

enum error_code authorities_check_answer(struct client *client, struct client_pin *const *pins, size_t count,
                                         struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < count; i++) {
        _cleanup_(client_news_done) struct client_news news = {0};
        code = client_poll(client, pins[i], CLIENT_PROMPT, &news, reterr);
        if (!code && news.is_erased)
            code = error_set(reterr, ERR_ERASED, 0, "this host is erased at the authority %.8s",
                             client_id_shown(pins[i]->id));
        if (!code && news.next_boot == CLIENT_NEXT_HELD) {
            error_set(reterr, ERR_PENDING, 0, "this host is on hold at the authority %.8s",
                      client_id_shown(pins[i]->id));
            code = error_remedy(reterr, "ask who administers the authority, then try again");
        }
    }
    return code;
}

bool authorities_release(struct run *run, struct client *client, struct client_pin *pin,
                         const struct keyslot_id *keyslot)
{
    struct error why = ERROR_NONE;
    if (unlock_unbind(client, pin, keyslot, &why))
        return true;
    finding_add(&run->findings, FINDING_TELLS, "authority-not-told", client_id_shown(pin->id),
                "nothing opens with that; the agent, and the next husk protect or keyslot add, tells it",
                "the keyslot %s does not exist, and the authority could not be told to destroy its part: %s",
                client_id_shown(keyslot->bytes), why.message);
    return false;
}

struct settling {
    struct run *run;
    struct client *client; /* opened for the first one */
};

static bool settle(const struct keyslot_id *id, const struct authority_id *authority, void *context)
{
    struct settling *settling = context;
    struct run *run = settling->run;
    struct error why = ERROR_NONE;
    if (!settling->client && client_open(run->at, &settling->client, &why)) {
        finding_add(&run->findings, FINDING_TELLS, "authorities-unreadable", text_shown(run->at), why.remedy,
                    "which authorities this host trusts cannot be read: %s", why.message);
        return false;
    }
    struct client_pin *pin = client_find(settling->client, authority->bytes);
    if (!pin) {
        finding_add(
            &run->findings, FINDING_TELLS, "authority-not-told", client_id_shown(authority->bytes),
            "nothing opens with that; an erase of the host there destroys it",
            "the keyslot %s does not exist, and this host is not enrolled any more where it was bound",
            client_id_shown(id->bytes));
        return false;
    }
    if (!authorities_release(run, settling->client, pin, id))
        return false;
    run->changed = true;
    report_truth(&run->report,
                 "the authority %.8s has destroyed its part of keyslot %.8s, which was never made",
                 client_id_shown(pin->id), client_id_shown(id->bytes));
    return true;
}

static void tell_unsettled(struct run *run, const struct error *why)
{
    finding_add(&run->findings, FINDING_TELLS, "binding-unsettled", text_shown(run->at), why->remedy,
                "what a crash left of binding a keyslot is not settled: %s", why->message);
}

void authorities_settle(struct run *run, const struct filesystem *filesystem)
{
    struct settling settling = {run, NULL};
    struct error why = ERROR_NONE;
    if (vault_settle_bindings(filesystem, settle, &settling, &why))
        tell_unsettled(run, &why);
    client_close(settling.client);
}

void authorities_settle_all(struct run *run)
{
    struct settling settling = {run, NULL};
    struct error why = ERROR_NONE;
    enum error_code code = vault_settle_all_bindings(run->at, settle, &settling, &why);
    if (code && code != ERR_BUSY) /* whoever has the lock is binding, or the next look finds it free */
        tell_unsettled(run, &why);
    client_close(settling.client);
}

/* is_its: the keyslot says that it was bound there. */
static enum error_code unbind_at(struct run *run, struct client *client, struct client_pin *pin,
                                 const struct vault *vault, const struct keyslot_id *keyslot, bool is_its)
{
    struct error why = ERROR_NONE;
    enum error_code code = client_unbind(client, pin, keyslot->bytes, &why);
    const char *id = client_id_shown(pin->id);
    if (!code) {
        run->changed = true;
        report_truth(&run->report, "the authority %.8s has destroyed its part of keyslot %.8s", id,
                     client_id_shown(keyslot->bytes));
    }
    if (code == ERR_NOT_FOUND && is_its)
        finding_add(
            &run->findings, FINDING_TELLS, "keyslot-not-at-authority", client_id_shown(keyslot->bytes),
            "destroy backups and earlier disks of that authority",
            "the authority %.8s knows nothing of this keyslot: where it has been restored from a backup, "
            "what it was before may still have its part, with which snapshots with the keyslot open",
            id);
    if (!code || code == ERR_NOT_FOUND || code == ERR_ERASED)
        return OK;
    finding_add(
        &run->findings, FINDING_TELLS, "authority-not-told", id,
        "run the same command again when the authority can be reached",
        "its part of a keyslot of vault %s is not destroyed: snapshots with the keyslot still open with "
        "its leave (%s)",
        vault->name, why.message);
    return ERR_INCOMPLETE;
}

enum error_code authorities_unbind(struct run *run, const struct vault *vault,
                                   const struct keyslot_id *keyslot, const struct authority_id *authority,
                                   struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    const bool known = !sodium_is_zero(authority->bytes, sizeof(authority->bytes));
    bool asked = false, missed = false;
    enum error_code code = client_open(run->at, &client, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < client->pin_count; i++) {
        struct client_pin *pin = &client->pins[i];
        if (known && memcmp(pin->id, authority->bytes, sizeof(authority->bytes)) != 0)
            continue;
        asked = true;
        missed |= unbind_at(run, client, pin, vault, keyslot, known) != OK;
    }
    if (known && !asked) {
        finding_add(&run->findings, FINDING_TELLS, "authority-not-told", client_id_shown(authority->bytes),
                    "have its administrator remove the keyslot",
                    "this host is not enrolled at the authority of the keyslot (any more)");
        missed = true;
    }
    if (!missed)
        return OK;
    return error_set(reterr, ERR_INCOMPLETE, 0,
                     "keyslot %s is removed here, but its authority could not be told",
                     client_id_shown(keyslot->bytes));
}
