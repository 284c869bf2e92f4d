#include "secret/packed.h"

#include <errno.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sodium.h>

/* A command has a handful at a time, a server thousands. */
enum { CANARY_SIZE = 16, SLOT_SIZE = PACKED_MAXIMUM + CANARY_SIZE, FIRST_PAGES = 4096, MORE_PAGES = 16384 };

/* A place for one secret. The canary stands behind its room. */
union slot {
    struct {
        uint8_t bytes[PACKED_MAXIMUM];
        uint8_t canary[CANARY_SIZE];
    };
    union slot *next; /* while it is free */
};
_Static_assert(sizeof(union slot) == SLOT_SIZE, "a slot is no longer than it says");

static struct {
    pthread_mutex_t mutex;
    union slot *free;
    bool has_pages;
    uint8_t canary[CANARY_SIZE];
} packed = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* More pages. They are kept to the end: as many as were in use at a time. */
static enum error_code add_pages(struct error *reterr)
{
    const size_t size = packed.has_pages ? MORE_PAGES : FIRST_PAGES;
    union slot *slots = sodium_malloc(size);
    if (!slots)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory for secrets");
    if (sodium_mlock(slots, size) < 0) {
        const int os_errno = errno;
        sodium_free(slots);
        return secret_not_locked(size, os_errno, reterr);
    }
    if (sodium_is_zero(packed.canary, CANARY_SIZE))
        randombytes_buf(packed.canary, CANARY_SIZE);
    for (size_t i = 0; i < size / SLOT_SIZE; i++) {
        slots[i].next = packed.free;
        packed.free = &slots[i];
    }
    packed.has_pages = true;
    return OK;
}

enum error_code packed_new(size_t length, struct secret **ret_secret, struct error *reterr)
{
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
    ASAN_POISON_MEMORY_REGION(slot->bytes + length, SLOT_SIZE - length); /* nothing without that sanitizer */
    *secret = (struct secret){.bytes = slot->bytes, .length = length, .is_packed = true};
    *ret_secret = secret;
    return OK;
}

void packed_free(struct secret *secret)
{
    union slot *slot = (union slot *)(void *)secret->bytes;
    ASAN_UNPOISON_MEMORY_REGION(slot, SLOT_SIZE);
    if (sodium_memcmp(slot->canary, packed.canary, CANARY_SIZE) != 0)
        sodium_misuse(); /* ends the process, as sodium_free does */
    sodium_memzero(slot, sizeof(*slot));
    pthread_mutex_lock(&packed.mutex);
    slot->next = packed.free;
    packed.free = slot;
    pthread_mutex_unlock(&packed.mutex);
    free(secret);
}
