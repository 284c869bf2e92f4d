/* What a host has its authority erase, and what it tells of itself. */
#include "base/text.h"
#include "client/files.h"
#include "client/wire.h"

/* Of the answers that came the one that is meant: vault NULL is the host. */
static enum error_code find_answer(const struct client_pin *pin, json_t *array, const uint8_t *vault,
                                   struct buffer *wire, struct erased *ret_erased, struct error *reterr)
{
    struct error why = ERROR_NONE;
    for (size_t i = 0; i < json_array_size(array); i++) {
        _cleanup_(buffer_done) struct buffer bytes = {.maximum = STATEMENT_MAXIMUM};
        _cleanup_(erased_done) struct erased erased = {0};
        const char *text = json_string_value(json_array_get(array, i));
        if (!text || text_append_bytes(&bytes, text, &why) ||
            erased_parse(bytes.data, bytes.length, pin->descriptor.signing_key, pin->host, &erased, &why))
            continue;
        if (erased.is_host != !vault || (vault && memcmp(erased.vault, vault, CLIENT_ID_SIZE) != 0))
            continue;
        enum error_code code = buffer_append(wire, bytes.data, bytes.length, reterr);
        if (code)
            return code;
        *ret_erased = erased;
        erased = (struct erased){0};
        return OK;
    }
    error_set(reterr, ERR_CORRUPT, 0,
              "the authority %.8s answers, and it is not signed that %s is erased%s%s",
              client_id_shown(pin->id), vault ? "the vault" : "this host", why.code ? ": " : "",
              why.code ? why.message : "");
    return error_remedy(reterr, "look into its log, then run the same command again");
}

static enum error_code erase(struct client *client, struct client_pin *pin, const uint8_t *vault,
                             struct buffer *wire, struct erased *ret_erased, struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    json_t *vaults = json_array(), *answers = NULL;
    enum error_code code = client_message_new(MESSAGE_ERASE, &message, reterr);
    if (code)
        json_decref(vaults);
    else
        code = json_set_new(message, "vaults", vaults, reterr);
    if (!code && vault && json_array_append_new(vaults, json_hex(vault, CLIENT_ID_SIZE)) < 0)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = json_set_new(message, "final", json_boolean(!vault), reterr);
    if (!code)
        code = client_exchange(client, pin, message, CLIENT_PROMPT, &result, reterr);
    if (!code)
        code = json_get_array(result, "erased", CLIENT_ORDERS_GIVEN_MAXIMUM, &answers, reterr);
    if (code)
        return code;
    return find_answer(pin, answers, vault, wire, ret_erased, reterr);
}

enum error_code client_erase_vault(struct client *client, struct client_pin *pin,
                                   const uint8_t vault[CLIENT_ID_SIZE], struct buffer *wire,
                                   struct erased *ret_erased, struct error *reterr)
{
    return erase(client, pin, vault, wire, ret_erased, reterr);
}

enum error_code client_erase_host(struct client *client, struct client_pin *pin, struct buffer *wire,
                                  struct erased *ret_erased, struct error *reterr)
{
    return erase(client, pin, NULL, wire, ret_erased, reterr);
}

enum error_code client_tell_done(struct client *client, struct client_pin *pin, const char *subject,
                                 const uint8_t id[CLIENT_ID_SIZE], const char *outcome, json_t *report,
                                 struct error *reterr)
{
    _cleanup_(json_freep) json_t *taken = report, *message = NULL, *result = NULL;
    struct lineage_entry entry = {0};
    uint8_t boot[CLIENT_ID_SIZE];
    enum error_code code = client_message_new(MESSAGE_DONE, &message, reterr);
    /* Not under the lock, which an erase could wait for as long as somebody waits for approval: the token
     * moves on with no answer to this, and the one before is good too. Without one it is taken for that of an
     * old copy: no error, so that an erase comes to its end. */
    if (!code && lineage_get(client, pin->id, &entry, NULL) == OK && entry.has_token)
        code = json_set_hex(message, "lineage", entry.token, sizeof(entry.token), reterr);
    if (!code && client->is_early)
        code = client_boot_id(client, boot, reterr);
    if (!code && client->is_early)
        code = json_set_hex(message, "boot", boot, sizeof(boot), reterr);
    if (!code)
        code = json_set_hex(message, subject, id, CLIENT_ID_SIZE, reterr);
    if (!code)
        code = json_set_new(message, "outcome", json_string(outcome), reterr);
    if (!code)
        code = json_set_new(message, "report", json_incref(taken), reterr);
    return code ? code : client_exchange(client, pin, message, CLIENT_PROMPT, &result, reterr);
}

enum error_code client_report_vault(struct client *client, struct client_pin *pin,
                                    const uint8_t vault[CLIENT_ID_SIZE], const char *outcome, json_t *report,
                                    struct error *reterr)
{
    return client_tell_done(client, pin, "vault", vault, outcome, report, reterr);
}

enum error_code client_keycopies(struct client *client, struct client_pin *pin, json_t *copies,
                                 struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    enum error_code code = client_message_new(MESSAGE_KEYCOPIES, &message, reterr);
    if (!code)
        code = json_set_new(message, "copies", json_incref(copies), reterr);
    return code ? code : client_exchange(client, pin, message, CLIENT_PROMPT, &result, reterr);
}
