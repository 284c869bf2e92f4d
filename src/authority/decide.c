#include <sodium.h>

#include "authority/facts.h"
#include "authority/messages.h"
#include "authority/record.h"
#include "authority/requests.h"
#include "base/fault.h"

/*
 *     pending ──policy grants──────────────────────→ granted
 *        │  └──people approve──→ approved ──policy grants──┘   (the host asks again, and policy decides)
 *        │                           │
 *        ├──somebody denies──────────┴→ denied
 *        └──its time is over─────────┴→ expired
 *
 * Only here a request becomes granted or expired.
 */

static enum error_code record(struct clerk *clerk, const struct request *request, const char *type,
                              const struct policy_decision *decision, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = LEDGER_ENTRY_MAXIMUM};
    _cleanup_(json_freep) json_t *flags = request_flags_json(decision->flags);
    _cleanup_(json_freep) json_t *reasons = request_reasons_json(decision);
    if (!flags || !reasons)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = record_format_request(request->host, request->id, &text, reterr);
    if (!code)
        code = buffer_printf(&text, reterr, ",\"flags\":");
    if (!code)
        code = json_format(flags, &text, reterr);
    if (!code)
        code = buffer_printf(&text, reterr, ",\"reasons\":");
    if (!code)
        code = json_format(reasons, &text, reterr);
    if (!code && decision->uses_ticket)
        code = buffer_printf(&text, reterr, ",\"ticket\":true");
    if (!code && decision->approvals > 0)
        code = buffer_printf(&text, reterr, ",\"approvals\":%u", decision->approvals);
    if (!code)
        code = record_append_text(clerk, type, text.data, reterr);
    clerk->granted += !code && !strcmp(type, "granted");
    clerk->denied += !code && strcmp(type, "granted") != 0;
    return code;
}

/* The host's lineage after a grant. A stale one that was approved once stays stale; one that is not flagged
 * was accepted beforehand, which is used up by whatever is let in. */
static void move_lineage(struct host *host, const struct request *request,
                         const struct policy_decision *decision)
{
    const uint8_t *presented = request->policy.has_lineage ? request->policy.lineage : NULL;
    const bool is_flagged = decision->flags & POLICY_STALE_LINEAGE;
    if (is_flagged ? decision->is_restored
                   : policy_lineage_compare(&host->lineage, presented) == POLICY_LINEAGE_STALE)
        lineage_accept(&host->lineage, presented);
    else if (!is_flagged)
        (void)lineage_advance(&host->lineage, presented);
    host->restore_accepted = false;
}

static enum error_code grant(struct clerk *clerk, struct request *request, struct host *host,
                             const struct policy_decision *decision, struct error *reterr)
{
    request->policy.state = POLICY_GRANTED;
    move_lineage(host, request, decision);
    host->has_live_boot = true;
    memcpy(host->live_boot, request->policy.boot, sizeof(host->live_boot));
    struct presence_host *known = presence_find(&clerk->presence, host->id);
    if (known) {
        known->was_seen = true;
        known->last_seen_unix_s = clerk->now_unix_s;
    }
    enum error_code code = host_update(clerk, host, reterr);
    if (!code && decision->uses_ticket)
        code =
            sql_run(clerk->sql, reterr, "UPDATE tickets SET used_by = ? WHERE host = ? AND used_by IS NULL",
                    "bb", request->policy.boot, sizeof(request->policy.boot), host->id, sizeof(host->id));
    /* A boot that was let in before this authority was restored has no say behind another. */
    if (!code)
        code = sql_run(clerk->sql, reterr, "DELETE FROM restored_hosts WHERE host = ?", "b", host->id,
                       sizeof(host->id));
    if (!code)
        code = facts_accept(clerk, request, reterr);
    return code ? code : record(clerk, request, "granted", decision, reterr);
}

static bool needs_probe(struct clerk *clerk, const struct host *host, const struct request *request)
{
    const uint8_t *boot = request->policy.boot;
    const struct presence_host *known = presence_find(&clerk->presence, request->host);
    return known && !message_is_live_boot(host, boot) && presence_may_another_run(known, boot, clerk->now_ns);
}

void request_probe(struct clerk *clerk, const struct host *host, const struct request *request)
{
    struct presence_host *known = presence_find(&clerk->presence, request->host);
    if (!needs_probe(clerk, host, request) ||
        presence_is_probed_for(known, request->policy.boot, clerk->now_ns))
        return;
    presence_begin_probe(known, request->policy.boot, clerk->now_ns);
    clerk_wake(clerk, request->host);
}

