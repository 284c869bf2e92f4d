#include "erase/authorities.h"

#include <fcntl.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "json/json.h"

enum { TOLD_MAXIMUM = 45000 };

static bool is_id(const json_t *item, const char *member, const uint8_t *id)
{
    const char *text = json_string_value(json_object_get(item, member));
    return text && !strcmp(text, client_id_shown(id));
}

/* The item of an authority and vault, made where there is none. NULL without memory. */
static json_t *item_of(struct erase_progress *progress, const uint8_t *authority, const uint8_t *vault)
{
    size_t index;
    json_t *item;
    json_array_foreach(progress->authorities, index, item)
    {
        if (is_id(item, "authority", authority) && is_id(item, "vault", vault))
            return item;
    }
    item = json_pack("{s:s, s:s, s:[], s:n}", "authority", client_id_shown(authority), "vault",
                     client_id_shown(vault), "keyslots", "answer");
    return json_array_append_new(progress->authorities, item) == 0 ? item : NULL;
}

static bool names_keyslot(const json_t *keyslots, const char *id)
{
    size_t index;
    json_t *item;
    json_array_foreach(keyslots, index, item)
    {
        if (json_is_string(item) && !strcmp(json_string_value(item), id))
            return true;
    }
    return false;
}

struct noting {
    const struct vault *vault;
    struct erase_progress *progress;
    int keyslots_fd;
};

/* Read as it lies there: vault.json may be unreadable, and then nothing says which vault it should be. */
static enum error_code note_keyslot(const char *name, void *context, struct error *reterr)
{
    struct noting *noting = context;
    _cleanup_(buffer_done) struct buffer bytes = {0};
    struct keyslot keyslot;
    if (file_read(noting->keyslots_fd, name, KEYSLOT_FILE_SIZE, &bytes, NULL) ||
        keyslot_parse((const uint8_t *)bytes.data, bytes.length, &keyslot, NULL) ||
        keyslot.kind != KEYSLOT_AUTHORITY)
        return OK;
    json_t *item = item_of(noting->progress, keyslot.authority.bytes, keyslot.vault.bytes);
    json_t *keyslots = json_object_get(item, "keyslots");
    const char *id = client_id_shown(keyslot.id.bytes);
    if (item && (names_keyslot(keyslots, id) || json_array_append_new(keyslots, json_string(id)) == 0))
        return OK;
    return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the erasing mark");
}

/* Whether keyslots of authorities are not here any more, so that the files do not tell which they were. */
static bool may_be_others(const struct vault *vault, const struct erase_progress *progress)
{
    if (vault->damage.code || !strcmp(progress->manifest, "changed"))
        return true;
    for (size_t i = 0; i < vault->key_copy_count; i++)
        if (vault->key_copies[i].kind == KEYSLOT_AUTHORITY && vault->key_copies[i].removed_unix_s)
            return true;
    return vault->key_copies_forgotten > 0;
}

static enum error_code note_known(const struct vault *vault, const struct client *client,
                                  struct erase_progress *progress, struct error *reterr)
{
    bool whole = true;
    if (vault->damage.code) /* which id it has cannot be told; those of keyslots are noted */
        return OK;
    for (size_t i = 0; i < vault->authority_count; i++)
        whole &= item_of(progress, vault->authorities[i].bytes, vault->id.bytes) != NULL;
    for (size_t i = 0; client && may_be_others(vault, progress) && i < client->pin_count; i++)
        whole &= item_of(progress, client->pins[i].id, vault->id.bytes) != NULL;
    return whole ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the erasing mark");
}

enum error_code erase_authorities_note(const struct vault *vault, const struct client *client,
                                       struct erase_progress *progress, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(vault->fd, VAULT_KEYSLOTS_NAME, &fd, NULL);
    struct noting noting = {vault, progress, fd};
    /* A directory that cannot be listed is told where its files are to be destroyed. */
    code = code ? OK : directory_list(fd, note_keyslot, &noting, reterr);
    return code ? code : note_known(vault, client, progress, reterr);
}

static enum error_code keep_answer(json_t *item, const struct erased *erased, const struct buffer *wire,
                                   struct error *reterr)
{
    json_t *keyslots = json_array(), *copies = json_array();
    json_t *answer =
        json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "order", client_id_shown(erased->order), "sequence",
                  (json_int_t)erased->sequence, "at", (json_int_t)erased->at_unix_s, "keyslots", keyslots,
                  "copies", copies, "signed", json_hex(wire->data, wire->length));
    for (size_t i = 0; answer && i <= ERASED_COPIES; i++) {
        const bool may_be = i < ERASED_COPIES ? erased->copies[i] : erased->other_copies;
        const char *word = i < ERASED_COPIES ? erased_copy_words[i] : "other";
        if (may_be && json_array_append_new(copies, json_string(word)) != 0) {
            json_decref(answer);
            answer = NULL;
        }
    }
    for (size_t i = 0; answer && i < erased->keyslot_count; i++)
        if (json_array_append_new(keyslots, json_string(client_id_shown(erased->keyslots[i]))) != 0) {
            json_decref(answer);
            answer = NULL;
        }
    return json_set_new(item, "answer", answer, reterr);
}

