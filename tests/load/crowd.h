/*
 * Many HTTP requests at once from one thread: each a POST over a connection of its own, as hosts that start
 * make them, or over connections that are kept. Nonblocking sockets and epoll; no DNS, no TLS, no redirects.
 */
#pragma once
#include <netinet/in.h>

#include "base/buffer.h"
#include "base/clock.h"

/* One request, until its answer is there. What it is about is index. */
struct crowd_request {
    size_t index;
    const void *body; /* borrowed until next is called again */
    size_t length;
    int64_t begun_ns; /* when it was first tried */
    unsigned tries;
};

struct crowd_answer {
    unsigned status; /* 0: the connection ended without one */
    const void *body;
    size_t length;
};

struct crowd {
    struct sockaddr_in address;
    const char *path, *type; /* of the content */
    unsigned connections;    /* at most at a time */
    bool keeps;              /* connections, for the next request */
    void *context;
    /* The next request. False: none is due before *ret_due_ns; INT64_MAX: no more will come. */
    bool (*next)(void *context, int64_t now_ns, struct crowd_request *ret_request, int64_t *ret_due_ns);
    /* An answer came. Returns 0 when it is settled, else after how many ns it is to be asked again. */
    int64_t (*answered)(void *context, const struct crowd_request *request,
                        const struct crowd_answer *answer);
    int64_t until_ns; /* stop then, whatever is open; 0: when all is answered */
};

/* False with errno when sockets cannot be had. */
bool crowd_run(struct crowd *crowd);
