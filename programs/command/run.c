#include "run.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "place.h"
#include "program.h"
#include "render.h"

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    _cleanup_(buffer_done) struct buffer escaped = {0};
    if (text_escape(&escaped, text, strlen(text), NULL))
        return NULL;
    return json_string(escaped.data ? escaped.data : "");
}

static void on_stage(void *context, const char *name, uint64_t total_files, uint64_t total_bytes)
{
    progress_stage(&((struct run *)context)->progress, name, total_files, total_bytes);
}

static void on_advance(void *context, uint64_t files, uint64_t bytes)
{
    progress_advance(&((struct run *)context)->progress, files, bytes);
}

static void on_truth(void *context, const char *line)
{
    struct run *run = context;
    _cleanup_(buffer_done) struct buffer placed = {0};
    bool is_placed = place_in_text(line, run->place, &placed, NULL) == OK;
    if (is_placed && run->beside)
        is_placed = buffer_printf(&placed, NULL, " (filesystem at %s)", text_shown(run->beside)) == OK;
    pthread_mutex_lock(&run->truth_mutex);
    json_array_append_new(run->truths, json_text(is_placed ? placed.data : line));
    pthread_mutex_unlock(&run->truth_mutex);
}

static void on_warning(void *context, const char *line)
{
    char whole[1200];
    snprintf(whole, sizeof(whole), "warning: %s", line);
    progress_message(&((struct run *)context)->progress, whole);
}

enum error_code run_init(struct run *run, struct error *reterr)
{
    *run = (struct run){.result = json_object(), .truths = json_array()};
    pthread_mutex_init(&run->truth_mutex, NULL);
    progress_begin(&run->progress);
    run->report = (struct report){on_stage, on_advance, on_truth, on_warning, run};
    if (!run->result || !run->truths)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return OK;
}

void run_done(struct run *run)
{
    arguments_done(&run->arguments);
    free(run->at);
    free(run->place);
    json_decref(run->result);
    json_decref(run->truths);
    finding_list_done(&run->findings);
}

void run_flush(struct run *run)
{
    if (fflush(stdout) != 0 && !run->output_errno)
        run->output_errno = errno;
}

void run_text(struct run *run, const char *format, ...)
{
    if (run->json)
        return;
    progress_end(&run->progress);
    va_list arguments;
    va_start(arguments, format);
    if (vprintf(format, arguments) < 0 && !run->output_errno)
        run->output_errno = errno;
    va_end(arguments);
}

void run_result(struct run *run, const char *member, json_t *value)
{
    /* Out of memory: the member is missing, and the document cannot be made either. */
    json_object_set_new(run->result, member, value);
}

const char *run_place(const struct run *run)
{
    return run->place ? run->place : "";
}

static void place_findings(struct run *run)
{
    place_in_findings(&run->findings, run->findings_placed, run->place);
    run->findings_placed = run->findings.count;
}

void run_show_findings(struct run *run)
{
    place_findings(run);
    _cleanup_(buffer_done) struct buffer text = {0};
    if (!render_findings_text(&run->findings, run->findings_shown, &text, NULL) && text.length)
        run_text(run, "%s", text.data);
    run->findings_shown = run->findings.count;
    if (run->findings.dropped)
        run_text(run, "and %zu findings more\n", run->findings.dropped);
    run_flush(run);
}

bool run_can_ask(const struct run *run)
{
    (void)run;
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

enum error_code run_ask(struct run *run, const char *question, bool *ret_yes, struct error *reterr)
{
    char answer[16] = "";
    size_t length = 0;
    run_flush(run);
    progress_end(&run->progress);
    fprintf(stderr, "%s [y/N] ", question);
    for (;;) {
        char byte;
        ssize_t got = interrupt_wait_readable(STDIN_FILENO) ? read(STDIN_FILENO, &byte, 1) : -1;
        if (got < 0 && errno == EINTR && !interrupt_requested())
            continue;
        if (got <= 0) {
            fputc('\n', stderr);
            return error_set(reterr, ERR_INTERRUPTED, 0, "no answer");
        }
        if (byte == '\n')
            break;
        if (length + 1 < sizeof(answer))
            answer[length++] = byte;
    }
    *ret_yes = !strcasecmp(answer, "y") || !strcasecmp(answer, "yes");
    return OK;
}

static void write_error(const struct error *error)
{
    fprintf(stderr, "%s: %s\n", program.name, error->message);
    if (error->remedy[0])
        fprintf(stderr, "  what to do: %s\n", error->remedy);
}

/* Text at the end: findings, then what is true now. */
static void write_text(struct run *run)
{
    run_show_findings(run);
    size_t index;
    json_t *line;
    json_array_foreach(run->truths, index, line) run_text(run, "%s\n", json_string_value(line));
}

static enum error_code make_document(struct run *run, const struct error *error, struct buffer *text,
                                     struct error *reterr)
{
    char schema[48];
    place_findings(run);
    snprintf(schema, sizeof(schema), "%s.%s/1", program.name,
             run->verb ? verb_schema_word(run->verb) : "usage");
    json_t *document = json_pack("{s:s, s:b, s:O, s:o?, s:o?}", "schema", schema, "changed", run->changed,
                                 "result", run->result, "findings", render_findings_json(&run->findings),
                                 "error", error ? render_error_json(error) : json_null());
    char *dumped = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (!dumped)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory for the JSON document");
    enum error_code code = buffer_printf(text, reterr, "%s\n", dumped);
    free(dumped);
    return code;
}

/* Everything is out on standard output, or what went wrong. */
static enum error_code flush_output(struct run *run, struct error *reterr)
{
    run_flush(run);
    if (run->output_errno || ferror(stdout))
        return error_set(reterr, ERR_FAILED, run->output_errno, "cannot write to standard output");
    return OK;
}

int run_finish(struct run *run, enum error_code code, const struct error *error)
{
    progress_end(&run->progress);
    struct error placed = *error;
    place_in_error(&placed, run->place);
    struct error output_error = ERROR_NONE;
    enum error_code output_code = OK;
    if (run->json) {
        _cleanup_(buffer_done) struct buffer text = {0};
        output_code = make_document(run, code ? &placed : NULL, &text, &output_error);
        if (!output_code && fwrite(text.data, 1, text.length, stdout) != text.length)
            run->output_errno = errno;
    } else {
        write_text(run);
    }
    if (!output_code)
        output_code = flush_output(run, &output_error);
    if (code)
        write_error(&placed);
    if (output_error.os_errno == EPIPE) {
        /* The reader has gone: end as programs do that do not ignore SIGPIPE. */
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    } else if (output_code) {
        write_error(&output_error);
    }
    return code ? error_exit_status(code) : output_code ? error_exit_status(ERR_FAILED) : 0;
}
