#include "authority/presence.h"

#include <sodium.h>

enum error_code presence_init(struct presence *presence, struct error *reterr)
{
    const int os_errno = pthread_rwlock_init(&presence->lock, NULL);
    return os_errno ? error_set(reterr, ERR_FAILED, os_errno, "cannot make a lock") : OK;
}

void presence_done(struct presence *presence)
{
    for (size_t slot = 0; slot < PRESENCE_SLOTS; slot++)
        while (presence->slots[slot]) {
            struct presence_host *host = presence->slots[slot];
            presence->slots[slot] = host->next;
            free(host);
        }
    pthread_rwlock_destroy(&presence->lock);
}

/* Ids are drawn at random here, so their first bytes are hash enough. */
static size_t slot_of(const uint8_t *id)
{
    return ((size_t)id[0] | (size_t)id[1] << 8) % PRESENCE_SLOTS;
}

struct presence_host *presence_find(struct presence *presence, const uint8_t id[MESSAGE_HOST_ID_SIZE])
{
    struct presence_host *host = presence->slots[slot_of(id)];
    while (host && memcmp(host->id, id, MESSAGE_HOST_ID_SIZE) != 0)
        host = host->next;
    return host;
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
    host->next = presence->slots[slot_of(id)];
    presence->slots[slot_of(id)] = host;
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

void presence_issue_nonce(struct presence_host *host, uint8_t ret_nonce[PRESENCE_NONCE_SIZE])
{
    randombytes_buf(ret_nonce, PRESENCE_NONCE_SIZE);
    memcpy(host->nonces[host->nonce_next], ret_nonce, PRESENCE_NONCE_SIZE);
    host->nonce_is_valid[host->nonce_next] = true;
    host->nonce_next = (host->nonce_next + 1) % PRESENCE_NONCES;
}

bool presence_take_nonce(struct presence_host *host, const uint8_t nonce[PRESENCE_NONCE_SIZE])
{
    for (unsigned i = 0; i < PRESENCE_NONCES; i++)
        if (host->nonce_is_valid[i] && memcmp(host->nonces[i], nonce, PRESENCE_NONCE_SIZE) == 0) {
            host->nonce_is_valid[i] = false;
            return true;
        }
    return false;
}
