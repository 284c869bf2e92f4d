/*
 * The authorities, asked in a thread of its own for as long as it takes, with jittered pauses, while somebody
 * may be typing. What there is to tell and what is granted is handed over through a descriptor that becomes
 * readable. Not for other rooms.
 */
#pragma once
#include "boot/boot.h"
#include "unlock/unlock.h"

struct asking;

/* Begin to set up the network; the authorities are asked from the first asking_go_on on. The vaults are read
 * again by the thread: they stay the caller's. */
must_check enum error_code asking_new(const struct boot_options *options, struct vault *const *vaults,
                                      size_t count, struct asking **ret_asking, struct error *reterr);

/* Readable when asking_take has something. */
int asking_fd(const struct asking *asking);

/* What came since: lines for people (owned by the caller), answers that were granted (moved to the end of
 * answers). */
must_check enum error_code asking_take(struct asking *asking, char **ret_line, struct unlock_answers *answers,
                                       struct error *reterr);

/* Ask: for the first time, or, as the answers did not open everything, again after a pause. */
void asking_go_on(struct asking *asking);

/* Stop it, wherever it is, wait for its end, and undo what it did to the network. NULL is fine. */
void asking_free(struct asking *asking);
