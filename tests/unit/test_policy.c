#include "policy/policy.h"
#include "unit.h"

/* 2026-02-02 was a Monday. */
#define MONDAY_NOON INT64_C(1770033600)
enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };

/* Tokens by a letter. */
static void name(uint8_t token[POLICY_TOKEN_SIZE], char letter)
{
    memset(token, letter, POLICY_TOKEN_SIZE);
}

/*
 * One case: what differs from a host that is active, has stored lineage c and is offered o, presents c, was
 * heard of a minute ago, asks as boot B from 192.0.2.7 with an unplanned boot, its request being fresh.
 */
struct facts {
    const char *told; /* what the case is */
    enum policy_unlock unlock;
    unsigned needed;
    const char *source, *window;
    int64_t liveness_s;
    bool group_held;
    enum policy_host_state host;
    bool never_stored;  /* the host has no current lineage */
    char presents;      /* c by default; '-': none */
    int64_t seen_ago_s; /* 0: a minute; -1: never; -2: not known when */
    bool planned;
    int64_t now; /* MONDAY_NOON by default */
    int64_t age_s;
    enum policy_request_state state;
    unsigned flags;
    bool other_answers, other_asks, clock_back, boot_denied, restore_accepted;
    char ticket;  /* 0: none; r: reboot, f: finish; taken by boot A */
    char used_by; /* 0: not used */
    char taken_by;
    int64_t ticket_age_s;
    struct policy_approval approvals[4];
    size_t approval_count;
    /* What is to come out. */
    enum policy_verdict verdict;
    enum policy_denial denial;
    unsigned flags_then;
    bool uses_ticket;
    const char *reason; /* one of them holds these words */
};

#define ALL_FLAGS                                                                                            \
    (POLICY_STALE_LINEAGE | POLICY_OTHER_BOOT_ANSWERS | POLICY_TICKET_REUSED | POLICY_TWO_REQUESTS |         \
     POLICY_CLOCK | POLICY_MOVED)

