#include "http/connections.h"

#include <assert.h>
#include <sodium.h>

#include "base/cleanup.h"
#include "base/rate.h"
#include "base/sure.h"

static_assert(HASH_KEY_SIZE == crypto_shorthash_KEYBYTES, "the key of the hash");

/* A body each from thousands of hosts behind one address; not one of the largest on every connection. */
#define BYTES_PER_ADDRESS ((size_t)32 << 20)

enum { PEER_BUCKETS = 4096, PEERS_MAXIMUM = 65536, BURST_S = 10, VAIN_BURST_S = 20, IDLE_WHEN_FULL_S = 5 };

/* An address, or what counts as one. */
struct peer {
    struct peer *next;
    struct address address;
    unsigned connections;
    size_t bytes;     /* of bodies that are on their way */
    struct rate rate; /* of new connections */
    struct rate vain; /* of messages that were answered in vain */
};

enum error_code connections_init(struct connections *connections, const struct http_options *options,
                                 struct error *reterr)
{
    struct peer **peers = calloc(PEER_BUCKETS, sizeof(struct peer *));
    if (!peers)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    *connections = (struct connections){.options = *options, .peers = peers};
    pthread_mutex_init(&connections->mutex, NULL);
    randombytes_buf(connections->hash_key, sizeof(connections->hash_key));
    return OK;
}

void connections_done(struct connections *connections)
{
    while (connections->first)
        connections_remove(connections, connections->first);
    for (unsigned i = 0; connections->peers && i < PEER_BUCKETS; i++)
        while (connections->peers[i]) {
            struct peer *peer = connections->peers[i];
            connections->peers[i] = peer->next;
            free(peer);
        }
    free(connections->peers);
    free(connections->polled);
    connections->peers = NULL;
    pthread_mutex_destroy(&connections->mutex);
}

bool connections_trust(const struct connections *connections, const struct address *address)
{
    for (unsigned i = 0; i < connections->options.trusted_count; i++)
        if (network_holds(&connections->options.trusted[i], address))
            return true;
    return false;
}

static struct peer **bucket_of(struct connections *connections, const struct address *whom)
{
    uint8_t hash[crypto_shorthash_BYTES];
    sure(crypto_shorthash(hash, whom->bytes, sizeof(whom->bytes), connections->hash_key));
    return &connections->peers[(hash[0] | (unsigned)hash[1] << 8) % PEER_BUCKETS];
}

/* Under the mutex. NULL where there is none. */
static struct peer *look_up_peer(struct connections *connections, const struct address *address)
{
    struct address whom = address_of_peer(address);
    struct peer *peer = *bucket_of(connections, &whom);
    while (peer && memcmp(&peer->address, &whom, sizeof(whom)) != 0)
        peer = peer->next;
    return peer;
}

/* Under the mutex. Makes it where there is none; NULL when there are too many. */
static struct peer *find_peer(struct connections *connections, const struct address *address)
{
    struct address whom = address_of_peer(address);
    struct peer **bucket = bucket_of(connections, &whom), *known = look_up_peer(connections, address);
    if (known || connections->peer_count >= PEERS_MAXIMUM)
        return known;
    struct peer *peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    *peer = (struct peer){.next = *bucket, .address = whom};
    *bucket = peer;
    connections->peer_count++;
    return peer;
}

bool connections_welcome(struct connections *connections, const struct address *address)
{
    pthread_mutex_lock(&connections->mutex);
    bool welcome = connections->count < connections->options.connections;
    if (welcome && !connections_trust(connections, address)) {
        struct peer *peer = find_peer(connections, address);
        welcome = peer && peer->connections < connections->options.connections_per_address &&
                  rate_pay(&peer->rate, connections->options.connection_rate, BURST_S, clock_monotonic_ns());
    }
    pthread_mutex_unlock(&connections->mutex);
    return welcome;
}

struct connection *connections_add(struct connections *connections, int fd, const struct address *address)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    int64_t now_ns = clock_monotonic_ns();
    *connection = (struct connection){
        .fd = fd,
        .address = *address,
        .since_ns = now_ns,
        .until_ns = now_ns + connections->options.request_s * CLOCK_NS_PER_S,
    };
    pthread_mutex_lock(&connections->mutex);
    bool trusted = connections_trust(connections, address);
    if (!trusted)
        connection->peer = find_peer(connections, address);
    if (!trusted && !connection->peer) {
        pthread_mutex_unlock(&connections->mutex);
        free(connection);
        return NULL;
    }
    if (connection->peer)
        connection->peer->connections++;
    connection->next = connections->first;
    if (connection->next)
        connection->next->previous = connection;
    connections->first = connection;
    connections->count++;
    pthread_mutex_unlock(&connections->mutex);
    return connection;
}

bool connections_hear(struct connections *connections, const struct address *address)
{
    pthread_mutex_lock(&connections->mutex);
    const struct peer *peer = look_up_peer(connections, address);
    const bool hears = !peer || rate_has_room(&peer->vain, connections->options.connection_rate, VAIN_BURST_S,
                                              clock_monotonic_ns());
    pthread_mutex_unlock(&connections->mutex);
    return hears;
}

void connections_note_vain(struct connections *connections, const struct address *address)
{
    pthread_mutex_lock(&connections->mutex);
    struct peer *peer = find_peer(connections, address);
    if (peer)
        (void)rate_pay(&peer->vain, connections->options.connection_rate, VAIN_BURST_S, clock_monotonic_ns());
    pthread_mutex_unlock(&connections->mutex);
}

