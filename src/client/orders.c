/*
 * authorities/ID.orders:
 * {"version":1,"sequence":N,"orders":[{"order","sequence","action","outcome","report"}]}.
 *
 *   given ── taken: on disk, with the highest sequence ── carried out: outcome on disk ── answered: gone
 *
 * A crash anywhere is answered by the same again: an order that is taken is carried out again (all of them
 * can be), an outcome is told again. One that was answered is below the highest sequence and is not taken
 * twice.
 */
#include <errno.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/wire.h"

enum { ORDERS_VERSION = 1, ORDERS_MEMBERS = 3, ORDER_MEMBERS = 5, ORDERS_FILE_MAXIMUM = 1 << 20 };
#define NAME_SIZE (CLIENT_ID_TEXT_SIZE + 8)

void client_orders_done(struct client_orders *orders)
{
    for (size_t i = 0; i < orders->count; i++)
        json_decref(orders->items[i].report);
    *orders = (struct client_orders){0};
}

static enum error_code parse_action(const char *word, enum order_action *ret_action, struct error *reterr)
{
    for (unsigned action = 0; action < ORDER_ACTIONS; action++)
        if (!strcmp(word, order_action_words[action])) {
            *ret_action = (enum order_action)action;
            return OK;
        }
    return error_set(reterr, ERR_CORRUPT, 0, "an order to %s", text_shown(word));
}

static enum error_code parse_order(json_t *item, struct client_order *order, struct error *reterr)
{
    int64_t sequence = 0;
    const char *action = NULL, *outcome = NULL;
    json_t *report = json_object_get(item, "report");
    enum error_code code = OK;
    if (json_object_size(item) > ORDER_MEMBERS)
        code = error_set(reterr, ERR_CORRUPT, 0, "an order has a member that does not belong there");
    if (!code)
        code = json_get_hex(item, "order", order->id, sizeof(order->id), reterr);
    if (!code)
        code = json_get_integer(item, "sequence", 1, INT64_MAX, &sequence, reterr);
    if (!code)
        code = json_get_string(item, "action", &action, reterr);
    if (!code)
        code = parse_action(action, &order->action, reterr);
    if (!code)
        code = json_get_string(item, "outcome", &outcome, reterr);
    if (!code && strlen(outcome) >= sizeof(order->outcome))
        code = error_set(reterr, ERR_CORRUPT, 0, "an order with an unknown outcome");
    if (code)
        return code;
    order->sequence = (uint64_t)sequence;
    snprintf(order->outcome, sizeof(order->outcome), "%s", outcome);
    order->report = json_is_object(report) ? json_incref(report) : NULL;
    return OK;
}

enum error_code client_orders_parse(const char *text, size_t length, struct client_orders *ret_orders,
                                    struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    json_t *array = NULL;
    int64_t highest = 0;
    enum error_code code = json_parse_object(text, length, "the file", &file, reterr);
    if (!code)
        code = json_check_version(file, ORDERS_VERSION, "the file", reterr);
    if (!code && json_object_size(file) > ORDERS_MEMBERS)
        code = error_set(reterr, ERR_CORRUPT, 0, "a member that does not belong there");
    if (!code)
        code = json_get_integer(file, "sequence", 0, INT64_MAX, &highest, reterr);
    if (!code)
        code = json_get_array(file, "orders", CLIENT_ORDERS_MAXIMUM, &array, reterr);
    for (size_t i = 0; !code && i < json_array_size(array); i++) {
        code = parse_order(json_array_get(array, i), &orders.items[i], reterr);
        orders.count += !code;
    }
    if (code)
        return code;
    orders.highest = (uint64_t)highest;
    *ret_orders = orders;
    orders = (struct client_orders){0};
    return OK;
}

