/* What a running host says: tickets, heartbeats, polls, erasing. */
#include <sodium.h>

#include "authority/erasing.h"
#include "authority/facts.h"
#include "authority/messages.h"
#include "authority/orders.h"
#include "authority/record.h"
#include "authority/requests.h"
#include "authority/watching.h"
#include "base/text.h"

enum { POLL_MOST_S = 300, FINISH_TTL_S = 86400, VAULTS_MAXIMUM = 64 };

/* The first boot that speaks after enrolling is the live one; later ones are when they were let open.
 * Otherwise whoever copied a disk could take a ticket with the identity that lies on it. */
static enum error_code adopt_boot(struct clerk *clerk, struct host *host,
                                  const uint8_t boot[POLICY_TOKEN_SIZE], struct error *reterr)
{
    if (host->has_live_boot)
        return OK;
    host->has_live_boot = true;
    memcpy(host->live_boot, boot, POLICY_TOKEN_SIZE);
    return host_update(clerk, host, reterr);
}

static enum error_code write_ticket(struct clerk *clerk, const struct host *host, const uint8_t *boot,
                                    enum policy_ticket_purpose purpose, int64_t expires_at,
                                    struct error *reterr)
{
    json_t *details = record_of_host(host->id);
    enum error_code code = sql_run(
        clerk->sql, reterr,
        "INSERT INTO tickets(host, purpose, taken_by, expires_at) VALUES(?, ?, ?, ?) "
        "ON CONFLICT(host) DO UPDATE SET purpose = excluded.purpose, taken_by = "
        "excluded.taken_by, expires_at = excluded.expires_at, used_by = NULL",
        "bibi", host->id, sizeof(host->id), (int64_t)purpose, boot, (size_t)POLICY_TOKEN_SIZE, expires_at);
    if (!code)
        code = json_set_new(details, "purpose",
                            json_string(purpose == POLICY_TICKET_FINISH ? "finish" : "reboot"), reterr);
    if (!code)
        code = json_set_new(details, "boot", record_hex(boot), reterr);
    if (!code)
        code = json_set_new(details, "expires_at", json_integer((json_int_t)expires_at), reterr);
    if (!code)
        code = record_append(clerk, "ticket", TAKE(details), reterr);
    json_decref(details);
    return code;
}

/* A finishing ticket that lasts as long covers that reboot: husk-ticket.service asks at every one. */
static enum error_code find_finishing(struct clerk *clerk, const struct host *host, int64_t *expires_at,
                                      bool *ret_is_there, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT expires_at FROM tickets WHERE host = ? AND purpose = ? AND expires_at >= ?", "bii",
                   host->id, sizeof(host->id), (int64_t)POLICY_TICKET_FINISH, *expires_at);
    if (!code)
        code = sql_next(&rows, ret_is_there, reterr);
    if (!code && *ret_is_there)
        *expires_at = sql_integer(&rows, 0);
    sql_done(&rows);
    return code;
}

