#include "http/http.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "http/resuming.h"

enum {
    HEADERS_SIZE = 8192, /* memory of a connection: request line, headers, and a part of the body */
    SWEEP_MS = 500,
    END_S = 5,
};

struct http {
    struct connections connections;
    struct authority *authority;
    struct resuming resuming;
    struct MHD_Daemon *daemons[HTTP_LISTENERS_MAXIMUM];
    unsigned daemon_count;
    pthread_rwlock_t way; /* read: a message is on its way to the authority; guards quiet */
    bool quiet;
    pthread_t sweeper;
    bool sweeps;
    _Atomic bool ends;
};

const struct http_options http_defaults = {
    .connections = 20000,
    .held = 20000,
    .connections_per_address = 12000,
    .connection_rate = 1000,
    .request_s = 30,
    .idle_s = 90,
};

__attribute__((format(printf, 2, 0))) static void log_line(void *context, const char *format,
                                                           va_list arguments)
{
    struct http *http = context;
    char line[512];
    vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\n")] = '\0';
    if (http->connections.options.log)
        http->connections.options.log(http->connections.options.log_context, line);
}

/* Paths are compared as they came. */
static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

static enum MHD_Result welcome(void *context, const struct sockaddr *from, socklen_t length)
{
    (void)length;
    struct http *http = context;
    struct address address;
    return address_of(from, &address) && connections_welcome(&http->connections, &address) ? MHD_YES : MHD_NO;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **place,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *http = context;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        connections_remove(&http->connections, *place);
        *place = NULL;
        return;
    }
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *from =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct address address;
    *place = fd && from && address_of(from->client_addr, &address)
                 ? connections_add(&http->connections, fd->connect_fd, &address)
                 : NULL;
}

/* From the authority, on any thread. Once resumed, the server's thread may free the request. */
static void take_answer(void *context, const void *bytes, size_t length, bool in_vain)
{
    struct request *request = context;
    if (in_vain)
        connections_note_vain(&request->http->connections, &request->peer);
    request->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    request->text = "out of memory, try again\n";
    uint8_t *answer = malloc(length > 0 ? length : 1);
    if (answer) {
        memcpy(answer, bytes, length);
        request->answer = answer;
        request->answer_length = length;
        request->status = MHD_HTTP_OK;
    }
    connections_move(&request->http->connections, request->place, CONNECTION_ANSWERING);
    resuming_put(&request->http->resuming, request);
}

static void turn_away(struct request *request, const char *text)
{
    request->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    request->text = text;
}

/* The body is whole. The connection is set aside first: the answer may come before this returns. */
static enum MHD_Result hand_over(struct http *http, struct request *request)
{
    if (request->received != request->length)
        return MHD_NO;
    if (!connections_hear(&http->connections, &request->peer)) {
        turn_away(request, "too much of what this address says is in vain, try again\n");
        return request_reply(request);
    }
    if (!connections_move(&http->connections, request->place, CONNECTION_HELD)) {
        turn_away(request, "too many are waiting, try again\n");
        return request_reply(request);
    }
    char peer[ADDRESS_TEXT_SIZE];
    address_format(&request->peer, peer);
    struct MHD_Connection *connection = request->connection;
    MHD_suspend_connection(connection);
    pthread_rwlock_rdlock(&http->way);
    enum error_code code = http->quiet ? ERR_BUSY
                                       : authority_message(http->authority, request->body, request->length,
                                                           peer, take_answer, request, NULL);
    bool quiet = http->quiet;
    pthread_rwlock_unlock(&http->way);
    request_drop_body(request, &http->connections); /* the authority has its own */
    if (code) {
        turn_away(request, quiet ? "huskd ends, try again\n" : "too much waits, try again\n");
        connections_move(&http->connections, request->place, CONNECTION_ANSWERING);
        MHD_resume_connection(connection);
    }
    return MHD_YES;
}

static enum MHD_Result begin(struct http *http, struct MHD_Connection *connection, const char *path,
                             const char *method, void **ret_request)
{
    const union MHD_ConnectionInfo *place =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct request *request = place && place->socket_context ? calloc(1, sizeof(*request)) : NULL;
    if (!request)
        return MHD_NO;
    *request = (struct request){.http = http, .connection = connection, .place = place->socket_context};
    *ret_request = request;
    if (!request_check(request, &http->connections, path, method))
        return MHD_NO;
    return request->status == 0 || request_can_drain(request) ? MHD_YES : request_reply(request);
}