static enum error_code format_order(const struct client_order *order, json_t *item, struct error *reterr)
{
    enum error_code code = json_set_hex(item, "order", order->id, sizeof(order->id), reterr);
    if (!code)
        code = json_set_new(item, "sequence", json_integer((json_int_t)order->sequence), reterr);
    if (!code)
        code = json_set_new(item, "action", json_string(order_action_words[order->action]), reterr);
    if (!code)
        code = json_set_new(item, "outcome", json_string(order->outcome), reterr);
    return code ? code
                : json_set_new(item, "report", order->report ? json_incref(order->report) : json_null(),
                               reterr);
}

enum error_code client_orders_format(const struct client_orders *orders, struct buffer *text,
                                     struct error *reterr)
{
    json_t *array = json_array();
    _cleanup_(json_freep) json_t *file = json_pack("{s:i, s:I, s:o}", "version", ORDERS_VERSION, "sequence",
                                                   (json_int_t)orders->highest, "orders", array);
    enum error_code code = file ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; !code && i < orders->count; i++) {
        json_t *item = json_object();
        code = json_array_append_new(array, item) < 0 ? error_set(reterr, ERR_NO_MEMORY, 0, "out of memory")
                                                      : format_order(&orders->items[i], item, reterr);
    }
    if (!code)
        code = json_format(file, text, reterr);
    return code ? code : buffer_append(text, "\n", 1, reterr);
}

/* With the directory authorities/, for a write. */
static enum error_code read_orders(struct client *client, const struct client_pin *pin, int *ret_fd,
                                   struct client_orders *ret_orders, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int fd = -1;
    char name[NAME_SIZE];
    snprintf(name, sizeof(name), "%s.orders", client_id_shown(pin->id));
    enum error_code code = directory_open(client->husk_fd, CLIENT_AUTHORITIES_NAME, &fd, reterr);
    if (code)
        return code;
    code = file_read(fd, name, ORDERS_FILE_MAXIMUM, &text, reterr);
    if (!code)
        code = client_orders_parse(text.data, text.length, ret_orders, reterr);
    if (code == ERR_NOT_FOUND) {
        *ret_orders = (struct client_orders){0};
        code = OK;
    }
    if (code)
        return error_prefix(reterr, "%s/%s", CLIENT_AUTHORITIES_NAME, name);
    if (ret_fd)
        *ret_fd = TAKE_FD(fd);
    return OK;
}

enum error_code client_orders_read(struct client *client, const struct client_pin *pin,
                                   struct client_orders *ret_orders, struct error *reterr)
{
    return read_orders(client, pin, NULL, ret_orders, reterr);
}

static enum error_code write_orders(const struct client_pin *pin, int fd, const struct client_orders *orders,
                                    struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    char name[NAME_SIZE];
    snprintf(name, sizeof(name), "%s.orders", client_id_shown(pin->id));
    enum error_code code = client_orders_format(orders, &text, reterr);
    int injected = code ? 0 : fault("client.orders.write");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write %s", name);
    if (!code)
        code = file_write_durable(fd, name, 0600, text.data, text.length, reterr);
    if (!code)
        (void)fault("client.orders.written");
    return code;
}

enum error_code client_orders_forget(struct client *client, const struct client_pin *pin,
                                     struct error *reterr)
{
    _cleanup_(close_fdp) int lock_fd = -1, fd = -1;
    char name[NAME_SIZE];
    snprintf(name, sizeof(name), "%s.orders", client_id_shown(pin->id));
    enum error_code code = client_lock(client, "orders.lock", &lock_fd, reterr);
    if (!code)
        code = directory_open(client->husk_fd, CLIENT_AUTHORITIES_NAME, &fd, reterr);
    if (!code && unlinkat(fd, name, 0) < 0 && errno != ENOENT)
        code = error_set(reterr, ERR_FAILED, errno, "cannot remove %s", name);
    return code;
}

static struct client_order *find(struct client_orders *orders, const uint8_t *id)
{
    for (size_t i = 0; i < orders->count; i++)
        if (!memcmp(orders->items[i].id, id, CLIENT_ID_SIZE))
            return &orders->items[i];
    return NULL;
}

static void refuse(const struct client_pin *pin, struct finding_list *findings, const char *why)
{
    finding_add(findings, FINDING_TELLS, "order-refused", client_id_shown(pin->id),
                "ask who administers the authority", "an order is not carried out: %s", why);
}