enum error_code handle_ticket(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    uint8_t boot[POLICY_TOKEN_SIZE];
    const char *purpose = NULL;
    struct group group = {0};
    enum error_code code = message_get_boot(job, boot, reterr);
    if (!code)
        code = json_get_string(job->object, "purpose", &purpose, reterr);
    if (!code && strcmp(purpose, "reboot") != 0 && strcmp(purpose, "finish") != 0)
        code = error_set(reterr, ERR_CORRUPT, 0, "a ticket is for reboot or finish");
    if (!code)
        code = adopt_boot(clerk, host, boot, reterr);
    if (!code)
        code = group_find(clerk, host->group_id, &group, reterr);
    if (code)
        return code;
    const struct policy_group policy = group.policy;
    group_done(&group);
    if (policy.unlock == POLICY_APPROVE)
        return job_refuse(job, ERR_DENIED, NULL, "the group's policy asks people at every boot: no tickets");
    if (clerk->clock_went_back)
        return job_refuse(job, ERR_DENIED, NULL,
                          "the authority's clock went back: no tickets until people look");
    if (!message_is_live_boot(host, boot))
        return job_refuse(
            job, ERR_DENIED, NULL,
            "this boot was not opened by this authority: it gets no ticket, the next boot asks");
    const enum policy_ticket_purpose kind =
        strcmp(purpose, "finish") == 0 ? POLICY_TICKET_FINISH : POLICY_TICKET_REBOOT;
    int64_t expires_at =
        clerk->now_unix_s + (kind == POLICY_TICKET_FINISH ? FINISH_TTL_S : policy.ticket_ttl_s);
    bool is_covered = false;
    if (kind == POLICY_TICKET_REBOOT)
        code = find_finishing(clerk, host, &expires_at, &is_covered, reterr);
    if (!code && !is_covered)
        code = write_ticket(clerk, host, boot, kind, expires_at, reterr);
    if (code)
        return code;
    message_note_seen(clerk, host);
    message_note_boot(clerk, host, boot, clerk->now_ns);
    job->result = json_pack("{s:I}", "expires_at", (json_int_t)expires_at);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* Since this authority was restored from a backup: the boot that it let open before that goes on, and knows
 * the lineage better. Once per host. */
static enum error_code take_restored(struct clerk *clerk, const struct host *host, bool *ret_is,
                                     struct error *reterr)
{
    enum error_code code = sql_run(clerk->sql, reterr, "DELETE FROM restored_hosts WHERE host = ?", "b",
                                   host->id, sizeof(host->id));
    if (!code)
        *ret_is = sql_changes(clerk->sql) > 0;
    return code;
}

/* The lineage of a heartbeat. A stale one gets nothing that is worth anything, and is told in the ledger once
 * per boot. */
static enum error_code move_lineage(struct clerk *clerk, struct job *job, struct host *host,
                                    const uint8_t *boot, bool *ret_changed, struct error *reterr)
{
    uint8_t token[POLICY_TOKEN_SIZE];
    bool has_token = false;
    enum error_code code = message_get_lineage(job, token, &has_token, reterr);
    if (code)
        return code;
    const uint8_t *presented = has_token ? token : NULL;
    const bool is_stale = policy_lineage_compare(&host->lineage, presented) == POLICY_LINEAGE_STALE;
    struct presence_host *known = presence_find(&clerk->presence, host->id);
    const bool may_be_accepted = is_stale && message_is_live_boot(host, boot); /* it was let in */
    bool is_accepted = false;
    if (may_be_accepted)
        code = take_restored(clerk, host, &is_accepted, reterr);
    is_accepted |= may_be_accepted && host->restore_accepted;
    if (code)
        return code;
    if (is_stale && is_accepted) {
        lineage_accept(&host->lineage, presented);
        host->restore_accepted = false;
        *ret_changed = true;
    } else if (!is_stale) {
        *ret_changed |= lineage_advance(&host->lineage, presented);
    } else if (known && !(known->has_stale && memcmp(known->stale_boot, boot, POLICY_TOKEN_SIZE) == 0)) {
        known->has_stale = true;
        memcpy(known->stale_boot, boot, POLICY_TOKEN_SIZE);
        code = record_append(clerk, "stale-heartbeat", record_of_host(host->id), reterr);
    }
    const bool gets_nothing = is_stale && !*ret_changed;
    if (gets_nothing)
        randombytes_buf(token, sizeof(token));
    return code ? code
                : json_set_hex(job->result, "lineage", gets_nothing ? token : host->lineage.offered,
                               sizeof(token), reterr);
}

/* A probe that comes back: this boot runs beside the one that wants to open. */
static enum error_code take_probe(struct clerk *clerk, struct job *job, const struct host *host,
                                  const uint8_t *boot, struct error *reterr)
{
    uint8_t probe[POLICY_TOKEN_SIZE];
    struct presence_host *known = presence_find(&clerk->presence, host->id);
    if (!json_object_get(job->object, "probe"))
        return OK;
    enum error_code code = json_get_hex(job->object, "probe", probe, sizeof(probe), reterr);
    if (code || !known || !known->is_probing || memcmp(known->asking_boot, boot, POLICY_TOKEN_SIZE) == 0 ||
        memcmp(known->probe, probe, sizeof(probe)) != 0)
        return code;
    known->is_probing = false;
    known->was_answered = true; /* also where the batch is lost */
    clerk_wake(clerk, host->id);
    return sql_run(clerk->sql, reterr,
                   "UPDATE requests SET flags = flags | ? WHERE host = ? AND boot <> ? AND " REQUEST_IS_OPEN,
                   "ibb", (int64_t)POLICY_OTHER_BOOT_ANSWERS, host->id, sizeof(host->id), boot,
                   (size_t)POLICY_TOKEN_SIZE);
}

enum error_code handle_heartbeat(struct clerk *clerk, struct job *job, struct host *host,
                                 struct error *reterr)
{
    uint8_t boot[POLICY_TOKEN_SIZE];
    bool changed = false;
    enum error_code code = message_get_boot(job, boot, reterr);
    if (!code)
        code = adopt_boot(clerk, host, boot, reterr);
    job->result = json_object();
    if (!code)
        code = orders_give(clerk, host, boot, job->result, reterr);
    if (!code && message_is_live_boot(host, boot))
        message_note_seen(clerk, host);
    if (!code)
        message_note_boot(clerk, host, boot, clerk->now_ns);
    if (!code)
        code = move_lineage(clerk, job, host, boot, &changed, reterr);
    if (!code && changed)
        code = host_update(clerk, host, reterr);
    if (!code)
        code = facts_keep(clerk, job, host, boot, reterr);
    if (!code)
        code = watching_compare(clerk, host, json_object_get(job->object, "checkpoint"), reterr);
    if (!code)
        code = take_probe(clerk, job, host, boot, reterr);
    return code;
}

/* For who rehearses a boot. That where people are asked all the same (an old copy, a network that the group
 * does not name, outside of its hours) only the boot itself shows. */
static enum error_code set_next_boot(struct clerk *clerk, const struct host *host, const uint8_t *boot,
                                     json_t *result, struct error *reterr)
{
    struct group group = {0};
    enum error_code code = group_find(clerk, host->group_id, &group, reterr);
    if (code)
        return code;
    const bool gets_tickets = !host->has_live_boot || message_is_live_boot(host, boot);
    const char *word = host->held || group.policy.held         ? "held"
                       : group.policy.unlock == POLICY_APPROVE ? "people"
                       : group.policy.unlock == POLICY_AUTO    ? "alone"
                       : gets_tickets                          ? "ticket"
                                                               : "no-ticket";
    group_done(&group);
    return json_set_new(result, "next_boot", json_string(word), reterr);
}

enum error_code handle_poll(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    uint8_t boot[POLICY_TOKEN_SIZE];
    bool are_new = false;
    struct presence_host *known = presence_find(&clerk->presence, host->id);
    enum error_code code = message_get_boot(job, boot, reterr);
    if (!code)
        code = message_get_wait(clerk, job, POLL_MOST_S, reterr);
    if (!code)
        code = orders_are_new(clerk, host, boot, &are_new, reterr);
    if (code)
        return code;
    job->result = are_new ? json_object() : json_pack("{s:[]}", "orders");
    if (!job->result)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (are_new)
        code = orders_give(clerk, host, boot, job->result, reterr);
    if (!code)
        code = set_next_boot(clerk, host, boot, job->result, reterr);
    if (code)
        return code;
    message_note_boot(clerk, host, boot, job->has_waited ? clerk->now_ns : job->wait_until_ns);
    if (known && known->is_probing && clerk->now_ns < known->probe_until_ns &&
        memcmp(known->asking_boot, boot, POLICY_TOKEN_SIZE) != 0)
        return json_set_hex(job->result, "probe", known->probe, sizeof(known->probe), reterr);
    if (!job->has_waited && !are_new)
        job->outcome = JOB_WAITS;
    return OK;
}

static enum error_code parse_vaults(struct job *job, struct erasing_vault *vaults, size_t *ret_count,
                                    bool *ret_final, struct error *reterr)
{
    json_t *array;
    enum error_code code = json_get_array(job->object, "vaults", VAULTS_MAXIMUM, &array, reterr);
    for (size_t i = 0; !code && i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));
        if (!text || text_parse_hex(text, vaults[i].id, sizeof(vaults[i].id), NULL) != OK)
            code = error_set(reterr, ERR_CORRUPT, 0, "a vault's id that is none");
    }
    if (!code)
        code = json_get_boolean(job->object, "final", ret_final, reterr);
    if (!code)
        *ret_count = json_array_size(array);
    return code;
}

