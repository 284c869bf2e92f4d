/*
 * Requests. Whatever presents a lineage token or gets the next one happens under its lock, and the next one
 * is on disk before the answer is used.
 */
#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/wire.h"

static enum error_code get_state(json_t *result, enum client_state *ret_state, struct error *reterr)
{
    static const struct {
        const char *word;
        enum client_state state;
    } words[] = {
        {"pending", CLIENT_PENDING}, {"approved", CLIENT_PENDING}, {"granted", CLIENT_GRANTED},
        {"denied", CLIENT_DENIED},   {"expired", CLIENT_EXPIRED},
    };
    const char *word = NULL;
    enum error_code code = json_get_string(result, "state", &word, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!strcmp(word, words[i].word)) {
            *ret_state = words[i].state;
            return OK;
        }
    return error_set(reterr, ERR_CORRUPT, 0, "a request in an unknown state");
}

/* An array of strings as one text; what does not fit is cut. */
static void join(json_t *result, const char *member, const char *between, char *text, size_t size)
{
    size_t index, used = 0;
    json_t *item;
    text[0] = '\0';
    json_array_foreach(json_object_get(result, member), index, item)
    {
        const char *word = json_string_value(item);
        if (word && used < size)
            used +=
                (size_t)snprintf(text + used, size - used, "%s%s", index ? between : "", text_shown(word));
    }
}

static enum error_code get_evaluated(json_t *result, struct client_decision *decision, struct error *reterr)
{
    json_t *array = NULL;
    enum error_code code = json_get_array(result, "evaluated", CLIENT_ELEMENTS_MAXIMUM, &array, reterr);
    if (!code && json_array_size(array) != decision->count)
        code = error_set(reterr, ERR_CORRUPT, 0, "a grant of %zu elements, %zu were asked for",
                         json_array_size(array), decision->count);
    for (size_t i = 0; !code && i < decision->count; i++) {
        const json_t *item = json_array_get(array, i);
        const char *text = json_string_value(item);
        decision->is_there[i] = !json_is_null(item);
        if (decision->is_there[i] &&
            (!text || text_parse_hex(text, decision->evaluated[i], CLIENT_ELEMENT_SIZE, NULL)))
            code = error_set(reterr, ERR_CORRUPT, 0, "a grant without its elements");
    }
    return code;
}

static enum error_code get_decision(json_t *result, size_t count, struct client_decision *decision,
                                    struct error *reterr)
{
    const char *digits = json_string_value(json_object_get(result, "code"));
    decision->count = count;
    enum error_code code = json_get_hex(result, "request", decision->request, CLIENT_ID_SIZE, reterr);
    if (!code)
        code = get_state(result, &decision->state, reterr);
    if (code)
        return code;
    snprintf(decision->code, sizeof(decision->code), "%s", digits ? text_shown(digits) : "");
    join(result, "flags", ", ", decision->flags, sizeof(decision->flags));
    join(result, "reasons", "; ", decision->reasons, sizeof(decision->reasons));
    if (json_is_integer(json_object_get(result, "expires_at")))
        decision->expires_at = json_integer_value(json_object_get(result, "expires_at"));
    return decision->state == CLIENT_GRANTED ? get_evaluated(result, decision, reterr) : OK;
}

/* The token of a grant. A boot that came through is not the planned one any more. */
static enum error_code move_on(struct client *client, struct lineage_entry *entry, json_t *result,
                               struct finding_list *findings, struct error *reterr)
{
    struct error why = ERROR_NONE;
    enum error_code code = json_get_hex(result, "lineage", entry->token, sizeof(entry->token), reterr);
    if (code)
        return code;
    entry->has_token = true;
    entry->planned_until = 0;
    if (lineage_put(client, entry, &why))
        finding_add(findings, FINDING_TELLS, "lineage-not-written", client_id_shown(entry->authority),
                    why.remedy, "%s; the next boot presents the token before, which the authority takes",
                    why.message);
    return OK;
}

