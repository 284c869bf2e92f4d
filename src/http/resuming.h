/*
 * Giving connections back to the server once they have their answer. libmicrohttpd is woken and walks through
 * all that are held each time it is told of one. So the first is given back at once, and those that follow
 * closely are given back together: RESUMING_WAIT_MS later, or when they are a good part of those held.
 */
#pragma once
#include "http/request.h"

enum { RESUMING_WAIT_MS = 4 };

struct resuming {
    struct connections *connections;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct request *first; /* under mutex, with count; linked by next_answered */
    unsigned count;
    int64_t given_back_ns; /* when that was done last, by the monotonic clock */
    pthread_t thread;      /* gives back what waited for long enough */
    bool runs, ends;
};

must_check enum error_code resuming_start(struct resuming *resuming, struct connections *connections,
                                          struct error *reterr);

/* From any thread. Once given back, the server's thread may free the request. */
void resuming_put(struct resuming *resuming, struct request *request);

/* Gives back all that wait. After it resuming_put gives back at once. */
void resuming_end(struct resuming *resuming);
void resuming_done(struct resuming *resuming);
