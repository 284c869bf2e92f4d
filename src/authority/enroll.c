#include <sodium.h>

#include "authority/messages.h"
#include "authority/record.h"
#include "base/sure.h"
#include "base/text.h"

struct enrolment {
    uint8_t token_hash[crypto_hash_sha256_BYTES];
    const char *name;
    uint8_t identity[HPKE_KEY_SIZE];
    int64_t group_id;
    bool was_used;
    uint8_t used_by[MESSAGE_HOST_ID_SIZE];
};

static enum error_code parse(struct job *job, struct enrolment *enrolment, struct error *reterr)
{
    uint8_t token[16];
    enum error_code code = json_get_hex(job->object, "token", token, sizeof(token), reterr);
    if (!code)
        code = json_get_string(job->object, "name", &enrolment->name, reterr);
    if (!code)
        code = json_get_hex(job->object, "identity", enrolment->identity, HPKE_KEY_SIZE, reterr);
    if (!code && !host_name_is_valid(enrolment->name))
        code = error_set(reterr, ERR_CORRUPT, 0, HOST_NAME_RULE);
    if (!code)
        sure(crypto_hash_sha256(enrolment->token_hash, token, sizeof(token)));
    return code;
}

/* One refusal for tokens that are unknown, expired or used: a guess learns nothing. */
static enum error_code refuse_token(struct error *reterr)
{
    return error_set(reterr, ERR_DENIED, 0, "this token is not known here, has expired or was used");
}

static enum error_code find_token(struct clerk *clerk, struct enrolment *enrolment, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    int64_t expires_at = 0;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, "SELECT group_id, expires_at, host FROM tokens WHERE hash = ?",
                   "b", enrolment->token_hash, sizeof(enrolment->token_hash));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there) {
        enrolment->group_id = sql_integer(&rows, 0);
        expires_at = sql_integer(&rows, 1);
        enrolment->was_used = sql_bytes(&rows, 2, enrolment->used_by, sizeof(enrolment->used_by));
    }
    sql_done(&rows);
    if (code)
        return code;
    const bool is_valid = is_there && (enrolment->was_used || clerk->now_unix_s < expires_at);
    return is_valid ? OK : refuse_token(reterr);
}

/* A token that was used gives its host the same answer again, and nobody else anything. */
static enum error_code find_used(struct clerk *clerk, const struct enrolment *enrolment,
                                 struct host *ret_host, struct error *reterr)
{
    struct host host;
    enum error_code code = host_find(clerk, enrolment->used_by, &host, reterr);
    if (code)
        return code;
    if (memcmp(host.identity, enrolment->identity, HPKE_KEY_SIZE) != 0)
        return refuse_token(reterr);
    *ret_host = host;
    return OK;
}

/* A host that is known by its identity stays what it is, under the name it has here, whatever it calls
 * itself: people may have given it another one. Another identity does not get the name of a host; an
 * administrator makes it free by erasing or renaming that. */
static enum error_code find_known(struct clerk *clerk, const struct enrolment *enrolment,
                                  struct host *ret_host, bool *ret_is_known, struct error *reterr)
{
    struct host host;
    enum error_code code = host_find_by_identity(clerk, enrolment->identity, &host, reterr);
    if (!code && host.is_erased)
        return error_set(reterr, ERR_DENIED, 0, "this host is erased: enrol it anew, with a new identity");
    if (!code) {
        *ret_host = host;
        *ret_is_known = true;
    }
    if (code != ERR_NOT_FOUND)
        return code;
    code = host_find_by_name(clerk, enrolment->name, &host, reterr);
    if (!code && !host.is_erased)
        return error_set(reterr, ERR_DENIED, 0,
                         "a host of this name is enrolled with another identity: the name is free when that "
                         "host is erased (huskd host erase) or renamed");
    return code == ERR_NOT_FOUND ? OK : code;
}

static enum error_code make_host(struct clerk *clerk, const struct job *job,
                                 const struct enrolment *enrolment, struct host *ret_host,
                                 struct error *reterr)
{
    struct host host = {.group_id = enrolment->group_id, .created_at_unix_s = clerk->now_unix_s};
    clerk_draw_id(clerk, host.id);
    snprintf(host.name, sizeof(host.name), "%s", enrolment->name);
    memcpy(host.identity, enrolment->identity, sizeof(host.identity));
    json_t *details = record_of_host(host.id);
    enum error_code code = host_insert(clerk, &host, reterr);
    if (!code)
        code = json_set_new(details, "name", json_string(host.name), reterr);
    if (!code)
        code = json_set_hex(details, "identity", host.identity, sizeof(host.identity), reterr);
    if (!code)
        code = json_set_new(details, "address", json_string(job->peer), reterr);
    if (!code)
        code = record_append(clerk, "host-enrolled", TAKE(details), reterr);
    json_decref(details);
    if (!code)
        code = presence_add(&clerk->presence, host.id, host.identity, reterr);
    if (!code)
        *ret_host = host;
    return code;
}

static enum error_code format_result(struct clerk *clerk, struct job *job, const struct host *host,
                                     struct error *reterr)
{
    memcpy(job->host, host->id, sizeof(job->host));
    job->result = json_object();
    enum error_code code = json_set_hex(job->result, "host", host->id, sizeof(host->id), reterr);
    if (!code)
        code = json_set_hex(job->result, "descriptor", (const uint8_t *)clerk->face->bytes.data,
                            clerk->face->bytes.length, reterr);
    return code;
}

enum error_code handle_enroll(struct clerk *clerk, struct job *job, struct host *unused, struct error *reterr)
{
    (void)unused;
    struct enrolment enrolment = {0};
    struct host host = {0};
    bool is_known = false;
    enum error_code code = parse(job, &enrolment, reterr);
    if (!code)
        code = find_token(clerk, &enrolment, reterr);
    if (!code && enrolment.was_used)
        code = find_used(clerk, &enrolment, &host, reterr);
    else if (!code)
        code = find_known(clerk, &enrolment, &host, &is_known, reterr);
    if (!code && !enrolment.was_used && !is_known)
        code = make_host(clerk, job, &enrolment, &host, reterr);
    if (!code && !enrolment.was_used)
        code = sql_run(clerk->sql, reterr, "UPDATE tokens SET host = ? WHERE hash = ?", "bb", host.id,
                       sizeof(host.id), enrolment.token_hash, sizeof(enrolment.token_hash));
    job->in_vain = code || enrolment.was_used;
    return code ? code : format_result(clerk, job, &host, reterr);
}