static const struct facts CASES[] = {
    /* How a group unlocks. */
    {.told = "auto opens", .unlock = POLICY_AUTO, .verdict = POLICY_GRANT},
    {.told = "ticket without one asks",
     .unlock = POLICY_TICKET,
     .verdict = POLICY_ASK,
     .reason = "nobody ordered"},
    {.told = "ticket with one opens",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .planned = true,
     .verdict = POLICY_GRANT,
     .uses_ticket = true},
    {.told = "a ticket is for a boot that does not say it was planned too",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .verdict = POLICY_GRANT,
     .uses_ticket = true},
    {.told = "approve asks",
     .unlock = POLICY_APPROVE,
     .verdict = POLICY_ASK,
     .reason = "asks people at every boot"},
    {.told = "approve asks with a ticket too",
     .unlock = POLICY_APPROVE,
     .ticket = 'r',
     .planned = true,
     .verdict = POLICY_ASK},

    /* Tickets. */
    {.told = "a ticket covers all opens of its boot",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .used_by = 'B',
     .planned = true,
     .verdict = POLICY_GRANT,
     .uses_ticket = true},
    {.told = "a ticket that another boot used is flagged",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .used_by = 'C',
     .planned = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_TICKET_REUSED,
     .reason = "opened another boot"},
    {.told = "also where auto would open",
     .unlock = POLICY_AUTO,
     .ticket = 'r',
     .used_by = 'C',
     .planned = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_TICKET_REUSED},
    {.told = "a crash after an orderly reboot is a boot without ticket",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .used_by = 'C',
     .verdict = POLICY_ASK,
     .reason = "nobody ordered"},
    {.told = "and opens where auto does",
     .unlock = POLICY_AUTO,
     .ticket = 'r',
     .used_by = 'C',
     .verdict = POLICY_GRANT},
    {.told = "the boot that took a ticket cannot use it",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .taken_by = 'B',
     .planned = true,
     .verdict = POLICY_ASK},
    {.told = "a ticket lives ten minutes, to the second before",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .ticket_age_s = 10 * MINUTE - 1,
     .planned = true,
     .verdict = POLICY_GRANT,
     .uses_ticket = true},
    {.told = "a ticket does not live longer",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .ticket_age_s = 10 * MINUTE,
     .planned = true,
     .verdict = POLICY_ASK},
    {.told = "an expired ticket that was used is nothing",
     .unlock = POLICY_AUTO,
     .ticket = 'r',
     .ticket_age_s = 10 * MINUTE,
     .used_by = 'C',
     .planned = true,
     .verdict = POLICY_GRANT},
    {.told = "a finishing ticket covers boots one after the other",
     .unlock = POLICY_TICKET,
     .ticket = 'f',
     .used_by = 'C',
     .planned = true,
     .verdict = POLICY_GRANT,
     .uses_ticket = true},
    {.told = "a finishing ticket ends too",
     .unlock = POLICY_TICKET,
     .ticket = 'f',
     .ticket_age_s = DAY,
     .planned = true,
     .verdict = POLICY_ASK},

    /* Sources. */
    {.told = "from a source", .unlock = POLICY_AUTO, .source = "192.0.2.0/24", .verdict = POLICY_GRANT},
    {.told = "from elsewhere",
     .unlock = POLICY_AUTO,
     .source = "198.51.100.0/24",
     .verdict = POLICY_ASK,
     .reason = "outside the group's sources"},
    {.told = "a ticket does not help from elsewhere",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .planned = true,
     .source = "2001:db8::/32",
     .verdict = POLICY_ASK,
     .reason = "outside the group's sources"},

    /* Windows. */
    {.told = "within the window",
     .unlock = POLICY_AUTO,
     .window = "mon-fri 08:00-18:00",
     .verdict = POLICY_GRANT},
    {.told = "on another day",
     .unlock = POLICY_AUTO,
     .window = "mon-fri 08:00-18:00",
     .now = MONDAY_NOON - DAY,
     .verdict = POLICY_ASK,
     .reason = "outside the group's window"},
    {.told = "at another hour", .unlock = POLICY_AUTO, .window = "08:00-12:00", .verdict = POLICY_ASK},
    {.told = "a ticket does not help outside the window",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .window = "08:00-12:00",
     .verdict = POLICY_ASK},

    /* Liveness. */
    {.told = "heard of a minute ago", .unlock = POLICY_AUTO, .liveness_s = HOUR, .verdict = POLICY_GRANT},
    {.told = "heard of just in time",
     .unlock = POLICY_AUTO,
     .liveness_s = HOUR,
     .seen_ago_s = HOUR,
     .verdict = POLICY_GRANT},
    {.told = "not heard of for too long",
     .unlock = POLICY_AUTO,
     .liveness_s = HOUR,
     .seen_ago_s = HOUR + 1,
     .verdict = POLICY_ASK,
     .reason = "liveness"},
    {.told = "never heard of",
     .unlock = POLICY_AUTO,
     .liveness_s = HOUR,
     .seen_ago_s = -1,
     .verdict = POLICY_ASK,
     .reason = "liveness"},
    {.told = "heard of, and it is not known when",
     .unlock = POLICY_AUTO,
     .liveness_s = HOUR,
     .seen_ago_s = -2,
     .now = MINUTE, /* even where the clock begins */
     .verdict = POLICY_ASK,
     .reason = "liveness"},
    {.told = "never heard of, and no liveness wanted",
     .unlock = POLICY_AUTO,
     .seen_ago_s = -1,
     .verdict = POLICY_GRANT},
    {.told = "a ticket is a sign of life",
     .unlock = POLICY_TICKET,
     .liveness_s = HOUR,
     .seen_ago_s = -1,
     .ticket = 'r',
     .verdict = POLICY_GRANT,
     .uses_ticket = true},

    /* Hold, erase, denial, end. */
    {.told = "a host on hold",
     .unlock = POLICY_AUTO,
     .host = POLICY_HOST_HELD,
     .verdict = POLICY_DENY,
     .denial = POLICY_HELD,
     .reason = "on hold"},
    {.told = "a group on hold",
     .unlock = POLICY_AUTO,
     .group_held = true,
     .verdict = POLICY_DENY,
     .denial = POLICY_HELD,
     .reason = "group is on hold"},
    {.told = "hold is above approvals",
     .unlock = POLICY_APPROVE,
     .host = POLICY_HOST_HELD,
     .approvals = {{1, ALL_FLAGS, false}},
     .approval_count = 1,
     .verdict = POLICY_DENY,
     .denial = POLICY_HELD},
    {.told = "an erased host",
     .unlock = POLICY_AUTO,
     .host = POLICY_HOST_ERASED,
     .verdict = POLICY_DENY,
     .denial = POLICY_ERASED},
    {.told = "erased is above hold",
     .unlock = POLICY_AUTO,
     .host = POLICY_HOST_ERASED,
     .group_held = true,
     .verdict = POLICY_DENY,
     .denial = POLICY_ERASED},
    {.told = "a denied request stays denied",
     .unlock = POLICY_AUTO,
     .state = POLICY_DENIED,
     .approvals = {{1, ALL_FLAGS, false}},
     .approval_count = 1,
     .verdict = POLICY_DENY,
     .denial = POLICY_REQUEST_DENIED},
    {.told = "an expired request stays expired",
     .unlock = POLICY_AUTO,
     .state = POLICY_EXPIRED,
     .verdict = POLICY_DENY,
     .denial = POLICY_REQUEST_EXPIRED},
    {.told = "a request lives an hour, to the second before",
     .unlock = POLICY_AUTO,
     .age_s = HOUR - 1,
     .verdict = POLICY_GRANT},
    {.told = "a request does not live longer",
     .unlock = POLICY_AUTO,
     .age_s = HOUR,
     .verdict = POLICY_DENY,
     .denial = POLICY_REQUEST_EXPIRED},
    {.told = "also when it was approved",
     .unlock = POLICY_APPROVE,
     .age_s = HOUR,
     .state = POLICY_APPROVED,
     .approvals = {{1, 0, false}},
     .approval_count = 1,
     .verdict = POLICY_DENY,
     .denial = POLICY_REQUEST_EXPIRED},

    /* Lineage. */
    {.told = "the offered lineage is the host's",
     .unlock = POLICY_AUTO,
     .presents = 'o',
     .verdict = POLICY_GRANT},
    {.told = "any other is an old copy",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .verdict = POLICY_ASK,
     .flags_then = POLICY_STALE_LINEAGE,
     .reason = "old copy"},
    {.told = "an old copy that was accepted beforehand opens",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .restore_accepted = true,
     .verdict = POLICY_GRANT},
    {.told = "not when another boot answers",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .restore_accepted = true,
     .other_answers = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_OTHER_BOOT_ANSWERS},
    {.told = "a boot that people denied asks people",
     .unlock = POLICY_AUTO,
     .boot_denied = true,
     .verdict = POLICY_ASK,
     .reason = "people denied"},
    {.told = "also with a ticket",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .planned = true,
     .boot_denied = true,
     .verdict = POLICY_ASK,
     .reason = "people denied"},
    {.told = "and opens when they say so",
     .unlock = POLICY_AUTO,
     .boot_denied = true,
     .approvals = {{1, 0, false}},
     .approval_count = 1,
     .verdict = POLICY_GRANT},
    {.told = "a ticket does not help an old copy",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .planned = true,
     .presents = 'x',
     .verdict = POLICY_ASK,
     .flags_then = POLICY_STALE_LINEAGE},
    {.told = "none at all, where there was one",
     .unlock = POLICY_AUTO,
     .presents = '-',
     .verdict = POLICY_ASK,
     .flags_then = POLICY_STALE_LINEAGE},
    {.told = "none at all, where there never was one",
     .unlock = POLICY_AUTO,
     .presents = '-',
     .never_stored = true,
     .verdict = POLICY_GRANT},
    {.told = "an invented one, where there never was one",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .never_stored = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_STALE_LINEAGE},

    /* The other flags. */
    {.told = "the earlier boot answers",
     .unlock = POLICY_AUTO,
     .other_answers = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_OTHER_BOOT_ANSWERS,
     .reason = "one of the two runs from a copy"},
    {.told = "two ask at once",
     .unlock = POLICY_AUTO,
     .other_asks = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_TWO_REQUESTS,
     .reason = "at the same time"},
    {.told = "the clock went back",
     .unlock = POLICY_AUTO,
     .clock_back = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_CLOCK,
     .reason = "clock went back"},
    {.told = "the clock went back, with a ticket",
     .unlock = POLICY_TICKET,
     .ticket = 'r',
     .clock_back = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_CLOCK},
    {.told = "a flag stays when its cause is gone",
     .unlock = POLICY_AUTO,
     .flags = POLICY_TWO_REQUESTS,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_TWO_REQUESTS},
    {.told = "a host that was moved while it asked",
     .unlock = POLICY_AUTO,
     .flags = POLICY_MOVED,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_MOVED,
     .reason = "moved to another group"},
    {.told = "flags come together",
     .unlock = POLICY_AUTO,
     .flags = POLICY_TWO_REQUESTS,
     .presents = 'x',
     .clock_back = true,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_TWO_REQUESTS | POLICY_STALE_LINEAGE | POLICY_CLOCK},

    /* People. */
    {.told = "one approval",
     .unlock = POLICY_APPROVE,
     .approvals = {{1, 0, false}},
     .approval_count = 1,
     .verdict = POLICY_GRANT},
    {.told = "no number of approvals means one",
     .unlock = POLICY_APPROVE,
     .needed = 0,
     .verdict = POLICY_ASK},
    {.told = "one of two",
     .unlock = POLICY_APPROVE,
     .needed = 2,
     .approvals = {{1, 0, false}},
     .approval_count = 1,
     .verdict = POLICY_ASK},
    {.told = "two people",
     .unlock = POLICY_APPROVE,
     .needed = 2,
     .approvals = {{1, 0, false}, {2, 0, false}},
     .approval_count = 2,
     .verdict = POLICY_GRANT},
    {.told = "one person twice",
     .unlock = POLICY_APPROVE,
     .needed = 2,
     .approvals = {{1, 0, false}, {1, 0, false}},
     .approval_count = 2,
     .verdict = POLICY_ASK},
    {.told = "root is one person",
     .unlock = POLICY_APPROVE,
     .needed = 1,
     .approvals = {{0, 0, false}},
     .approval_count = 1,
     .verdict = POLICY_GRANT},
    {.told = "root under several names is one person",
     .unlock = POLICY_APPROVE,
     .needed = 2,
     .approvals = {{0, 0, false}, {0, 0, false}, {0, 0, false}},
     .approval_count = 3,
     .verdict = POLICY_ASK},
    {.told = "root beside another person is nobody",
     .unlock = POLICY_APPROVE,
     .needed = 2,
     .approvals = {{0, 0, false}, {7, 0, false}},
     .approval_count = 2,
     .verdict = POLICY_ASK},
    {.told = "root and two others",
     .unlock = POLICY_APPROVE,
     .needed = 2,
     .approvals = {{0, 0, false}, {7, 0, false}, {8, 0, false}},
     .approval_count = 3,
     .verdict = POLICY_GRANT},
    {.told = "people approve what is flagged",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .approvals = {{1, POLICY_STALE_LINEAGE, false}},
     .approval_count = 1,
     .verdict = POLICY_GRANT,
     .flags_then = POLICY_STALE_LINEAGE},
    {.told = "an approval from before the flag does not count",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .approvals = {{1, 0, false}},
     .approval_count = 1,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_STALE_LINEAGE},
    {.told = "nor one that saw another flag",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .approvals = {{1, POLICY_CLOCK, false}},
     .approval_count = 1,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_STALE_LINEAGE},
    {.told = "one that saw more counts",
     .unlock = POLICY_AUTO,
     .presents = 'x',
     .approvals = {{1, ALL_FLAGS, false}},
     .approval_count = 1,
     .verdict = POLICY_GRANT,
     .flags_then = POLICY_STALE_LINEAGE},
    {.told = "who approved before and after the flag is one person",
     .unlock = POLICY_APPROVE,
     .needed = 2,
     .presents = 'x',
     .approvals = {{1, 0, false}, {1, ALL_FLAGS, false}},
     .approval_count = 2,
     .verdict = POLICY_ASK,
     .flags_then = POLICY_STALE_LINEAGE},
    {.told = "people may open outside sources, window and liveness",
     .unlock = POLICY_AUTO,
     .source = "198.51.100.0/24",
     .window = "08:00-09:00",
     .liveness_s = 1,
     .seen_ago_s = -1,
     .approvals = {{1, 0, false}},
     .approval_count = 1,
     .verdict = POLICY_GRANT},
};

