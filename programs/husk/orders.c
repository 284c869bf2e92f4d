#include "orders.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "erase/ordered.h"
#include "host_name.h"

#define OWN_PROGRAM "/proc/self/exe"
enum { OUTPUT_MAXIMUM = 16 << 20, FINDINGS_TOLD_MAXIMUM = 32, ALIVE_MS = 30000 };

/* Until there is something to read, or its end. */
static void wait_alive(int fd, const struct orders_alive *alive)
{
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    int ready;
    while ((ready = poll(&waited, 1, ALIVE_MS)) == 0 || (ready < 0 && errno == EINTR))
        if (ready == 0)
            alive->tell(alive->context);
}

/* Run this program with these words; output is what it prints. */
static enum error_code run_self(char *const *words, const struct orders_alive *alive, int *ret_status,
                                struct buffer *output, struct error *reterr)
{
    int ends[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make a pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    int os_errno = posix_spawn(&pid, OWN_PROGRAM, &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char bytes[4096];
    ssize_t got = -1;
    for (;;) {
        if (!os_errno)
            wait_alive(ends[0], alive);
        if (os_errno || ((got = read(ends[0], bytes, sizeof(bytes))) <= 0 && (got == 0 || errno != EINTR)))
            break;
        if (got > 0 && buffer_append(output, bytes, (size_t)got, NULL))
            got = 0; /* too much: what did not fit is left away, and the whole is no document then */
    }
    close(ends[0]);
    if (os_errno)
        return error_set(reterr, ERR_FAILED, os_errno, "cannot run husk again");
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return error_set(reterr, ERR_FAILED, errno, "cannot wait for husk");
    return OK;
}

/* What the authority is told: the vaults, the first findings, the error; and for the next boot what an erase
 * left so far. */
static json_t *make_report(const struct run *run, const struct client_order *order, int status,
                           json_t *document)
{
    json_t *vaults = json_object_get(json_object_get(document, "result"), "vaults");
    json_t *findings = json_array(), *all = json_object_get(document, "findings");
    for (size_t i = 0; i < json_array_size(all) && i < FINDINGS_TOLD_MAXIMUM; i++)
        json_array_append(findings, json_array_get(all, i));
    json_t *report = json_pack("{s:s, s:i, s:o}", "action", order_action_words[order->action], "status",
                               status, "findings", findings);
    if (json_is_array(vaults))
        json_object_set(report, "vaults", vaults);
    if (json_is_object(json_object_get(document, "error")))
        json_object_set(report, "error", json_object_get(document, "error"));
    if (order->action == ORDER_ERASE &&
        (json_object_set_new(report, "at", json_text(text_shown(run->at))) < 0 ||
         json_object_set_new(report, "left", erase_find_left(order->report, document)) < 0)) {
        json_decref(report);
        return NULL;
    }
    return report;
}

/* The verb's exit status, in the words of docs/protocol.md. */
static const char *outcome_of(int status)
{
    return status == 0 ? "done" : status == error_exit_status(ERR_INCOMPLETE) ? "incomplete" : "failed";
}

static bool was_ended(int status, const json_t *document)
{
    const char *word = json_string_value(json_object_get(json_object_get(document, "error"), "code"));
    return (word && !strcmp(word, error_word(ERR_INTERRUPTED))) ||
           (WIFSIGNALED(status) && (interrupt_requested() || WTERMSIG(status) == SIGTERM));
}

/* *ret_report stays NULL where husk was ended before it could say anything: a host that shuts down ends what
 * its agent runs. */
static enum error_code carry_out(struct run *run, const struct orders_alive *alive,
                                 const struct client_order *order, const char **ret_outcome,
                                 json_t **ret_report, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer output = {.maximum = OUTPUT_MAXIMUM};
    _cleanup_(json_freep) json_t *document = NULL;
    char host[PATH_MAX];
    char own[] = "husk", verb[16], all[] = "--all", json[] = "--json", at[] = "--at", confirm[] = "--confirm";
    char *words[] = {own, verb, all, json, at, run->at, NULL, NULL, NULL};
    int status = 0;
    snprintf(verb, sizeof(verb), "%s", order_action_words[order->action]);
    host_name_to_confirm(run->at, host);
    if (order->action == ORDER_ERASE || order->action == ORDER_LOCK) {
        words[6] = confirm;
        words[7] = host;
    }
    if (order->action == ORDER_ERASE)
        alive->tell(alive->context);
    enum error_code code = run_self(words, alive, &status, &output, reterr);
    if (code)
        return code;
    if (output.data)
        document = json_loadb(output.data, output.length, 0, NULL);
    const int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (was_ended(status, document))
        return OK;
    *ret_outcome = outcome_of(exit_status);
    *ret_report = make_report(run, order, exit_status, document);
    return *ret_report ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

static void tell(struct run *run, const struct client_pin *pin, const struct client_order *order,
                 const char *what)
{
    char line[1200];
    snprintf(line, sizeof(line), "order to %s (%.8s) of the authority %.8s: %s",
             order_action_words[order->action], client_id_shown(order->id), client_id_shown(pin->id), what);
    progress_message(&run->progress, line);
}

/* An outcome on disk is told, not made again; but for an erase that is not done whole. */
static bool is_to_do(const struct client_order *order)
{
    return !order->outcome[0] || (order->action == ORDER_ERASE && strcmp(order->outcome, "done") != 0);
}

/* Keeps the outcome in order as well, and on disk. report is taken over. */
static enum error_code note(struct client *client, struct client_pin *pin, struct client_order *order,
                            const char *outcome, json_t *report, struct error *reterr)
{
    if (!report)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    snprintf(order->outcome, sizeof(order->outcome), "%s", outcome);
    json_decref(order->report);
    order->report = json_incref(report);
    enum error_code code = client_order_note(client, pin, order->id, outcome, report, reterr);
    (void)fault("agent.order.noted");
    return code;
}

/* What an erase has done stands: another run of it that came to nothing tells less. */
static bool is_less(const struct client_order *order, const char *outcome)
{
    return order->action == ORDER_ERASE && !strcmp(order->outcome, "incomplete") &&
           !strcmp(outcome, "failed");
}

static enum error_code do_it(struct run *run, struct client *client, struct client_pin *pin,
                             const struct orders_alive *alive, struct client_order *order,
                             struct error *reterr)
{
    json_t *report = NULL;
    const char *outcome = NULL;
    if (!order->outcome[0])
        tell(run, pin, order, "begins");
    (void)fault("agent.order");
    enum error_code code = carry_out(run, alive, order, &outcome, &report, reterr);
    if (code || !report || is_less(order, outcome)) {
        json_decref(report);
        return code;
    }
    if (strcmp(outcome, order->outcome) != 0)
        tell(run, pin, order, outcome);
    return note(client, pin, order, outcome, report, reterr);
}

/*
 * The outcome comes first, with the boot it is for: a host that is off tells nothing. An agent that finds it
 * in the same boot may have been killed before it did what it says, and powers off; in a later one it has
 * happened, and is only told.
 */
static enum error_code do_power_off(struct run *run, struct client *client, struct client_pin *pin,
                                    struct client_order *order, struct error *reterr)
{
    uint8_t boot[CLIENT_ID_SIZE];
    struct error why = ERROR_NONE;
    enum error_code code = client_boot_id(client, boot, reterr);
    if (code)
        return code;
    const char *shown = client_id_shown(boot);
    const char *noted = json_string_value(json_object_get(order->report, "boot"));
    if (order->outcome[0] && (!noted || strcmp(noted, shown) != 0 || strcmp(order->outcome, "done") != 0))
        return OK;
    (void)fault("agent.order");
    code = note(client, pin, order, "done",
                json_pack("{s:s, s:i, s:s}", "action", order_action_words[ORDER_POWER_OFF], "status", 0,
                          "boot", shown),
                reterr);
    if (code)
        return code;
    tell(run, pin, order, "begins");
    if (!power_off(run->at, &why))
        return OK;
    tell(run, pin, order, why.message);
    return note(client, pin, order, "failed",
                json_pack("{s:s, s:i, s:{s:s}}", "action", order_action_words[ORDER_POWER_OFF], "status",
                          error_exit_status(why.code), "error", "message", why.message),
                reterr);
}

static enum error_code handle(struct run *run, struct client *client, struct client_pin *pin,
                              const struct orders_alive *alive, struct client_order *order,
                              struct error *reterr)
{
    enum error_code code = OK;
    if (order->action == ORDER_POWER_OFF)
        code = do_power_off(run, client, pin, order, reterr);
    else if (is_to_do(order))
        code = do_it(run, client, pin, alive, order, reterr);
    /* A whole erase has answered for itself, while this host still had an identity; and one that was ended
     * has nothing to tell yet. */
    if (!code && (!order->outcome[0] || (order->action == ORDER_ERASE && !strcmp(order->outcome, "done"))))
        return OK;
    return code ? code : client_order_answer(client, pin, order, reterr);
}

static bool is_left(const struct client_order *order, enum error_code code)
{
    return code || !order->outcome[0] ||
           (order->action == ORDER_ERASE && strcmp(order->outcome, "done") != 0);
}

enum error_code orders_carry_out(struct run *run, struct client *client, struct client_pin *pin,
                                 const json_t *given, const struct orders_alive *alive, bool *ret_left,
                                 struct error *reterr)
{
    _cleanup_(client_orders_done) struct client_orders orders = {0};
    bool left = false;
    enum error_code code = client_orders_take(client, pin, given, &orders, &run->findings, reterr);
    for (size_t i = 0; !code && i < orders.count; i++) {
        code = handle(run, client, pin, alive, &orders.items[i], reterr);
        left |= is_left(&orders.items[i], code);
    }
    *ret_left = left;
    return code;
}
