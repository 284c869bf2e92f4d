/*
 * Keys that become keyslots: what they may be and where they may lie, the recovery key that is made, and what
 * is said about each. Used where a vault is made and where a keyslot is added.
 *
 * The file of a recovery key must neither be lost nor exist for a vault that does not: it is written as
 * F.new before the keyslot is, and gets its name after. A crash between the two leaves F.new, which the next
 * run recognises by its opening the vault.
 */
#pragma once
#include "keys.h"
#include "placement.h"

struct new_keys {
    struct client *client;                                      /* owned; NULL while no authority is meant */
    struct client_pin *authorities[CLIENT_AUTHORITIES_MAXIMUM]; /* of client: those that get a keyslot */
    size_t authority_count;
    struct unlock_answers answers; /* keyfiles, passphrases and the recovery key */
    char **keyfile_paths;          /* owned; resolved; one per answer, NULL for other kinds */
    char *recovery_out;            /* owned; resolved path, NULL when shown on the terminal or not made */
    struct secret *recovery_text;  /* NULL when none is made */
    bool recovery_is_written;      /* as F.new */
};

/*
 * Read the KEY options as new keys (and --recovery-out: draw a recovery key) and check where they lie.
 * Refuses (ERR_DENIED) keyfiles and the file of the recovery key inside the vault, ERR_EXISTS when that file
 * is there already; with NEW_KEYS_RECOVERY_IS_KEPT --recovery-out is left alone. vault is the one that is
 * there, NULL for a new one: that gets a keyslot of the host's authority also where no KEY is given that
 * opens it every day. A keyfile or passphrase beside an authority keyslot is ERR_DENIED without
 * --allow-bypass. Writes nothing. Findings say what is risky about them.
 */
enum new_keys_recovery { NEW_KEYS_DRAW_RECOVERY, NEW_KEYS_RECOVERY_IS_KEPT };
must_check enum error_code new_keys_read(struct run *run, const struct placement_rules *rules,
                                         const struct vault *vault, enum new_keys_recovery recovery,
                                         struct new_keys *ret_keys, struct error *reterr);

/* Whether an existing keyfile lies outside of what the rules name: ERR_DENIED inside. One that is not there
 * lies nowhere. */
must_check enum error_code new_keys_check_outside(const struct placement_rules *rules, const char *path,
                                                  struct error *reterr);

/* A finding: nothing opens the vault when its other keys are lost. */
void new_keys_tell_no_recovery(struct run *run, const char *vault_name);

/* Forget one of them. */
void new_keys_drop(struct new_keys *keys, size_t index);

/* How many keyslots they become. */
size_t new_keys_count(const struct new_keys *keys);

/* Make the keyslots for a vault, those of authorities first: each is asked to make its part durable, and when
 * one of the others cannot be made, to destroy it again. Those of authorities are bindings of the filesystem,
 * whose lock must be held, until new_keys_bound() or new_keys_unbind(). The array is to be freed. Takes about
 * a second for a passphrase. Tells in the findings what copies of the disk keep. */
must_check enum error_code new_keys_make_slots(struct run *run, const struct new_keys *keys,
                                               const struct filesystem *filesystem,
                                               const struct vault_id *vault, const char *vault_name,
                                               const struct secret *vault_secret, struct keyslot **ret_slots,
                                               struct error *reterr);

/* The slots from `from` on did not get onto the disk: have their authorities destroy their part again, so
 * that there is no scalar without a keyslot. vault is the one they were for where it is there: a keyslot that
 * lies in it all the same keeps its scalar. Where an authority cannot be told that is a finding. */
void new_keys_unbind(struct run *run, const struct new_keys *keys, const struct filesystem *filesystem,
                     const struct keyslot *slots, size_t from, const struct vault *vault);
/* The keyslot is on the disk. That this cannot be noted is no harm: the next run sees it there. */
void new_keys_bound(const struct filesystem *filesystem, const struct keyslot *slot);

/* Show the recovery key on the terminal now instead of when it is published, and ask for its end, to see that
 * somebody has written it down. Does nothing where it goes to a file. ERR_USAGE when nobody had. */
must_check enum error_code new_keys_ask_back(struct run *run, struct new_keys *keys, struct error *reterr);

/* Before the keyslots are on disk: write the recovery key's text as F.new, and read it back from the disk.
 * ERR_CORRUPT when what is there does not open its keyslot among these. */
must_check enum error_code new_keys_write_recovery(struct new_keys *keys, const struct keyslot *slots,
                                                   struct error *reterr);
/* After: give it its name, or show it on the terminal; record the keyfiles in host.json. */
must_check enum error_code new_keys_publish(struct run *run, struct new_keys *keys,
                                            const struct vault_id *vault, struct error *reterr);
/* Instead of publishing, when the keyslots were not made: remove F.new. Nothing happens twice. */
void new_keys_withdraw(struct new_keys *keys);
void new_keys_done(struct new_keys *keys);

/* Record in host.json where a keyfile of the vault lies. Where that cannot be, as outside the host, it is a
 * finding: the vault opens all the same with --keyfile. */
void new_keys_record_keyfile(struct run *run, const struct vault_id *vault, const char *real_path);

/* What --recovery-out F left behind for this vault: *ret_kept is true where F holds a recovery key that opens
 * it, after F.new was given its name if a crash had kept that from happening. */
must_check enum error_code new_keys_find_recovery(struct run *run, const struct vault *vault,
                                                  const char *file, bool *ret_kept, struct error *reterr);
