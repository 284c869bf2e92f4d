/* Which vaults a boot cannot do without. Not for other rooms. */
#pragma once
#include "vault/vault.h"

/* A vault that protects one of the directories a system starts from; of a damaged one (vault.h) that is what
 * these directories tell, beside all vaults of the host. Others are opened later, by their units. */
bool needed_is(const struct vault *vault, const struct vault_list *all);