/* True when it was added. */
static bool take_one(const struct client_pin *pin, const char *text, struct client_orders *orders,
                     struct finding_list *findings)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = STATEMENT_MAXIMUM};
    struct order order;
    struct error why = ERROR_NONE;
    enum error_code code =
        text ? text_append_bytes(&wire, text, &why) : error_set(&why, ERR_CORRUPT, 0, "it is no order");
    if (!code)
        code = order_parse(wire.data, wire.length, pin->descriptor.signing_key, pin->host, &order, &why);
    if (code) {
        refuse(pin, findings, why.message);
        return false;
    }
    if (find(orders, order.id) || order.sequence == orders->highest)
        return false; /* the same again; in the second case it was answered already */
    if (order.sequence < orders->highest) {
        refuse(pin, findings, "an order of that sequence or a later one was given before");
        return false;
    }
    if (orders->count == CLIENT_ORDERS_MAXIMUM)
        return false; /* it comes again */
    struct client_order *taken = &orders->items[orders->count++];
    *taken = (struct client_order){.sequence = order.sequence, .action = order.action};
    memcpy(taken->id, order.id, sizeof(taken->id));
    orders->highest = order.sequence;
    return true;
}

enum error_code client_orders_take(struct client *client, const struct client_pin *pin, const json_t *given,
                                   struct client_orders *ret_orders, struct finding_list *findings,
                                   struct error *reterr)
{
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    _cleanup_(close_fdp) int lock_fd = -1, fd = -1;
    bool any = false;
    enum error_code code = client_lock(client, "orders.lock", &lock_fd, reterr);
    if (!code)
        code = read_orders(client, pin, &fd, &orders, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < json_array_size(given); i++)
        any |= take_one(pin, json_string_value(json_array_get(given, i)), &orders, findings);
    code = any ? write_orders(pin, fd, &orders, reterr) : OK;
    if (code)
        return code;
    *ret_orders = orders;
    orders = (struct client_orders){0};
    return OK;
}

enum error_code client_order_note(struct client *client, const struct client_pin *pin,
                                  const uint8_t id[CLIENT_ID_SIZE], const char *outcome, json_t *report,
                                  struct error *reterr)
{
    _cleanup_(json_freep) json_t *taken = report;
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    _cleanup_(close_fdp) int lock_fd = -1, fd = -1;
    enum error_code code = client_lock(client, "orders.lock", &lock_fd, reterr);
    if (!code)
        code = read_orders(client, pin, &fd, &orders, reterr);
    struct client_order *order = code ? NULL : find(&orders, id);
    if (!order)
        return code;
    json_decref(order->report);
    order->report = json_incref(taken);
    snprintf(order->outcome, sizeof(order->outcome), "%s", outcome);
    return write_orders(pin, fd, &orders, reterr);
}

static enum error_code drop(struct client *client, const struct client_pin *pin, const uint8_t *id,
                            struct error *reterr)
{
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    _cleanup_(close_fdp) int lock_fd = -1, fd = -1;
    enum error_code code = client_lock(client, "orders.lock", &lock_fd, reterr);
    if (!code)
        code = read_orders(client, pin, &fd, &orders, reterr);
    struct client_order *order = code ? NULL : find(&orders, id);
    if (!order)
        return code;
    json_decref(order->report);
    *order = orders.items[--orders.count];
    return write_orders(pin, fd, &orders, reterr);
}

enum error_code client_order_answer(struct client *client, struct client_pin *pin,
                                    const struct client_order *order, struct error *reterr)
{
    json_t *report = order->report ? json_incref(order->report) : json_object();
    enum error_code code = client_tell_done(client, pin, "order", order->id, order->outcome, report, reterr);
    const bool is_over = order->action != ORDER_ERASE || !strcmp(order->outcome, "done");
    /* One the authority does not know (any more) is over too. */
    if (code == ERR_NOT_FOUND || (!code && is_over))
        code = drop(client, pin, order->id, reterr);
    return code;
}
