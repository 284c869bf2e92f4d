#include <sodium.h>

#include "authority/messages.h"
#include "authority/record.h"
#include "authority/requests.h"
#include "base/text.h"

enum { WAIT_MOST_S = 60, FACTS_MAXIMUM = 4096 };

/* What an open is about. */
struct opening {
    struct group group;
    struct request request;
    struct secret *scalars[REQUEST_OPENS_MAXIMUM]; /* of the request's opens; NULL: not here, taken, or not
                                                      found yet */
    struct buffer facts;                           /* of a request that is new */
};

static void opening_done(struct opening *opening)
{
    group_done(&opening->group);
    for (size_t i = 0; i < REQUEST_OPENS_MAXIMUM; i++)
        secret_free(opening->scalars[i]);
    buffer_done(&opening->facts);
}

static enum error_code parse_open(json_t *value, struct request_open *open, struct error *reterr)
{
    if (!json_is_object(value))
        return error_set(reterr, ERR_CORRUPT, 0,
                         "what is to be opened is an object with keyslot and blinded");
    enum error_code code = json_get_hex(value, "keyslot", open->keyslot, sizeof(open->keyslot), reterr);
    if (!code)
        code = json_get_hex(value, "blinded", open->blinded, sizeof(open->blinded), reterr);
    if (!code && !crypto_core_ristretto255_is_valid_point(open->blinded))
        code = error_set(reterr, ERR_CORRUPT, 0, "a blinded element that is none");
    return code;
}

static enum error_code parse(struct job *job, struct request *request, struct buffer *facts,
                             struct error *reterr)
{
    json_t *opens, *object;
    struct policy_request *policy = &request->policy;
    enum error_code code = message_get_lineage(job, policy->lineage, &policy->has_lineage, reterr);
    if (!code)
        code = json_get_boolean(job->object, "planned", &policy->planned, reterr);
    if (!code)
        code = json_get_object(job->object, "facts", &object, reterr);
    if (!code)
        code = json_format(object, facts, reterr);
    if (!code)
        code = json_get_array(job->object, "open", REQUEST_OPENS_MAXIMUM, &opens, reterr);
    if (!code && json_array_size(opens) == 0)
        code = error_set(reterr, ERR_CORRUPT, 0, "an open that opens nothing");
    for (size_t i = 0; !code && i < json_array_size(opens); i++)
        code = parse_open(json_array_get(opens, i), &request->opens[request->open_count++], reterr);
    return code;
}

/* *ret_scalar stays NULL where this host has no such keyslot here, with why; and where its scalar is damaged,
 * which is told to who looks after this authority. */
static enum error_code find_keyslot(struct clerk *clerk, const struct host *host,
                                    const uint8_t id[KEYRING_KEYSLOT_SIZE], struct secret **ret_scalar,
                                    struct error *why, struct error *reterr)
{
    struct keyslot keyslot;
    enum error_code code = keyslot_find(clerk, id, &keyslot, why);
    if (!code && memcmp(keyslot.host, host->id, sizeof(keyslot.host)) != 0)
        code = error_set(why, ERR_NOT_FOUND, 0, "there is no such keyslot");
    if (code == ERR_NOT_FOUND)
        return OK;
    if (!code && (code = keyslot_get_scalar(clerk, &keyslot, ret_scalar, why)) == ERR_FAILED) {
        clerk_tell_damage(clerk, why);
        return OK;
    }
    if (code)
        *reterr = *why;
    return code;
}

/* Before anything is written: one that is erased refuses the whole, and so it is where none is here. What is
 * here opens without the others: one that was bound after the backup that this authority was restored from,
 * or is damaged, does not keep a host from its other vaults. */
static enum error_code find_keyslots(struct clerk *clerk, const struct host *host, struct opening *opening,
                                     struct error *reterr)
{
    const struct request *request = &opening->request;
    struct error why = ERROR_NONE;
    bool has_any = false;
    enum error_code code = OK;
    for (size_t i = 0; !code && i < request->open_count; i++) {
        code = find_keyslot(clerk, host, request->opens[i].keyslot, &opening->scalars[i], &why, reterr);
        has_any |= opening->scalars[i] != NULL;
    }
    if (code || has_any)
        return code;
    *reterr = why;
    return why.code;
}

/* {"address":…} without its braces. */
static enum error_code format_address(const char *address, struct buffer *text, struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = json_pack("{s:s}", "address", address);
    _cleanup_(buffer_done) struct buffer braced = {0};
    if (!object)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_format(object, &braced, reterr);
    return code ? code : buffer_append(text, braced.data + 1, braced.length - 2, reterr);
}