static enum error_code ask_one(struct client *client, json_t *item, bool *ret_answered,
                               struct finding_list *findings, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = STATEMENT_MAXIMUM};
    _cleanup_(erased_done) struct erased erased = {0};
    uint8_t authority[CLIENT_ID_SIZE], vault[CLIENT_ID_SIZE];
    struct error why = ERROR_NONE;
    *ret_answered = false;
    enum error_code code = json_get_hex(item, "authority", authority, sizeof(authority), &why);
    if (!code)
        code = json_get_hex(item, "vault", vault, sizeof(vault), &why);
    struct client_pin *pin = code || !client ? NULL : client_find(client, authority);
    int injected = code ? 0 : fault("erase.authority");
    if (injected)
        code = error_set(&why, ERR_FAILED, injected, "cannot ask the authority");
    if (!code && !pin)
        code = error_set(&why, ERR_NOT_FOUND, 0, "this host is not enrolled at the authority (any more)");
    if (!code)
        code = client_erase_vault(client, pin, vault, &wire, &erased, &why);
    if (!code) {
        (void)fault("erase.authority.answered");
        *ret_answered = true;
        return keep_answer(item, &erased, &wire, reterr);
    }
    finding_add(findings, FINDING_TELLS,
                code == ERR_CORRUPT ? "authority-not-believed" : "authority-not-reached",
                json_string_value(json_object_get(item, "authority")),
                pin ? "run the same command again when it answers"
                    : "have its administrator erase the host there: huskd host erase",
                "the authority has not destroyed its part of the vault as far as this host knows, and copies "
                "of the disk made before still open with its leave: %s",
                why.message);
    return OK;
}

/* An authority that does not know a keyslot destroyed nothing of it: a copy of its database may have it. */
static void compare(const json_t *item, struct erase_facts *facts, struct finding_list *findings)
{
    size_t index;
    json_t *id;
    const json_t *named = json_object_get(json_object_get(item, "answer"), "keyslots");
    json_array_foreach(json_object_get(item, "keyslots"), index, id)
    {
        if (names_keyslot(named, json_string_value(id)))
            continue;
        facts->copies_unknown = true;
        finding_add(findings, FINDING_TELLS, "keyslot-not-at-authority", json_string_value(id),
                    "destroy backups of that authority",
                    "the authority %.8s erased the vault, and knew nothing of this keyslot of it",
                    json_string_value(json_object_get(item, "authority")));
    }
}

enum error_code erase_authorities_ask(struct client *client, const struct vault *vault,
                                      struct erase_progress *progress, const struct report *report,
                                      struct erase_facts *facts, bool *ret_changed,
                                      struct finding_list *findings, struct error *reterr)
{
    size_t index;
    json_t *item;
    *ret_changed = false;
    json_array_foreach(progress->authorities, index, item)
    {
        bool answered = false;
        enum error_code code = OK;
        struct error why = ERROR_NONE;
        if (json_is_null(json_object_get(item, "answer")))
            code = ask_one(client, item, &answered, findings, reterr);
        if (code)
            return code;
        if (answered && erase_progress_write(vault, progress, &why))
            finding_add(
                findings, FINDING_TELLS, "progress-not-kept",
                json_string_value(json_object_get(item, "authority")),
                "keep this output, if the erase has to be run again; the authority answers again then",
                "the answer of the authority could not be noted on the disk: %s", why.message);
        if (answered)
            report_truth(report, "vault %s: the authority %.8s has destroyed what it had of it", vault->name,
                         json_string_value(json_object_get(item, "authority")));
        *ret_changed |= answered;
        if (json_is_null(json_object_get(item, "answer")))
            facts->authorities_open++;
        else
            compare(item, facts, findings);
    }
    return OK;
}

/* As much of the report as a message takes. */
static json_t *shorten(const struct buffer *report_json)
{
    static const char *const long_members[] = {"not_reached", "reported_by_host", "done_by_authority"};
    json_t *report = json_loadb(report_json->data, report_json->length, 0, NULL);
    for (size_t i = 0; report && i < ARRAY_SIZE(long_members); i++) {
        _cleanup_(buffer_done) struct buffer text = {.maximum = TOLD_MAXIMUM};
        if (json_format(report, &text, NULL) == OK)
            break;
        json_object_del(report, long_members[i]);
    }
    return report;
}

void erase_authorities_tell(struct client *client, const struct erase_progress *progress,
                            const struct buffer *report_json, struct finding_list *findings)
{
    size_t index;
    json_t *item;
    if (!client || !client_has_identity(client)) /* an erased host tells nothing any more */
        return;
    json_array_foreach(progress->authorities, index, item)
    {
        uint8_t authority[CLIENT_ID_SIZE], vault[CLIENT_ID_SIZE];
        struct error why = ERROR_NONE;
        if (json_get_hex(item, "authority", authority, sizeof(authority), NULL) ||
            json_get_hex(item, "vault", vault, sizeof(vault), NULL))
            continue;
        struct client_pin *pin = client_find(client, authority);
        json_t *report = pin ? shorten(report_json) : NULL;
        if (report && client_report_vault(client, pin, vault, "done", report, &why))
            finding_add(findings, FINDING_TELLS,
                        why.code == ERR_UNREACHABLE ? "report-not-told" : "report-refused",
                        client_id_shown(authority), why.remedy,
                        "the vault is erased, and the authority could not be told what this host did itself: "
                        "%s",
                        why.message);
    }
}