/* One that was begun for another boot since, or before a restart, tells nothing of this one. */
static void probe_again(struct clerk *clerk, const struct host *host, const struct request *request)
{
    const struct presence_host *known = presence_find(&clerk->presence, request->host);
    if (known && !presence_was_probed_for(known, request->policy.boot))
        request_probe(clerk, host, request);
}

static bool was_answered(struct clerk *clerk, const struct request *request)
{
    const struct presence_host *known = presence_find(&clerk->presence, request->host);
    return known && presence_was_answered(known, request->policy.boot);
}

static bool is_probing(struct clerk *clerk, const struct request *request)
{
    const struct presence_host *known = presence_find(&clerk->presence, request->host);
    return known && presence_is_probed_for(known, request->policy.boot, clerk->now_ns);
}

static enum error_code carry_out(struct clerk *clerk, struct request *request, struct host *host,
                                 const struct policy_decision *decision, struct error *reterr)
{
    const unsigned flags_before = request->policy.flags;
    enum error_code code = OK;
    request->policy.flags = decision->flags;
    if (decision->verdict == POLICY_GRANT) {
        code = grant(clerk, request, host, decision, reterr);
    } else if (decision->denial == POLICY_REQUEST_EXPIRED && request->policy.state != POLICY_EXPIRED) {
        request->policy.state = POLICY_EXPIRED;
        code = record(clerk, request, "expired", decision, reterr);
    } else if (decision->verdict == POLICY_ASK && (!request->was_asked || decision->flags != flags_before)) {
        request->was_asked = true;
        code = record(clerk, request, "asked", decision, reterr);
    } else if (decision->flags == flags_before) {
        return OK;
    }
    return code || request->is_new ? code : request_update(clerk, request, reterr);
}

/* A request that was granted is not decided again: only hold, erase and its end matter. */
static void look_at_granted(const struct host *host, const struct group *group, const struct request *request,
                            int64_t now, struct policy_decision *decision)
{
    const struct policy_group open_to_all = {.unlock = POLICY_AUTO, .held = group->policy.held};
    const struct policy_ticket none = {0};
    struct policy_host simple = {.state = host->is_erased ? POLICY_HOST_ERASED
                                          : host->held    ? POLICY_HOST_HELD
                                                          : POLICY_HOST_ACTIVE};
    struct policy_request again = {.expires_at_unix_s = request->policy.expires_at_unix_s};
    policy_decide(&simple, &open_to_all, &again, &none, now, decision);
    decision->flags = request->policy.flags;
}

enum error_code request_make_room(struct clerk *clerk, const struct host *host, bool *ret_is_crowding,
                                  struct error *reterr)
{
    struct request request = {0};
    enum error_code code = request_find_crowded_out(clerk, host, ret_is_crowding, &request, reterr);
    if (code || !*ret_is_crowding)
        return code;
    const struct policy_decision decision = {.verdict = POLICY_DENY,
                                             .denial = POLICY_REQUEST_EXPIRED,
                                             .flags = request.policy.flags,
                                             .reasons = {"too many newer requests of the host are open"},
                                             .reason_count = 1};
    request.policy.state = POLICY_EXPIRED;
    code = record(clerk, &request, "expired", &decision, reterr);
    if (!code)
        code = request_update(clerk, &request, reterr);
    clerk_wake(clerk, host->id);
    return code;
}

enum error_code request_decide(struct clerk *clerk, struct request *request, struct host *host,
                               const struct group *group, struct policy_decision *ret_decision,
                               struct error *reterr)
{
    struct policy_ticket ticket = {0};
    struct policy_decision decision;
    if (request->policy.state == POLICY_GRANTED) {
        look_at_granted(host, group, request, clerk->now_unix_s, &decision);
        *ret_decision = decision;
        return OK;
    }
    enum error_code code = ticket_find(clerk, host->id, &ticket, reterr);
    if (code)
        return code;
    request->policy.clock_went_back = clerk->clock_went_back;
    request->policy.other_boot_answers = was_answered(clerk, request);
    const struct policy_host seen = host_for_policy(clerk, host);
    policy_decide(&seen, &group->policy, &request->policy, &ticket, clerk->now_unix_s, &decision);
    if (!code && decision.verdict == POLICY_GRANT)
        probe_again(clerk, host, request);
    if (!code && decision.verdict == POLICY_GRANT && is_probing(clerk, request))
        decision.verdict = POLICY_ASK; /* not told to anybody: it is looked at again when the probe is over */
    else if (!code && !(decision.verdict == POLICY_ASK && is_probing(clerk, request)))
        code = carry_out(clerk, request, host, &decision, reterr);
    const int injected = fault("authority.request.write");
    if (!code && injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write a request");
    if (!code && request->is_new)
        code = request_insert(clerk, request, reterr);
    request->is_new &= code != OK;
    if (!code)
        *ret_decision = decision;
    return code;
}