static enum error_code set_elements(json_t *message, const struct client_element *elements, size_t count,
                                    struct error *reterr)
{
    json_t *array = json_array();
    enum error_code code = json_set_new(message, "open", array, reterr);
    for (size_t i = 0; !code && i < count; i++) {
        json_t *item = json_object();
        if (json_array_append_new(array, item) < 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        code = json_set_hex(item, "keyslot", elements[i].keyslot, CLIENT_ID_SIZE, reterr);
        if (!code)
            code = json_set_hex(item, "blinded", elements[i].blinded, CLIENT_ELEMENT_SIZE, reterr);
    }
    return code;
}

static enum error_code make_request(struct client *client, const struct lineage_entry *entry,
                                    const uint8_t id[CLIENT_ID_SIZE], const struct client_element *elements,
                                    size_t count, unsigned wait_s, json_t **ret_message, struct error *reterr)
{
    _cleanup_(json_freep) json_t *message = NULL;
    const bool planned = entry->planned_until > 0;
    enum error_code code = client_message_new(MESSAGE_OPEN, &message, reterr);
    if (!code)
        code = json_set_hex(message, "id", id, CLIENT_ID_SIZE, reterr);
    if (!code)
        code = client_set_boot(client, message, reterr);
    if (!code && entry->has_token)
        code = json_set_hex(message, "lineage", entry->token, sizeof(entry->token), reterr);
    if (!code)
        code = json_set_new(message, "planned", json_boolean(planned), reterr);
    if (!code)
        code = client_facts(client, message, reterr);
    if (!code)
        code = set_elements(message, elements, count, reterr);
    if (!code)
        code = json_set_new(message, "wait_s", json_integer(wait_s), reterr);
    if (!code)
        *ret_message = TAKE(message);
    return code;
}

static enum error_code exchange(struct client *client, struct client_pin *pin, json_t *message, size_t count,
                                struct client_effort effort, struct lineage_entry *entry,
                                struct client_decision *ret_decision, struct finding_list *findings,
                                struct error *reterr)
{
    _cleanup_(json_freep) json_t *result = NULL;
    struct client_decision decision = {0};
    enum error_code code = client_exchange(client, pin, message, effort, &result, reterr);
    if (!code)
        code = get_decision(result, count, &decision, reterr);
    if (!code && decision.state == CLIENT_GRANTED)
        code = move_on(client, entry, result, findings, reterr);
    if (!code)
        *ret_decision = decision;
    return code;
}

enum error_code client_request(struct client *client, struct client_pin *pin,
                               const uint8_t message[CLIENT_ID_SIZE], const struct client_element *elements,
                               size_t count, struct client_effort effort,
                               struct client_decision *ret_decision, struct finding_list *findings,
                               struct error *reterr)
{
    _cleanup_(close_fdp) int lock_fd = -1;
    _cleanup_(json_freep) json_t *object = NULL;
    struct lineage_entry entry;
    if (count == 0 || count > CLIENT_ELEMENTS_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "a request is for 1 to %d keyslots, not %zu",
                         CLIENT_ELEMENTS_MAXIMUM, count);
    enum error_code code = lineage_lock(client, &lock_fd, reterr);
    if (!code)
        code = lineage_get(client, pin->id, &entry, reterr);
    if (!code)
        code = make_request(client, &entry, message, elements, count, effort.wait_s, &object, reterr);
    return code ? code : exchange(client, pin, object, count, effort, &entry, ret_decision, findings, reterr);
}

enum error_code client_request_again(struct client *client, struct client_pin *pin,
                                     const uint8_t request[CLIENT_ID_SIZE], size_t count,
                                     struct client_effort effort, struct client_decision *ret_decision,
                                     struct finding_list *findings, struct error *reterr)
{
    _cleanup_(close_fdp) int lock_fd = -1;
    _cleanup_(json_freep) json_t *message = NULL;
    struct lineage_entry entry;
    enum error_code code = lineage_lock(client, &lock_fd, reterr);
    if (!code)
        code = lineage_get(client, pin->id, &entry, reterr);
    if (!code)
        code = client_message_new(MESSAGE_OPEN, &message, reterr);
    if (!code)
        code = client_set_boot(client, message, reterr);
    if (!code)
        code = json_set_hex(message, "request", request, CLIENT_ID_SIZE, reterr);
    if (!code)
        code = json_set_new(message, "wait_s", json_integer(effort.wait_s), reterr);
    return code ? code
                : exchange(client, pin, message, count, effort, &entry, ret_decision, findings, reterr);
}
