/*
 * Ownership helpers: a variable marked _cleanup_(f) is given back by f when it goes out of scope; TAKE()
 * moves the value out and leaves the empty value behind. Destructors accept NULL and half-built things.
 */
#pragma once
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* Move a pointer out of its variable, leaving NULL. */
#define TAKE(pointer)                                                                                        \
    ({                                                                                                       \
        __typeof__(pointer) taken_ = (pointer);                                                              \
        (pointer) = NULL;                                                                                    \
        taken_;                                                                                              \
    })

/* Move a file descriptor out of its variable, leaving -1. */
#define TAKE_FD(descriptor)                                                                                  \
    ({                                                                                                       \
        int taken_ = (descriptor);                                                                           \
        (descriptor) = -1;                                                                                   \
        taken_;                                                                                              \
    })

/* For _cleanup_: closes a descriptor that is not -1. For descriptors whose close cannot lose data. */
static inline void close_fdp(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

/* For _cleanup_ on any malloc'ed pointer variable. */
static inline void freep(void *pointer)
{
    void **variable = pointer;
    free(*variable);
    *variable = NULL;
}

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