static struct policy_decision decide(const struct facts *facts)
{
    const int64_t now = facts->now ? facts->now : MONDAY_NOON;
    struct policy_group group = policy_default;
    struct policy_host host = {.state = facts->host, .was_seen = facts->seen_ago_s != -1};
    struct policy_ticket ticket = {.exists = facts->ticket != 0};
    struct policy_decision decision;
    group.unlock = facts->unlock;
    group.approvals = facts->needed;
    group.liveness_s = facts->liveness_s;
    group.held = facts->group_held;
    if (facts->source)
        assert_ok(policy_source_parse(facts->source, &group.sources[group.source_count++], &error));
    group.has_window = facts->window != NULL;
    if (facts->window)
        assert_ok(policy_window_parse(facts->window, &group.window, &error));
    if (facts->seen_ago_s >= 0)
        host.last_seen_unix_s = now - (facts->seen_ago_s ? facts->seen_ago_s : MINUTE);
    host.lineage.has_current = !facts->never_stored;
    host.lineage.has_offered = true;
    host.restore_accepted = facts->restore_accepted;
    name(host.lineage.current, 'c');
    name(host.lineage.offered, 'o');
    struct policy_request request = {
        .state = facts->state,
        .has_lineage = facts->presents != '-',
        .planned = facts->planned,
        .address = "192.0.2.7",
        .expires_at_unix_s = now - facts->age_s + group.request_ttl_s,
        .flags = facts->flags,
        .boot_was_denied = facts->boot_denied,
        .other_boot_answers = facts->other_answers,
        .other_boot_asks = facts->other_asks,
        .clock_went_back = facts->clock_back,
        .approvals = facts->approvals,
        .approval_count = facts->approval_count,
    };
    name(request.boot, 'B');
    name(request.lineage, facts->presents ? facts->presents : 'c');
    ticket.purpose = facts->ticket == 'f' ? POLICY_TICKET_FINISH : POLICY_TICKET_REBOOT;
    ticket.expires_at_unix_s = now - facts->ticket_age_s + (facts->ticket == 'f' ? DAY : group.ticket_ttl_s);
    name(ticket.taken_by, facts->taken_by ? facts->taken_by : 'A');
    ticket.is_used = facts->used_by != 0;
    name(ticket.used_by, facts->used_by);
    policy_decide(&host, &group, &request, &ticket, now, &decision);
    return decision;
}

