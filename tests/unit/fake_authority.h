/*
 * An authority that decides what a test tells it to: a thread on a loopback socket, made of message/ and
 * crypto/ alone. It knows one host.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "crypto/oprf.h"
#include "message/descriptor.h"
#include "message/message.h"
#include "message/statement.h"

enum fake_policy { FAKE_GRANTS, FAKE_PENDING, FAKE_DENIES, FAKE_ERASED, FAKE_HELD, FAKE_EXPIRES };
enum fake_wire {
    FAKE_SPEAKS,
    FAKE_TRIES_AGAIN,    /* kind 3 */
    FAKE_SAYS_503,       /* an HTTP error */
    FAKE_SAYS_NOTHING,   /* closes */
    FAKE_CUTS_SHORT,     /* half of the answer */
    FAKE_FLIPS_A_BIT,    /* of a sealed answer */
    FAKE_ANSWERS_BEFORE, /* the answer to the message before */
    FAKE_IS_CHUNKED,     /* a transfer encoding */
};

/* What it says to `erase`. */
enum fake_erased {
    FAKE_ERASES,
    FAKE_SIGNS_BY_ANOTHER_KEY,
    FAKE_SIGNS_FOR_ANOTHER_HOST,
    FAKE_SIGNS_FOR_ANOTHER_VAULT,
    FAKE_SIGNS_ANOTHER_KIND,
    FAKE_SIGNS_THE_OTHER_EXTENT, /* the host for a vault, a vault for the host */
    FAKE_SIGNS_NOTHING,
    FAKE_ERASEDS
};

struct fake_authority {
    _Atomic(enum fake_erased) erased;
    char orders[4][2048];       /* what it gives, in hexadecimal; up to the first empty one */
    char checkpoint[2048];      /* with every answer, in hexadecimal; empty: none */
    char last_checkpoint[2048]; /* what a heartbeat brought */
    struct secret *signing_key;

    /* Set by the test, also while it runs. */
    _Atomic(enum fake_policy) policy;
    _Atomic(enum fake_wire) wire;
    atomic_uint wire_times;        /* for so many answers; 0: for ever */
    atomic_bool answers_at_random; /* elements under another scalar each time */
    atomic_bool forgets_requests;
    atomic_uint stale_times; /* so many nonces are called stale */

    /* What it saw. */
    atomic_uint messages, opens, unbinds, tickets, stale_lineages;
    char last_lineage[33], last_request[33], last_name[65];
    bool last_planned;
    json_t *last_facts; /* of an open or heartbeat; owned */
    unsigned evaluations;

    /* Its own. */
    struct secret *root_key, *message_key, *scalar;
    uint8_t root[SIGN_PUBLIC_SIZE], message_public[HPKE_KEY_SIZE], token[16];
    struct descriptor descriptor;
    struct buffer descriptor_wire, before;
    uint8_t host[16], identity[HPKE_KEY_SIZE], nonce[16], lineage[16], offered[16], request[16];
    bool has_host, has_lineage;
    json_t *elements; /* of the request */
    int listener;
    unsigned port;
    pthread_t thread;
};

void fake_start(struct fake_authority *fake);
void fake_stop(struct fake_authority *fake);
/* A new message key, with a descriptor of the next sequence. */
void fake_rotate(struct fake_authority *fake);
/* The text of a token. */
void fake_token(const struct fake_authority *fake, char text[80]);
void fake_url(const struct fake_authority *fake, char text[64]);
