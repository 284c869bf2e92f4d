#include "render_vault.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "command/amount.h"
#include "held.h"
#include "json/json.h"

const char *keyslot_id_text(char out[KEYSLOT_ID_TEXT_SIZE], const struct keyslot_id *id)
{
    text_format_hex(out, id->bytes, sizeof(id->bytes));
    return out;
}

static const char *authority_text(char out[KEYSLOT_ID_TEXT_SIZE], const struct keyslot *keyslot)
{
    text_format_hex(out, keyslot->authority.bytes, sizeof(keyslot->authority.bytes));
    return out;
}
#define authority_shown(keyslot) authority_text((char[KEYSLOT_ID_TEXT_SIZE]){0}, (keyslot))

static json_t *time_json(int64_t unix_s)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(unix_s, text);
    return json_string(text);
}

struct keyslot_listing {
    struct run *run;
    const struct vault *vault;
    const char *indent;
    json_t *array;
};

static bool is_recorded(const struct vault *vault, const struct keyslot_id *id)
{
    for (size_t i = 0; i < vault->keyslot_count; i++)
        if (!memcmp(&vault->keyslots[i], id, sizeof(*id)))
            return true;
    return false;
}

const struct vault_key_copy *vault_key_copy_of(const struct vault *vault, const struct keyslot_id *id)
{
    for (size_t i = 0; i < vault->key_copy_count; i++)
        if (!memcmp(&vault->key_copies[i].id, id, sizeof(*id)))
            return &vault->key_copies[i];
    return NULL;
}

static enum error_code list_keyslot(const struct keyslot_id *id, const struct keyslot *keyslot,
                                    const struct error *why, void *context, struct error *reterr)
{
    struct keyslot_listing *listing = context;
    if (!keyslot && listing->vault->mark != VAULT_ACTIVE)
        return OK; /* destroyed, as it should be */
    const char *id_text = keyslot_id_shown(id);
    const char *kind = keyslot ? keyslot_kind_word(keyslot->kind) : "unreadable";
    char created[CLOCK_TEXT_SIZE] = "";
    if (keyslot)
        clock_format(keyslot->created_unix_s, created);
    bool recorded = is_recorded(listing->vault, id);
    const bool is_authority = keyslot && keyslot->kind == KEYSLOT_AUTHORITY;
    const struct vault_key_copy *copy = vault_key_copy_of(listing->vault, id);
    const int64_t exported_unix_s = copy ? copy->exported_unix_s : 0;
    char exported[CLOCK_TEXT_SIZE] = "";
    if (exported_unix_s)
        clock_format(exported_unix_s, exported);
    run_text(listing->run, "%s%s  %-10s  %s%s%.8s%s%s%s\n", listing->indent, id_text, kind, created,
             is_authority ? "  at " : "", is_authority ? authority_shown(keyslot) : "",
             exported_unix_s ? "  exported " : "", exported, recorded ? "" : "  not recorded");
    if (!keyslot)
        finding_add(&listing->run->findings, FINDING_TELLS, "keyslot-unreadable", id_text, why->remedy, "%s",
                    why->message);
    else if (!keyslot_is_whole(keyslot))
        finding_add(&listing->run->findings, FINDING_TELLS, "keyslot-damaged", id_text,
                    "add another keyslot, then remove this one",
                    "it is not as husk wrote it: no key may open it any more");
    else if (!recorded)
        finding_add(&listing->run->findings, FINDING_TELLS, "keyslot-unrecorded", id_text,
                    "where nobody is adding it just now: husk keyslot remove",
                    "the manifest of vault %s does not name this keyslot", listing->vault->name);
    json_t *item = json_pack("{s:s, s:s, s:o, s:o}", "id", id_text, "kind", kind, "created",
                             keyslot ? time_json(keyslot->created_unix_s) : json_null(), "exported",
                             exported_unix_s ? time_json(exported_unix_s) : json_null());
    if (keyslot && keyslot->kind == KEYSLOT_AUTHORITY)
        json_object_set_new(item, "authority", json_string(authority_shown(keyslot)));
    if (json_array_append_new(listing->array, item) < 0)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return OK;
}

enum error_code vault_show_keyslots(struct run *run, const struct vault *vault, const char *indent,
                                    json_t **ret_keyslots, struct error *reterr)
{
    struct keyslot_listing listing = {run, vault, indent, json_array()};
    enum error_code code = vault_each_keyslot(vault, list_keyslot, &listing, reterr);
    if (code) {
        json_decref(listing.array);
        return code;
    }
    *ret_keyslots = listing.array;
    return OK;
}

static json_t *conversion_json(const struct convert_status *status)
{
    return json_pack("{s:s, s:o, s:I, s:I, s:I, s:I}", "state", status->state, "directory",
                     status->directory ? json_text(status->directory) : json_null(), "files_done",
                     (json_int_t)status->files_done, "files_total", (json_int_t)status->files_total,
                     "bytes_done", (json_int_t)status->bytes_done, "bytes_total",
                     (json_int_t)status->bytes_total);
}