static enum error_code record_request(struct clerk *clerk, const struct request *request,
                                      struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = LEDGER_ENTRY_MAXIMUM};
    char hex[2 * KEYRING_KEYSLOT_SIZE + 1];
    enum error_code code = record_format_request(request->host, request->id, &text, reterr);
    if (!code)
        code = buffer_printf(&text, reterr, ",\"keyslots\":[");
    for (size_t i = 0; !code && i < request->open_count; i++) {
        text_format_hex(hex, request->opens[i].keyslot, KEYRING_KEYSLOT_SIZE);
        code = buffer_printf(&text, reterr, "%s\"%s\"", i > 0 ? "," : "", hex);
    }
    text_format_hex(hex, request->policy.boot, POLICY_TOKEN_SIZE);
    if (!code)
        code = buffer_printf(&text, reterr, "],\"boot\":\"%s\",", hex);
    if (!code)
        code = format_address(request->policy.address, &text, reterr);
    if (!code)
        code = buffer_printf(&text, reterr, ",\"planned\":%s,\"facts\":%s",
                             request->policy.planned ? "true" : "false", request->facts);
    return code ? code : record_append_text(clerk, "request", text.data, reterr);
}

static enum error_code make(struct clerk *clerk, struct job *job, const struct host *host,
                            struct opening *opening, struct error *reterr)
{
    struct request *request = &opening->request;
    bool is_another = false, is_crowding = false;
    opening->facts.maximum = FACTS_MAXIMUM;
    enum error_code code = parse(job, request, &opening->facts, reterr);
    if (!code)
        code = find_keyslots(clerk, host, opening, reterr);
    if (code)
        return code;
    clerk_draw_id(clerk, request->id);
    clerk->requests++;
    request->is_new = true;
    request->facts = opening->facts.data;
    memcpy(request->host, host->id, sizeof(request->host));
    memcpy(request->message, job->id, sizeof(request->message));
    snprintf(request->policy.address, sizeof(request->policy.address), "%s", job->peer);
    snprintf(request->code, sizeof(request->code), "%04u", randombytes_uniform(10000));
    request->created_at_unix_s = clerk->now_unix_s;
    request->policy.expires_at_unix_s = clerk->now_unix_s + opening->group.policy.request_ttl_s;
    request->policy.approvals = request->approvals;
    code = request_flag_others(clerk, request, &is_another, reterr);
    /* One that makes another expire is as flagged as that would make it: else a copy that asks often enough
     * would be alone. */
    if (!code)
        code = request_make_room(clerk, host, &is_crowding, reterr);
    request->policy.flags = is_another || is_crowding ? POLICY_TWO_REQUESTS : 0;
    if (!code)
        code = request_note_denied(clerk, request, reterr);
    if (!code)
        code = record_request(clerk, request, reterr);
    if (!code)
        request_probe(clerk, host, request);
    return code;
}

/* The request this message is about: made now, made by it before, or named by it. Only the host and the boot
 * that made it find it. None of its keyslots is erased. */
static enum error_code find(struct clerk *clerk, struct job *job, const struct host *host,
                            struct opening *opening, struct error *reterr)
{
    struct request *request = &opening->request;
    uint8_t boot[POLICY_TOKEN_SIZE], id[MESSAGE_ID_SIZE];
    enum error_code code = message_get_boot(job, boot, reterr);
    if (code)
        return code;
    if (job->has_request || json_object_get(job->object, "request")) {
        if (job->has_request)
            memcpy(id, job->request, sizeof(id));
        else
            code = json_get_hex(job->object, "request", id, sizeof(id), reterr);
        if (!code)
            code = request_find(clerk, id, request, reterr);
        if (!code && (memcmp(request->host, host->id, sizeof(request->host)) != 0 ||
                      memcmp(request->policy.boot, boot, sizeof(boot)) != 0))
            code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such request");
        return code ? code : find_keyslots(clerk, host, opening, reterr);
    }
    code = request_find_by_message(clerk, host->id, boot, job->id, request, reterr);
    if (code != ERR_NOT_FOUND)
        return code ? code : find_keyslots(clerk, host, opening, reterr);
    *request = (struct request){0};
    memcpy(request->policy.boot, boot, sizeof(boot));
    return make(clerk, job, host, opening, reterr);
}

