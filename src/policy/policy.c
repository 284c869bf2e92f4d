#include "policy/policy.h"

#include "base/cleanup.h"

static const char *const unlock_words[POLICY_UNLOCKS] = {
    [POLICY_AUTO] = "auto",
    [POLICY_TICKET] = "ticket",
    [POLICY_APPROVE] = "approve",
};

const char *const policy_flag_words[POLICY_FLAGS] = {
    "stale-lineage", "other-boot-answers", "ticket-reused", "two-requests", "clock", "moved",
};

const char *const policy_flag_reasons[POLICY_FLAGS] = {
    "it shows an old lineage: an old copy of the host's disk asks, or the disk or the authority was restored",
    "another boot of this host answers while this one asks: one of the two runs from a copy of the disk",
    "its ticket has opened another boot already",
    "two boots of this host ask at the same time",
    "the authority's clock went back: tickets and times cannot be trusted",
    "the host was moved to another group while this request waited",
};

const char *const policy_request_words[POLICY_REQUEST_STATES] = {
    [POLICY_PENDING] = "pending", [POLICY_APPROVED] = "approved", [POLICY_GRANTED] = "granted",
    [POLICY_DENIED] = "denied",   [POLICY_EXPIRED] = "expired",
};

const struct policy_group policy_default = {
    .unlock = POLICY_TICKET,
    .approvals = 1,
    .request_ttl_s = 3600,
    .ticket_ttl_s = 600,
};

const char *policy_unlock_word(enum policy_unlock unlock)
{
    return unlock < POLICY_UNLOCKS ? unlock_words[unlock] : "";
}

enum error_code policy_unlock_parse(const char *word, enum policy_unlock *ret_unlock, struct error *reterr)
{
    for (unsigned unlock = 0; unlock < POLICY_UNLOCKS; unlock++)
        if (!strcmp(word, unlock_words[unlock])) {
            *ret_unlock = (enum policy_unlock)unlock;
            return OK;
        }
    return error_set(reterr, ERR_USAGE, 0, "unlock is one of auto, ticket and approve");
}

static bool same(const uint8_t left[POLICY_TOKEN_SIZE], const uint8_t right[POLICY_TOKEN_SIZE])
{
    return memcmp(left, right, POLICY_TOKEN_SIZE) == 0;
}

enum policy_lineage_state policy_lineage_compare(const struct policy_lineage *lineage,
                                                 const uint8_t *presented)
{
    if (presented && lineage->has_offered && same(presented, lineage->offered))
        return POLICY_LINEAGE_OFFERED;
    if (presented && lineage->has_current && same(presented, lineage->current))
        return POLICY_LINEAGE_CURRENT;
    return !presented && !lineage->has_current ? POLICY_LINEAGE_NEW : POLICY_LINEAGE_STALE;
}

unsigned policy_count_people(const struct policy_approval *approvals, size_t count, unsigned flags,
                             unsigned needed)
{
    unsigned people = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_new = (flags & ~approvals[i].flags) == 0 && (approvals[i].uid != 0 || needed <= 1);
        for (size_t j = 0; is_new && j < i; j++)
            is_new = approvals[j].uid != approvals[i].uid || (flags & ~approvals[j].flags) != 0;
        people += is_new;
    }
    return people;
}

bool policy_is_restored(const struct policy_approval *approvals, size_t count, unsigned flags,
                        unsigned needed)
{
    struct policy_approval restored[POLICY_APPROVALS_READ];
    size_t restored_count = 0;
    for (size_t i = 0; i < count && restored_count < ARRAY_SIZE(restored); i++)
        if (approvals[i].restored)
            restored[restored_count++] = approvals[i];
    return restored_count > 0 && policy_count_people(restored, restored_count, flags, needed) >= needed;
}

static void add_reason(struct policy_decision *decision, const char *reason)
{
    if (decision->reason_count < POLICY_REASONS_MAXIMUM)
        decision->reasons[decision->reason_count++] = reason;
}

static void deny(struct policy_decision *decision, enum policy_denial denial, const char *reason)
{
    decision->verdict = POLICY_DENY;
    decision->denial = denial;
    add_reason(decision, reason);
}

/* What stops a request whatever else is so. */
static bool is_denied(const struct policy_host *host, const struct policy_group *group,
                      const struct policy_request *request, int64_t now, struct policy_decision *decision)
{
    if (host->state == POLICY_HOST_ERASED)
        deny(decision, POLICY_ERASED, "the host is erased");
    else if (request->state == POLICY_DENIED)
        deny(decision, POLICY_REQUEST_DENIED, "it was denied");
    else if (request->state == POLICY_EXPIRED || now >= request->expires_at_unix_s)
        deny(decision, POLICY_REQUEST_EXPIRED, "nobody decided it in time");
    else if (host->state == POLICY_HOST_HELD)
        deny(decision, POLICY_HELD,
             host->held_after_restore ? "the host is on hold: the authority was restored from a backup"
                                      : "the host is on hold");
    else if (group->held)
        deny(decision, POLICY_HELD, "the group is on hold");
    return decision->verdict == POLICY_DENY;
}

