#include "render.h"

#include "run.h"

/* The remedy is said once for findings in a row that have the same. */
static enum error_code one_finding(const struct finding *finding, const struct finding *next,
                                   struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "  %s%s%s\n", finding->subject,
                                         *finding->subject ? ": " : "", finding->cause);
    if (!code && *finding->remedy && !(next && !strcmp(finding->remedy, next->remedy)))
        code = buffer_printf(text, reterr, "    what to do: %s\n", finding->remedy);
    return code;
}

/* The next one that blocks, or does not. */
static const struct finding *find_from(const struct finding_list *findings, size_t first, bool blocks)
{
    for (size_t i = first; i < findings->count; i++)
        if (findings->items[i].blocks == blocks)
            return &findings->items[i];
    return NULL;
}

static enum error_code some_findings(const struct finding_list *findings, size_t first, bool blocks,
                                     const char *heading, struct buffer *text, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = first; !code && i < findings->count; i++) {
        if (findings->items[i].blocks != blocks)
            continue;
        if (heading)
            code = buffer_printf(text, reterr, "%s\n", heading);
        heading = NULL;
        if (!code)
            code = one_finding(&findings->items[i], find_from(findings, i + 1, blocks), text, reterr);
    }
    return code;
}

enum error_code render_findings_text(const struct finding_list *findings, size_t first, struct buffer *text,
                                     struct error *reterr)
{
    enum error_code code = some_findings(findings, first, true, "in the way:", text, reterr);
    return code ? code : some_findings(findings, first, false, "to know:", text, reterr);
}

json_t *render_findings_json(const struct finding_list *findings)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        json_t *item = json_pack("{s:o, s:o, s:o, s:o}", "kind", json_text(finding->kind), "subject",
                                 json_text(finding->subject), "cause", json_text(finding->cause), "remedy",
                                 json_text(finding->remedy));
        if (json_array_append_new(array, item) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    if (array && findings->dropped) {
        json_t *item = json_pack("{s:s, s:s, s:s, s:s}", "kind", "more-findings", "subject", "", "cause",
                                 "there are more findings than are listed", "remedy", "");
        json_array_append_new(array, item);
    }
    return array;
}

json_t *render_error_json(const struct error *error)
{
    return json_pack("{s:s, s:o, s:o, s:o}", "code", error_word(error->code), "subject",
                     json_text(error->subject), "message", json_text(error->message), "remedy",
                     json_text(error->remedy));
}
