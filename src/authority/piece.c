#include "authority/piece.h"

#include "authority/messages.h"
#include "authority/operations.h"

enum error_code piece_begin(struct clerk *clerk, struct error *reterr)
{
    enum error_code code = clerk->has_piece ? OK : sql_piece_begin(clerk->sql, reterr);
    clerk->has_piece |= !code;
    return code;
}

/* Before it is looked at again as well. */
static void forget_outcome(struct job *job)
{
    json_decref(TAKE(job->result));
    for (; job->evaluation_count > 0; job->evaluation_count--)
        secret_free(TAKE(job->evaluations[job->evaluation_count - 1].scalar));
    job_later_done(&job->later);
    job->outcome = JOB_ANSWERED;
    job->error = ERROR_NONE;
}

static void undo(struct clerk *clerk, bool has_written)
{
    clerk->is_lost |= clerk->has_new_keys;
    if (clerk->has_piece) {
        sql_piece_undo(clerk->sql);
        memset(&clerk->ledger, 0, sizeof(clerk->ledger));
    }
    /* SQLite may have undone all of it by itself. */
    clerk->is_lost |= (has_written && !clerk->has_piece) || !sql_has_transaction(clerk->sql);
}

static enum error_code call(struct clerk *clerk, struct job *job, struct error *reterr)
{
    const int64_t changes_before = sql_total_changes(clerk->sql);
    clerk->has_piece = clerk->has_new_keys = false;
    const bool is_open = job->kind == JOB_MESSAGE && job->type == MESSAGE_OPEN;
    enum error_code code = is_open ? OK : piece_begin(clerk, reterr);
    if (code)
        return code;
    code = job->kind == JOB_MESSAGE ? messages_handle(clerk, job, reterr)
                                    : operations_handle(clerk, job, reterr);
    if (code)
        undo(clerk, sql_total_changes(clerk->sql) != changes_before);
    else if (clerk->has_piece && (code = sql_piece_keep(clerk->sql, reterr)) != OK)
        clerk->is_lost = true; /* neither kept nor undone: nothing of this batch is */
    return code;
}

void piece_handle(struct clerk *clerk, struct job *job)
{
    struct error error = ERROR_NONE;
    const bool had_request = job->has_request, had_begun = job->has_begun;
    forget_outcome(job);
    enum error_code code = call(clerk, job, &error);
    if (!code)
        return;
    /* Whoever asked is not to blame: a host tries again. */
    const bool is_trouble = sql_take_trouble(clerk->sql) || code == ERR_FAILED;
    if (is_trouble)
        clerk_tell_trouble(clerk, &error);
    clerk->has_trouble |= is_trouble;
    job->outcome = is_trouble && job->kind == JOB_MESSAGE ? JOB_TRY_AGAIN : JOB_ANSWERED;
    job->error = error;
    job->error.code = code;
    job->has_request = had_request;
    job->has_begun = had_begun;
    json_decref(TAKE(job->result));
}