enum ticket_use { TICKET_NONE, TICKET_FITS, TICKET_REUSED };

/* A ticket is for the boots after the one that took it. A boot that does not say it was planned shows no
 * ticket, so that a crash soon after an orderly reboot is only a boot without one. */
static enum ticket_use use_of_ticket(const struct policy_request *request, const struct policy_ticket *ticket,
                                     int64_t now)
{
    if (!ticket->exists || now >= ticket->expires_at_unix_s || same(ticket->taken_by, request->boot))
        return TICKET_NONE;
    if (ticket->purpose == POLICY_TICKET_FINISH || !ticket->is_used || same(ticket->used_by, request->boot))
        return TICKET_FITS;
    return request->planned ? TICKET_REUSED : TICKET_NONE;
}

static unsigned find_flags(const struct policy_host *host, const struct policy_request *request,
                           enum ticket_use ticket_use)
{
    unsigned flags = request->flags;
    if (!host->restore_accepted &&
        policy_lineage_compare(&host->lineage, request->has_lineage ? request->lineage : NULL) ==
            POLICY_LINEAGE_STALE)
        flags |= POLICY_STALE_LINEAGE;
    if (request->other_boot_answers)
        flags |= POLICY_OTHER_BOOT_ANSWERS;
    if (ticket_use == TICKET_REUSED)
        flags |= POLICY_TICKET_REUSED;
    if (request->other_boot_asks)
        flags |= POLICY_TWO_REQUESTS;
    if (request->clock_went_back)
        flags |= POLICY_CLOCK;
    return flags;
}

static bool comes_from_a_source(const struct policy_group *group, const char *address)
{
    bool found = group->source_count == 0;
    for (unsigned i = 0; !found && i < group->source_count; i++)
        found = policy_source_contains(&group->sources[i], address);
    return found;
}

/* Every reason why people are asked, so that they see all of them. */
static void find_reasons(const struct policy_host *host, const struct policy_group *group,
                         const struct policy_request *request, enum ticket_use ticket_use, int64_t now,
                         struct policy_decision *decision)
{
    for (unsigned i = 0; i < POLICY_FLAGS; i++)
        if (decision->flags & (1U << i))
            add_reason(decision, policy_flag_reasons[i]);
    if (request->boot_was_denied)
        add_reason(decision, "people denied what this boot asked for before");
    if (group->unlock == POLICY_APPROVE)
        add_reason(decision, "the group's policy asks people at every boot");
    if (group->unlock == POLICY_TICKET && ticket_use != TICKET_FITS)
        add_reason(decision, "nobody ordered this boot: there is no ticket for it");
    if (!comes_from_a_source(group, request->address))
        add_reason(decision, "it comes from an address outside the group's sources");
    if (group->has_window && !policy_window_contains(&group->window, now))
        add_reason(decision, "it comes outside the group's window");
    /* A ticket was taken by a host that was alive. */
    if (group->liveness_s > 0 && ticket_use != TICKET_FITS &&
        (!host->was_seen || host->last_seen_unix_s == 0 || now - host->last_seen_unix_s > group->liveness_s))
        add_reason(decision, "the host was not heard of for longer than the group's liveness");
}

void policy_decide(const struct policy_host *host, const struct policy_group *group,
                   const struct policy_request *request, const struct policy_ticket *ticket,
                   int64_t now_unix_s, struct policy_decision *ret_decision)
{
    struct policy_decision decision = {.verdict = POLICY_ASK, .flags = request->flags};
    const enum ticket_use ticket_use = use_of_ticket(request, ticket, now_unix_s);
    const unsigned needed = group->approvals > 0 ? group->approvals : 1;
    decision.flags = find_flags(host, request, ticket_use);
    decision.approvals =
        policy_count_people(request->approvals, request->approval_count, decision.flags, group->approvals);
    decision.is_restored =
        policy_is_restored(request->approvals, request->approval_count, decision.flags, group->approvals);
    if (!is_denied(host, group, request, now_unix_s, &decision)) {
        find_reasons(host, group, request, ticket_use, now_unix_s, &decision);
        if (decision.reason_count == 0 || decision.approvals >= needed) {
            decision.verdict = POLICY_GRANT;
            decision.uses_ticket = ticket_use == TICKET_FITS;
        }
    }
    *ret_decision = decision;
}
