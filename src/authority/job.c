#include "authority/job.h"

#include <stdarg.h>

#include "base/text.h"

static const char TRY_AGAIN[] = "the authority cannot answer now: try again";

void job_later_done(struct job_later *later)
{
    if (later->context)
        later->free(later->context);
    *later = (struct job_later){0};
}

void job_free(struct job *job)
{
    if (!job)
        return;
    json_decref(job->result);
    json_decref(job->object);
    hpke_context_free(job->context);
    for (size_t i = 0; i < job->evaluation_count; i++)
        secret_free(job->evaluations[i].scalar);
    job_later_done(&job->later);
    free(job->checkpoint);
    free(job->wire);
    free(job);
}

enum error_code job_refuse(struct job *job, enum error_code code, const char *word, const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    error_set(&job->error, code, 0, "%s", message);
    job->wire_word = word;
    return OK;
}

void job_answer_plain(struct job *job, enum answer_kind kind, const void *bytes, size_t length)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = MESSAGE_MAXIMUM};
    /* Without memory even for this the peer gets an empty body, which is no answer: it tries again. */
    enum error_code code = answer_plain(kind, bytes, length, &wire, NULL);
    job->answer(job->answer_context, code ? "" : wire.data, code ? 0 : wire.length, job->in_vain);
    job_free(job);
}

/* docs/protocol.md, "Errors". NULL: nothing was decided, the host tries again. */
static const char *wire_word(const struct job *job)
{
    static const char *const words[ERROR_CODES] = {
        [ERR_CORRUPT] = "bad-message", [ERR_USAGE] = "bad-message",
        [ERR_CHANGED] = "stale-nonce", [ERR_LOCKED] = "held",
        [ERR_ERASED] = "erased",       [ERR_NOT_FOUND] = "not-found",
        [ERR_DENIED] = "denied",       [ERR_EXISTS] = "denied",
        [ERR_BUSY] = "busy",           [ERR_UNSUPPORTED] = "unsupported",
    };
    return job->wire_word ? job->wire_word : words[job->error.code];
}

static enum error_code evaluate(struct job *job, struct error *reterr)
{
    if (job->evaluation_count == 0)
        return OK;
    json_t *evaluated = json_array();
    enum error_code code = json_set_new(job->result, "evaluated", evaluated, reterr);
    for (size_t i = 0; !code && i < job->evaluation_count; i++) {
        const struct job_evaluation *evaluation = &job->evaluations[i];
        uint8_t element[OPRF_ELEMENT_SIZE];
        char text[2 * OPRF_ELEMENT_SIZE + 1];
        if (evaluation->scalar)
            code = oprf_evaluate(evaluation->scalar, evaluation->blinded, element, reterr);
        if (code)
            break;
        if (evaluation->scalar)
            text_format_hex(text, element, sizeof(element));
        if (json_array_append_new(evaluated, evaluation->scalar ? json_string(text) : json_null()) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    return code;
}

/* {"code":…,"message":…, and a result of its own}. */
static enum error_code format_error(const struct job *job, struct buffer *text, struct error *reterr)
{
    _cleanup_(json_freep) json_t *error =
        json_pack("{s:s, s:s}", "code", wire_word(job), "message", job->error.message);
    if (!error || (job->result && json_object_update(error, job->result) != 0))
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = buffer_printf(text, reterr, ",\"error\":");
    return code ? code : json_format(error, text, reterr);
}

static enum error_code append(struct buffer *text, const char *before, const char *hex, struct error *reterr)
{
    enum error_code code = buffer_append(text, before, strlen(before), reterr);
    return code ? code : buffer_append(text, hex, strlen(hex), reterr);
}

/* The answer: docs/protocol.md, "all answers". An error may bring a result of its own (erased). What is
 * hexadecimal goes as it is: most of it is the checkpoint. */
static enum error_code format(const struct job *job, struct buffer *text, struct error *reterr)
{
    char id[2 * MESSAGE_ID_SIZE + 1];
    text_format_hex(id, job->id, sizeof(job->id));
    enum error_code code = append(text, "{\"id\":\"", id, reterr);
    if (!code && job->has_nonce)
        code = append(text, "\",\"nonce\":\"", job->nonce, reterr);
    if (!code)
        code = append(text, "\",\"checkpoint\":{\"signed\":\"", job->checkpoint, reterr);
    if (!code)
        code = append(text, "\"}", "", reterr);
    if (!code && job->error.code) {
        code = format_error(job, text, reterr);
    } else if (!code) {
        code = append(text, ",\"result\":", "", reterr);
        if (!code)
            code = json_format(job->result, text, reterr);
    }
    return code ? code : buffer_append(text, "}", 1, reterr);
}

void job_answer(struct job *job)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = MESSAGE_MAXIMUM};
    _cleanup_(buffer_done) struct buffer text = {.maximum = MESSAGE_MAXIMUM};
    struct error error = ERROR_NONE;
    enum error_code code = OK;
    if (job->outcome == JOB_TRY_AGAIN || !job->checkpoint || (job->error.code && !wire_word(job)))
        code = ERR_BUSY;
    if (!code && !job->error.code && !job->result) {
        job->result = json_object();
        code = job->result ? OK : ERR_NO_MEMORY;
    }
    if (!code && !job->error.code)
        code = evaluate(job, &error);
    if (!code)
        code = format(job, &text, &error);
    if (!code)
        code = answer_seal_text(text.data, text.length, job->context, &wire, &error);
    if (code) {
        job_answer_plain(job, ANSWER_TRY_AGAIN, TRY_AGAIN, sizeof(TRY_AGAIN) - 1);
        return;
    }
    job->answer(job->answer_context, wire.data, wire.length, job->in_vain);
    job_free(job);
}

void job_finish_operation(struct job *job)
{
    pthread_mutex_lock(job->mutex);
    job->is_done = true;
    pthread_cond_signal(job->done);
    pthread_mutex_unlock(job->mutex);
}
