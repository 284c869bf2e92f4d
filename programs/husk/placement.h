/* Where a key lies, seen from the vault it opens. */
#pragma once
#include "vault/vault.h"

/* What a key must not lie in: the directories of a vault and those about to join it. */
struct placement_rules {
    const struct filesystem *filesystem; /* the vault's */
    const char *const *directories;      /* raw, relative to the root of the filesystem */
    size_t directory_count;
    const struct fscrypt_identifier *identifier; /* of the vault; NULL while there is none */
};

enum placement {
    PLACEMENT_ELSEWHERE,
    PLACEMENT_SAME_FILESYSTEM, /* every snapshot of the vault's disk has the key too */
    PLACEMENT_INSIDE           /* the key would be locked up with what it opens */
};

/* Where the file path lies, or would lie once it is made: its directory counts, also through bind mounts.
 * *ret_real is its resolved absolute path (free it). ERR_NOT_FOUND when there is no such directory. */
must_check enum error_code placement_find(const struct placement_rules *rules, const char *path,
                                          enum placement *ret_placement, char **ret_real,
                                          struct error *reterr);
