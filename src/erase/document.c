#include "erase/document.h"

#include "base/cleanup.h"
#include "json/json.h"

/* Said in every report, whatever it otherwise says. */
static const char *const limits[] = {
    "this host's own word: nobody else has checked it, and only the authorities' answers are signed",
    "husk does not see snapshots, backups or images of this disk; what it destroyed here stays in them",
    "a storage device may keep old blocks where no software reaches them",
    "no category of any standard is claimed",
};

static enum error_code set_vault(json_t *document, const struct vault *vault, struct error *reterr)
{
    json_t *object = json_object();
    enum error_code code = json_set_new(document, "vault", object, reterr);
    if (!code)
        code = json_set_new(object, "name", json_string(vault->name), reterr);
    if (!code && !vault->damage.code)
        code = json_set_hex(object, "id", vault->id.bytes, sizeof(vault->id.bytes), reterr);
    if (!code)
        code = json_set_hex(object, "filesystem", vault->filesystem->uuid, sizeof(vault->filesystem->uuid),
                            reterr);
    if (!code)
        code = json_set_hex(object, "key_identifier", vault->identifier.bytes,
                            sizeof(vault->identifier.bytes), reterr);
    return code;
}

static enum error_code set_host_part(json_t *document, const struct erase_progress *progress,
                                     const struct erase_outcome *outcome, struct error *reterr)
{
    json_t *object = json_object();
    enum error_code code = json_set_new(document, "reported_by_host", object, reterr);
    if (!code)
        code = json_set_new(object, "manifest", json_string(progress->manifest), reterr);
    if (!code)
        code = json_set_new(object, "keyslots", json_incref(progress->keyslots), reterr);
    if (!code)
        code = json_set_new(object, "journal", json_string(outcome->journal), reterr);
    if (!code)
        code = json_set_new(object, "kernel_key", json_string(outcome->kernel_key), reterr);
    if (!code)
        code = json_set_new(object, "steps_failed", json_integer((json_int_t)outcome->facts.steps_failed),
                            reterr);
    return code;
}

static enum error_code set_copies(json_t *document, const struct finding_list *findings, struct error *reterr)
{
    json_t *array = json_array();
    enum error_code code = json_set_new(document, "not_reached", array, reterr);
    for (size_t i = 0; i < findings->count && !code; i++) {
        const struct finding *finding = &findings->items[i];
        json_t *item = json_object();
        if (json_array_append_new(array, item) < 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the report");
        code = json_set_new(item, "kind", json_string(finding->kind), reterr);
        if (!code)
            code = json_set_new(item, "subject", json_string(finding->subject), reterr);
        if (!code)
            code = json_set_new(item, "cause", json_string(finding->cause), reterr);
        if (!code)
            code = json_set_new(item, "remedy", json_string(finding->remedy), reterr);
    }
    return code;
}

static enum error_code set_verdicts(json_t *document, const struct erase_facts *facts, struct error *reterr)
{
    json_t *object = json_object();
    json_t *array = json_array();
    enum error_code code = json_set_new(document, "verdicts", object, reterr);
    if (!code)
        code = json_set_new(object, "key_destruction",
                            json_string(erase_verdict_word(erase_judge_keys(facts))), reterr);
    if (!code)
        code = json_set_new(object, "plaintext_before_conversion",
                            json_string(erase_verdict_word(erase_judge_plaintext(facts))), reterr);
    if (!code)
        code = json_set_new(document, "limits", array, reterr);
    else
        json_decref(array);
    for (size_t i = 0; i < ARRAY_SIZE(limits) && !code; i++)
        if (json_array_append_new(array, json_string(limits[i])) < 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the report");
    return code;
}

static enum error_code set_time(json_t *document, const char *member, int64_t unix_s, struct error *reterr)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(unix_s, text);
    return json_set_new(document, member, json_string(text), reterr);
}

enum error_code erase_document_format(const struct vault *vault, const struct erase_progress *progress,
                                      const struct erase_outcome *outcome,
                                      const struct finding_list *findings, struct buffer *text,
                                      struct error *reterr)
{
    _cleanup_(json_freep) json_t *document = json_object();
    if (!document)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the report");
    enum error_code code = json_set_new(document, "schema", json_string("husk.erase-report/1"), reterr);
    if (!code)
        code = json_set_new(document, "signed", json_false(), reterr);
    if (!code)
        code = json_set_new(document, "husk", json_string(HUSK_VERSION), reterr);
    if (!code)
        code = set_vault(document, vault, reterr);
    if (!code)
        code = set_time(document, "started_at", progress->started_unix_s, reterr);
    if (!code)
        code = set_time(document, "finished_at", outcome->finished_unix_s, reterr);
    if (!code)
        code = json_set_new(document, "done_by_authority", json_incref(progress->authorities), reterr);
    if (!code)
        code = set_host_part(document, progress, outcome, reterr);
    if (!code)
        code = json_set_new(document, "declared_by_person", json_array(), reterr);
    if (!code)
        code = set_copies(document, findings, reterr);
    if (!code)
        code = set_verdicts(document, &outcome->facts, reterr);
    return code ? code : json_format(document, text, reterr);
}
