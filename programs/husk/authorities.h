/* The authorities a host is enrolled at, for verbs: asking them, and telling of it. */
#pragma once
#include "unlock/unlock.h"
#include "verb.h"

/*
 * Ask the authorities of these vaults (unlock_ask), at most wait_s seconds. A code is shown on standard error
 * while a person has to decide; requests that wait are in the result as "requests". only is the id of the
 * one to ask, or its beginning; NULL: all. *ret_client (may be NULL) is whoever asked, also after a failure;
 * NULL where there is none.
 */
must_check enum error_code authorities_ask(struct run *run, struct vault *const *vaults, size_t count,
                                           const char *only, unsigned wait_s, struct unlock_answers *answers,
                                           struct client **ret_client, struct error *reterr);

/* vault_unlock, with the authorities this host trusts now to compare. That they cannot be read is a finding.
 * asked is what authorities_ask returned, or NULL. */
must_check enum error_code authorities_unlock(struct run *run, struct vault *vault,
                                              const struct secret *vault_secret, struct client *asked,
                                              enum vault_acceptance accept, struct error *reterr);

/* Whether each of them answers now and would bind a keyslot. ERR_ERASED, ERR_PENDING (on hold). Changes
 * nothing. */
must_check enum error_code authorities_check_answer(struct client *client, struct client_pin *const *pins,
                                                    size_t count, struct error *reterr);

/* The keyslot does not exist: have the scalar of it destroyed where it was bound. Where that cannot be told
 * it is a finding, and false. */
bool authorities_release(struct run *run, struct client *client, struct client_pin *pin,
                         const struct keyslot_id *keyslot);

/* Have the scalars destroyed of keyslots that a crash kept from the disk, on a filesystem whose lock is held;
 * or on all of the host's, whose locks are taken where there is something. What cannot be done now is a
 * finding, and the next run tries it. */
void authorities_settle(struct run *run, const struct filesystem *filesystem);
void authorities_settle_all(struct run *run);

/* After the keyslot is gone here, have the scalar of it destroyed at its authority; where that is not known
 * any more (id zeros), at every one. ERR_INCOMPLETE where one does not answer. */
must_check enum error_code authorities_unbind(struct run *run, const struct vault *vault,
                                              const struct keyslot_id *keyslot,
                                              const struct authority_id *authority, struct error *reterr);
