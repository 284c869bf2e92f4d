#include "authority/presence.h"
#include "base/sure.h"

#include <sodium.h>

enum { SLOTS_AT_FIRST = 1024, SERIAL_SIZE = 4, NONCE_KEY_SIZE = 32 };
_Static_assert(crypto_stream_xchacha20_NONCEBYTES == MESSAGE_HOST_ID_SIZE + MESSAGE_KEY_ID_SIZE,
               "a host and a message key are the nonce");

enum error_code presence_init(struct presence *presence, struct error *reterr)
{
    const int os_errno = pthread_rwlock_init(&presence->lock, NULL);
    if (os_errno)
        return error_set(reterr, ERR_FAILED, os_errno, "cannot make a lock");
    presence->slots = calloc(SLOTS_AT_FIRST, sizeof(struct presence_host *));
    if (!presence->slots)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    presence->slot_count = SLOTS_AT_FIRST;
    enum error_code code = secret_new_random(NONCE_KEY_SIZE, &presence->nonce_key, reterr);
    return code ? code : secret_new_random(crypto_stream_xchacha20_KEYBYTES, &presence->exchange_key, reterr);
}

void presence_done(struct presence *presence)
{
    for (size_t slot = 0; slot < presence->slot_count; slot++)
        while (presence->slots[slot]) {
            struct presence_host *host = presence->slots[slot];
            presence->slots[slot] = host->next;
            free(host);
        }
    free(presence->slots);
    secret_free(presence->nonce_key);
    secret_free(presence->exchange_key);
    pthread_rwlock_destroy(&presence->lock);
}

/* The second half of an id is drawn at random here (clerk_draw_id): hash enough. */
static struct presence_host **slot_of(struct presence_host **slots, size_t slot_count, const uint8_t *id)
{
    uint64_t hash;
    memcpy(&hash, id + MESSAGE_HOST_ID_SIZE - sizeof(hash), sizeof(hash));
    return &slots[hash & (slot_count - 1)];
}

struct presence_host *presence_find(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE])
{
    struct presence_host *host = *slot_of(presence->slots, presence->slot_count, id);
    while (host && memcmp(host->id, id, MESSAGE_HOST_ID_SIZE) != 0)
        host = host->next;
    return host;
}

/* Under the lock, for writing. Without memory the table stays as it is: slower, and right. */
static void grow(struct presence *presence)
{
    const size_t slot_count = presence->slot_count * 2;
    struct presence_host **slots = calloc(slot_count, sizeof(struct presence_host *));
    if (!slots)
        return;
    for (size_t slot = 0; slot < presence->slot_count; slot++)
        while (presence->slots[slot]) {
            struct presence_host *host = presence->slots[slot];
            struct presence_host **to = slot_of(slots, slot_count, host->id);
            presence->slots[slot] = host->next;
            host->next = *to;
            *to = host;
        }
    free(presence->slots);
    presence->slots = slots;
    presence->slot_count = slot_count;
}

enum error_code presence_add(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                             const uint8_t identity[HPKE_KEY_SIZE], struct error *reterr)
{
    if (presence_find(presence, id))
        return OK;
    struct presence_host *host = calloc(1, sizeof(*host));
    if (!host)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    memcpy(host->id, id, MESSAGE_HOST_ID_SIZE);
    memcpy(host->identity, identity, HPKE_KEY_SIZE);
    pthread_rwlock_wrlock(&presence->lock);
    if (presence->count >= presence->slot_count)
        grow(presence);
    struct presence_host **slot = slot_of(presence->slots, presence->slot_count, id);
    host->next = *slot;
    *slot = host;
    presence->count++;
    pthread_rwlock_unlock(&presence->lock);
    return OK;
}

bool presence_get_identity(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                           uint8_t ret_identity[HPKE_KEY_SIZE])
{
    pthread_rwlock_rdlock(&presence->lock);
    const struct presence_host *host = presence_find(presence, id);
    if (host)
        memcpy(ret_identity, host->identity, HPKE_KEY_SIZE);
    pthread_rwlock_unlock(&presence->lock);
    return host != NULL;
}

/* The same key and nonce encrypt the same bytes, and no others: an identity never changes. */
static void crypt_exchange(const struct presence *presence, const uint8_t *id, const uint8_t *key_id,
                           const uint8_t *from, uint8_t *to)
{
    uint8_t nonce[crypto_stream_xchacha20_NONCEBYTES];
    memcpy(nonce, id, MESSAGE_HOST_ID_SIZE);
    memcpy(nonce + MESSAGE_HOST_ID_SIZE, key_id, MESSAGE_KEY_ID_SIZE);
    sure(crypto_stream_xchacha20_xor(to, from, HPKE_KEY_SIZE, nonce, presence->exchange_key->bytes));
}

void presence_keep_exchange(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                            struct message_key message_key, const struct secret *exchange)
{
    uint8_t key_id[MESSAGE_KEY_ID_SIZE];
    message_key_id(message_key.public_key, key_id);
    pthread_rwlock_wrlock(&presence->lock);
    struct presence_host *host = presence_find(presence, id);
    if (host) {
        host->has_exchange = true;
        memcpy(host->exchange_key_id, key_id, MESSAGE_KEY_ID_SIZE);
        crypt_exchange(presence, id, key_id, exchange->bytes, host->exchange);
    }
    pthread_rwlock_unlock(&presence->lock);
}

