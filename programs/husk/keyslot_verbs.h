/* What the four verbs of keyslots share. */
#pragma once
#include "held.h"
#include "keyslot/keyslot.h"

/* The vault a verb works on. */
struct keyslot_work {
    struct held_vault held;
    struct secret *vault_secret; /* NULL while it was not needed */
    bool lock_again;             /* it was locked before */
};
#define KEYSLOT_WORK_NONE ((struct keyslot_work){.held = HELD_NONE})
void keyslot_work_done(struct keyslot_work *work);

/* Hold the vault NAME, the first operand, to change it. ERR_ERASED; ERR_DENIED where it is read-only. */
must_check enum error_code keyslot_hold(struct run *run, struct keyslot_work *ret_work, struct error *reterr);

/* Make sure that the manifest can be changed: a locked vault is unlocked by the --with-... keys (or what
 * keys_open() finds else) until keyslot_release(). With KEYSLOT_NEEDS_SECRET also get the vault secret. */
enum keyslot_need { KEYSLOT_NEEDS_UNLOCKED, KEYSLOT_NEEDS_SECRET };
must_check enum error_code keyslot_open(struct run *run, struct keyslot_work *work, enum keyslot_need need,
                                        struct error *reterr);

/* After the work, whether it went well or not: lock again what was locked before. code is how it ended and is
 * returned, or the error of locking. */
must_check enum error_code keyslot_release(struct run *run, struct keyslot_work *work, enum error_code code,
                                           struct error *reterr);

/* The id that text means: all of it or its unambiguous beginning of at least four digits, among the keyslots
 * on disk and those that once were. ERR_NOT_FOUND, ERR_USAGE. */
must_check enum error_code keyslot_find(const struct vault *vault, const char *text,
                                        struct keyslot_id *ret_id, struct error *reterr);

/* The vault's keyslots as they are now, into the result. */
must_check enum error_code keyslot_tell_all(struct run *run, const struct vault *vault, struct error *reterr);
