#include "authority/messages.h"

#include "authority/erasing.h"
#include "authority/orders.h"
#include "authority/piece.h"
#include "authority/record.h"

enum { ACTIVE = 1, HELD = 2, ERASED = 4 };

enum { SILENCE_S = 60 }; /* for so long a boot that was heard may still run */

/* Who may say what. A type without handler is for later. */
static const struct {
    message_handler *handler;
    unsigned states;
} handlers[MESSAGE_TYPES] = {
    [MESSAGE_ENROLL] = {handle_enroll, 0},
    [MESSAGE_BIND] = {handle_bind, ACTIVE},
    [MESSAGE_UNBIND] = {handle_unbind, ACTIVE | HELD},
    [MESSAGE_OPEN] = {handle_open, ACTIVE | HELD},
    [MESSAGE_TICKET] = {handle_ticket, ACTIVE},
    [MESSAGE_HEARTBEAT] = {handle_heartbeat, ACTIVE | HELD},
    [MESSAGE_POLL] = {handle_poll, ACTIVE | HELD},
    [MESSAGE_KEYCOPIES] = {handle_keycopies, ACTIVE | HELD | ERASED},
    [MESSAGE_ERASE] = {handle_erase, ACTIVE | HELD | ERASED},
    [MESSAGE_DONE] = {handle_done, ACTIVE | HELD | ERASED},
};

void message_note_seen(struct clerk *clerk, const struct host *host)
{
    struct presence_host *known = presence_find(&clerk->presence, host->id);
    if (!known)
        return;
    known->was_seen = true;
    known->last_seen_unix_s = clerk->now_unix_s;
}

void message_note_boot(struct clerk *clerk, const struct host *host, const uint8_t boot[POLICY_TOKEN_SIZE],
                       int64_t at_ns)
{
    struct presence_host *known = presence_find(&clerk->presence, host->id);
    if (known)
        presence_note_boot(known, boot, at_ns + SILENCE_S * CLOCK_NS_PER_S);
}

enum error_code message_get_boot(struct job *job, uint8_t ret_boot[POLICY_TOKEN_SIZE], struct error *reterr)
{
    return json_get_hex(job->object, "boot", ret_boot, POLICY_TOKEN_SIZE, reterr);
}

enum error_code message_get_lineage(struct job *job, uint8_t ret_token[POLICY_TOKEN_SIZE], bool *ret_is_there,
                                    struct error *reterr)
{
    const json_t *member = json_object_get(job->object, "lineage");
    *ret_is_there = member && !json_is_null(member);
    return *ret_is_there ? json_get_hex(job->object, "lineage", ret_token, POLICY_TOKEN_SIZE, reterr) : OK;
}

bool message_is_live_boot(const struct host *host, const uint8_t boot[POLICY_TOKEN_SIZE])
{
    return host->has_live_boot && memcmp(host->live_boot, boot, POLICY_TOKEN_SIZE) == 0;
}

enum error_code message_get_wait(struct clerk *clerk, struct job *job, int64_t most, struct error *reterr)
{
    int64_t wait_s = 0;
    if (job->wait_until_ns)
        return OK; /* looked at again */
    enum error_code code = json_get_integer(job->object, "wait_s", 0, most, &wait_s, reterr);
    if (!code)
        job->wait_until_ns = clerk->now_ns + wait_s * CLOCK_NS_PER_S;
    if (!code && wait_s == 0)
        job->has_waited = true;
    return code;
}

