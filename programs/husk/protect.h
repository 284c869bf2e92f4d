/*
 * What protect goes through, one step after another:
 *
 *   check     are the key files that are named there?
 *   look      take the lock where .husk is there already, plan, show the plan, refuse where findings block
 *   find      the vault: is it there, and on this filesystem?
 *   keys      read the new keys, or open the existing vault
 *   change    set the encrypt feature, make .husk and the vault, convert
 *
 * Nothing is changed before the last step. What was planned without the lock is planned again under it.
 */
#pragma once
#include "convert/root.h"
#include "held.h"
#include "new_keys.h"
#include "render_plan.h"

struct protect {
    struct run *run;
    const char *name;
    bool is_root;             /* --root: what --at means, else the operands */
    struct convert_root root; /* its directories */
    enum convert_root_swap swap;
    struct held_vault held; /* vault NULL until it is found or made */
    struct convert_plan *plan;
    struct new_keys keys; /* of a new vault */
    bool lacks_feature;   /* and it may be set */
};
void protect_done(struct protect *protect);

/* The files of keys, before a tree is walked. */
must_check enum error_code protect_check_keys(const struct protect *protect, struct error *reterr);

/* Look. ERR_BUSY, ERR_DENIED for the refusals of the plan. */
must_check enum error_code protect_look(struct protect *protect, struct error *reterr);

/* Under the lock, making .husk where it is not there. Plans again if the lock was not held before. */
must_check enum error_code protect_take_lock(struct protect *protect, struct error *reterr);

/* Find the vault NAME: held.vault stays NULL where it is to be made. */
must_check enum error_code protect_find_vault(struct protect *protect, struct error *reterr);

/* Read and check the keys of the vault to be made. */
must_check enum error_code protect_read_keys(struct protect *protect, struct error *reterr);

/* What is to be protected. */
const char *const *protect_paths(const struct protect *protect, size_t *ret_count);

/* --root: what has to be so before anything is looked at; fills protect->root. protect_root.c */
must_check enum error_code protect_root_look(struct protect *protect, struct error *reterr);
/* --root: what makes a new vault's keys ones that a boot can use. protect_root.c */
must_check enum error_code protect_root_check_keys(struct protect *protect, struct error *reterr);
/* --root --swap: does what the check said of the host's swap. protect_root.c */
must_check enum error_code protect_root_swap(struct protect *protect, struct error *reterr);
/* --root --commit. protect_root.c */
must_check enum error_code protect_root_commit(struct run *run, const char *name,
                                               const struct convert_options *options, struct error *reterr);

/* Make the vault with these keys. */
must_check enum error_code protect_make_vault(struct protect *protect, struct error *reterr);

/* Open the vault that is there; keys that are given have to open it. */
must_check enum error_code protect_open_vault(struct protect *protect, struct error *reterr);
