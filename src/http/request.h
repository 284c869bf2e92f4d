/* One request: what it may be, its body, and what is said to it. */
#pragma once
#include <microhttpd.h>

#include "http/connections.h"
#include "message/message.h"

struct request {
    struct http *http;
    struct MHD_Connection *connection;
    struct connection *place; /* in the list of connections */
    struct address peer;      /* whom it comes from, behind trusted proxies */
    uint8_t *body;            /* owned; room for length bytes */
    size_t length, received;
    size_t reserved;   /* of the memory its address may have */
    unsigned status;   /* what is to be said; 0: nothing yet */
    const char *text;  /* a line for people, static; NULL where answer is said */
    const char *allow; /* for 405 */
    uint8_t *answer;   /* owned, until it is queued */
    size_t answer_length;
    struct request *next_answered; /* of resuming.h */
};

/* Look at method, path and headers. Sets status where it is refused, or is no message. False when there is no
 * memory. */
bool request_check(struct request *request, struct connections *connections, const char *path,
                   const char *method);

/* The rest of a body that is refused is small enough to be read and thrown away, so that its sender reads
 * why. */
bool request_can_drain(const struct request *request);

/* A part of the body. False: more than was announced. */
bool request_take(struct request *request, const char *bytes, size_t length);

/* Queue what is to be said. */
enum MHD_Result request_reply(struct request *request);

/* The body is not needed any more. */
void request_drop_body(struct request *request, struct connections *connections);

void request_free(struct request *request, struct connections *connections);
