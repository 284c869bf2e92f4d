/*
 * What is known of hosts in memory only: who they are (so that workers can open messages without the
 * database), nonces they may use, when they were last heard of, and whether the boots of one are being asked
 * if they still run, because another one wants to open. Only the clerk changes it; workers look up
 * identities, and keep what they computed of them.
 */
#pragma once
#include <pthread.h>
#include <stdint.h>

#include "base/rate.h"
#include "crypto/hpke.h"
#include "message/message.h"
#include "policy/policy.h"

#define PRESENCE_NONCE_SIZE 16
#define PRESENCE_RATE 10      /* messages a second a host may say, */
#define PRESENCE_BURST_S 30   /* and so many seconds' worth at once */
#define PRESENCE_HELD 4       /* messages of a host are held at a time: of the agent, husk unlock, a boot */
#define PRESENCE_PROBE_S 3    /* another boot has to say that it runs; */
#define PRESENCE_AWAY_S 100   /* one that was refused may stay silent so long, as agents pause */
#define PRESENCE_ERASED_S 180 /* and one of an erased host, which has orders only to be carried out */
#define PRESENCE_NONCES 8     /* of the last answers; a host has more than one conversation */

struct presence_host {
    struct presence_host *next; /* with the same hash */
    uint8_t id[MESSAGE_HOST_ID_SIZE];
    uint8_t identity[HPKE_KEY_SIZE];
    /* Under the lock: hpke_exchange of the message key with that id, encrypted, so that it need not be
     * locked. */
    bool has_exchange;
    uint8_t exchange_key_id[MESSAGE_KEY_ID_SIZE], exchange[HPKE_KEY_SIZE];
    /* Everything below is the clerk's. */
    uint32_t nonce_serial; /* of the last nonce */
    uint8_t valid_nonces;  /* a bit for each of the last PRESENCE_NONCES: the lowest for the last */
    struct rate rate;      /* of its messages */
    unsigned held;         /* of them, at this time */
    bool was_seen;
    int64_t last_seen_unix_s; /* 0: not known when */
    /* The boot that spoke last; until when it, and until when any other, may still run for all that was
     * heard, by the monotonic clock. So no boot hides another, whoever speaks in between and how many ids it
     * uses. */
    uint8_t boot[POLICY_TOKEN_SIZE];
    int64_t boot_until_ns, others_until_ns;
    /* A probe: every boot but the one that wants to open is asked whether it runs. */
    bool is_probing, was_answered;
    uint8_t probe[POLICY_TOKEN_SIZE];
    uint8_t asking_boot[POLICY_TOKEN_SIZE];
    int64_t probe_until_ns;
    int64_t unheard_until_ns; /* messages of it were refused: a boot that runs may stay away so long */
    uint64_t woken_round;     /* clerk_wake */
    /* The boots whose refusal, and whose stale lineage, were written to the ledger: once is enough. */
    bool has_refused;
    uint8_t refused_boot[POLICY_TOKEN_SIZE];
    bool has_stale;
    uint8_t stale_boot[POLICY_TOKEN_SIZE];
};

_Static_assert(PRESENCE_NONCES == 8, "valid_nonces has 8 bits");

struct presence {
    pthread_rwlock_t lock;
    struct presence_host **slots; /* hash table */
    size_t slot_count, count;     /* slot_count is a power of 2 */
    struct secret *nonce_key, *exchange_key;
};

must_check enum error_code presence_init(struct presence *presence, struct error *reterr);
void presence_done(struct presence *presence);

/* Make a host known; fine when it is. */
must_check enum error_code presence_add(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                                        const uint8_t identity[HPKE_KEY_SIZE], struct error *reterr);

/* For the clerk: when hosts were heard of after that time, by a clock that was wrong, is not known: 0. */
void presence_forget_after(struct presence *presence, int64_t unix_s);

/* For the clerk. NULL when unknown. */
struct presence_host *presence_find(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE]);

/* For the clerk, as the next two: this boot spoke, and may run until then. */
void presence_note_boot(struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE], int64_t until_ns);

/* Whether a boot other than this one may run; rather yes than no. */
bool presence_may_another_run(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE],
                              int64_t now_ns);

/* Ask the others whether they run, because of this boot. */
void presence_begin_probe(struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE], int64_t now_ns);

/* Whether they were asked because of this boot, be it over or not; and whether one of them said so. */
bool presence_was_probed_for(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE]);
bool presence_was_answered(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE]);

/* What came in the host's name was refused, so that it may not be heard though it runs: a probe goes on. */
void presence_note_refused(struct presence_host *host, int64_t now_ns);

/* Whether the others are being asked because of this boot. */
bool presence_is_probed_for(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE],
                            int64_t now_ns);

/* For workers: the host's identity; false when unknown. */
bool presence_get_identity(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                           uint8_t ret_identity[HPKE_KEY_SIZE]);

/* For workers: hpke_exchange between a message key and a host, made once for all its messages. It is kept
 * when it has opened one: what others send in the host's name changes nothing. *ret_exchange stays as it is
 * where none is kept, and where there is no such host. */
must_check enum error_code presence_get_exchange(struct presence *presence,
                                                 const uint8_t id[MESSAGE_HOST_ID_SIZE],
                                                 struct message_key message_key, struct secret **ret_exchange,
                                                 struct error *reterr);
void presence_keep_exchange(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                            struct message_key message_key, const struct secret *exchange);

/* A nonce for the host's next message: its serial and a MAC over host and serial, so that nothing is kept of
 * it but the serial. The oldest of more than PRESENCE_NONCES is void, all are after a restart. */
void presence_issue_nonce(const struct presence *presence, struct presence_host *host,
                          uint8_t ret_nonce[PRESENCE_NONCE_SIZE]);

/* True once for every nonce that was issued. */
bool presence_take_nonce(const struct presence *presence, struct presence_host *host,
                         const uint8_t nonce[PRESENCE_NONCE_SIZE]);