static enum error_code show_conversion(struct run *run, const struct vault *vault, json_t **ret_conversion,
                                       struct error *reterr)
{
    _cleanup_(convert_status_done) struct convert_status status = {0};
    enum error_code code = convert_get_status(vault, &status, reterr);
    if (code)
        return code;
    *ret_conversion = status.state ? conversion_json(&status) : json_null();
    if (!status.state)
        return OK;
    if (status.waits) {
        run_text(run, "  converted; the old trees wait, in the clear, until husk protect --root --commit\n");
        return OK;
    }
    run_text(run, "  %s under way: %s%s%s", status.direction == CONVERT_PROTECT ? "protect" : "unprotect",
             status.state, status.directory ? " " : "", status.directory ? status.directory : "");
    if (status.files_total || status.bytes_total)
        run_text(run, ", %s of %s files, %s of %s", amount_count_shown(status.files_done),
                 amount_count_shown(status.files_total), amount_bytes_shown(status.bytes_done),
                 amount_bytes_shown(status.bytes_total));
    run_text(run, "\n");
    if (vault->mark != VAULT_ACTIVE) {
        run_text(
            run,
            "    plaintext of it is left: husk erase%s %s --confirm %s destroys it, or tells what keeps it\n",
            run_place(run), vault->name, vault->name);
        return OK;
    }
    run_text(run, "    if it was interrupted: run the same %s again to go on%s%s%s%s\n",
             status.direction == CONVERT_PROTECT ? "protect" : "unprotect",
             status.may_abort ? ", or back with husk protect" : "", status.may_abort ? run_place(run) : "",
             status.may_abort ? " --abort --vault " : "", status.may_abort ? vault->name : "");
    return OK;
}

void vault_tell_conversion(struct run *run, const struct vault *vault)
{
    struct convert_status status = {0};
    struct error why = ERROR_NONE;
    char remedy[3 * VAULT_NAME_MAXIMUM + 160];
    const char *name = vault->name;
    enum error_code code = convert_get_status(vault, &status, &why);
    const bool protect = status.direction == CONVERT_PROTECT;
    if (vault->mark != VAULT_ACTIVE)
        snprintf(remedy, sizeof(remedy), "husk erase %s --confirm %s", name, name);
    else
        snprintf(remedy, sizeof(remedy), "finish it with %s%s%s%s",
                 status.waits ? "husk protect --root --commit once it has booted well"
                 : protect    ? "the command that began it"
                              : "husk unprotect ",
                 protect ? "" : name,
                 status.may_abort ? ", or give it up: husk protect --abort --vault " : "",
                 status.may_abort ? name : "");
    if (code || status.state)
        finding_add(&run->findings, FINDING_TELLS, "conversion-under-way", vault->name,
                    code ? why.remedy : remedy, "%s",
                    code ? why.message
                         : "a conversion stands in the middle: plaintext of its directories is still on the "
                           "disk, at their places or in .husk");
    convert_status_done(&status);
}

/* Those that are not what was protected: told, not refused. */
static enum error_code tell_directories(struct run *run, const struct vault *vault, struct error *reterr)
{
    _cleanup_(finding_list_done) struct finding_list found = {0};
    enum error_code code = vault->mark == VAULT_ACTIVE ? vault_check_directories(vault, &found, reterr) : OK;
    for (size_t i = 0; i < found.count; i++)
        finding_add(&run->findings, FINDING_TELLS, found.items[i].kind, found.items[i].subject,
                    found.items[i].remedy, "%s", found.items[i].cause);
    return code;
}