static bool says(const struct policy_decision *decision, const char *words)
{
    for (unsigned i = 0; i < decision->reason_count; i++)
        if (strstr(decision->reasons[i], words))
            return true;
    return false;
}

static void the_table_of_cases_holds(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(CASES); i++) {
        const struct facts *facts = &CASES[i];
        const struct policy_decision decision = decide(facts);
        if (decision.verdict != facts->verdict || decision.denial != facts->denial ||
            decision.flags != facts->flags_then || decision.uses_ticket != facts->uses_ticket)
            fail_msg("%s: verdict %d, denial %d, flags %x, ticket %d", facts->told, decision.verdict,
                     decision.denial, decision.flags, decision.uses_ticket);
        if (facts->reason && !says(&decision, facts->reason))
            fail_msg("%s: no reason says \"%s\"", facts->told, facts->reason);
        if (decision.verdict != POLICY_GRANT && decision.reason_count == 0)
            fail_msg("%s: no reason is given", facts->told);
    }
}

/* Whatever else is so, with these nothing opens by itself. */
static void nothing_flagged_is_ever_granted_without_people(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(CASES); i++)
        for (unsigned flag = 1; flag <= ALL_FLAGS; flag <<= 1) {
            struct facts facts = CASES[i];
            facts.approval_count = 0;
            facts.flags = flag;
            const struct policy_decision decision = decide(&facts);
            if (decision.verdict == POLICY_GRANT)
                fail_msg("%s, with flag %x: granted", facts.told, flag);
            assert_true(decision.flags & flag);
        }
}

