/*
 * One message and its answer. What can come back, and what is done:
 *
 *   sealed, result                     that is it; the nonce in it is kept
 *   sealed, error stale-nonce          again with the nonce in it, three times at most
 *   sealed, another error              that is it
 *   a descriptor signed by the root,   taken and written, and the message is sealed anew for it
 *     of a higher sequence
 *   anything else, or nothing          the next address; after the last one a pause, then the first again,
 *                                      by the descriptor another process may have written meanwhile
 */
#include <errno.h>
#include <sys/random.h>

#include "base/text.h"
#include "client/files.h"
#include "client/ledger.h"
#include "client/wire.h"

enum { ANSWER_S = 15, STALE_MOST = 3, DESCRIPTORS_MOST = 3, PAUSE_MOST_S = 60 };

enum error_code client_message_new(enum message_type type, json_t **ret_message, struct error *reterr)
{
    uint8_t id[MESSAGE_ID_SIZE];
    _cleanup_(json_freep) json_t *message = json_object();
    if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
        return error_set(reterr, ERR_FAILED, errno, "cannot draw random bytes");
    enum error_code code = json_set_new(message, "type", json_string(message_types[type].name), reterr);
    if (!code)
        code = json_set_hex(message, "id", id, sizeof(id), reterr);
    if (!code)
        *ret_message = TAKE(message);
    return code;
}

struct sending {
    struct client *client;
    struct client_pin *pin;
    json_t *message;
    enum message_type type;
    unsigned wait_s;
    unsigned stale, descriptors; /* how often they came */
    struct client_ledger ledger; /* as it was before the message was sent */
    json_t *result;              /* owned until taken */
    json_t *refusal;             /* owned until taken: an error, and what it brings */
};

/* The words of the authority's errors. */
static enum error_code take_error(struct sending *sending, json_t *answer, struct error *reterr)
{
    static const struct {
        const char *word;
        enum error_code code;
    } words[] = {
        {"stale-nonce", ERR_CHANGED}, {"held", ERR_PENDING},        {"waits", ERR_PENDING},
        {"erased", ERR_ERASED},       {"not-found", ERR_NOT_FOUND}, {"denied", ERR_DENIED},
        {"busy", ERR_UNREACHABLE},    {"bad-message", ERR_FAILED},
    };
    json_t *object = NULL;
    const char *word = NULL, *message = NULL;
    enum error_code code = json_get_object(answer, "error", &object, reterr);
    if (!code)
        code = json_get_string(object, "code", &word, reterr);
    if (!code)
        code = json_get_string(object, "message", &message, reterr);
    if (code)
        return code;
    code = ERR_FAILED;
    json_decref(sending->refusal);
    sending->refusal = json_incref(object);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!strcmp(word, words[i].word))
            code = words[i].code;
    return error_set(reterr, code, 0, "the authority says %s: %s", text_shown(word), text_shown(message));
}

/* A newer one that an answer brings: before anything else in it, which may be signed under its key. A new
 * host is not pinned yet; where it cannot be written, it comes again. */
static void take_newer_descriptor(struct client *client, struct client_pin *pin, const json_t *answer)
{
    _cleanup_(buffer_done) struct buffer bytes = {.maximum = DESCRIPTOR_MAXIMUM};
    const char *text = json_string_value(json_object_get(json_object_get(answer, "result"), "descriptor"));
    if (!text)
        text = json_string_value(json_object_get(json_object_get(answer, "error"), "descriptor"));
    if (client_find(client, pin->id) == pin && text && text_append_bytes(&bytes, text, NULL) == OK &&
        client_pin_take_descriptor(pin, bytes.data, bytes.length, NULL) == OK)
        (void)!client_pin_write(client, pin, NULL);
}

