/* Verbs about what else opens vaults. */
#include "ask.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "table.h"

static enum error_code list(struct run *run, struct error *reterr)
{
    static const char *const columns[] = {"id", "host", "host_id", "kind", "place", "state", NULL};
    json_t *result, *copies, *silent, *host;
    _cleanup_(json_freep) json_t *shown = NULL;
    size_t i;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_array(result, "keycopies", SIZE_MAX, &copies, reterr);
    if (!code)
        code = json_get_array(result, "not_reported", SIZE_MAX, &silent, reterr);
    if (code)
        return code;
    shown = json_copy(copies);
    json_array_foreach(silent, i, host)
    {
        json_t *row = json_copy(host);
        if (json_object_set_new(row, "state", json_string("not reported yet")) != 0 ||
            json_array_append_new(shown, row) != 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    return table_show(run, shown, columns, "no key copy is known", reterr);
}

static enum error_code destroyed(struct run *run, struct error *reterr)
{
    static const char *const operands[] = {"keycopy", NULL};
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        report_truth(&run->report, "key copy %s is destroyed, as you declare",
                     text_shown(run->arguments.operands[0]));
    return code;
}

const struct verb verb_keycopy_list = {
    .name = "keycopy list",
    .operands = "",
    .summary = "List what can open vaults besides this authority.",
    .text =
        "Recovery keys, passphrases, keyfiles and their places, exported keyslots, other authorities, as the "
        "agents of the hosts report them. What a host had once stays listed (was reported): copies of its "
        "disk "
        "keep it. Of a host whose agent has never told, nothing is known: not reported yet.",
    .effect = VERB_READS,
    .act = list,
};

const struct verb verb_keycopy_destroyed = {
    .name = "keycopy destroyed",
    .operands = "ID",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Declare that a key copy is destroyed.",
    .text = "A declaration of the person who makes it, written down as one. ID is that of the list, or its "
            "beginning of at least four digits.",
    .effect = VERB_ACTS,
    .act = destroyed,
};
