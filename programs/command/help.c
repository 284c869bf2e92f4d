#include "help.h"

#include "base/cleanup.h"
#include "program.h"
#include "run.h"

/* The verbs meant by the operands: "keyslot" alone means all that begin with it. */
static bool is_meant(const struct verb *verb, const struct arguments *arguments)
{
    const char *name = verb->name;
    for (size_t i = 0; i < arguments->operand_count; i++) {
        size_t length = strcspn(name, " ");
        if (strlen(arguments->operands[i]) != length || memcmp(arguments->operands[i], name, length))
            return false;
        name += length + (name[length] == ' ');
    }
    return true;
}

static enum error_code tell(struct run *run, const struct verb *verb, size_t number, struct buffer *text,
                            struct error *reterr)
{
    enum error_code code = number > 0 ? buffer_append(text, "\n", 1, reterr) : OK;
    if (!code)
        code = help_verb(verb, text, reterr);
    json_t *list = json_object_get(run->result, "verbs");
    if (!code && json_array_append_new(list, help_json(verb)) < 0)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return code;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    run_result(run, "verbs", json_array());
    size_t found = 0;
    for (size_t i = 0; program.verbs[i]; i++) {
        if (!is_meant(program.verbs[i], &run->arguments))
            continue;
        enum error_code code = tell(run, program.verbs[i], found++, &text, reterr);
        if (code)
            return code;
    }
    if (found == 0) {
        const struct verb *verb;
        size_t used;
        enum error_code code =
            verb_find(run->arguments.operands, run->arguments.operand_count, &verb, &used, reterr);
        return code ? code
                    : error_set(reterr, ERR_USAGE, 0, "%s help takes the name of one verb", program.name);
    }
    if (run->arguments.operand_count == 0) {
        buffer_done(&text);
        enum error_code code = help_overview(&text, reterr);
        if (code)
            return code;
    }
    run_text(run, "%s", text.data);
    return OK;
}

const struct verb verb_help = {
    .name = "help",
    .operands = "[VERB]",
    .operands_most = 2,
    .summary = "Tell what the verbs do and which options they take.",
    .text = "Without VERB all verbs are listed. With --json the whole table of verbs and their options is "
            "printed.",
    .needs = VERB_NEEDS_NOTHING,
    .effect = VERB_READS,
    .act = act,
};