static enum error_code add_evaluations(struct job *job, const struct host *host, struct opening *opening,
                                       struct error *reterr)
{
    const struct request *request = &opening->request;
    uint8_t worthless[POLICY_TOKEN_SIZE];
    for (size_t i = 0; i < request->open_count; i++) {
        struct job_evaluation *evaluation = &job->evaluations[job->evaluation_count++];
        evaluation->scalar = TAKE(opening->scalars[i]);
        memcpy(evaluation->blinded, request->opens[i].blinded, OPRF_ELEMENT_SIZE);
    }
    /* A stale copy that was let in once gets a token that is nothing here: it stays stale. And so does a boot
     * that asks again what it was granted before another one was let in. */
    const struct policy_request *policy = &request->policy;
    const bool is_of_host = host->lineage.has_offered && message_is_live_boot(host, policy->boot) &&
                            (!(policy->flags & POLICY_STALE_LINEAGE) ||
                             policy_is_restored(policy->approvals, policy->approval_count, policy->flags,
                                                opening->group.policy.approvals));
    if (!is_of_host)
        randombytes_buf(worthless, sizeof(worthless));
    return json_set_hex(job->result, "lineage", is_of_host ? host->lineage.offered : worthless,
                        POLICY_TOKEN_SIZE, reterr);
}

static enum error_code format(struct job *job, const struct request *request,
                              const struct policy_decision *decision, struct error *reterr)
{
    const bool is_open = request->policy.state == POLICY_PENDING || request->policy.state == POLICY_APPROVED;
    job->result = json_object();
    enum error_code code = json_set_hex(job->result, "request", request->id, sizeof(request->id), reterr);
    if (!code)
        code = json_set_new(job->result, "state", json_string(policy_request_words[request->policy.state]),
                            reterr);
    if (!code && is_open)
        code = json_set_new(job->result, "code", json_string(request->code), reterr);
    if (!code)
        code = json_set_new(job->result, "flags", request_flags_json(decision->flags), reterr);
    if (!code)
        code = json_set_new(job->result, "reasons", request_reasons_json(decision), reterr);
    if (!code)
        code = json_set_new(job->result, "expires_at",
                            json_integer((json_int_t)request->policy.expires_at_unix_s), reterr);
    return code;
}

/* On hold: no request is made, and the ledger tells it once per boot. */
static enum error_code refuse_held(struct clerk *clerk, struct job *job, const struct host *host,
                                   struct error *reterr)
{
    struct presence_host *known = presence_find(&clerk->presence, host->id);
    uint8_t boot[POLICY_TOKEN_SIZE];
    enum error_code code = message_get_boot(job, boot, reterr);
    if (!code && known &&
        !(known->has_refused && memcmp(known->refused_boot, boot, POLICY_TOKEN_SIZE) == 0)) {
        known->has_refused = true;
        memcpy(known->refused_boot, boot, POLICY_TOKEN_SIZE);
        code = record_append(clerk, "refused-held", record_of_host(host->id), reterr);
    }
    return code ? code
                : job_refuse(job, ERR_LOCKED, NULL,
                             host->held ? "the host is on hold" : "the group is on hold");
}

/* While a probe is out, the job is looked at again when it is over. */
static void wait_for(struct clerk *clerk, struct job *job, const struct request *request)
{
    const struct presence_host *known = presence_find(&clerk->presence, request->host);
    if (known && presence_is_probed_for(known, request->policy.boot, clerk->now_ns) &&
        known->probe_until_ns < job->wait_until_ns)
        job->look_again_ns = known->probe_until_ns;
    job->outcome = JOB_WAITS;
}

static enum error_code answer(struct clerk *clerk, struct job *job, struct host *host,
                              struct opening *opening, struct error *reterr)
{
    struct request *request = &opening->request;
    struct policy_decision decision;
    enum error_code code = request_decide(clerk, request, host, &opening->group, &decision, reterr);
    if (code)
        return code;
    if (decision.denial == POLICY_ERASED)
        return message_refuse_erased(clerk, job, host, reterr);
    if (decision.denial == POLICY_HELD)
        return refuse_held(clerk, job, host, reterr);
    if (request->policy.state == POLICY_GRANTED && decision.verdict == POLICY_DENY)
        request->policy.state = POLICY_EXPIRED; /* its answer was there to be taken for long enough */
    code = format(job, request, &decision, reterr);
    if (!code && request->policy.state == POLICY_GRANTED)
        code = add_evaluations(job, host, opening, reterr);
    const bool is_open = request->policy.state == POLICY_PENDING || request->policy.state == POLICY_APPROVED;
    if (!code && is_open && !job->has_waited)
        wait_for(clerk, job, request);
    return code;
}

enum error_code handle_open(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    _cleanup_(opening_done) struct opening opening = {0};
    enum error_code code = message_get_wait(clerk, job, WAIT_MOST_S, reterr);
    job->look_again_ns = 0;
    if (!code)
        code = group_find(clerk, host->group_id, &opening.group, reterr);
    if (!code && (host->held || opening.group.policy.held))
        return refuse_held(clerk, job, host, reterr);
    if (!code)
        code = find(clerk, job, host, &opening, reterr);
    if (!code) {
        job->has_request = true;
        memcpy(job->request, opening.request.id, sizeof(job->request));
        code = answer(clerk, job, host, &opening, reterr);
    }
    return code;
}
