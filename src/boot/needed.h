/* Which vaults a boot cannot do without. Not for other rooms. */
#pragma once
#include "vault/vault.h"

/* A vault on the filesystem of the root at at that protects one of the directories a system starts from, or
 * whose key one of them has though vault.json does not name it, as when a conversion was cut short; of a
 * damaged one (vault.h) that is what these directories tell, beside all vaults of the host. Others are opened
 * later, by their units. */
bool needed_is(const char *at, const struct vault *vault, const struct vault_list *all);

/* Whether each of these directories at at that is encrypted belongs to a vault of all that the boot needs:
 * one that is not listed, because it is gone or not to be trusted, is needed all the same. ERR_CORRUPT names
 * the directory. */
must_check enum error_code needed_check(const char *at, const struct vault_list *all, struct error *reterr);
