/* What a host says of itself: what it carried out, and what else opens its vaults. */
#include <sodium.h>

#include "authority/erasing.h"
#include "authority/keycopies.h"
#include "authority/messages.h"
#include "authority/orders.h"
#include "authority/record.h"
#include "base/fault.h"
#include "base/sure.h"

enum { REPORT_MAXIMUM = 49152, OUTCOME_MAXIMUM = 32 };

/* Its place in the ledger is by hash: reports are long, and the ledger is for ever. */
static enum error_code record_done(struct clerk *clerk, const struct host *host, const char *kind,
                                   const char *subject, const uint8_t *id, const char *outcome,
                                   const struct buffer *report, struct error *reterr)
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    json_t *details = record_of_host(host->id);
    sure(crypto_hash_sha256(hash, (const uint8_t *)report->data, report->length));
    enum error_code code = json_set_new(details, subject, record_hex(id), reterr);
    if (!code)
        code = json_set_new(details, "outcome", json_string(outcome), reterr);
    if (!code)
        code = json_set_hex(details, "report_sha256", hash, sizeof(hash), reterr);
    if (!code)
        code = record_append(clerk, kind, TAKE(details), reterr);
    json_decref(details);
    return code;
}

/* What was in use keeps its key in memory: a boot that finishes the erase of an earlier one is not believed
 * while that may still run. A copy of the disk would say so beside it. */
static enum error_code get_may_another_run(struct clerk *clerk, struct job *job, const struct host *host,
                                           bool *ret_may_run, struct error *reterr)
{
    uint8_t boot[POLICY_TOKEN_SIZE];
    const struct presence_host *known = presence_find(&clerk->presence, host->id);
    if (!json_object_get(job->object, "boot"))
        return OK;
    enum error_code code = message_get_boot(job, boot, reterr);
    if (!code)
        *ret_may_run =
            known && presence_may_another_run(known, boot, clerk->now_ns) && !fault("authority.done.silent");
    return code;
}

/* An erase that was not carried out whole stays an order; a lock that met open files is over. What an old
 * copy of the host's disk did, the host itself did not. */
static enum error_code take_order(struct clerk *clerk, struct job *job, const struct host *host, bool is_copy,
                                  const uint8_t *id, const char *outcome, const struct buffer *report,
                                  struct error *reterr)
{
    enum order_action action = ORDER_LOCK;
    enum error_code code = order_get_action(clerk, host, id, &action, reterr);
    if (code)
        return code;
    if (is_copy)
        return record_done(clerk, host, "done-by-copy", "order", id, outcome, report, reterr);
    bool changed = false, another_may_run = false;
    if (action == ORDER_ERASE && !strcmp(outcome, "done"))
        code = get_may_another_run(clerk, job, host, &another_may_run, reterr);
    if (code)
        return code;
    if (another_may_run)
        return job_refuse(
            job, ERR_LOCKED, "waits",
            "an earlier boot of this host may still run, with a key in memory: switch it off; its "
            "answer is taken when nothing was heard of it for three minutes");
    const bool is_done = action != ORDER_ERASE || !strcmp(outcome, "done");
    code = order_report(clerk, host, id, is_done ? ORDER_DONE : ORDER_REPORTED, outcome, report->data,
                        &changed, reterr);
    return code || !changed ? code : record_done(clerk, host, "done", "order", id, outcome, report, reterr);
}

static enum error_code take_vault(struct clerk *clerk, const struct host *host, bool is_copy,
                                  const struct erasing_vault *vault, const char *outcome,
                                  const struct buffer *report, struct error *reterr)
{
    bool is_erased = false;
    enum error_code code = erasing_is_done(clerk, host, vault, &is_erased, reterr);
    if (!code && !is_erased)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "this vault is not erased here");
    if (!code && is_copy)
        return record_done(clerk, host, "done-by-copy", "vault", vault->id, outcome, report, reterr);
    if (!code)
        code = sql_run(
            clerk->sql, reterr,
            "UPDATE erased_vaults SET report = ?1 WHERE host = ?2 AND vault = ?3 AND report IS NOT ?1", "tbb",
            report->data, host->id, sizeof(host->id), vault->id, sizeof(vault->id));
    if (code || sql_changes(clerk->sql) == 0)
        return code;
    return record_done(clerk, host, "done", "vault", vault->id, outcome, report, reterr);
}

/* Of a host that was not heard since this authority was restored the lineage tells nothing. */
static enum error_code get_is_copy(struct clerk *clerk, struct job *job, const struct host *host,
                                   bool *ret_is_copy, struct error *reterr)
{
    uint8_t token[POLICY_TOKEN_SIZE];
    bool has_token = false, is_unheard = false;
    enum error_code code = message_get_lineage(job, token, &has_token, reterr);
    if (!code)
        code = sql_exists(clerk->sql, &is_unheard, reterr, "SELECT 1 FROM restored_hosts WHERE host = ?", "b",
                          host->id, sizeof(host->id));
    if (!code)
        *ret_is_copy = !is_unheard && policy_lineage_compare(&host->lineage, has_token ? token : NULL) ==
                                          POLICY_LINEAGE_STALE;
    return code;
}

enum error_code handle_done(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = REPORT_MAXIMUM};
    struct erasing_vault subject = {0}; /* or an order: both have ids of that size */
    const bool is_order = json_object_get(job->object, "order") != NULL;
    json_t *report = NULL;
    const char *outcome = NULL;
    bool is_copy = false;
    enum error_code code =
        json_get_hex(job->object, is_order ? "order" : "vault", subject.id, sizeof(subject.id), reterr);
    if (!code)
        code = json_get_string(job->object, "outcome", &outcome, reterr);
    if (!code && strlen(outcome) > OUTCOME_MAXIMUM)
        code = error_set(reterr, ERR_CORRUPT, 0, "an outcome of %zu bytes", strlen(outcome));
    if (!code)
        code = json_get_object(job->object, "report", &report, reterr);
    if (!code && json_format(report, &text, reterr))
        code = error_set(reterr, ERR_CORRUPT, 0, "a report that is too long");
    if (!code)
        code = get_is_copy(clerk, job, host, &is_copy, reterr);
    if (!code)
        code = is_order ? take_order(clerk, job, host, is_copy, subject.id, outcome, &text, reterr)
                        : take_vault(clerk, host, is_copy, &subject, outcome, &text, reterr);
    return code;
}

enum error_code handle_keycopies(struct clerk *clerk, struct job *job, struct host *host,
                                 struct error *reterr)
{
    json_t *copies = NULL;
    enum error_code code = json_get_array(job->object, "copies", KEYCOPIES_MAXIMUM, &copies, reterr);
    return code ? code : keycopies_take(clerk, host, copies, reterr);
}
