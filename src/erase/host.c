/*
 * The end of a host, after all its vaults:
 *
 *   every authority says, signed, that the host is erased   .husk/host.erased has each answer
 *   → the orders to erase are answered → host.key is destroyed in place
 *
 * .husk/host.erased: {"version":1,"authorities":[{"authority","order","sequence","at","signed"}]}.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "erase/erase.h"
#include "json/json.h"

enum { HOST_ERASED_VERSION = 1, HOST_ERASED_MAXIMUM = 1 << 20 };

struct ending {
    struct client *client;
    const struct report *report;
    struct finding_list *findings;
    json_t *answers; /* owned; of host.erased */
    size_t missing;
    bool changed;
};

/* One that cannot be read is as good as none: the authorities answer again. */
static enum error_code read_answers(struct ending *ending, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(json_freep) json_t *file = NULL;
    json_t *array = NULL;
    enum error_code code =
        file_read(ending->client->husk_fd, CLIENT_ERASED_NAME, HOST_ERASED_MAXIMUM, &text, NULL);
    if (!code)
        code = json_parse_object(text.data, text.length, CLIENT_ERASED_NAME, &file, NULL);
    if (!code)
        code = json_check_version(file, HOST_ERASED_VERSION, CLIENT_ERASED_NAME, NULL);
    if (!code)
        code = json_get_array(file, "authorities", CLIENT_AUTHORITIES_MAXIMUM, &array, NULL);
    ending->answers = code ? json_array() : json_incref(array);
    return ending->answers ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

static enum error_code write_answers(struct ending *ending, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(json_freep) json_t *file =
        json_pack("{s:i, s:O}", "version", HOST_ERASED_VERSION, "authorities", ending->answers);
    enum error_code code =
        file ? json_format(file, &text, reterr) : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return code ? code
                : file_write_durable(ending->client->husk_fd, CLIENT_ERASED_NAME, 0600, text.data,
                                     text.length, reterr);
}

static bool has_answered(const struct ending *ending, const struct client_pin *pin)
{
    size_t index;
    json_t *item;
    json_array_foreach(ending->answers, index, item)
    {
        const char *id = json_string_value(json_object_get(item, "authority"));
        if (id && !strcmp(id, client_id_shown(pin->id)))
            return true;
    }
    return false;
}

static enum error_code ask(struct ending *ending, struct client_pin *pin, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = STATEMENT_MAXIMUM};
    _cleanup_(erased_done) struct erased erased = {0};
    int injected = fault("erase.host.authority");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot ask the authority");
    enum error_code code = client_erase_host(ending->client, pin, &wire, &erased, reterr);
    if (code)
        return code;
    json_t *item = json_pack("{s:s, s:s, s:I, s:I, s:o}", "authority", client_id_shown(pin->id), "order",
                             client_id_shown(erased.order), "sequence", (json_int_t)erased.sequence, "at",
                             (json_int_t)erased.at_unix_s, "signed", json_hex(wire.data, wire.length));
    if (json_array_append_new(ending->answers, item) != 0)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    code = write_answers(ending, reterr);
    if (code)
        return code;
    (void)fault("erase.host.answered");
    ending->changed = true;
    report_truth(ending->report, "the authority %.8s has erased this host for good",
                 client_id_shown(pin->id));
    return OK;
}

/* The orders this was done for: those that were taken, and one that no agent has heard of. */
static enum error_code answer_orders(struct ending *ending, struct client_pin *pin, struct error *reterr)
{
    _cleanup_(client_news_done) struct client_news news = {0};
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    enum error_code code = client_poll(ending->client, pin, CLIENT_PROMPT, &news, reterr);
    if (code)
        return code;
    code = client_orders_take(ending->client, pin, news.orders, &orders, ending->findings, reterr);
    /* The file is damaged: what is to be answered was given just now, and nothing else is carried out here.
     */
    if (code == ERR_CORRUPT && !(code = client_orders_forget(ending->client, pin, reterr)))
        code = client_orders_take(ending->client, pin, news.orders, &orders, ending->findings, reterr);
    for (size_t i = 0; !code && i < orders.count; i++) {
        struct client_order *order = &orders.items[i];
        if (order->action != ORDER_ERASE)
            continue;
        code = client_order_note(ending->client, pin, order->id, "done", json_object(), reterr);
        snprintf(order->outcome, sizeof(order->outcome), "done");
        if (!code)
            code = client_order_answer(ending->client, pin, order, reterr);
        if (code == ERR_NOT_FOUND)
            code = OK;
    }
    return code;
}

static void note_missing(struct ending *ending, const struct client_pin *pin, enum error_code code,
                         const struct error *why)
{
    if (!code)
        return;
    ending->missing++;
    finding_add(ending->findings, FINDING_TELLS,
                code == ERR_CORRUPT   ? "authority-not-believed"
                : code == ERR_PENDING ? ERASE_AUTHORITY_WAITS
                                      : "authority-not-reached",
                client_id_shown(pin->id), "run the same command again when it answers",
                "the authority has not ended this host as far as it knows: %s", why->message);
}

static void ask_all(struct ending *ending)
{
    struct client *client = ending->client;
    for (size_t i = 0; i < client->pin_count; i++) {
        struct error why = ERROR_NONE;
        enum error_code code =
            has_answered(ending, &client->pins[i]) ? OK : ask(ending, &client->pins[i], &why);
        if (!code && client_has_identity(client))
            code = answer_orders(ending, &client->pins[i], &why);
        note_missing(ending, &client->pins[i], code, &why);
    }
}

static enum error_code destroy_identity(struct ending *ending, struct error *reterr)
{
    struct destroy_result result;
    if (!client_has_identity(ending->client))
        return OK;
    int injected = fault("erase.identity");
    enum error_code code =
        injected ? error_set(reterr, ERR_FAILED, injected, "cannot destroy %s", CLIENT_IDENTITY_NAME)
                 : destroy_file(ending->client->husk_fd, CLIENT_IDENTITY_NAME, &result, reterr);
    if (code)
        return code;
    (void)fault("erase.identity.destroyed");
    ending->changed = true;
    report_truth(ending->report, "the identity of this host is destroyed");
    return OK;
}

bool erase_host_has_begun(struct client *client)
{
    struct ending ending = {.client = client};
    bool has = false;
    if (client->husk_fd < 0 || read_answers(&ending, NULL))
        return false;
    for (size_t i = 0; i < client->pin_count; i++)
        has |= has_answered(&ending, &client->pins[i]);
    json_decref(ending.answers);
    return has;
}

enum error_code erase_host(struct client *client, const struct report *report, bool *ret_changed,
                           struct finding_list *findings, struct error *reterr)
{
    struct ending ending = {.client = client, .report = report, .findings = findings};
    if (client->husk_fd < 0)
        return OK;
    enum error_code code = OK;
    if (client->pin_count > 0) {
        code = read_answers(&ending, reterr);
        if (!code)
            ask_all(&ending);
    }
    if (!code && ending.missing > 0) {
        code = error_set(reterr, ERR_INCOMPLETE, 0,
                         "%zu of %zu authorities have not said that this host is erased", ending.missing,
                         client->pin_count);
        error_remedy(reterr, "run the same command again when they answer");
    }
    if (!code)
        code = destroy_identity(&ending, reterr);
    json_decref(ending.answers);
    *ret_changed |= ending.changed;
    return code;
}
