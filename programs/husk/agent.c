/*
 * The agent: hourly heartbeats, and one poll at a time that the authority holds until it wants something.
 * What it orders is carried out before the next poll. When what else opens the vaults changes, it is told.
 */
#include <sys/random.h>

#include "authorities.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "key_copies.h"
#include "network_note.h"
#include "orders.h"

/* With several authorities each gets its turn soon enough to be answered within the 3 s a probe waits. */
enum {
    HEARTBEAT_S = 3600,
    POLL_ALONE_S = 300,
    POLL_AMONG_S = 1,
    PAUSE_MOST_S = 60,
    COPIES_S = 60,
    FILES_S = 60
};

/* One authority. */
struct watched {
    struct client_pin *pin;
    int64_t heartbeat_ns, due_ns; /* when the next is due; when it is talked to again after a failure */
    int64_t copies_ns;            /* when to look for key copies again */
    json_t *copies;               /* owned; as they were told; NULL: not yet */
    unsigned pause_s;
    enum error_code told; /* the failure that was told last */
    bool has_orders;      /* some may be kept that are not answered yet */
    bool is_over;         /* the host is erased there */
};

struct agent {
    struct run *run;
    struct client *client;
    struct watched watched[CLIENT_AUTHORITIES_MAXIMUM];
    size_t count;
    int64_t files_ns; /* when to look again whether there are new kernels */
};

/* Findings are told when they are new. */
static void tell_findings(struct agent *agent, size_t known)
{
    for (size_t i = known; i < agent->run->findings.count; i++)
        progress_message(&agent->run->progress, agent->run->findings.items[i].cause);
}

/* What this brings is for the turn behind it: a poll has an order once, a heartbeat has all. */
static void tell_alive(void *context)
{
    struct agent *agent = context;
    for (size_t i = 0; i < agent->count; i++) {
        struct watched *watched = &agent->watched[i];
        _cleanup_(client_news_done) struct client_news news = {0}, none = {0};
        if (watched->is_over || client_poll(agent->client, watched->pin, CLIENT_PROMPT, &news, NULL))
            continue;
        if (!news.is_erased && (json_array_size(news.orders) > 0 || news.probed))
            watched->heartbeat_ns = 0;
        if (news.probed)
            (void)!client_heartbeat(agent->client, watched->pin, news.probe, CLIENT_PROMPT, &none, NULL);
    }
}

/* One that is refused may be signed with a key that a newer descriptor brings. */
static enum error_code do_orders(struct agent *agent, struct watched *watched, const json_t *given,
                                 struct error *reterr)
{
    const size_t known = agent->run->findings.count;
    enum error_code code =
        orders_carry_out(agent->run, agent->client, watched->pin, given,
                         &(struct orders_alive){tell_alive, agent}, &watched->has_orders, reterr);
    if (agent->run->findings.count > known)
        watched->heartbeat_ns = 0;
    tell_findings(agent, known);
    return code;
}

static enum error_code take_news(struct agent *agent, struct watched *watched, const struct client_news *news,
                                 struct error *reterr)
{
    const size_t known = agent->run->findings.count;
    client_ledger_tell(agent->client, &agent->run->findings);
    tell_findings(agent, known);
    if (json_array_size(news->orders) > 0) {
        enum error_code code = do_orders(agent, watched, news->orders, reterr);
        if (code)
            return code;
    }
    if (!news->is_erased)
        return OK;
    if (watched->has_orders)
        return error_set(reterr, ERR_PENDING, 0,
                         "an order to erase is not carried out whole: it is tried again");
    return error_set(reterr, ERR_ERASED, 0,
                     "the authority %.8s says that this host is erased; where that is meant, husk erase "
                     "--all ends it here",
                     client_id_shown(watched->pin->id));
}

static enum error_code beat(struct agent *agent, struct watched *watched, const uint8_t *probe,
                            struct error *reterr)
{
    _cleanup_(client_news_done) struct client_news news = {0};
    enum error_code code =
        client_heartbeat(agent->client, watched->pin, probe, (struct client_effort){0, 0}, &news, reterr);
    if (code)
        return code;
    network_note(agent->run, agent->client); /* the one that leads to it */
    watched->heartbeat_ns = clock_monotonic_ns() + HEARTBEAT_S * CLOCK_NS_PER_S;
    return take_news(agent, watched, &news, reterr);
}

/* What a crash left of binding a keyslot is settled with each heartbeat. */
static void settle(struct agent *agent)
{
    const size_t known = agent->run->findings.count;
    authorities_settle_all(agent->run);
    tell_findings(agent, known);
}

/* What cannot be read now is told another time; what the authority refuses as well. */
static void tell_copies(struct agent *agent, struct watched *watched)
{
    _cleanup_(json_freep) json_t *copies = NULL;
    if (clock_monotonic_ns() < watched->copies_ns)
        return;
    watched->copies_ns = clock_monotonic_ns() + COPIES_S * CLOCK_NS_PER_S;
    if (key_copies_list(agent->run, watched->pin, &copies, NULL) || json_equal(copies, watched->copies) ||
        client_keycopies(agent->client, watched->pin, copies, NULL))
        return;
    json_decref(watched->copies);
    watched->copies = TAKE(copies);
}

/* A new kernel's, too, before it is booted. */
static void keep_boot_files(struct agent *agent)
{
    if (clock_monotonic_ns() < agent->files_ns)
        return;
    client_boot_files_keep(agent->client, NULL);
    agent->files_ns = clock_monotonic_ns() + FILES_S * CLOCK_NS_PER_S;
}

