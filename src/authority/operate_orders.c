/* Operations that a running host has to carry out too. */
#include "authority/erasing.h"
#include "authority/operations.h"
#include "authority/orders.h"

static enum error_code order_result(struct job *job, const struct host *host, const uint8_t *id,
                                    struct error *reterr)
{
    enum error_code code = operation_name_host(job, host, reterr);
    return code ? code : json_set_hex(job->result, "order", id, STATEMENT_ID_SIZE, reterr);
}

enum error_code operation_host_lock(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    uint8_t id[STATEMENT_ID_SIZE];
    char actor[OPERATION_ACTOR_SIZE];
    enum error_code code = operation_find_host(clerk, job, &host, reterr);
    if (!code && host.is_erased)
        code = error_set(reterr, ERR_ERASED, 0, "host %s is erased", host.name);
    if (code)
        return code;
    operation_actor(job, actor);
    code = order_find_open(clerk, &host, ORDER_LOCK, id, reterr);
    if (code == ERR_NOT_FOUND) {
        code = order_insert(clerk, &host, ORDER_LOCK, actor, id, reterr);
        job->changed = !code;
    }
    return code ? code : order_result(job, &host, id, reterr);
}

static enum error_code tell_erased(struct clerk *clerk, struct job *job, const struct host *host,
                                   struct error *reterr)
{
    json_t *erased = NULL;
    job->changed = job->has_begun;
    enum error_code code = erasing_list(clerk, host, &erased, reterr);
    if (!code)
        code = operation_name_host(job, host, reterr);
    if (code) {
        json_decref(erased);
        return code;
    }
    return json_set_new(job->result, "erased", erased, reterr);
}

/* The scalars go at once; what lies on the host's own disk goes when it hears of the order. */
static enum error_code begin(struct clerk *clerk, struct job *job, const struct host *host,
                             struct error *reterr)
{
    char actor[OPERATION_ACTOR_SIZE];
    uint8_t id[STATEMENT_ID_SIZE];
    operation_actor(job, actor);
    job->has_begun = true;
    job->outcome = JOB_ERASES;
    if (host->is_erased)
        return OK;
    enum error_code code = order_insert(clerk, host, ORDER_ERASE, actor, id, reterr);
    return code ? code : erasing_begin(clerk, host, ERASING_ALL, NULL, 0, id, actor, reterr);
}

enum error_code operation_host_erase(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct host host;
    bool is_done = false;
    const char *confirm;
    enum error_code code = operation_find_host(clerk, job, &host, reterr);
    if (!code)
        code = argument_text(job, "confirm", &confirm, reterr);
    if (!code && strcmp(confirm, json_string_value(json_object_get(job->arguments, "host"))) != 0)
        code = error_set(reterr, ERR_USAGE, 0, "nothing is erased: confirm is not the host that is named");
    if (!code)
        code = erasing_is_host_done(clerk, &host, &is_done, reterr);
    if (code)
        return code;
    if (is_done)
        return tell_erased(clerk, job, &host, reterr);
    if (job->has_begun)
        return error_set(
            reterr, ERR_INCOMPLETE, 0,
            "host %s opens nothing any more, and its scalars could not be destroyed yet: it is tried "
            "again at the next erase and at every start",
            host.name);
    return begin(clerk, job, &host, reterr);
}
