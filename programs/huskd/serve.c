/* huskd serve: the authority, its two fronts, and the signals that end it. */
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#include "admin/admin.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "holder.h"
#include "listen.h"
#include "notify.h"
#include "secret/secret.h"
#include "verb.h"

/* Descriptors for everything but connections: database, sockets, administrators. */
enum { OTHER_DESCRIPTORS = 200, KEPT_BYTES = 8 << 20 };

static void log_line(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "huskd: %s\n", line);
}

static enum error_code open_listeners(const struct run *run, struct listeners *listeners,
                                      struct error *reterr)
{
    enum error_code code = listen_from_systemd(listeners, reterr);
    bool given = false;
    for (size_t i = 0; !code && i < run->arguments.given_count; i++)
        if (run->arguments.given[i].id == OPTION_LISTEN) {
            code = listen_at(listeners, run->arguments.given[i].value, reterr);
            given = true;
        }
    if (!code && !given && listeners->count == 0)
        code = listen_usual(listeners, reterr);
    return code;
}

static enum error_code take_number(const struct run *run, unsigned option, unsigned *number,
                                   struct error *reterr)
{
    const char *text = argument_value(&run->arguments, option);
    uint64_t value;
    if (!text)
        return OK;
    enum error_code code = text_parse_u64(text, 1000000, &value, reterr);
    if (!code && value == 0)
        code = error_set(reterr, ERR_USAGE, 0, "it is at least 1");
    if (code) {
        error_prefix(reterr, "--%s", huskd_options[option].name);
        return code;
    }
    *number = (unsigned)value;
    return OK;
}

static enum error_code take_proxies(const struct run *run, struct network *networks, unsigned *count,
                                    struct error *reterr)
{
    for (size_t i = 0; i < run->arguments.given_count; i++) {
        if (run->arguments.given[i].id != OPTION_TRUSTED_PROXY)
            continue;
        if (*count == HTTP_TRUSTED_MAXIMUM)
            return error_set(reterr, ERR_USAGE, 0, "at most %d --trusted-proxy", HTTP_TRUSTED_MAXIMUM);
        enum error_code code = network_parse(run->arguments.given[i].value, &networks[*count], reterr);
        if (code)
            return code;
        ++*count;
    }
    return OK;
}

/* As many descriptors as this process may have; connections are fewer by what else needs some. */
static enum error_code fit_descriptors(struct http_options *options, struct error *reterr)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur <= 2 * OTHER_DESCRIPTORS)
        return error_set(reterr, ERR_FAILED, 0, "too few descriptors: raise the limit of open files");
    if (limit.rlim_cur - OTHER_DESCRIPTORS < options->connections)
        options->connections = (unsigned)(limit.rlim_cur - OTHER_DESCRIPTORS);
    options->held = options->connections;
    return OK;
}

/* Everything a signal interrupts is in this thread: the others never see one. */
static void block_signals(sigset_t *ret_signals)
{
    sigemptyset(ret_signals);
    sigaddset(ret_signals, SIGTERM);
    sigaddset(ret_signals, SIGINT);
    sigaddset(ret_signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, ret_signals, NULL);
}

static void wait_for_end(const sigset_t *signals)
{
    for (;;) {
        int number = sigwaitinfo(signals, NULL);
        if (number == SIGHUP)
            log_line(NULL, "SIGHUP: there is nothing to read again");
        if (number == SIGTERM || number == SIGINT)
            return;
    }
}

static void tell_listeners(const struct listeners *listeners, unsigned connections)
{
    char most[64];
    snprintf(most, sizeof(most), "at most %u connections", connections);
    log_line(NULL, most);
    for (unsigned i = 0; i < listeners->count; i++) {
        char where[LISTEN_TEXT_SIZE], line[LISTEN_TEXT_SIZE + 32];
        listen_format(listeners->fds[i], where);
        snprintf(line, sizeof(line), "listening at %s", where);
        log_line(NULL, line);
    }
}

