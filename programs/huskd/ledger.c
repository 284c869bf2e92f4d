/* Verbs about the ledger, the record of every decision. */
#include "ask.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "out_file.h"
#include "table.h"

static enum error_code show(struct run *run, struct error *reterr)
{
    static const char *const columns[] = {"sequence", "at", "kind", "host", "actor", NULL};
    json_t *result, *entries;
    char nothing[64] = "the ledger is empty";
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_array(result, "entries", SIZE_MAX, &entries, reterr);
    const json_int_t last = code ? 0 : json_integer_value(json_object_get(result, "last"));
    if (last > 0)
        snprintf(nothing, sizeof(nothing), "the last entry of the ledger is %" JSON_INTEGER_FORMAT, last);
    return code ? code : table_show(run, entries, columns, nothing, reterr);
}

static enum error_code verify(struct run *run, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = object_show(run, result, reterr);
    if (!code)
        report_truth(&run->report, "every entry follows from the one before it; %s",
                     argument_given(&run->arguments, OPTION_CHECKPOINT)
                         ? "what the checkpoint saw is among them"
                         : "that none is gone from the end shows by a checkpoint kept elsewhere");
    return code;
}

static enum error_code export_ledger(struct run *run, struct error *reterr)
{
    const char *out = argument_value(&run->arguments, OPTION_OUT),
               *from = argument_value(&run->arguments, OPTION_FROM);
    _cleanup_(out_file_drop) struct out_file file = OUT_FILE_NONE;
    _cleanup_(json_freep) json_t *arguments = json_object();
    json_t *result;
    uint64_t first = 1;
    enum error_code code = from ? text_parse_u64(from, UINT32_MAX, &first, reterr) : OK;
    if (code)
        return error_prefix(reterr, "--from");
    if (!code)
        code = json_set_new(arguments, "from", json_integer((json_int_t)first), reterr);
    if (!code)
        code = out_file_make(out, &file, reterr);
    if (!code)
        code = ask_with_files(run, run->verb->name, arguments, &file.fd, 1, &result, reterr);
    if (!code)
        code = out_file_finish(&file, reterr);
    if (!code)
        report_truth(&run->report, "%s holds the ledger up to entry %lld", text_shown(out),
                     (long long)json_integer_value(json_object_get(result, "to")));
    return code;
}

const struct verb verb_ledger_export = {
    .name = "ledger export",
    .operands = "",
    .summary = "Write the record to a file, to be kept elsewhere.",
    .text =
        "As it was written, with a signed checkpoint of its end. Kept on another machine it shows what an "
        "authority did, whatever becomes of its disk, and tells huskd restore what happened since a backup.",
    .options = (const struct verb_option[]){{OPTION_OUT, ROLE_REQUIRED, NULL},
                                            {OPTION_FROM, ROLE_OPTIONAL, "from entry N on (default 1)"},
                                            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = export_ledger,
};

const struct verb verb_ledger_show = {
    .name = "ledger show",
    .operands = "",
    .summary = "Show the record of decisions.",
    .text = "Oldest first. With --json whole entries are printed.",
    .options = (const struct verb_option[]){{OPTION_FROM, ROLE_OPTIONAL, NULL},
                                            {OPTION_COUNT, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = show,
};

const struct verb verb_ledger_verify = {
    .name = "ledger verify",
    .operands = "",
    .summary = "Check that nothing was changed or taken out of the record.",
    .text = "Every entry carries a hash of all before it. That the end was not cut off shows only by a "
            "checkpoint "
            "kept elsewhere: hosts keep the highest they saw and report one that goes back.",
    .options = (const struct verb_option[]){{OPTION_CHECKPOINT, ROLE_OPTIONAL, NULL}, {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = verify,
};
