/* The connections of the front: how many of whom, how fast they come, and until when each may stay. */
#pragma once
#include <poll.h>
#include <pthread.h>

#include "http/http.h"

enum connection_state { CONNECTION_WAITING, CONNECTION_HELD, CONNECTION_ANSWERING };

struct connection {
    struct connection *previous, *next;
    struct peer *peer; /* NULL for trusted proxies */
    int fd;            /* the server's; valid while the connection is in the list */
    struct address address;
    enum connection_state state;
    bool was_gone;    /* its peer sends no more, said the last sweep */
    int64_t since_ns; /* in this state */
    int64_t until_ns; /* closed then; 0: no limit */
};

#define HASH_KEY_SIZE 16

struct connections {
    pthread_mutex_t mutex;
    struct http_options options;
    struct connection *first;
    unsigned count, held, answering;
    struct peer **peers;             /* hash table of addresses */
    uint8_t hash_key[HASH_KEY_SIZE]; /* so that nobody can choose addresses that fall into one bucket */
    unsigned peer_count;
    struct pollfd *polled; /* of the sweep */
    unsigned polled_room;
};

must_check enum error_code connections_init(struct connections *connections,
                                            const struct http_options *options, struct error *reterr);
void connections_done(struct connections *connections);

/* Whether one more of this address is welcome. Counts it for the rate. */
bool connections_welcome(struct connections *connections, const struct address *address);

/* NULL when memory is out or there are too many. */
struct connection *connections_add(struct connections *connections, int fd, const struct address *address);
void connections_remove(struct connections *connections, struct connection *connection);

/* Whether a message of this address, which may be one behind a trusted proxy, is to be looked at: not while
 * too many of it were answered in vain, of which there may be a rate. */
bool connections_hear(struct connections *connections, const struct address *address);
void connections_note_vain(struct connections *connections, const struct address *address);

/* Memory for a body that comes from this address; of so much at a time for each but trusted proxies. False
 * when there would be more. */
bool connections_reserve(struct connections *connections, const struct address *address, size_t bytes);
void connections_release(struct connections *connections, const struct address *address, size_t bytes);

/* To HELD: false, and nothing changes, when too many are. */
bool connections_move(struct connections *connections, struct connection *connection,
                      enum connection_state state);

/* Shut those down whose time is over or whose peer has gone, forget addresses that are quiet. Now and then.
 */
void connections_sweep(struct connections *connections);

unsigned connections_held(struct connections *connections);

/* How many have an answer on its way or to come. */
unsigned connections_busy(struct connections *connections);

bool connections_trust(const struct connections *connections, const struct address *address);