enum error_code message_refuse_erased(struct clerk *clerk, struct job *job, const struct host *host,
                                      struct error *reterr)
{
    json_t *erased = NULL;
    uint8_t boot[POLICY_TOKEN_SIZE];
    const bool takes_orders = (job->type == MESSAGE_HEARTBEAT || job->type == MESSAGE_POLL) &&
                              message_get_boot(job, boot, NULL) == OK;
    if (takes_orders)
        message_note_seen(clerk, host);
    if (takes_orders) /* it may have a key in memory */
        message_note_boot(clerk, host, boot,
                          clerk->now_ns + (PRESENCE_ERASED_S - SILENCE_S) * CLOCK_NS_PER_S);
    enum error_code code = erasing_list(clerk, host, &erased, reterr);
    if (code)
        return code;
    job->result = json_pack("{s:o}", "erased", erased);
    if (job->result)
        code = orders_give(clerk, host, takes_orders ? boot : NULL, job->result, reterr);
    if (code)
        return code;
    return job->result ? job_refuse(job, ERR_ERASED, NULL,
                                    "the host is erased: nothing opens by this authority any more")
                       : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* A boot that is asked whether it runs may be kept from saying so by what comes in its name and takes its
 * nonces. Then it has its time again. */
static void prolong_probe(struct clerk *clerk, struct presence_host *known)
{
    if (known && known->is_probing && clerk->now_ns < known->probe_until_ns &&
        known->probe_until_ns < clerk->now_ns + PRESENCE_PROBE_S * CLOCK_NS_PER_S)
        known->probe_until_ns = clerk->now_ns + PRESENCE_PROBE_S * CLOCK_NS_PER_S;
}

/* A nonce is taken once, when the message is looked at first. */
static enum error_code check_nonce(struct clerk *clerk, struct job *job, struct error *reterr)
{
    uint8_t nonce[PRESENCE_NONCE_SIZE];
    struct presence_host *known = presence_find(&clerk->presence, job->host);
    if (!message_types[job->type].takes_nonce || job->took_nonce)
        return OK;
    if (!known || json_get_hex(job->object, "nonce", nonce, sizeof(nonce), NULL) != OK ||
        !presence_take_nonce(&clerk->presence, known, nonce)) {
        prolong_probe(clerk, known);
        return error_set(reterr, ERR_CHANGED, 0, "this nonce is not valid: use the new one");
    }
    job->took_nonce = true;
    return OK;
}

/* Who says too much is told to try again, and leaves no trace in the database or the ledger. */
static enum error_code pay(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct presence_host *known = presence_find(&clerk->presence, job->host);
    if (job->has_paid || !known)
        return OK;
    job->in_vain = !rate_pay(&known->rate, PRESENCE_RATE, PRESENCE_BURST_S, clerk->now_ns);
    if (job->in_vain) {
        presence_note_refused(known, clerk->now_ns);
        return error_set(reterr, ERR_BUSY, 0, "this host says too much at a time: try again");
    }
    job->has_paid = true;
    return OK;
}

/* Mode auth showed that the host has the identity it enrolled with. */
static enum error_code confirm(struct clerk *clerk, struct host *host, struct error *reterr)
{
    if (host->is_confirmed)
        return OK;
    host->is_confirmed = true;
    enum error_code code = piece_begin(clerk, reterr);
    if (!code)
        code = host_update(clerk, host, reterr);
    if (!code)
        code = record_append(clerk, "host-confirmed", record_of_host(host->id), reterr);
    return code;
}

/* Before anything is done: what fails afterwards could not take back what presence has heard by then. */
static enum error_code check_sequence(const struct job *job, struct error *reterr)
{
    int64_t sequence = 0;
    return json_object_get(job->object, "descriptor_sequence")
               ? json_get_integer(job->object, "descriptor_sequence", 0, INT64_MAX, &sequence, reterr)
               : OK;
}

/* To a host that has an older one, with whatever it asked. */
static enum error_code add_descriptor(struct clerk *clerk, struct job *job, struct error *reterr)
{
    const json_t *member = json_object_get(job->object, "descriptor_sequence");
    if (job->outcome != JOB_ANSWERED || !member ||
        (uint64_t)json_integer_value(member) >= clerk->face->descriptor.sequence)
        return OK;
    if (!job->result)
        job->result = json_object();
    return json_set_hex(job->result, "descriptor", (const uint8_t *)clerk->face->bytes.data,
                        clerk->face->bytes.length, reterr);
}

static enum error_code handle(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    const unsigned state = host->is_erased ? ERASED : host->held ? HELD : ACTIVE;
    if (!(handlers[job->type].states & state))
        return state == ERASED ? message_refuse_erased(clerk, job, host, reterr)
                               : job_refuse(job, ERR_LOCKED, NULL, "the host is on hold");
    if (!handlers[job->type].handler)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "this authority does not know %s yet",
                         message_types[job->type].name);
    return handlers[job->type].handler(clerk, job, host, reterr);
}

enum error_code messages_handle(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    if (job->type == MESSAGE_ENROLL)
        return handle_enroll(clerk, job, NULL, reterr);
    enum error_code code = pay(clerk, job, reterr);
    if (!code)
        code = check_sequence(job, reterr);
    if (!code)
        code = host_find(clerk, job->host, &host, reterr);
    if (!code)
        code = check_nonce(clerk, job, reterr);
    if (!code)
        code = confirm(clerk, &host, reterr);
    if (!code)
        code = handle(clerk, job, &host, reterr);
    return code ? code : add_descriptor(clerk, job, reterr);
}
