#include "secret/packed.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>

enum { CANARY_SIZE = 16, SLOT_SIZE = SECRET_PACKED_MAXIMUM + CANARY_SIZE, PAGES_SIZE = 16384 };

/* A place for one secret. The canary stands behind its room: writing past the end is seen when it is freed.
 */
union slot {
    struct {
        uint8_t bytes[SECRET_PACKED_MAXIMUM];
        uint8_t canary[CANARY_SIZE];
    };
    union slot *next; /* while it is free */
};
_Static_assert(sizeof(union slot) == SLOT_SIZE, "a slot is no longer than it says");

static struct {
    pthread_mutex_t mutex;
    union slot *free;
    uint8_t canary[CANARY_SIZE];
} packed = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* More pages. They are kept to the end: as many as were in use at a time. */
static enum error_code add_pages(struct error *reterr)
{
    union slot *slots = sodium_malloc(PAGES_SIZE);
    if (!slots)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory for secrets");
    if (sodium_mlock(slots, PAGES_SIZE) < 0) {
        const int os_errno = errno;
        sodium_free(slots);
        return secret_not_locked(PAGES_SIZE, os_errno, reterr);
    }
    if (sodium_is_zero(packed.canary, CANARY_SIZE))
        randombytes_buf(packed.canary, CANARY_SIZE);
    for (size_t i = 0; i < PAGES_SIZE / SLOT_SIZE; i++) {
        slots[i].next = packed.free;
        packed.free = &slots[i];
    }
    return OK;
}

enum error_code secret_new_packed(size_t length, struct secret **ret_secret, struct error *reterr)
{
    if (length == 0 || length > SECRET_PACKED_MAXIMUM)
        return error_set(reterr, ERR_FAILED, 0, "a packed secret of %zu bytes: only 1 to %d are possible",
                         length, SECRET_PACKED_MAXIMUM);
    struct secret *secret = calloc(1, sizeof(*secret));
    if (!secret)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    pthread_mutex_lock(&packed.mutex);
    enum error_code code = packed.free ? OK : add_pages(reterr);
    union slot *slot = packed.free;
    if (!code)
        packed.free = slot->next;
    pthread_mutex_unlock(&packed.mutex);
    if (code) {
        free(secret);
        return code;
    }
    sodium_memzero(slot->bytes, sizeof(slot->bytes));
    memcpy(slot->canary, packed.canary, CANARY_SIZE);
    *secret = (struct secret){.bytes = slot->bytes, .length = length, .is_packed = true};
    *ret_secret = secret;
    return OK;
}

void secret_free_packed(struct secret *secret)
{
    union slot *slot = (union slot *)(void *)secret->bytes;
    if (sodium_memcmp(slot->canary, packed.canary, CANARY_SIZE) != 0)
        sodium_misuse(); /* ends the process, as sodium_free does */
    sodium_memzero(slot, sizeof(*slot));
    pthread_mutex_lock(&packed.mutex);
    slot->next = packed.free;
    packed.free = slot;
    pthread_mutex_unlock(&packed.mutex);
    free(secret);
}
