/* The messages about keyslots, and what an agent says. */
#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/ledger.h"
#include "client/wire.h"

static enum error_code get_element(json_t *array, size_t index, uint8_t *ret_element, struct error *reterr)
{
    const char *text = json_string_value(json_array_get(array, index));
    if (text && text_parse_hex(text, ret_element, CLIENT_ELEMENT_SIZE, NULL) == OK)
        return OK;
    return error_set(reterr, ERR_CORRUPT, 0, "an answer without its evaluated elements");
}

static enum error_code set_blinded(json_t *message, const uint8_t blinded[2][CLIENT_ELEMENT_SIZE],
                                   struct error *reterr)
{
    char text[2][2 * CLIENT_ELEMENT_SIZE + 1];
    for (size_t i = 0; i < 2; i++)
        text_format_hex(text[i], blinded[i], CLIENT_ELEMENT_SIZE);
    return json_set_new(message, "blinded", json_pack("[s, s]", text[0], text[1]), reterr);
}

enum error_code client_bind(struct client *client, struct client_pin *pin,
                            const uint8_t keyslot[CLIENT_ID_SIZE], const uint8_t vault[CLIENT_ID_SIZE],
                            const char *vault_name, const uint8_t blinded[2][CLIENT_ELEMENT_SIZE],
                            uint8_t ret_evaluated[2][CLIENT_ELEMENT_SIZE], struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    json_t *array = NULL;
    uint8_t evaluated[2][CLIENT_ELEMENT_SIZE];
    enum error_code code = client_message_new(MESSAGE_BIND, &message, reterr);
    if (!code)
        code = json_set_hex(message, "keyslot", keyslot, CLIENT_ID_SIZE, reterr);
    if (!code)
        code = json_set_hex(message, "vault", vault, CLIENT_ID_SIZE, reterr);
    if (!code)
        code = json_set_new(message, "vault_name", json_string(vault_name), reterr);
    if (!code)
        code = set_blinded(message, blinded, reterr);
    if (!code)
        code = client_exchange(client, pin, message, CLIENT_PROMPT, &result, reterr);
    if (!code)
        code = json_get_array(result, "evaluated", 2, &array, reterr);
    for (size_t i = 0; !code && i < 2; i++)
        code = get_element(array, i, evaluated[i], reterr);
    if (!code)
        memcpy(ret_evaluated, evaluated, sizeof(evaluated));
    return code;
}

enum error_code client_unbind(struct client *client, struct client_pin *pin,
                              const uint8_t keyslot[CLIENT_ID_SIZE], struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    enum error_code code = client_message_new(MESSAGE_UNBIND, &message, reterr);
    if (!code)
        code = json_set_hex(message, "keyslot", keyslot, CLIENT_ID_SIZE, reterr);
    return code ? code : client_exchange(client, pin, message, CLIENT_PROMPT, &result, reterr);
}

/* So that the boot it is for can say that it was planned. */
static enum error_code note_ticket(struct client *client, const struct client_pin *pin, int64_t expires_at,
                                   struct error *reterr)
{
    _cleanup_(close_fdp) int lock_fd = -1;
    struct lineage_entry entry;
    enum error_code code = lineage_lock(client, &lock_fd, reterr);
    if (!code)
        code = lineage_get(client, pin->id, &entry, reterr);
    if (code)
        return code;
    entry.planned_until = expires_at;
    return lineage_put(client, &entry, reterr);
}

enum error_code client_ticket(struct client *client, struct client_pin *pin, enum client_purpose purpose,
                              int64_t *ret_expires_at, struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    int64_t expires_at = 0;
    enum error_code code = client_message_new(MESSAGE_TICKET, &message, reterr);
    if (!code)
        code = client_set_boot(client, message, reterr);
    if (!code)
        code = json_set_new(message, "purpose", json_string(purpose == CLIENT_FINISH ? "finish" : "reboot"),
                            reterr);
    if (!code)
        code = client_exchange(client, pin, message, CLIENT_PROMPT, &result, reterr);
    if (!code)
        code = json_get_integer(result, "expires_at", 0, INT64_MAX, &expires_at, reterr);
    if (!code)
        code = note_ticket(client, pin, expires_at, reterr);
    if (!code)
        *ret_expires_at = expires_at;
    return code;
}

static enum error_code make_heartbeat(struct client *client, struct client_pin *pin,
                                      const struct lineage_entry *entry, const uint8_t *probe,
                                      json_t **ret_message, struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL;
    enum error_code code = client_message_new(MESSAGE_HEARTBEAT, &message, reterr);
    if (!code)
        code = client_set_boot(client, message, reterr);
    if (!code && entry->has_token)
        code = json_set_hex(message, "lineage", entry->token, sizeof(entry->token), reterr);
    if (!code)
        code = client_facts(client, message, reterr);
    if (!code)
        code = client_ledger_set(client, pin, message, reterr);
    if (!code && probe)
        code = json_set_hex(message, "probe", probe, CLIENT_ID_SIZE, reterr);
    if (!code)
        *ret_message = TAKE(message);
    return code;
}

