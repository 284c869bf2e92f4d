#include "message/statement.h"

#include "base/text.h"

enum { STATEMENT_VERSION = 1, KEYSLOTS_MAXIMUM = 256, COPIES_MAXIMUM = 16 };

const char *const order_action_words[ORDER_ACTIONS] = {
    [ORDER_LOCK] = "lock", [ORDER_ERASE] = "erase", [ORDER_POWER_OFF] = "power-off"};

/* {"version","host","vault","order","sequence"}: what both begin with. vault NULL: all of the host's. */
static enum error_code format_head(const uint8_t *host, const uint8_t *vault, const uint8_t *order,
                                   uint64_t sequence, json_t **ret_object, struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = json_object();
    if (!object)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_set_new(object, "version", json_integer(STATEMENT_VERSION), reterr);
    if (!code)
        code = json_set_hex(object, "host", host, MESSAGE_HOST_ID_SIZE, reterr);
    if (!code)
        code =
            json_set_new(object, "vault", vault ? json_hex(vault, STATEMENT_ID_SIZE) : json_null(), reterr);
    if (!code)
        code = json_set_hex(object, "order", order, STATEMENT_ID_SIZE, reterr);
    if (!code)
        code = json_set_new(object, "sequence", json_integer((json_int_t)sequence), reterr);
    if (!code)
        *ret_object = TAKE(object);
    return code;
}

/* The same read, signature and host checked. *ret_has_vault is whether vault was filled. */
static enum error_code parse_head(const void *wire, size_t length, const uint8_t *signing_key,
                                  const char *kind, const uint8_t *host, bool *ret_has_vault, uint8_t *vault,
                                  uint8_t *order, uint64_t *ret_sequence, json_t **ret_object,
                                  struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    const char *text = NULL;
    size_t text_length = 0;
    uint8_t named[MESSAGE_HOST_ID_SIZE];
    int64_t sequence = 0;
    if (length > STATEMENT_MAXIMUM)
        return error_set(reterr, ERR_CORRUPT, 0, "a signed text of %zu bytes", length);
    enum error_code code = sign_open(signing_key, kind, wire, length, &text, &text_length, reterr);
    if (!code)
        code = json_parse_object(text, text_length, "the signed text", &object, reterr);
    if (!code)
        code = json_check_version(object, STATEMENT_VERSION, "the signed text", reterr);
    if (!code)
        code = json_get_hex(object, "host", named, sizeof(named), reterr);
    if (!code && memcmp(named, host, sizeof(named)) != 0)
        code = error_set(reterr, ERR_DENIED, 0, "it is signed for another host");
    const bool has_vault = !code && !json_is_null(json_object_get(object, "vault"));
    if (!code && has_vault)
        code = json_get_hex(object, "vault", vault, STATEMENT_ID_SIZE, reterr);
    if (!code)
        code = json_get_hex(object, "order", order, STATEMENT_ID_SIZE, reterr);
    if (!code)
        code = json_get_integer(object, "sequence", 1, INT64_MAX, &sequence, reterr);
    if (code)
        return code;
    *ret_has_vault = has_vault;
    *ret_sequence = (uint64_t)sequence;
    *ret_object = TAKE(object);
    return OK;
}

enum error_code order_format(const struct order *order, struct buffer *text, struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    enum error_code code = format_head(order->host, NULL, order->id, order->sequence, &object, reterr);
    if (!code)
        code = json_set_new(object, "action", json_string(order_action_words[order->action]), reterr);
    if (!code)
        code = json_set_new(object, "at", json_integer((json_int_t)order->at_unix_s), reterr);
    return code ? code : json_format(object, text, reterr);
}

static enum error_code find_action(const char *word, enum order_action *ret_action, struct error *reterr)
{
    for (unsigned action = 0; action < ORDER_ACTIONS; action++)
        if (!strcmp(word, order_action_words[action])) {
            *ret_action = (enum order_action)action;
            return OK;
        }
    return error_set(reterr, ERR_UNSUPPORTED, 0, "an order to %s, which this husk does not know",
                     text_shown(word));
}