/* What the sealed answer says. ERR_CHANGED: again, with the new nonce. */
static enum error_code take_sealed(struct sending *sending, json_t *answer, struct error *reterr)
{
    uint8_t asked[MESSAGE_ID_SIZE], answered[MESSAGE_ID_SIZE], nonce[CLIENT_ID_SIZE];
    json_t *result = NULL;
    enum error_code code = json_get_hex(sending->message, "id", asked, sizeof(asked), reterr);
    if (!code)
        code = json_get_hex(answer, "id", answered, sizeof(answered), reterr);
    if (!code && memcmp(asked, answered, sizeof(asked)) != 0)
        code = error_set(reterr, ERR_CORRUPT, 0, "the answer to another message");
    /* To a host it does not know yet an authority may refuse without one. */
    const bool has_nonce =
        message_types[sending->type].mode == MESSAGE_AUTH || json_object_get(answer, "nonce");
    if (!code && has_nonce)
        code = json_get_hex(answer, "nonce", nonce, sizeof(nonce), reterr);
    if (code)
        return code;
    if (has_nonce)
        client_nonce_put(sending->client, sending->pin, nonce);
    take_newer_descriptor(sending->client, sending->pin, answer);
    client_ledger_watch(sending->client, sending->pin, &sending->ledger,
                        json_object_get(answer, "checkpoint"));
    if (json_object_get(answer, "error"))
        return take_error(sending, answer, reterr);
    code = json_object_get(answer, "result") ? json_get_object(answer, "result", &result, reterr) : OK;
    if (!code)
        sending->result = result ? json_incref(result) : json_object();
    return code;
}

/* ERR_EXISTS: taken, seal the message anew. */
static enum error_code take_descriptor(struct sending *sending, const struct buffer *bytes, const char *url,
                                       struct error *reterr)
{
    struct client_pin *pin = sending->pin;
    enum error_code code = client_pin_take_descriptor(pin, bytes->data, bytes->length, NULL);
    if (code == ERR_EXISTS)
        return error_set(reterr, ERR_UNREACHABLE, 0,
                         "%s: the authority there cannot read this host's messages, "
                         "or does not know it (any more)",
                         text_shown(url));
    if (code == ERR_UNSUPPORTED)
        return error_set(reterr, ERR_UNREACHABLE, 0,
                         "%s: a descriptor without an address that a host can use, which is not taken",
                         text_shown(url));
    if (code)
        return error_set(reterr, ERR_UNREACHABLE, 0, "%s: another authority than the one trusted answers",
                         text_shown(url));
    if (sending->descriptors++ == DESCRIPTORS_MOST)
        return error_set(reterr, ERR_UNREACHABLE, 0, "%s: new descriptors without end", text_shown(url));
    /* A new host is not pinned yet; where it cannot be written, it comes again. */
    if (client_find(sending->client, pin->id) == pin)
        (void)!client_pin_write(sending->client, pin, NULL);
    return ERR_EXISTS;
}

static enum error_code seal(struct sending *sending, struct buffer *wire, struct hpke_context **ret_context,
                            struct error *reterr)
{
    struct client *client = sending->client;
    const struct message_type_facts *facts = &message_types[sending->type];
    const bool is_auth = facts->mode == MESSAGE_AUTH;
    uint8_t nonce[CLIENT_ID_SIZE];
    enum error_code code = client_identity_read(client, reterr);
    if (!code && facts->takes_nonce) {
        client_nonce_get(client, sending->pin, nonce);
        code = json_set_hex(sending->message, "nonce", nonce, sizeof(nonce), reterr);
    }
    if (!code && is_auth)
        code = json_set_new(sending->message, "descriptor_sequence",
                            json_integer((json_int_t)sending->pin->descriptor.sequence), reterr);
    return code ? code
                : message_seal(sending->message, sending->pin->descriptor.message_key,
                               is_auth ? client->identity : NULL, is_auth ? sending->pin->host : NULL, wire,
                               ret_context, reterr);
}

/* Once to one address. ERR_UNREACHABLE: try another. ERR_CHANGED, ERR_EXISTS: the same again, sealed anew. */
static enum error_code send_once(struct sending *sending, const char *url, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {0}, body = {0}, plain = {0};
    _cleanup_(hpke_context_freep) struct hpke_context *context = NULL;
    _cleanup_(json_freep) json_t *answer = NULL;
    enum answer_kind kind = ANSWER_TRY_AGAIN;
    enum error_code code = seal(sending, &wire, &context, reterr);
    client_ledger_read(sending->client, sending->pin, &sending->ledger);
    if (!code)
        code = client_post(url, sending->client->names, wire.data, wire.length, sending->wait_s + ANSWER_S,
                           &body, reterr);
    if (code)
        return code == ERR_UNSUPPORTED ? ERR_UNREACHABLE : code; /* an https:// address among others */
    code = answer_open(body.data, body.length, context, &kind, &answer, &plain, reterr);
    if (!code && kind == ANSWER_SEALED)
        return take_sealed(sending, answer, reterr);
    if (!code && kind == ANSWER_DESCRIPTOR)
        return take_descriptor(sending, &plain, url, reterr);
    if (!code)
        return error_set(reterr, ERR_UNREACHABLE, 0, "%s: %s", text_shown(url),
                         text_shown(plain.data ? plain.data : "try again"));
    /* What is not authenticated is as good as no answer. */
    return code == ERR_NO_MEMORY
               ? code
               : error_set(reterr, ERR_UNREACHABLE, 0, "%s: something else than the authority answers",
                           text_shown(url));
}