void client_news_done(struct client_news *news)
{
    json_decref(news->orders);
    *news = (struct client_news){0};
}

/* Orders come with a result, and to a host that is erased with the error that says so. */
static enum error_code get_orders(json_t *object, struct client_news *news, struct error *reterr)
{
    json_t *orders = NULL;
    enum error_code code = json_get_array(object, "orders", CLIENT_ORDERS_GIVEN_MAXIMUM, &orders, reterr);
    if (!code)
        news->orders = json_incref(orders);
    return code;
}

static enum error_code take_erased(const json_t *refusal, struct client_news *news, struct error *reterr)
{
    json_t *orders = json_object_get(refusal, "orders");
    news->is_erased = true;
    news->orders = json_is_array(orders) ? json_incref(orders) : json_array();
    return news->orders ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

/* What both bring. */
static enum error_code ask_for_news(struct client *client, struct client_pin *pin, json_t *message,
                                    struct client_effort effort, json_t **ret_result,
                                    struct client_news *ret_news, struct error *reterr)
{
    _cleanup_(json_freep) json_t *result = NULL, *refusal = NULL;
    _cleanup_(client_news_done) struct client_news news = {0};
    struct error why = ERROR_NONE;
    enum error_code code = client_exchange_or_refusal(client, pin, message, effort, &result, &refusal, &why);
    if (code == ERR_ERASED && refusal) {
        code = take_erased(refusal, &news, reterr);
    } else if (code) {
        if (reterr)
            *reterr = why;
    } else {
        code = get_orders(result, &news, reterr);
    }
    if (code)
        return code;
    *ret_news = news;
    news = (struct client_news){0};
    *ret_result = TAKE(result);
    return OK;
}

enum error_code client_heartbeat(struct client *client, struct client_pin *pin, const uint8_t *probe,
                                 struct client_effort effort, struct client_news *ret_news,
                                 struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    _cleanup_(client_news_done) struct client_news news = {0};
    _cleanup_(close_fdp) int lock_fd = -1;
    struct lineage_entry entry;
    if (!probe)
        client_facts_anew(client); /* a probe waits for seconds only, and they may be long to read */
    enum error_code code = lineage_lock(client, &lock_fd, reterr);
    if (!code)
        code = lineage_get(client, pin->id, &entry, reterr);
    if (!code)
        code = make_heartbeat(client, pin, &entry, probe, &message, reterr);
    if (!code)
        code = ask_for_news(client, pin, message, effort, &result, &news, reterr);
    if (!code && !news.is_erased) {
        code = json_get_hex(result, "lineage", entry.token, sizeof(entry.token), reterr);
        entry.has_token = true;
        if (!code)
            code = lineage_put(client, &entry, reterr);
    }
    if (code)
        return code;
    *ret_news = news;
    news = (struct client_news){0};
    return OK;
}

/* A word that is not known is of a later authority. */
static enum client_next_boot get_next_boot(const json_t *result)
{
    static const char *const words[] = {
        [CLIENT_NEXT_ALONE] = "alone",         [CLIENT_NEXT_TICKET] = "ticket",
        [CLIENT_NEXT_NO_TICKET] = "no-ticket", [CLIENT_NEXT_PEOPLE] = "people",
        [CLIENT_NEXT_HELD] = "held",
    };
    const char *word = json_string_value(json_object_get(result, "next_boot"));
    for (size_t i = CLIENT_NEXT_ALONE; word && i < ARRAY_SIZE(words); i++)
        if (!strcmp(word, words[i]))
            return (enum client_next_boot)i;
    return CLIENT_NEXT_UNKNOWN;
}

enum error_code client_poll(struct client *client, struct client_pin *pin, struct client_effort effort,
                            struct client_news *ret_news, struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL, *result = NULL;
    _cleanup_(client_news_done) struct client_news news = {0};
    enum error_code code = client_message_new(MESSAGE_POLL, &message, reterr);
    if (!code)
        code = client_set_boot(client, message, reterr);
    if (!code)
        code = json_set_new(message, "wait_s", json_integer(effort.wait_s), reterr);
    if (!code)
        code = ask_for_news(client, pin, message, effort, &result, &news, reterr);
    news.next_boot = get_next_boot(result);
    news.probed = !code && json_object_get(result, "probe") != NULL;
    if (news.probed)
        code = json_get_hex(result, "probe", news.probe, sizeof(news.probe), reterr);
    if (code)
        return code;
    *ret_news = news;
    news = (struct client_news){0};
    return OK;
}
