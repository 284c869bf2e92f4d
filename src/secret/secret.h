/*
 * Memory for secrets: locked, outside core dumps, guarded, wiped when freed (libsodium's sodium_malloc).
 * Nothing secret lives anywhere else: not on the stack beyond one function that wipes it, not in argv,
 * environment, JSON or stdio buffers. Where the machine does not let memory be locked, secret_new fails; it
 * never falls back quietly.
 */
#pragma once
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct secret {
    uint8_t *bytes; /* owned */
    size_t length;
    bool is_packed; /* packed.h */
};

/* Once per program, before anything else of this room or crypto/: sodium_init, no core dumps (PR_SET_DUMPABLE
 * 0, RLIMIT_CORE 0). RLIMIT_MEMLOCK is raised to its hard limit. */
must_check enum error_code secret_start(struct error *reterr);

/* Zeroed memory for length bytes (1 to 1 MiB). Free with secret_free. */
must_check enum error_code secret_new(size_t length, struct secret **ret_secret, struct error *reterr);

/* length random bytes. */
must_check enum error_code secret_new_random(size_t length, struct secret **ret_secret, struct error *reterr);

/* A copy. */
must_check enum error_code secret_new_copy(const void *bytes, size_t length, struct secret **ret_secret,
                                           struct error *reterr);

/* Read a whole small file or stream with read(2) only: at most maximum bytes, at least minimum. shown_name is
 * for messages. ERR_USAGE when it is shorter or longer. Blocks. */
must_check enum error_code secret_read_fd(int fd, size_t minimum, size_t maximum, const char *shown_name,
                                          struct secret **ret_secret, struct error *reterr);

/* Ask on the terminal without echo; the terminal is restored on every way out, signals too. One line without
 * its newline, at most maximum bytes. ERR_USAGE when stdin is no terminal, ERR_INTERRUPTED on a signal or end
 * of file. */
must_check enum error_code secret_ask(const char *prompt, size_t maximum, struct secret **ret_secret,
                                      struct error *reterr);

/* Cut to length bytes (not more than there are); what lies behind is wiped. */
void secret_shorten(struct secret *secret, size_t length);

/* Wipe and free. NULL is fine. */
void secret_free(struct secret *secret);

static inline void secret_freep(struct secret **secret)
{
    secret_free(*secret);
    *secret = NULL;
}