static enum error_code send_round(struct sending *sending, struct error *reterr)
{
    enum error_code code = ERR_UNREACHABLE;
    for (unsigned i = 0; i < sending->pin->descriptor.address_count;) {
        char url[DESCRIPTOR_ADDRESS_SIZE];
        snprintf(url, sizeof(url), "%s", sending->pin->descriptor.addresses[i]);
        code = send_once(sending, url, reterr);
        if (code == ERR_EXISTS) { /* its addresses may be others */
            i = 0;
        } else if (code == ERR_CHANGED && sending->stale++ < STALE_MOST) {
            continue;
        } else if (code == ERR_UNREACHABLE) {
            i++;
        } else {
            return code;
        }
    }
    return code;
}

/* Half as much more at most, by chance. */
static int64_t pause_ns(unsigned pause_s)
{
    uint32_t chance = 0;
    if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
        chance = 0;
    return pause_s * CLOCK_NS_PER_S + (int64_t)(chance % 1000) * pause_s * (CLOCK_NS_PER_S / 2000);
}

static enum error_code send_until(struct sending *sending, unsigned patience_s, struct error *reterr)
{
    const int64_t until_ns = clock_monotonic_ns() + patience_s * CLOCK_NS_PER_S;
    unsigned pause_s = 1;
    for (;;) {
        enum error_code code = send_round(sending, reterr);
        if (code != ERR_UNREACHABLE)
            return code;
        /* Meanwhile husk enroll may have been told where the authority is now. */
        if (client_find(sending->client, sending->pin->id) == sending->pin)
            client_pin_catch_up(sending->client, sending->pin);
        const int64_t pause = pause_ns(pause_s);
        if (clock_monotonic_ns() + pause > until_ns)
            return code;
        code = client_sleep(pause, reterr);
        if (code)
            return code;
        pause_s = pause_s * 2 < PAUSE_MOST_S ? pause_s * 2 : PAUSE_MOST_S;
    }
}

enum error_code client_exchange_or_refusal(struct client *client, struct client_pin *pin, json_t *message,
                                           struct client_effort effort, json_t **ret_result,
                                           json_t **ret_refusal, struct error *reterr)
{
    struct sending sending = {.client = client, .pin = pin, .message = message, .wait_s = effort.wait_s};
    const char *word = NULL;
    enum error_code code = client_open_runtime(client, reterr);
    if (!code)
        code = json_get_string(message, "type", &word, reterr);
    while (!code && strcmp(word, message_types[sending.type].name) != 0)
        if (++sending.type == MESSAGE_TYPES)
            return error_set(reterr, ERR_FAILED, 0, "a message of an unknown type");
    if (!code)
        code = send_until(&sending, effort.patience_s, reterr);
    if (code == ERR_UNREACHABLE)
        error_remedy(reterr, "see that the authority runs and can be reached, then try again");
    if (code == ERR_ERASED)
        error_remedy(reterr,
                     "a key of another kind may still open this disk (husk keyslot list NAME); where the "
                     "erase is meant, husk erase "
                     "--all ends it here");
    if (code == ERR_PENDING)
        error_remedy(reterr, "ask who administers the authority, then try again");
    if (code && ret_refusal)
        *ret_refusal = TAKE(sending.refusal);
    json_decref(sending.refusal);
    if (code) {
        error_prefix(reterr, "authority %.8s", client_id_shown(pin->id));
        return code;
    }
    *ret_result = sending.result;
    return OK;
}

enum error_code client_exchange(struct client *client, struct client_pin *pin, json_t *message,
                                struct client_effort effort, json_t **ret_result, struct error *reterr)
{
    return client_exchange_or_refusal(client, pin, message, effort, ret_result, NULL, reterr);
}
