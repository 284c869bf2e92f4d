/*
 * The front that hosts talk to: POST /v1/message over plain HTTP/1.1 (docs/protocol.md), and GET /healthz.
 * Bodies go to the authority as they came, and its answers back; nothing here reads them. What this room sees
 * to is who may keep a socket how long: peers that are slow, silent, many, or not hosts at all.
 *
 * Built on libmicrohttpd: small, in every distribution, speaks HTTP/1.1 with keep-alive and pipelining on one
 * epoll thread, and can set a connection aside until the authority answers (MHD_suspend_connection), so that
 * ten thousand held polls need no threads. One thread per listener moves bytes and never waits for anything
 * else; another closes connections past their time.
 *
 * A connection is waiting (for a request that is whole), held (by the authority), or answering. Waiting and
 * answering have a time that no trickle of bytes makes longer.
 */
#pragma once
#include "authority/authority.h"
#include "http/address.h"

#define HTTP_LISTENERS_MAXIMUM 16
#define HTTP_TRUSTED_MAXIMUM 64

struct http_options {
    const int *listeners; /* listening TCP sockets; taken over when http_start succeeds */
    unsigned listener_count;
    unsigned connections;             /* at most, of all peers */
    unsigned held;                    /* at most, of these waiting for the authority */
    unsigned connections_per_address; /* at most */
    /* New ones a second of one address, ten seconds' worth at once; and so many of its messages that are in
     * vain (authority_answer), twenty seconds' worth at once. */
    unsigned connection_rate;
    unsigned request_s; /* a new connection has sent a whole request by then, or taken its answer */
    unsigned idle_s;    /* between an answer and the next whole request */
    const struct network *trusted; /* proxies whose X-Forwarded-For counts, and that have no limit of their
                                    * own; outlives the front */
    unsigned trusted_count;
    /* A line for people; may come from any thread. */
    void (*log)(void *context, const char *line);
    void *log_context;
};

struct http;

/* Options as they are when nobody says otherwise. */
extern const struct http_options http_defaults;

/* Begin to serve. authority must live until http_end. ERR_FAILED, ERR_NO_MEMORY. */
must_check enum error_code http_start(const struct http_options *options, struct authority *authority,
                                      struct http **ret_http, struct error *reterr);

/* From now on no connection is taken and no message reaches the authority (503). Returns when none is on its
 * way there: then authority_close may answer what is held. NULL is fine. */
void http_quiet(struct http *http);

/* Let the answers that are there leave (some seconds at most), close every connection, end. After
 * authority_close. NULL is fine. Blocks. */
void http_end(struct http *http);
