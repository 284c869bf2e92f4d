/* Vaults that a verb works on: found by name, the lock of their filesystem taken, read again under it. */
#pragma once
#include "vault/vault.h"
#include "verb.h"

struct held_vault {
    struct vault *vault; /* owned */
    int lock_fd, husk_fd;
};
#define HELD_NONE ((struct held_vault){.lock_fd = -1, .husk_fd = -1})

/* Whether a damaged vault.json stops it. */
enum held_reading { HELD_READABLE, HELD_EVEN_DAMAGED };

/* Find the vault of that name below --at and hold it. On a filesystem mounted read-only, where nothing can
 * change, there is no lock to take. ERR_BUSY while another husk has the lock. */
must_check enum error_code held_take(struct run *run, const char *name, enum held_reading reading,
                                     struct held_vault *ret_held, struct error *reterr);

void held_done(struct held_vault *held);

/* May take the vault out of held; the lock lasts until it returns. */
typedef enum error_code held_act(struct run *run, struct held_vault *held, void *context,
                                 struct error *reterr);

/*
 * What [NAME|--all] means: that vault, every vault, or the only one there is. Each of them is held while act
 * works on it. With --all a failure does not stop the others: it becomes a finding, and the whole is
 * ERR_INCOMPLETE.
 */
must_check enum error_code held_each(struct run *run, enum held_reading reading, held_act *act, void *context,
                                     struct error *reterr);

/* The same for vaults that were found before, of total in all; failed: so many of the others failed. Of a
 * single one the failure is that of the whole. */
must_check enum error_code held_each_of(struct run *run, const struct vault_list *list, size_t failed,
                                        size_t total, enum held_reading reading, held_act *act, void *context,
                                        struct error *reterr);

/* ERR_DENIED where its filesystem is mounted read-only. */
must_check enum error_code held_check_writable(const struct vault *vault, struct error *reterr);

/* ERR_ERASED with a mark of an erase. */
must_check enum error_code held_check_active(const struct vault *vault, struct error *reterr);

/* An absolute path below the vault's mount point, for showing; appended to buffer. */
must_check enum error_code held_shown_path(const struct vault *vault, const char *path, struct buffer *text,
                                           struct error *reterr);