static void nothing_opens_on_hold_or_erased_or_denied_however_many_approve(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(CASES); i++)
        for (unsigned stop = 0; stop < 4; stop++) {
            struct facts facts = CASES[i];
            for (unsigned j = 0; j < 4; j++)
                facts.approvals[j] = (struct policy_approval){.uid = 10 + j, .flags = ALL_FLAGS};
            facts.approval_count = 4;
            facts.needed = 1;
            facts.group_held |= stop == 0;
            facts.host = stop == 1 ? POLICY_HOST_HELD : stop == 2 ? POLICY_HOST_ERASED : facts.host;
            facts.state = stop == 3 ? POLICY_DENIED : facts.state;
            assert_int_equal(decide(&facts).verdict, POLICY_DENY);
        }
}

static void a_copy_is_restored_when_as_many_as_are_needed_say_so(void **state)
{
    (void)state;
    enum { SEEN = POLICY_STALE_LINEAGE, MORE = POLICY_STALE_LINEAGE | POLICY_CLOCK };
    static const struct {
        struct policy_approval approvals[3];
        unsigned needed;
        bool is_restored;
    } cases[] = {
        {{{1, MORE, false}, {2, MORE, true}, {3, MORE, false}}, 2, false},
        {{{1, MORE, true}, {2, MORE, true}, {3, MORE, false}}, 2, true},
        {{{1, MORE, true}, {2, SEEN, true}, {3, MORE, false}}, 2, false}, /* one did not see the clock */
        {{{0, MORE, true}, {2, MORE, true}, {3, MORE, false}}, 2, false}, /* root is nobody beside others */
        {{{0, MORE, true}, {2, SEEN, false}, {3, SEEN, false}}, 1, true},
        {{{1, MORE, false}, {2, MORE, false}, {3, MORE, false}}, 1, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (policy_is_restored(cases[i].approvals, 3, MORE, cases[i].needed) != cases[i].is_restored)
            fail_msg("case %zu", i);
}

static void networks_are_read_strictly(void **state)
{
    (void)state;
    static const char *const good[] = {"0.0.0.0/0", "10.0.0.0/8",    "192.0.2.1", "192.0.2.1/32",
                                       "::/0",      "2001:db8::/32", "::1",       "fe80::1/128"};
    static const char *const bad[] = {"",
                                      "/",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.1/8",
                                      "10.0.0/8",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8 ",
                                      "2001:db8::/129",
                                      "2001:db8::1/32",
                                      "host",
                                      "10.0.0.0/0x8",
                                      "1234567890123456789012345678901234567890123456789/8"};
    struct policy_source source;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_ok(policy_source_parse(good[i], &source, &error));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_fails(ERR_USAGE, policy_source_parse(bad[i], &source, &error));
}

static void networks_contain_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *source, *address;
        bool contains;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"0.0.0.0/0", "::ffff:203.0.113.9", true},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::1", false},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::/0", "10.0.0.1", true},
        {"10.0.0.0/8", "", false},
        {"::/0", "nonsense", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct policy_source source;
        assert_ok(policy_source_parse(cases[i].source, &source, &error));
        if (policy_source_contains(&source, cases[i].address) != cases[i].contains)
            fail_msg("%s in %s", cases[i].address, cases[i].source);
    }
}

