/*
 * Erasing on the authority: the scalars of vaults are destroyed, and it can be proved. Each step is durable
 * before the next, and carrying out begins again wherever a crash left it:
 *
 *     begun      ledger entry; its keyslots open no more                      fault authority.erase.begun
 *     written    keyring N+1 is on disk, without the buckets of these scalars       authority.keyring.written
 *     resealed   the database says N+1; the survivors of the buckets are under
 *                new ones, the sealed scalars are gone                              authority.erase.resealed
 *     destroyed  keyring N, and its holder's file, are overwritten and gone         authority.erase.destroyed
 *     done       ledger entry, signed answers                                       authority.erase.done
 *
 * From resealed on nothing but a copy of keyring N opens the scalars, in any copy of the database.
 */
#pragma once
#include "authority/hosts.h"

/* Begin to erase: vaults of a host (count of 16 bytes each), or everything it has. A vault that has no
 * keyslot here is erased all the same: nothing here opens it. order is the id of the order to the host that
 * goes with it, NULL where there is none. In the clerk's transaction. */
struct erasing_vault {
    uint8_t id[16];
};
enum erasing_extent { ERASING_VAULTS, ERASING_ALL };
must_check enum error_code erasing_begin(struct clerk *clerk, const struct host *host,
                                         enum erasing_extent extent, const struct erasing_vault *vaults,
                                         size_t count, const uint8_t *order, const char *by,
                                         struct error *reterr);

/* One keyslot alone, for unbind: no vault is erased. */
must_check enum error_code erasing_begin_keyslot(struct clerk *clerk, const struct host *host,
                                                 const uint8_t keyslot[KEYRING_KEYSLOT_SIZE],
                                                 struct error *reterr);

/* Carry out everything that was begun, outside any transaction. Also at every start. */
must_check enum error_code erasing_carry_out(struct clerk *clerk, struct error *reterr);

/* ERR_DENIED: with these vaults the host would have erased more that it never bound here than are kept. */
must_check enum error_code erasing_check_room(struct clerk *clerk, const struct host *host,
                                              const struct erasing_vault *vaults, size_t count,
                                              struct error *reterr);

/* Is this vault of the host erased, all of it done? */
must_check enum error_code erasing_is_done(struct clerk *clerk, const struct host *host,
                                           const struct erasing_vault *vault, bool *ret_is_done,
                                           struct error *reterr);

/* Is the host erased for good, and every erase of it done? */
must_check enum error_code erasing_is_host_done(struct clerk *clerk, const struct host *host,
                                                bool *ret_is_done, struct error *reterr);

/* Add the signed answer about the host to an array, in hexadecimal; none where it is not erased. */
must_check enum error_code erasing_list_host(struct clerk *clerk, const struct host *host, json_t *array,
                                             struct error *reterr);

/* Add the signed answer about one vault to an array, in hexadecimal; none where it is not erased. */
must_check enum error_code erasing_list_vault(struct clerk *clerk, const struct host *host,
                                              const struct erasing_vault *vault, json_t *array,
                                              struct error *reterr);

/* The signed answers of a host: that about the host first, where there is one, then those of its vaults, as
 * many as a message takes, in hexadecimal. */
must_check enum error_code erasing_list(struct clerk *clerk, const struct host *host, json_t **ret_array,
                                        struct error *reterr);
