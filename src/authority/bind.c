#include <sodium.h>

#include "authority/keyslots.h"
#include "authority/messages.h"
#include "authority/record.h"
#include "base/text.h"

enum { ELEMENTS = 2, VAULT_NAME_MAXIMUM = 64 };

static enum error_code parse_element(json_t *value, uint8_t ret_element[OPRF_ELEMENT_SIZE],
                                     struct error *reterr)
{
    const char *text = json_string_value(value);
    if (!text || text_parse_hex(text, ret_element, OPRF_ELEMENT_SIZE, NULL) != OK ||
        !crypto_core_ristretto255_is_valid_point(ret_element))
        return error_set(reterr, ERR_CORRUPT, 0, "a blinded element that is none");
    return OK;
}

static enum error_code parse(struct job *job, struct keyslot *keyslot, const char **ret_vault_name,
                             struct error *reterr)
{
    json_t *blinded;
    enum error_code code = json_get_hex(job->object, "keyslot", keyslot->id, sizeof(keyslot->id), reterr);
    if (!code)
        code = json_get_hex(job->object, "vault", keyslot->vault, sizeof(keyslot->vault), reterr);
    if (!code)
        code = json_get_string(job->object, "vault_name", ret_vault_name, reterr);
    if (!code && (!**ret_vault_name || strlen(*ret_vault_name) > VAULT_NAME_MAXIMUM))
        code = error_set(reterr, ERR_CORRUPT, 0, "a vault's name of %zu bytes", strlen(*ret_vault_name));
    if (!code)
        code = json_get_array(job->object, "blinded", ELEMENTS, &blinded, reterr);
    if (!code && json_array_size(blinded) != ELEMENTS)
        code = error_set(reterr, ERR_CORRUPT, 0, "binding takes two blinded elements");
    for (size_t i = 0; !code && i < ELEMENTS; i++)
        code = parse_element(json_array_get(blinded, i), keyslot->bound + i * OPRF_ELEMENT_SIZE, reterr);
    return code;
}

/* Bind a keyslot that is there: the same elements get the same answer, for a host that did not receive the
 * first. Any others would be an opening that nobody decided. */
static enum error_code check_bound(const struct host *host, const struct keyslot *wished,
                                   const struct keyslot *there, struct error *reterr)
{
    if (memcmp(there->host, host->id, sizeof(there->host)) != 0 ||
        memcmp(there->vault, wished->vault, sizeof(there->vault)) != 0 ||
        memcmp(there->bound, wished->bound, sizeof(there->bound)) != 0)
        return error_set(reterr, ERR_DENIED, 0, "this keyslot is bound already: binding opens nothing");
    return there->is_erased ? error_set(reterr, ERR_ERASED, 0, "the keyslot is erased") : OK;
}

static enum error_code check_vault(struct clerk *clerk, const struct host *host,
                                   const struct keyslot *keyslot, struct error *reterr)
{
    bool is_erased = false;
    enum error_code code =
        sql_exists(clerk->sql, &is_erased, reterr, "SELECT 1 FROM erased_vaults WHERE host = ? AND vault = ?",
                   "bb", host->id, sizeof(host->id), keyslot->vault, sizeof(keyslot->vault));
    return !code && is_erased ? error_set(reterr, ERR_ERASED, 0, "the vault is erased") : code;
}

static enum error_code make(struct clerk *clerk, const struct host *host, const struct keyslot *keyslot,
                            const char *vault_name, struct error *reterr)
{
    json_t *details = record_of_host(host->id);
    enum error_code code = check_vault(clerk, host, keyslot, reterr);
    if (!code)
        code = keyslot_insert(clerk, host, keyslot, vault_name, reterr);
    if (!code)
        code = json_set_hex(details, "keyslot", keyslot->id, sizeof(keyslot->id), reterr);
    if (!code)
        code = json_set_hex(details, "vault", keyslot->vault, sizeof(keyslot->vault), reterr);
    if (!code)
        code = json_set_new(details, "vault_name", json_string(vault_name), reterr);
    if (!code)
        code = record_append(clerk, "keyslot-bound", TAKE(details), reterr);
    json_decref(details);
    return code;
}

enum error_code handle_bind(struct clerk *clerk, struct job *job, struct host *host, struct error *reterr)
{
    struct keyslot wished = {0}, keyslot;
    const char *vault_name;
    enum error_code code = parse(job, &wished, &vault_name, reterr);
    if (code)
        return code;
    code = keyslot_find(clerk, wished.id, &keyslot, reterr);
    if (!code) {
        code = check_bound(host, &wished, &keyslot, reterr);
    } else if (code == ERR_NOT_FOUND) {
        code = make(clerk, host, &wished, vault_name, reterr);
        if (!code)
            code = keyslot_find(clerk, wished.id, &keyslot, reterr);
    }
    for (size_t i = 0; !code && i < ELEMENTS; i++)
        code = keyslot_evaluate(clerk, job, &keyslot, wished.bound + i * OPRF_ELEMENT_SIZE, reterr);
    if (code)
        return code;
    message_note_seen(clerk, host);
    job->result = json_object();
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}