/* The order matters: first nobody comes in any more, then what waits is answered, then the answers leave. */
static enum error_code serve(struct run *run, struct authority **authority, struct listeners *listeners,
                             struct http_options *options, const sigset_t *signals, struct error *reterr)
{
    struct admin *admin = NULL;
    struct http *http = NULL;
    options->listeners = listeners->fds;
    options->listener_count = listeners->count;
    options->log = log_line;
    enum error_code code = admin_start(run->at, HUSKD_USER, *authority, &admin, reterr);
    if (!code)
        code = http_start(options, *authority, &http, reterr);
    if (!code) {
        tell_listeners(listeners, options->connections);
        listeners->count = 0; /* the front's now */
        notify_systemd("READY=1");
        wait_for_end(signals);
        notify_systemd("STOPPING=1");
        log_line(NULL, "ending");
    }
    http_quiet(http);
    admin_end(admin);
    authority_close(TAKE(*authority));
    http_end(http);
    return code;
}

static void close_authority(struct authority **authority)
{
    authority_close(*authority);
}

/* Batches take and give back the same few megabytes hundreds of times a second: they are kept. Without fast
 * bins: they are emptied, all of them, with every piece beyond a kilobyte, of which every message has some.
 */
static void keep_memory(void)
{
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    mallopt(M_TOP_PAD, KEPT_BYTES / 8);
    mallopt(M_MXFAST, 0);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    _cleanup_(listeners_done) struct listeners listeners = {.count = 0};
    _cleanup_(close_authority) struct authority *authority = NULL;
    struct network trusted[HTTP_TRUSTED_MAXIMUM];
    struct http_options options = http_defaults;
    options.trusted = trusted;
    sigset_t signals;
    keep_memory();
    block_signals(&signals);
    enum error_code code = take_number(run, OPTION_CONNECTIONS, &options.connections, reterr);
    if (!code)
        code = take_number(run, OPTION_CONNECTIONS_PER_ADDRESS, &options.connections_per_address, reterr);
    if (!code)
        code = take_number(run, OPTION_CONNECTION_RATE, &options.connection_rate, reterr);
    if (!code)
        code = take_proxies(run, trusted, &options.trusted_count, reterr);
    if (!code)
        code = fit_descriptors(&options, reterr);
    if (!code)
        code = open_listeners(run, &listeners, reterr);
    if (!code)
        code = secret_start(reterr);
    const struct authority_options authority_options = {
        .directory = run->at,
        .holder = argument_value(&run->arguments, OPTION_HOLDER),
        .clock = clock_system(),
        .log = log_line,
    };
    if (!code)
        code = authority_open(&authority_options, &authority, reterr);
    const char *trouble = authority_options.holder ? holder_trouble(&authority_options) : NULL;
    if (!code && trouble)
        log_line(NULL, trouble);
    return code ? code : serve(run, &authority, &listeners, &options, &signals, reterr);
}

const struct verb verb_serve = {
    .name = "serve",
    .operands = "",
    .summary = "Answer hosts and administrators until SIGTERM.",
    .text =
        "Messages of hosts come as POST /v1/message over plain HTTP, which needs no TLS: every message "
        "protects itself. GET /healthz answers 200 while huskd runs. Administrators' verbs come over "
        "DIR/admin.socket, open to root and the group huskd.\n\n"
        "It runs in the foreground, tells systemd when it is ready, and takes sockets from it. On SIGTERM "
        "hosts that wait are told to try again. One huskd serves a directory.",
    .options = (const struct verb_option[]){{OPTION_LISTEN, ROLE_OPTIONAL, NULL},
                                            {OPTION_HOLDER, ROLE_OPTIONAL, NULL},
                                            {OPTION_TRUSTED_PROXY, ROLE_OPTIONAL, NULL},
                                            {OPTION_CONNECTIONS, ROLE_OPTIONAL, NULL},
                                            {OPTION_CONNECTIONS_PER_ADDRESS, ROLE_OPTIONAL, NULL},
                                            {OPTION_CONNECTION_RATE, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = act,
};
