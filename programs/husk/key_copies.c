#include "key_copies.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "render_vault.h"

static enum error_code add(json_t *copies, const char *kind, json_t *place, struct error *reterr)
{
    if (json_array_size(copies) >= CLIENT_KEYCOPIES_MAXIMUM) {
        json_decref(place);
        return OK;
    }
    return json_array_append_new(copies, json_pack("{s:s, s:o}", "kind", kind, "place", place)) == 0
               ? OK
               : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* A removed keyslot is in snapshots, and there it opens. */
static enum error_code add_keyslots(json_t *copies, const struct vault *vault, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < vault->key_copy_count; i++) {
        const struct vault_key_copy *copy = &vault->key_copies[i];
        const char *id = keyslot_id_shown(&copy->id);
        if (copy->kind != KEYSLOT_AUTHORITY)
            code = add(copies, keyslot_kind_word(copy->kind),
                       json_sprintf("vault %s, keyslot %s", vault->name, id), reterr);
        if (!code && copy->exported_unix_s)
            code = add(copies, "export", json_sprintf("vault %s, keyslot %s", vault->name, id), reterr);
    }
    return code;
}

static enum error_code add_authorities(json_t *copies, const struct vault *vault,
                                       const struct client_pin *pin, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < vault->authority_count; i++)
        if (memcmp(vault->authorities[i].bytes, pin->id, CLIENT_ID_SIZE) != 0)
            code = add(copies, "authority",
                       json_sprintf("vault %s, authority %s", vault->name,
                                    client_id_shown(vault->authorities[i].bytes)),
                       reterr);
    return code;
}

static enum error_code add_keyfiles(json_t *copies, const char *at, struct error *reterr)
{
    struct host_record record = {0};
    enum error_code code = host_read(at, &record, reterr);
    for (size_t i = 0; !code && i < record.keyfile_count; i++)
        code = add(copies, "keyfile-place", json_string(text_shown(record.keyfiles[i].path)), reterr);
    host_record_done(&record);
    return code;
}

enum error_code key_copies_list(struct run *run, const struct client_pin *pin, json_t **ret_copies,
                                struct error *reterr)
{
    _cleanup_(vault_list_done) struct vault_list list = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    _cleanup_(json_freep) json_t *copies = json_array();
    enum error_code code = vault_list_below(run->at, &list, &findings, reterr);
    for (size_t i = 0; !code && i < list.count; i++) {
        code = add_keyslots(copies, list.items[i], reterr);
        if (!code)
            code = add_authorities(copies, list.items[i], pin, reterr);
    }
    if (!code)
        code = add_keyfiles(copies, run->at, reterr);
    if (!code)
        *ret_copies = TAKE(copies);
    return code;
}