static enum error_code show_directories(struct run *run, const struct vault *vault, json_t **ret_directories,
                                        struct error *reterr)
{
    json_t *array = json_array();
    enum error_code code = OK;
    for (size_t i = 0; !code && i < vault->directory_count; i++) {
        _cleanup_(buffer_done) struct buffer path = {0};
        code = held_shown_path(vault, vault->directories[i].path, &path, reterr);
        if (code)
            break;
        run_text(run, "  directory   %s\n", path.data);
        if (json_array_append_new(array, json_text(path.data)) < 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    if (!code && vault->directory_count == 0)
        run_text(run, "  directory   none\n");
    if (code) {
        json_decref(array);
        return code;
    }
    *ret_directories = array;
    return OK;
}

/* The kernel says busy also when all was closed since, until it is asked once more: only lock does that. Who
 * cannot be looked for may be there. */
static void show_busy(struct run *run, const struct vault *vault)
{
    bool used = true;
    char remedy[VAULT_NAME_MAXIMUM + 64];
    if (vault_is_used(vault, &used, NULL) || used) {
        run_text(run, "  open files  programs keep some: husk lock%s %s names them\n", run_place(run),
                 vault->name);
        return;
    }
    snprintf(remedy, sizeof(remedy), "husk lock %s takes them out of the kernel", vault->name);
    finding_add(&run->findings, FINDING_TELLS, "closed-since", vault->name, remedy,
                "all files of the vault that were open have been closed since, and the kernel still keeps "
                "their keys: only locking once more removes those");
}

static void show_heading(struct run *run, const struct vault *vault, enum vault_state state,
                         const char *id_text)
{
    run_text(run, "vault %s: %s\n", vault->name, vault_state_word(state));
    if (vault->damage.code)
        run_text(run, "  damaged     %s\n", vault->damage.message);
    else
        run_text(run, "  id          %s\n", id_text);
    run_text(run, "  filesystem  %s (%s)\n", text_shown(vault->filesystem->mount_point),
             text_shown(vault->filesystem->source));
    if (state == VAULT_BUSY)
        show_busy(run, vault);
    if (state == VAULT_IS_ERASING)
        run_text(run,
                 "  unfinished  husk erase%s %s --confirm %s goes on with it; to end the host as well, husk "
                 "erase%s --all\n",
                 run_place(run), vault->name, vault->name, run_place(run));
    if (vault->protected_since_unix_s) {
        char since[CLOCK_TEXT_SIZE];
        clock_format(vault->protected_since_unix_s, since);
        run_text(run, "  protected   since %s%s\n", since,
                 vault->born_encrypted ? ", was empty when it was protected"
                                       : ", held plaintext here before");
    }
}

/* The mark binds husk alone: with the key in the kernel everything can be read all the same. */
static enum error_code tell_key(struct run *run, const struct vault *vault, enum vault_state state,
                                struct error *reterr)
{
    char remedy[VAULT_NAME_MAXIMUM + 16];
    enum fscrypt_key_state key = FSCRYPT_KEY_ABSENT;
    if (state != VAULT_IS_ERASED && state != VAULT_IS_ERASING)
        return OK;
    enum error_code code = vault_key_state(vault, &key, reterr);
    if (code || key == FSCRYPT_KEY_ABSENT)
        return code;
    snprintf(remedy, sizeof(remedy), "husk lock %s", vault->name);
    finding_add(&run->findings, FINDING_TELLS, "key-present", vault->name, remedy,
                key == FSCRYPT_KEY_PRESENT
                    ? "it is %s, and its key is in the kernel: its files can be read until that is taken away"
                    : "it is %s, and the kernel still has the keys of files of it that are open",
                vault_state_word(state));
    return OK;
}

enum error_code vault_show(struct run *run, const struct vault *vault, json_t **ret_vault,
                           struct error *reterr)
{
    enum vault_state state;
    enum error_code code = vault_get_state(vault, &state, reterr);
    if (code)
        return code;
    char id_text[33];
    text_format_hex(id_text, vault->id.bytes, sizeof(vault->id.bytes));
    show_heading(run, vault, state, id_text);
    _cleanup_(json_freep) json_t *directories = NULL, *keyslots = NULL, *conversion = NULL;
    code = show_directories(run, vault, &directories, reterr);
    if (!code)
        code = tell_directories(run, vault, reterr);
    if (!code)
        code = vault_show_keyslots(run, vault, "  keyslot     ", &keyslots, reterr);
    if (!code)
        code = show_conversion(run, vault, &conversion, reterr);
    if (!code)
        code = tell_key(run, vault, state, reterr);
    if (code)
        return code;
    json_t *item =
        json_pack("{s:s, s:o, s:s, s:o, s:O, s:O, s:O, s:b, s:o}", "name", vault->name, "id",
                  vault->damage.code ? json_null() : json_string(id_text), "state", vault_state_word(state),
                  "filesystem", json_text(text_shown(vault->filesystem->mount_point)), "directories",
                  directories, "keyslots", keyslots, "conversion", conversion, "born_encrypted",
                  vault->born_encrypted, "protected_since",
                  vault->protected_since_unix_s ? time_json(vault->protected_since_unix_s) : json_null());
    if (!item)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    *ret_vault = item;
    return OK;
}

static const char *outcome_word(enum destroy_outcome outcome)
{
    static const char *const words[] = {
        [DESTROY_NOT_TRIED] = "not tried",
        [DESTROY_DONE] = "done",
        [DESTROY_NOT_SUPPORTED] = "not supported",
        [DESTROY_FAILED] = "failed",
    };
    return words[outcome];
}

json_t *destroy_show(struct run *run, const struct destroy_result *result)
{
    json_t *array = json_array();
    for (int step = 0; step < DESTROY_STEPS; step++) {
        const char *word = outcome_word(result->outcome[step]);
        const char *why = result->os_errno[step] ? strerror(result->os_errno[step]) : "";
        run_text(run, "  %-16s%s%s%s\n", destroy_step_word(step), word, *why ? ": " : "", why);
        json_array_append_new(array,
                              json_pack("{s:s, s:s}", "step", destroy_step_word(step), "outcome", word));
    }
    return array;
}