static enum error_code tell_erased(struct clerk *clerk, struct job *job, const struct host *host,
                                   const struct erasing_vault *vaults, size_t count, bool is_final,
                                   struct error *reterr)
{
    json_t *erased = json_array();
    enum error_code code = OK;
    job->result = json_pack("{s:o}", "erased", erased);
    if (!job->result)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (is_final)
        code = erasing_list_host(clerk, host, erased, reterr);
    for (size_t i = 0; !code && i < count; i++)
        code = erasing_list_vault(clerk, host, &vaults[i], erased, reterr);
    return code;
}

/* First it begins the erase; looked at again after that was carried out, it finds all done. */
enum error_code handle_erase(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    struct erasing_vault vaults[VAULTS_MAXIMUM];
    size_t count = 0;
    bool is_final = false, are_done = true, is_host_done = true;
    enum error_code code = parse_vaults(job, vaults, &count, &is_final, reterr);
    for (size_t i = 0; !code && are_done && i < count; i++)
        code = erasing_is_done(clerk, host, &vaults[i], &are_done, reterr);
    if (!code && is_final)
        code = erasing_is_host_done(clerk, host, &is_host_done, reterr);
    if (code)
        return code;
    if (are_done && is_host_done)
        return tell_erased(clerk, job, host, vaults, count, is_final, reterr);
    if (job->has_begun)
        return error_set(reterr, ERR_FAILED, 0, "the erase is begun and could not be carried out");
    job->has_begun = true;
    job->outcome = JOB_ERASES;
    if (are_done && host->is_erased)
        return OK; /* an earlier one, which could not be carried out */
    const bool ends_host = is_final && !host->is_erased;
    code = ends_host ? OK : erasing_check_room(clerk, host, vaults, count, reterr);
    return code ? code
                : erasing_begin(clerk, host, ends_host ? ERASING_ALL : ERASING_VAULTS, vaults, count, NULL,
                                "the host", reterr);
}

enum error_code handle_unbind(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    struct keyslot keyslot = {0};
    enum error_code code = json_get_hex(job->object, "keyslot", keyslot.id, sizeof(keyslot.id), reterr);
    if (!code)
        code = keyslot_find(clerk, keyslot.id, &keyslot, reterr);
    if (!code && memcmp(keyslot.host, host->id, sizeof(keyslot.host)) != 0)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such keyslot");
    if (code)
        return code;
    if (keyslot.is_erased && !keyslot.has_scalar) {
        job->result = json_object();
        return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    if (job->has_begun)
        return error_set(reterr, ERR_FAILED, 0, "the erase is begun and could not be carried out");
    job->has_begun = true;
    job->outcome = JOB_ERASES;
    return keyslot.is_erased ? OK : erasing_begin_keyslot(clerk, host, keyslot.id, reterr);
}