static void windows_are_read_strictly(void **state)
{
    (void)state;
    static const char *const good[] = {
        "08:00-18:00",         "00:00-24:00",         "mon 08:00-18:00",        "mon-fri 08:00-18:00",
        "sat,sun 22:00-04:00", "fri-mon 00:00-24:00", "mon,wed-fri 08:00-18:00"};
    static const char *const bad[] = {"",
                                      "8:00-18:00",
                                      "08:00",
                                      "08:00-",
                                      "08:00-18:00 ",
                                      "08:60-18:00",
                                      "24:00-08:00",
                                      "08:00-24:01",
                                      "25:00-26:00",
                                      "mon",
                                      "mon ",
                                      "mon-",
                                      "mon- 08:00-18:00",
                                      "monday 08:00-18:00",
                                      "mon,, 08:00-18:00",
                                      "mon08:00-18:00",
                                      ",mon 08:00-18:00",
                                      "08.00-18.00",
                                      "Mon 08:00-18:00"};
    struct policy_window window;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_ok(policy_window_parse(good[i], &window, &error));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_fails(ERR_USAGE, policy_window_parse(bad[i], &window, &error));
}

static void windows_contain_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *window;
        int64_t at;
        bool contains;
    } cases[] = {
        {"12:00-13:00", MONDAY_NOON, true},
        {"12:00-13:00", MONDAY_NOON + HOUR - 1, true},
        {"12:00-13:00", MONDAY_NOON + HOUR, false},
        {"12:00-13:00", MONDAY_NOON - 1, false},
        {"mon 00:00-24:00", MONDAY_NOON, true},
        {"mon 00:00-24:00", MONDAY_NOON + 12 * HOUR - 1, true},
        {"mon 00:00-24:00", MONDAY_NOON + 12 * HOUR, false},
        {"tue-sun 00:00-24:00", MONDAY_NOON, false},
        {"sat-mon 00:00-24:00", MONDAY_NOON, true},
        {"sun 22:00-13:00", MONDAY_NOON, true},
        {"sun 22:00-12:00", MONDAY_NOON, false},
        {"mon 22:00-13:00", MONDAY_NOON, false},
        {"12:00-12:00", MONDAY_NOON, true},
        {"12:00-12:00", MONDAY_NOON + 6 * HOUR, true},
        {"thu 00:00-01:00", 0, true},
        {"wed 23:00-24:00", -1, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct policy_window window;
        assert_ok(policy_window_parse(cases[i].window, &window, &error));
        if (policy_window_contains(&window, cases[i].at) != cases[i].contains)
            fail_msg("%lld in %s", (long long)cases[i].at, cases[i].window);
    }
}

static void words_come_back(void **state)
{
    (void)state;
    enum policy_unlock unlock;
    for (unsigned i = 0; i < POLICY_UNLOCKS; i++) {
        assert_ok(policy_unlock_parse(policy_unlock_word((enum policy_unlock)i), &unlock, &error));
        assert_int_equal(unlock, i);
    }
    assert_fails(ERR_USAGE, policy_unlock_parse("always", &unlock, &error));
    assert_int_equal(policy_default.unlock, POLICY_TICKET);
    for (unsigned i = 0; i < POLICY_FLAGS; i++)
        assert_true(policy_flag_words[i][0] && policy_flag_reasons[i][0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_cases_holds),
        cmocka_unit_test(nothing_flagged_is_ever_granted_without_people),
        cmocka_unit_test(nothing_opens_on_hold_or_erased_or_denied_however_many_approve),
        cmocka_unit_test(a_copy_is_restored_when_as_many_as_are_needed_say_so),
        cmocka_unit_test(networks_are_read_strictly),
        cmocka_unit_test(networks_contain_what_they_say),
        cmocka_unit_test(windows_are_read_strictly),
        cmocka_unit_test(windows_contain_what_they_say),
        cmocka_unit_test(words_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
