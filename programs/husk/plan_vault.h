/* What a plan says nothing about: whether its directories can go into the vault of that name. */
#pragma once
#include "held.h"
#include "render_plan.h"

/* Of --root, where --vault says nothing else. */
#define ROOT_VAULT_NAME "root"

/* The vault of --root where --vault says nothing: the one that has what a boot needs, one that is not erased
 * before others; else ROOT_VAULT_NAME. */
void plan_find_root_vault(const char *at, char name[VAULT_NAME_MAXIMUM + 1]);

/* A vault is only found again on a filesystem at or below --at: ERR_DENIED. */
must_check enum error_code plan_check_below_at(const struct run *run, const struct convert_plan *plan,
                                               struct error *reterr);

/* The vault that the directories would join; *ret_vault (owned by the caller) stays NULL where there is none
 * of that name yet. ERR_DENIED where it is on another filesystem, ERR_ERASED. */
must_check enum error_code plan_find_vault(const struct run *run, const struct convert_plan *plan,
                                           const char *name, struct vault **ret_vault, struct error *reterr);

/* Both, where a refusal becomes a finding of the plan that blocks. name may be NULL. */
must_check enum error_code plan_check_vault(const struct run *run, struct convert_plan *plan,
                                            const char *name, struct error *reterr);