static enum error_code poll_once(struct agent *agent, struct watched *watched, struct error *reterr)
{
    _cleanup_(client_news_done) struct client_news news = {0};
    const int64_t left_s = (watched->heartbeat_ns - clock_monotonic_ns()) / CLOCK_NS_PER_S + 1;
    const unsigned most_s = agent->count > 1 ? POLL_AMONG_S : POLL_ALONE_S;
    /* After a failure at once, to see that it is over. */
    const unsigned wait_s = watched->told || left_s < 0 ? 0 : left_s < most_s ? (unsigned)left_s : most_s;
    const struct client_effort effort = {wait_s, 0};
    enum error_code code = client_poll(agent->client, watched->pin, effort, &news, reterr);
    if (!code)
        code = take_news(agent, watched, &news, reterr);
    return !code && news.probed ? beat(agent, watched, news.probe, reterr) : code;
}

static enum error_code talk(struct agent *agent, struct watched *watched, struct error *reterr)
{
    enum error_code code = OK;
    if (watched->has_orders)
        code = do_orders(agent, watched, NULL, reterr);
    if (code)
        return code;
    if (clock_monotonic_ns() >= watched->heartbeat_ns) {
        code = beat(agent, watched, NULL, reterr);
        if (!code)
            settle(agent);
        return code;
    }
    tell_copies(agent, watched);
    keep_boot_files(agent);
    return poll_once(agent, watched, reterr);
}

/* A failure is told when it is another than the last; then a pause, longer each time. */
static void fail(struct agent *agent, struct watched *watched, const struct error *why)
{
    uint32_t chance = 0;
    if (why->code != watched->told)
        progress_message(&agent->run->progress, why->message);
    watched->told = why->code;
    watched->is_over = why->code == ERR_ERASED;
    if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
        chance = 0;
    watched->due_ns = clock_monotonic_ns() + watched->pause_s * CLOCK_NS_PER_S +
                      (int64_t)(chance % 1000) * watched->pause_s * (CLOCK_NS_PER_S / 2000);
    watched->pause_s = watched->pause_s * 2 < PAUSE_MOST_S ? watched->pause_s * 2 : PAUSE_MOST_S;
}

static void succeed(struct agent *agent, struct watched *watched)
{
    if (watched->told)
        progress_message(&agent->run->progress, "the authority answers again");
    watched->told = OK;
    watched->pause_s = 1;
}

/* A turn for everyone who is due. False when nobody was; *ret_next_ns is when somebody will be. */
static bool take_turns(struct agent *agent, int64_t *ret_next_ns, bool *ret_any_left)
{
    bool any = false;
    *ret_next_ns = INT64_MAX;
    *ret_any_left = false;
    for (size_t i = 0; i < agent->count && !interrupt_requested(); i++) {
        struct watched *watched = &agent->watched[i];
        struct error why = ERROR_NONE;
        if (watched->is_over)
            continue;
        if (clock_monotonic_ns() >= watched->due_ns) {
            any = true;
            enum error_code code = talk(agent, watched, &why);
            if (!code)
                succeed(agent, watched);
            else if (code != ERR_INTERRUPTED)
                fail(agent, watched, &why);
        }
        *ret_any_left |= !watched->is_over;
        if (watched->due_ns < *ret_next_ns)
            *ret_next_ns = watched->due_ns;
    }
    return any;
}

static enum error_code run_agent(struct agent *agent, struct error *reterr)
{
    uint8_t boot[CLIENT_ID_SIZE];
    int64_t next_ns = 0;
    bool any_left = true;
    enum error_code code = client_boot_id(agent->client, boot, reterr);
    while (!code && !interrupt_requested() && any_left) {
        if (!take_turns(agent, &next_ns, &any_left) && any_left)
            (void)!client_sleep(next_ns - clock_monotonic_ns(), NULL);
    }
    return code;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    struct agent agent = {.run = run};
    enum error_code code = client_open(run->at, &client, reterr);
    if (code)
        return code;
    if (client->pin_count == 0) {
        error_set(reterr, ERR_NOT_FOUND, 0, "this host is enrolled at no authority");
        return error_remedy(reterr, "husk enroll URL --token-file F");
    }
    network_names(run, client);
    agent.client = client;
    agent.count = client->pin_count;
    for (size_t i = 0; i < agent.count; i++)
        agent.watched[i] = (struct watched){.pin = &client->pins[i], .pause_s = 1, .has_orders = true};
    code = run_agent(&agent, reterr);
    for (size_t i = 0; i < agent.count; i++)
        json_decref(agent.watched[i].copies);
    return code;
}

const struct verb verb_agent = {
    .name = "agent",
    .operands = "",
    .summary = "Tell the authorities that this host runs, until a signal comes.",
    .text =
        "Run by husk-agent.service. A heartbeat every hour moves the lineage on, so that an old copy of the "
        "disk is recognised as one. Between them the agent waits for the authority to ask: when a copy of "
        "this "
        "host wants to open its vaults while this one runs, the answer gives the copy away.\n\nWhat an "
        "authority orders is carried out: to lock all vaults of the host, to erase them, or to power off. An "
        "order counts "
        "only when the authority signed it, for this host, and with a higher number than every order before. "
        "What else opens the vaults (recovery keys, passphrases, keyfiles, exported keyslots, other "
        "authorities) is told to the authority when it changes.",
    .options = (const struct verb_option[]){{.id = OPTION_END}},
    .act = act,
};