enum error_code presence_get_exchange(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                                      struct message_key message_key, struct secret **ret_exchange,
                                      struct error *reterr)
{
    uint8_t key_id[MESSAGE_KEY_ID_SIZE], kept[HPKE_KEY_SIZE];
    _cleanup_(secret_freep) struct secret *exchange = NULL;
    message_key_id(message_key.public_key, key_id);
    pthread_rwlock_rdlock(&presence->lock);
    const struct presence_host *host = presence_find(presence, id);
    const bool is_kept =
        host && host->has_exchange && memcmp(host->exchange_key_id, key_id, sizeof(key_id)) == 0;
    if (is_kept)
        memcpy(kept, host->exchange, sizeof(kept));
    pthread_rwlock_unlock(&presence->lock);
    if (!is_kept)
        return OK;
    enum error_code code = secret_new(HPKE_KEY_SIZE, &exchange, reterr);
    if (code)
        return code;
    crypt_exchange(presence, id, key_id, kept, exchange->bytes);
    *ret_exchange = TAKE(exchange);
    return OK;
}

static void format_nonce(const struct presence *presence, const struct presence_host *host, uint32_t serial,
                         uint8_t nonce[PRESENCE_NONCE_SIZE])
{
    uint8_t bytes[MESSAGE_HOST_ID_SIZE + SERIAL_SIZE], mac[crypto_generichash_BYTES_MIN];
    memcpy(bytes, host->id, MESSAGE_HOST_ID_SIZE);
    memcpy(bytes + MESSAGE_HOST_ID_SIZE, &serial, SERIAL_SIZE);
    sure(crypto_generichash(mac, sizeof(mac), bytes, sizeof(bytes), presence->nonce_key->bytes,
                            NONCE_KEY_SIZE));
    memcpy(nonce, &serial, SERIAL_SIZE);
    memcpy(nonce + SERIAL_SIZE, mac, PRESENCE_NONCE_SIZE - SERIAL_SIZE);
}

void presence_issue_nonce(const struct presence *presence, struct presence_host *host,
                          uint8_t ret_nonce[PRESENCE_NONCE_SIZE])
{
    host->nonce_serial++;
    host->valid_nonces = (uint8_t)(host->valid_nonces << 1 | 1);
    format_nonce(presence, host, host->nonce_serial, ret_nonce);
}

bool presence_take_nonce(const struct presence *presence, struct presence_host *host,
                         const uint8_t nonce[PRESENCE_NONCE_SIZE])
{
    uint8_t expected[PRESENCE_NONCE_SIZE];
    uint32_t serial;
    memcpy(&serial, nonce, SERIAL_SIZE);
    const uint32_t age = host->nonce_serial - serial;
    format_nonce(presence, host, serial, expected);
    if (age >= PRESENCE_NONCES || !(host->valid_nonces & (1U << age)) ||
        sodium_memcmp(expected, nonce, PRESENCE_NONCE_SIZE) != 0)
        return false;
    host->valid_nonces &= (uint8_t) ~(1U << age);
    return true;
}

static bool same_boot(const uint8_t *left, const uint8_t *right)
{
    return memcmp(left, right, POLICY_TOKEN_SIZE) == 0;
}

static int64_t later(int64_t left_ns, int64_t right_ns)
{
    return left_ns > right_ns ? left_ns : right_ns;
}

void presence_note_boot(struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE], int64_t until_ns)
{
    if (same_boot(host->boot, boot)) {
        host->boot_until_ns = later(host->boot_until_ns, until_ns);
        return;
    }
    host->others_until_ns = later(host->others_until_ns, host->boot_until_ns);
    memcpy(host->boot, boot, POLICY_TOKEN_SIZE);
    host->boot_until_ns = until_ns;
}

bool presence_may_another_run(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE],
                              int64_t now_ns)
{
    return now_ns < host->others_until_ns || now_ns < host->unheard_until_ns ||
           (now_ns < host->boot_until_ns && !same_boot(host->boot, boot));
}

void presence_begin_probe(struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE], int64_t now_ns)
{
    host->is_probing = true;
    host->was_answered = false;
    randombytes_buf(host->probe, sizeof(host->probe));
    memcpy(host->asking_boot, boot, sizeof(host->asking_boot));
    host->probe_until_ns = later(now_ns + PRESENCE_PROBE_S * CLOCK_NS_PER_S, host->unheard_until_ns);
}

bool presence_was_probed_for(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE])
{
    return (host->is_probing || host->was_answered) && same_boot(host->asking_boot, boot);
}

bool presence_was_answered(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE])
{
    return host->was_answered && same_boot(host->asking_boot, boot);
}

void presence_note_refused(struct presence_host *host, int64_t now_ns)
{
    host->unheard_until_ns = now_ns + PRESENCE_AWAY_S * CLOCK_NS_PER_S;
    if (host->is_probing && now_ns < host->probe_until_ns)
        host->probe_until_ns = host->unheard_until_ns;
}

bool presence_is_probed_for(const struct presence_host *host, const uint8_t boot[POLICY_TOKEN_SIZE],
                            int64_t now_ns)
{
    return host->is_probing && now_ns < host->probe_until_ns && same_boot(host->asking_boot, boot);
}

void presence_forget_after(struct presence *presence, int64_t unix_s)
{
    for (size_t slot = 0; slot < presence->slot_count; slot++)
        for (struct presence_host *host = presence->slots[slot]; host; host = host->next)
            if (host->last_seen_unix_s > unix_s)
                host->last_seen_unix_s = 0;
}