/* Called when the headers are there, then for every part of the body, then when all is there, and once more
 * when the authority has answered. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *bytes, size_t *length,
                              void **request_at)
{
    (void)version;
    struct request *request = *request_at;
    if (!request)
        return begin(context, connection, path, method, request_at);
    if (*length > 0) {
        size_t taken = *length;
        *length = 0;
        return request_take(request, bytes, taken) ? MHD_YES : MHD_NO;
    }
    if (request->status != 0)
        return request_reply(request);
    return hand_over(context, request);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_at,
                         enum MHD_RequestTerminationCode how)
{
    (void)connection;
    (void)how;
    struct http *http = context;
    struct request *request = *request_at;
    if (request)
        connections_move(&http->connections, request->place, CONNECTION_WAITING);
    request_free(request, &http->connections);
    *request_at = NULL;
}

static void *sweep(void *context)
{
    struct http *http = context;
    while (!atomic_load(&http->ends)) {
        connections_sweep(&http->connections);
        nanosleep(&(struct timespec){.tv_nsec = SWEEP_MS * 1000000L}, NULL);
    }
    return NULL;
}

static enum error_code start_daemon(struct http *http, int listener, struct error *reterr)
{
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    struct MHD_Daemon *daemon = MHD_start_daemon(
        flags, 0, welcome, http, handle, http, MHD_OPTION_EXTERNAL_LOGGER, log_line, http,
        MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT,
        http->connections.options.connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS_SIZE,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (!daemon)
        return error_set(reterr, ERR_FAILED, errno, "cannot start the HTTP server");
    http->daemons[http->daemon_count++] = daemon;
    return OK;
}

static void stop_daemons(struct http *http)
{
    for (unsigned i = 0; i < http->daemon_count; i++)
        MHD_stop_daemon(http->daemons[i]);
    http->daemon_count = 0;
}

static void http_free(struct http *http)
{
    resuming_done(&http->resuming);
    pthread_rwlock_destroy(&http->way);
    connections_done(&http->connections);
    free(http);
}

enum error_code http_start(const struct http_options *options, struct authority *authority,
                           struct http **ret_http, struct error *reterr)
{
    if (options->listener_count == 0 || options->listener_count > HTTP_LISTENERS_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "there can be 1 to %d listeners", HTTP_LISTENERS_MAXIMUM);
    struct http *http = calloc(1, sizeof(*http));
    if (!http)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    http->authority = authority;
    enum error_code code = connections_init(&http->connections, options, reterr);
    if (code) {
        free(http);
        return code;
    }
    pthread_rwlock_init(&http->way, NULL);
    code = resuming_start(&http->resuming, &http->connections, reterr);
    for (unsigned i = 0; !code && i < options->listener_count; i++)
        code = start_daemon(http, options->listeners[i], reterr);
    int failed = code ? 0 : pthread_create(&http->sweeper, NULL, sweep, http);
    if (failed)
        code = error_set(reterr, ERR_FAILED, failed, "cannot start a thread");
    if (code) {
        resuming_end(&http->resuming);
        stop_daemons(http);
        http_free(http);
        return code;
    }
    http->sweeps = true;
    *ret_http = http;
    return OK;
}

void http_quiet(struct http *http)
{
    if (!http)
        return;
    for (unsigned i = 0; i < http->daemon_count; i++) {
        int listener = MHD_quiesce_daemon(http->daemons[i]);
        if (listener >= 0)
            close(listener);
    }
    pthread_rwlock_wrlock(&http->way);
    http->quiet = true;
    pthread_rwlock_unlock(&http->way);
}

void http_end(struct http *http)
{
    if (!http)
        return;
    int64_t until_ns = clock_monotonic_ns() + END_S * CLOCK_NS_PER_S;
    while (connections_busy(&http->connections) > 0 && clock_monotonic_ns() < until_ns)
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000000L}, NULL);
    resuming_end(&http->resuming);
    stop_daemons(http);
    atomic_store(&http->ends, true);
    pthread_join(http->sweeper, NULL);
    http_free(http);
}