enum error_code order_parse(const void *wire, size_t length, const uint8_t signing_key[SIGN_PUBLIC_SIZE],
                            const uint8_t host[MESSAGE_HOST_ID_SIZE], struct order *ret_order,
                            struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    struct order order = {0};
    uint8_t vault[STATEMENT_ID_SIZE];
    bool has_vault = false;
    const char *word = NULL;
    enum error_code code = parse_head(wire, length, signing_key, ORDER_KIND, host, &has_vault, vault,
                                      order.id, &order.sequence, &object, reterr);
    if (!code)
        code = json_get_string(object, "action", &word, reterr);
    if (!code)
        code = json_get_integer(object, "at", INT64_MIN, INT64_MAX, &order.at_unix_s, reterr);
    if (!code)
        code = find_action(word, &order.action, reterr);
    if (!code && has_vault)
        code = error_set(reterr, ERR_UNSUPPORTED, 0, "an order for one vault, which this husk does not know");
    if (code)
        return code;
    memcpy(order.host, host, sizeof(order.host));
    *ret_order = order;
    return OK;
}

const char *const erased_copy_words[ERASED_COPIES] = {
    [ERASED_COPY_IMAGE] = "disk-image", [ERASED_COPY_BACKUP] = "backup"};

void erased_done(struct erased *erased)
{
    free(erased->keyslots);
    *erased = (struct erased){0};
}

enum error_code erased_format(const struct erased *erased, struct buffer *text, struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    json_t *keyslots = json_array(), *copies = json_array();
    enum error_code code = format_head(erased->host, erased->is_host ? NULL : erased->vault, erased->order,
                                       erased->sequence, &object, reterr);
    if (code)
        json_decref(keyslots);
    else
        code = json_set_new(object, "keyslots", keyslots, reterr);
    for (size_t i = 0; !code && i < erased->keyslot_count; i++)
        if (json_array_append_new(keyslots, json_hex(erased->keyslots[i], STATEMENT_ID_SIZE)) < 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = json_set_new(object, "copies", copies, reterr);
    else
        json_decref(copies);
    for (size_t i = 0; !code && i < ERASED_COPIES; i++)
        if (erased->copies[i] && json_array_append_new(copies, json_string(erased_copy_words[i])) < 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = json_set_new(object, "at", json_integer((json_int_t)erased->at_unix_s), reterr);
    return code ? code : json_format(object, text, reterr);
}

static enum error_code parse_copies(json_t *object, struct erased *erased, struct error *reterr)
{
    json_t *array = NULL, *item;
    size_t index;
    enum error_code code = json_get_array(object, "copies", COPIES_MAXIMUM, &array, reterr);
    json_array_foreach(array, index, item)
    {
        const char *word = json_string_value(item);
        size_t kind = 0;
        while (kind < ERASED_COPIES && (!word || strcmp(word, erased_copy_words[kind]) != 0))
            kind++;
        if (kind < ERASED_COPIES)
            erased->copies[kind] = true;
        else
            erased->other_copies = true;
    }
    return code;
}

static enum error_code parse_keyslots(json_t *object, struct erased *erased, struct error *reterr)
{
    json_t *array = NULL;
    enum error_code code = json_get_array(object, "keyslots", KEYSLOTS_MAXIMUM, &array, reterr);
    if (code)
        return code;
    erased->keyslots = calloc(json_array_size(array) + 1, sizeof(*erased->keyslots));
    if (!erased->keyslots)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (; !code && erased->keyslot_count < json_array_size(array); erased->keyslot_count++) {
        const char *digits = json_string_value(json_array_get(array, erased->keyslot_count));
        code = digits ? text_parse_hex(digits, erased->keyslots[erased->keyslot_count], STATEMENT_ID_SIZE,
                                       reterr)
                      : error_set(reterr, ERR_CORRUPT, 0, "a keyslot without id");
    }
    return code;
}

enum error_code erased_parse(const void *wire, size_t length, const uint8_t signing_key[SIGN_PUBLIC_SIZE],
                             const uint8_t host[MESSAGE_HOST_ID_SIZE], struct erased *ret_erased,
                             struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    _cleanup_(erased_done) struct erased erased = {0};
    bool has_vault = false;
    enum error_code code = parse_head(wire, length, signing_key, ERASED_KIND, host, &has_vault, erased.vault,
                                      erased.order, &erased.sequence, &object, reterr);
    if (!code)
        code = parse_keyslots(object, &erased, reterr);
    if (!code)
        code = parse_copies(object, &erased, reterr);
    if (!code)
        code = json_get_integer(object, "at", INT64_MIN, INT64_MAX, &erased.at_unix_s, reterr);
    if (code)
        return code;
    memcpy(erased.host, host, sizeof(erased.host));
    erased.is_host = !has_vault;
    *ret_erased = erased;
    erased = (struct erased){0};
    return OK;
}