bool connections_reserve(struct connections *connections, const struct address *address, size_t bytes)
{
    if (connections_trust(connections, address))
        return true;
    pthread_mutex_lock(&connections->mutex);
    struct peer *peer = find_peer(connections, address);
    const bool fits = peer && bytes <= BYTES_PER_ADDRESS - peer->bytes;
    if (fits)
        peer->bytes += bytes;
    pthread_mutex_unlock(&connections->mutex);
    return fits;
}

void connections_release(struct connections *connections, const struct address *address, size_t bytes)
{
    if (bytes == 0 || connections_trust(connections, address))
        return;
    pthread_mutex_lock(&connections->mutex);
    struct peer *peer = look_up_peer(connections, address);
    if (peer)
        peer->bytes -= bytes;
    pthread_mutex_unlock(&connections->mutex);
}

static void count_state(struct connections *connections, enum connection_state state, int step)
{
    if (state == CONNECTION_HELD)
        connections->held += (unsigned)step;
    if (state == CONNECTION_ANSWERING)
        connections->answering += (unsigned)step;
}

void connections_remove(struct connections *connections, struct connection *connection)
{
    if (!connection)
        return;
    pthread_mutex_lock(&connections->mutex);
    count_state(connections, connection->state, -1);
    connections->count--;
    if (connection->peer)
        connection->peer->connections--;
    if (connection->next)
        connection->next->previous = connection->previous;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        connections->first = connection->next;
    pthread_mutex_unlock(&connections->mutex);
    free(connection);
}

bool connections_move(struct connections *connections, struct connection *connection,
                      enum connection_state state)
{
    const struct http_options *options = &connections->options;
    const unsigned limits_s[] = {[CONNECTION_WAITING] = options->idle_s,
                                 [CONNECTION_HELD] = 0,
                                 [CONNECTION_ANSWERING] = options->request_s};
    pthread_mutex_lock(&connections->mutex);
    bool moves = state != CONNECTION_HELD || connections->held < options->held;
    if (moves) {
        count_state(connections, connection->state, -1);
        count_state(connections, state, 1);
        connection->state = state;
        connection->was_gone = false;
        connection->since_ns = clock_monotonic_ns();
        connection->until_ns = limits_s[state] ? connection->since_ns + limits_s[state] * CLOCK_NS_PER_S : 0;
    }
    pthread_mutex_unlock(&connections->mutex);
    return moves;
}

static void forget_quiet_peers(struct connections *connections, int64_t now_ns)
{
    for (unsigned i = 0; i < PEER_BUCKETS; i++)
        for (struct peer **at = &connections->peers[i]; *at;) {
            struct peer *peer = *at;
            if (peer->connections > 0 || peer->bytes > 0 || peer->rate.paid_until_ns > now_ns ||
                peer->vain.paid_until_ns > now_ns) {
                at = &peer->next;
                continue;
            }
            *at = peer->next;
            connections->peer_count--;
            free(peer);
        }
}

/* Which peers send no more, asked of all at once: after a request that is not whole the server may not notice
 * by itself. */
static bool look_for_gone(struct connections *connections)
{
    if (connections->polled_room < connections->count) {
        unsigned room = connections->count * 2;
        struct pollfd *polled = realloc(connections->polled, room * sizeof(*polled));
        if (!polled)
            return false;
        connections->polled = polled;
        connections->polled_room = room;
    }
    unsigned i = 0;
    for (struct connection *at = connections->first; at; at = at->next)
        connections->polled[i++] = (struct pollfd){.fd = at->fd, .events = POLLRDHUP};
    return poll(connections->polled, i, 0) >= 0;
}

/* The server's thread sees the end of a connection shut down here as if its peer had gone, and closes it. */
void connections_sweep(struct connections *connections)
{
    pthread_mutex_lock(&connections->mutex);
    int64_t now_ns = clock_monotonic_ns();
    /* Nearly full: those that say nothing make room early. */
    bool nearly_full = connections->count > connections->options.connections / 8 * 7;
    bool has_looked = look_for_gone(connections);
    unsigned i = 0;
    for (struct connection *at = connections->first; at; at = at->next, i++) {
        bool waits = at->state == CONNECTION_WAITING;
        bool late = at->until_ns > 0 && at->until_ns < now_ns;
        bool makes_room = nearly_full && waits && at->since_ns + IDLE_WHEN_FULL_S * CLOCK_NS_PER_S < now_ns;
        /* Seen twice: its last request may just be on its way through. */
        bool gone = has_looked && waits && (connections->polled[i].revents & POLLRDHUP);
        if (late || makes_room || (gone && at->was_gone))
            shutdown(at->fd, SHUT_RDWR);
        at->was_gone = gone;
    }
    forget_quiet_peers(connections, now_ns);
    pthread_mutex_unlock(&connections->mutex);
}

unsigned connections_held(struct connections *connections)
{
    pthread_mutex_lock(&connections->mutex);
    unsigned held = connections->held;
    pthread_mutex_unlock(&connections->mutex);
    return held;
}

unsigned connections_busy(struct connections *connections)
{
    pthread_mutex_lock(&connections->mutex);
    unsigned busy = connections->held + connections->answering;
    pthread_mutex_unlock(&connections->mutex);
    return busy;
}
