/*
 * Keys and addresses that change under running hosts, docs/protocol.md "Keys". A descriptor is prepared here,
 * signed by the root elsewhere, and installed:
 *
 *     now ──prepare──→ prepared: new keys in the keyring, nothing else changed
 *     prepared ──install──→ now: what was announced is the key of now, the prepared one is announced, and the
 *              one of now is the previous one, which still reads messages for a while
 *     previous ──its time is over, or another install──→ destroyed, with the keyring that held it
 *
 * Each arrow is one transaction and one generation of the keyring. All in the clerk's transaction.
 */
#pragma once
#include "authority/clerk.h"

#define ROTATION_PREVIOUS_S (7 * 86400)
#define ROTATION_PREVIOUS_MOST_S (365 * 86400)

enum rotation_keys { ROTATION_NEW_KEYS, ROTATION_SAME_KEYS };

/* The text of the next descriptor, appended. addresses NULL: those of now. Prepared keys that wait already
 * are taken again; *ret_changed is whether some were drawn. ERR_USAGE. */
must_check enum error_code rotation_prepare(struct clerk *clerk, enum rotation_keys keys,
                                            const json_t *addresses, struct buffer *text, bool *ret_changed,
                                            struct error *reterr);

/* Put a signed descriptor in force; the previous message key reads for keep_s more. The one in force is no
 * change. ERR_DENIED: another root's, an older one, one of another epoch, or its keys are not here. */
must_check enum error_code rotation_install(struct clerk *clerk, const void *wire, size_t length,
                                            int64_t keep_s, const char *by, bool *ret_changed,
                                            struct error *reterr);

/* Whether the time of the previous key is over, and destroy it then. */
bool rotation_is_due(const struct clerk *clerk);
must_check enum error_code rotation_expire(struct clerk *clerk, struct error *reterr);

/* The clock was ahead by back_s when the time of the previous key was set: it is over that much earlier, and
 * may be so already. No keyring is written. */
must_check enum error_code rotation_follow_clock(struct clerk *clerk, int64_t back_s, struct error *reterr);

/* Remember a descriptor that is in force from now on. */
must_check enum error_code rotation_keep_descriptor(struct clerk *clerk, uint64_t sequence, const void *wire,
                                                    size_t length, struct error *reterr);
