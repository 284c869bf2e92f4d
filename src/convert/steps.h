/* The steps of the machine (machine.c), one function each. Every one is repeatable from its beginning. Not
 * for other rooms. */
#pragma once
#include "convert/work.h"

/* planned → frozen: make the empty twins, with the vault's policy or plain, and note what their encrypted
 * side is. twin.c */
must_check enum error_code step_make_twins(struct convert_work *work, struct error *reterr);

/* In frozen: fill the twins, write them to disk, compare until nothing differs. twin.c */
must_check enum error_code step_fill_twins(struct convert_work *work, const struct convert_plan *plan,
                                           struct error *reterr);

/* frozen → exchanging is allowed: nothing uses the trees, every inode is as it was compared. ERR_BUSY or
 * ERR_CHANGED with findings otherwise. prove.c */
must_check enum error_code step_prove_unused(struct convert_work *work, struct error *reterr);

/* exchanging → scrubbing: swap the names, one directory after the other, and record them in the manifest.
 * exchange.c */
must_check enum error_code step_exchange(struct convert_work *work, struct error *reterr);

/* Look which directories are at their new side already (their member exchanged), and count them. exchange.c
 */
must_check enum error_code exchange_look(struct convert_work *work, size_t *ret_exchanged,
                                         struct error *reterr);

/* Undo what step_exchange does before the exchange of a directory, of those not exchanged: back into the
 * manifest, and sealed again. After exchange_look. exchange.c */
must_check enum error_code exchange_undo(struct convert_work *work, struct error *reterr);

/* In scrubbing: give every inode of the old trees its verdict in the records (TREE_RECORD_PROVEN or kept with
 * a finding). prove.c */
must_check enum error_code step_prove_old(struct convert_work *work, struct error *reterr);

/* scrubbing → done: destroy (or, when it was ciphertext, delete) the old trees as far as proven. *ret_kept
 * tells whether something stayed. scrub.c */
must_check enum error_code step_scrub(struct convert_work *work, bool *ret_kept, struct error *reterr);

/* Where deleted plaintext may still lie: free space, unless the options skip that, and the filesystem's
 * journal. What stays is told. scrub.c */
must_check enum error_code step_scrub_deleted(struct convert_work *work, struct error *reterr);

/* Destroy or delete what an aborted conversion leaves: its twins. scrub.c */
must_check enum error_code step_drop_twins(struct convert_work *work, struct error *reterr);

/* Of a vault that is erased: destroy the trees in the clear that the conversion has in .husk, delete its
 * encrypted ones, and clear it away where nothing is *ret_left. Directories that it leaves plain at their
 * places count as left, or are given up. leftovers.c */
enum leftovers_places { LEFTOVERS_HOLD_PLACES, LEFTOVERS_GIVE_UP_PLACES };
must_check enum error_code leftovers_destroy(struct convert_work *work, enum leftovers_places places,
                                             bool *ret_changed, bool *ret_left, struct error *reterr);

/* Say what was done, and of a root's old trees that they wait. tell.c */
void tell_done(const struct convert_work *work);
void tell_waiting(const struct convert_work *work);

/* ERR_INCOMPLETE unless each directory of the plan that was asked for is encrypted under the vault, whatever
 * anybody did to it meanwhile. tell.c */
must_check enum error_code tell_check_named(const struct convert_work *work, const struct convert_plan *plan,
                                            struct error *reterr);

/* Before the first exchange: make an attempt at something that needs a block, and on a full disk delete what
 * is in the twins, name by name, until it succeeds. They themselves stay, so that frozen and exchanging hold.
 * scrub.c */
must_check enum error_code step_make_room(struct convert_work *work,
                                          enum error_code (*attempt)(struct convert_work *work,
                                                                     struct error *reterr),
                                          struct error *reterr);

/* The plan of unprotect: the same questions about directories that this vault protects. plan.c */
must_check enum error_code convert_plan_unprotect(const char *const *paths, size_t path_count,
                                                  const struct vault *vault, const struct report *report,
                                                  struct convert_plan **ret_plan, struct error *reterr);

/* Tell in the plan where others than root can rename the directory or one above it. movable.c */
must_check enum error_code movable_tell(struct convert_plan *plan, int clone_fd,
                                        const struct convert_plan_directory *directory, struct error *reterr);

/* The directory has a policy that is not this vault's: say in the plan whose it is. identifier is NULL where
 * the policy is none that husk makes. others.c */
must_check enum error_code others_check_encrypted(struct convert_plan *plan,
                                                  const struct convert_plan_directory *directory,
                                                  const struct fscrypt_identifier *identifier,
                                                  struct error *reterr);

/* An entry that is no directory and was moved out of an encrypted one: why it cannot be copied, in static
 * storage, or NULL where it can. others.c */
const char *others_keep_shut(int directory_fd, const char *name, const struct statx *status);

/* Block the plan where an active vault is in the middle of converting the directory, something below it or
 * above it: two conversions would undo each other. others.c */
must_check enum error_code others_check_converting(struct convert_plan *plan,
                                                   const struct convert_plan_directory *directory,
                                                   struct error *reterr);

/* The path as the plan shows it; owned by the caller, NULL where memory ran out. under_way.c */
char *plan_show_path(const struct convert_plan *plan, const char *path);

/* The journal of the vault; without one ret_journal is untouched. under_way.c */
must_check enum error_code plan_read_journal(int clone_fd, const char *vault_name,
                                             struct convert_journal *ret_journal, struct error *reterr);

/* The vault is in the middle of protecting these: what else it is to protect comes after them. under_way.c */
must_check enum error_code plan_add_under_way(struct convert_plan *plan,
                                              const struct convert_journal *journal, struct error *reterr);

/* The vault is in the middle of something that has to end before anything can join. under_way.c */
void plan_refuse_joining(struct convert_plan *plan, const struct convert_journal *journal,
                         const char *vault_name);

/* Block the plan: the vault's own unprotect of the directory, which is protected still, was begun. others.c
 */
void others_refuse_unprotecting(struct convert_plan *plan, const struct convert_plan_directory *directory,
                                const char *vault_name);
