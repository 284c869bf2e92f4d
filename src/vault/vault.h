/*
 * A vault: one erasure domain on one filesystem. Its public header and manifest (vault.json), its keyslot
 * files, where to find it, and the lock that lets one husk at a time change it. Knows nothing of copying
 * (convert/) nor of where secrets come from (unlock/).
 *
 * On disk, below the root of the vault's filesystem, all 0700 and root's:
 *   .husk/lock                        flock, held by whatever changes something below .husk
 *   .husk/bindings/ID                 a keyslot that an authority may have a scalar of, and no vault has yet
 *   .husk/vaults/NAME/vault.json      {"version":1,"body":"TEXT","mac":"HEX"}: MAC over the bytes of TEXT
 *   .husk/vaults/NAME/keyslots/ID     4096 bytes each (keyslot/keyslot.h)
 *   .husk/vaults/NAME/private/        encrypted under the vault: manifest.key (32 bytes), convert/'s manifest
 *   .husk/vaults/NAME/erasing, erased marks: their being there is what counts, not what is in them
 *   .husk/vaults/NAME.new/            a vault being made; what a crash left is destroyed by the next
 *                                     vault_create or erase of that name, and is no vault until then
 *
 * Invariants: vault.json is replaced whole; a keyslot is on disk before the manifest names it and leaves the
 * manifest before it is destroyed; the manifest never forgets that a keyslot existed; with a mark nothing
 * opens.
 */
#pragma once
#include "base/clock.h"
#include "base/finding.h"
#include "destroy/destroy.h"
#include "filesystem/filesystem.h"
#include "fscrypt/fscrypt.h"
#include "keyslot/keyslot.h"

#define HUSK_DIRECTORY ".husk"
#define VAULT_NAME_MAXIMUM 64
#define VAULT_DIRECTORIES_MAXIMUM 256
#define VAULT_KEYSLOTS_MAXIMUM 64
#define VAULT_SYMLINKS_MAXIMUM 256
#define VAULT_AUTHORITIES_MAXIMUM 8
#define VAULT_KEY_COPIES_MAXIMUM 512

#define VAULT_LOCK_NAME "lock"       /* in .husk */
#define VAULT_MARK_ERASING "erasing" /* names of the marks */
#define VAULT_MARK_ERASED "erased"
#define VAULT_KEYSLOTS_NAME "keyslots"

enum vault_mark { VAULT_ACTIVE, VAULT_ERASING, VAULT_ERASED };

/* One protected directory. */
struct vault_directory {
    char *path; /* owned; raw bytes, relative to the root of the filesystem, no leading slash */
    struct fscrypt_nonce nonce;
};

/* A symlink at the root of the filesystem that leads into a protected directory. */
struct vault_symlink {
    char *path, *target; /* owned, raw bytes */
    uint32_t uid, gid, mode;
};

/* A keyslot that exists or once existed. Snapshots and backups of this disk may still hold it. */
struct vault_key_copy {
    struct keyslot_id id;
    enum keyslot_kind kind;
    int64_t created_unix_s;
    int64_t removed_unix_s;  /* 0: still here */
    int64_t exported_unix_s; /* when last; 0: never by husk */
};

struct vault {
    char name[VAULT_NAME_MAXIMUM + 1];
    struct vault_id id;
    struct filesystem *filesystem; /* owned */
    int fd;                        /* .husk/vaults/NAME */
    enum vault_mark mark;
    struct fscrypt_identifier identifier; /* of the master key */
    uint8_t filesystem_uuid[16];          /* of the filesystem the manifest was written on */
    int64_t created_unix_s;
    int64_t protected_since_unix_s;      /* when the first directory was protected; 0 for none yet */
    bool born_encrypted;                 /* each directory was empty when it was protected */
    uint64_t sequence;                   /* goes up with every manifest written */
    struct vault_directory *directories; /* owned */
    size_t directory_count;
    struct vault_symlink *symlinks; /* owned */
    size_t symlink_count;
    struct keyslot_id *keyslots; /* owned; those the manifest names */
    size_t keyslot_count;
    struct vault_key_copy *key_copies; /* owned; every keyslot there is or was */
    size_t key_copy_count;
    struct authority_id authorities[VAULT_AUTHORITIES_MAXIMUM]; /* those keyslots of it are bound to */
    size_t authority_count;
    /* Removed ones dropped to stay below VAULT_KEY_COPIES_MAXIMUM, and one for each vault.json that was
     * accepted though its MAC did not fit. */
    uint64_t key_copies_forgotten;
    struct error damage; /* code is not OK: vault.json could not be read; name, filesystem, fd, mark and
                            identifier are all there is. Only erase, lock and status meet such a vault. */
    struct buffer body;  /* the bytes the MAC is over, as read or written last */
    uint8_t mac[32];
};

/* The authorities a host trusts now, to compare with those the manifest names. */
struct vault_pins {
    struct authority_id ids[VAULT_AUTHORITIES_MAXIMUM];
    size_t count;
};

/* ERR_USAGE unless 1 to 64 of letters, digits, '.', '_', '-', beginning with a letter or digit, and not
 * ending in ".new". */
must_check enum error_code vault_check_name(const char *name, struct error *reterr);

/* Open (and with VAULT_MAKE make) .husk at the root of the filesystem and take its lock: ERR_BUSY names the
 * pid that has it. The descriptor holds the lock until it is closed. *ret_husk_fd is the directory .husk. The
 * lock is one for all mounts of the filesystem, also those that are read-only. */
enum vault_lock_mode { VAULT_LOCK_EXISTING, VAULT_LOCK_MAKE };
must_check enum error_code vault_take_lock(const struct filesystem *filesystem, enum vault_lock_mode mode,
                                           int *ret_lock_fd, int *ret_husk_fd, struct error *reterr);

/* Make a vault with its first keyslots (made for this id): adds the key to the kernel, makes private/, writes
 * everything durably under NAME.new and renames it into place. Takes over filesystem on success. The lock
 * must be held. ERR_EXISTS. */
must_check enum error_code vault_create(struct filesystem *filesystem, const char *name,
                                        const struct vault_id *id, const struct secret *vault_secret,
                                        const struct keyslot *keyslots, size_t keyslot_count,
                                        const struct clock *clock, struct vault **ret_vault,
                                        struct error *reterr);

/* Undo vault_create for a vault that protects nothing yet: the key leaves the kernel, its keyslots are
 * destroyed. ERR_DENIED once a directory is recorded. The lock must be held. */
must_check enum error_code vault_discard(struct vault *vault, struct error *reterr);

/* Read the vault NAME of one filesystem (a copy of filesystem is taken). ERR_NOT_FOUND, ERR_CORRUPT,
 * ERR_TOO_NEW. With a mark, damage to vault.json does not stop it (see struct vault, damage). */
must_check enum error_code vault_read(const struct filesystem *filesystem, const char *name,
                                      struct vault **ret_vault, struct error *reterr);

struct vault_list {
    struct vault **items; /* owned */
    size_t count;
};

/* Every vault on the ext4 filesystems mounted at and below at, sorted by name. Vaults that cannot be read
 * become findings
 * ("vault-unreadable", subject: their directory) and do not stop the others. */
must_check enum error_code vault_list_below(const char *at, struct vault_list *ret_list,
                                            struct finding_list *findings, struct error *reterr);
void vault_list_done(struct vault_list *list);

/* The one vault of that name below at, or the filesystem it is on without reading it. ERR_NOT_FOUND;
 * ERR_EXISTS when two filesystems have one (use --at). */
must_check enum error_code vault_find(const char *at, const char *name, struct vault **ret_vault,
                                      struct error *reterr);
must_check enum error_code vault_find_filesystem(const char *at, const char *name,
                                                 struct filesystem **ret_filesystem, struct error *reterr);

/* For whoever erases or locks: a damaged vault.json does not stop them, damaged vaults are items of the list.
 */
must_check enum error_code vault_read_even_damaged(const struct filesystem *filesystem, const char *name,
                                                   struct vault **ret_vault, struct error *reterr);
must_check enum error_code vault_list_even_damaged(const char *at, struct vault_list *ret_list,
                                                   struct finding_list *findings, struct error *reterr);

void vault_free(struct vault *vault);
static inline void vault_freep(struct vault **vault)
{
    vault_free(*vault);
    *vault = NULL;
}

enum vault_state { VAULT_UNLOCKED, VAULT_LOCKED, VAULT_BUSY, VAULT_IS_ERASING, VAULT_IS_ERASED };
/* From the marks and the kernel's key status. BUSY: the key is gone but open files keep theirs. */
must_check enum error_code vault_get_state(const struct vault *vault, enum vault_state *ret_state,
                                           struct error *reterr);
/*
 * The keys a vault may be under: the one vault.json names and the one private/ is encrypted under. They are
 * the same unless vault.json was changed, which nobody has noticed while it was not authenticated: so whoever
 * says that the key is gone asks for both.
 */
enum { VAULT_IDENTIFIERS_MAXIMUM = 2 };
void vault_find_identifiers(const struct vault *vault,
                            struct fscrypt_identifier ret_identifiers[VAULT_IDENTIFIERS_MAXIMUM],
                            size_t *ret_count);
/* What the kernel says of them: present if one is, absent if all are. */
must_check enum error_code vault_key_state(const struct vault *vault, enum fscrypt_key_state *ret_state,
                                           struct error *reterr);

/* "unlocked", "locked", "busy", "erasing", "erased". Static storage. */
const char *vault_state_word(enum vault_state state);

/* Read one keyslot file; and every keyslot sorted by id: those the manifest names, also when their file is
 * missing or damaged (keyslot NULL, why says it), and files that it does not name. ERR_CORRUPT for a keyslot
 * of another vault. */
must_check enum error_code vault_read_keyslot(const struct vault *vault, const struct keyslot_id *id,
                                              struct keyslot *ret_keyslot, struct error *reterr);
must_check enum error_code vault_each_keyslot(
    const struct vault *vault,
    enum error_code (*each)(const struct keyslot_id *id, const struct keyslot *keyslot, /* NULL: unreadable */
                            const struct error *why, void *context, struct error *reterr),
    void *context, struct error *reterr);

/*
 * Open the vault with its secret: check the MAC of the manifest, then that every recorded directory and
 * symlink is what was recorded (policy, nonce, target, owner, mode), then add the key and prime the ciphers.
 * What differs becomes a blocking finding ("manifest-changed", "directory-replaced", "directory-missing",
 * "symlink-changed", "authority-changed") and ERR_CHANGED, and no key is added, unless accept is
 * VAULT_ACCEPT_CHANGES: then what is there now is recorded, and directories not of this vault and authorities
 * not pinned are dropped from the manifest (the lock must be held). "keyslot-missing" and "authority-missing"
 * only tell: the latter where the host pins none at all. So does "directory-covered", of one that is what was
 * recorded, below what is mounted over it. pins may be NULL: then authorities are not compared.
 * Already unlocked: still checked, OK. ERR_ERASED with a mark.
 */
enum vault_acceptance { VAULT_ACCEPT_NOTHING, VAULT_ACCEPT_CHANGES };
must_check enum error_code vault_unlock(struct vault *vault, const struct secret *vault_secret,
                                        const struct vault_pins *pins, enum vault_acceptance accept,
                                        struct finding_list *findings, struct error *reterr);

/* Compare the recorded directories with what is there, which needs no key: "directory-replaced" and
 * "directory-missing", blocking, and "directory-covered", which tells. Nothing says that the manifest itself
 * is authentic. */
must_check enum error_code vault_check_directories(const struct vault *vault, struct finding_list *findings,
                                                   struct error *reterr);

/* Beside these everything else that vault_unlock() compares and that needs no key, as findings of the same
 * kinds. pins may be NULL. */
must_check enum error_code vault_check_recorded(const struct vault *vault, const struct vault_pins *pins,
                                                struct finding_list *findings, struct error *reterr);

/* Remove the key from the kernel. Findings ("busy-process" ...) name what keeps files of the vault open when
 * removal is partial: ERR_BUSY then, with the key gone for new opens. *ret_changed is false when it was
 * locked already. ERR_CORRUPT when nothing says which key it is. What
 * was written is on the disk before; where it cannot be, the key stays, unless the kernel has made the
 * filesystem read-only ("gone-read-only"). */
must_check enum error_code vault_lock(const struct vault *vault, bool *ret_changed,
                                      struct finding_list *findings, struct error *reterr);

/* The same, but the filesystem is not written out before: for whoever erases, and a boot, which wrote nothing
 * that is not on the disk. */
must_check enum error_code vault_lock_unwritten(const struct vault *vault, bool *ret_changed,
                                                struct finding_list *findings, struct error *reterr);

/* Whether anything that can be seen keeps files of the vault open, as when it is only partly locked: the
 * kernel keeps the keys of closed files too, until it is asked to remove the key once more. Looks at every
 * process; changes nothing. */
must_check enum error_code vault_is_used(const struct vault *vault, bool *ret_used, struct error *reterr);

/* Changes of what the manifest covers; each writes it at once (the vault must be unlocked: ERR_LOCKED) and is
 * repeatable. The symlinks at the root of the filesystem that lead into protected directories are recorded
 * anew each time. */
must_check enum error_code vault_add_directory(struct vault *vault, const char *path,
                                               const struct fscrypt_nonce *nonce, const struct clock *clock,
                                               struct error *reterr);
must_check enum error_code vault_remove_directory(struct vault *vault, const char *path,
                                                  struct error *reterr);
/* Whether the manifest could name these directories beside those it names, with the symlinks that would lead
 * into them: ERR_DENIED. Writes nothing. */
must_check enum error_code vault_check_addable(const struct vault *vault, const char *const *paths,
                                               size_t count, struct error *reterr);
/* The vault protects something from now on, before it is known under which nonce: it is not given up any
 * more. held_plaintext: what it protects was plaintext on this disk, or is going to be; born_encrypted ends.
 */
must_check enum error_code vault_begin_protecting(struct vault *vault, bool held_plaintext,
                                                  const struct clock *clock, struct error *reterr);
must_check enum error_code vault_add_keyslot(struct vault *vault, const struct keyslot *keyslot,
                                             struct error *reterr);
/* Leaves the manifest first, then the file is destroyed; ret_result lists the steps. Repeatable after a
 * crash. ERR_DENIED for the last one that is whole (keyslot_is_whole), ERR_NOT_FOUND. */
must_check enum error_code vault_remove_keyslot(struct vault *vault, const struct keyslot_id *id,
                                                const struct clock *clock, struct destroy_result *ret_result,
                                                struct error *reterr);
/* Record that a keyslot's file is about to be copied out: call it before the copy is written anywhere. */
must_check enum error_code vault_record_export(struct vault *vault, const struct keyslot_id *id,
                                               const struct clock *clock, struct error *reterr);

/* Whether vault.json in memory is what husk wrote: ERR_CORRUPT when its MAC does not fit, ERR_LOCKED when
 * that cannot be told because the vault is not unlocked. */
must_check enum error_code vault_check_manifest(const struct vault *vault, struct error *reterr);

/*
 * A keyslot that is being bound. Noted, durably, before the authority is asked; forgotten when the keyslot is
 * on the disk or the authority has destroyed its part. The lock must be held. Forgetting what is not there is
 * OK.
 */
must_check enum error_code vault_note_binding(const struct filesystem *filesystem,
                                              const struct keyslot_id *id,
                                              const struct authority_id *authority, struct error *reterr);
must_check enum error_code vault_forget_binding(const struct filesystem *filesystem,
                                                const struct keyslot_id *id, struct error *reterr);

/* Settle what a crash left of binding: a keyslot that lies in a vault of the filesystem is forgotten as a
 * binding; for every other one unbind is called, which says whether the authority has no part of it any more,
 * and it is forgotten then. The lock must be held. The second does it on each filesystem at and below at, and
 * takes the lock where there is something: ERR_BUSY. */
typedef bool vault_unbinder(const struct keyslot_id *id, const struct authority_id *authority, void *context);
must_check enum error_code vault_settle_bindings(const struct filesystem *filesystem, vault_unbinder *unbind,
                                                 void *context, struct error *reterr);
must_check enum error_code vault_settle_all_bindings(const char *at, vault_unbinder *unbind, void *context,
                                                     struct error *reterr);

/* Destroy what a crash left of vaults being made on the filesystems at and below DIR: of the one of that
 * name, or with NULL of all. Takes the lock of each filesystem where there is something. *ret_count tells how
 * many there were. ERR_BUSY while one is really being made. */
must_check enum error_code vault_destroy_all_unfinished(const char *at, const char *name, size_t *ret_count,
                                                        struct error *reterr);

/* Destroy what a crash left of a vault of the same name being made. The lock must be held. */
must_check enum error_code vault_destroy_unfinished(const struct vault *vault, struct error *reterr);

/* HKDF of the vault secret, labels of design §3. */
must_check enum error_code vault_derive_master_key(const struct secret *vault_secret,
                                                   struct secret **ret_master_key, struct error *reterr);

/* Open private/ of an unlocked vault. */
must_check enum error_code vault_open_private(const struct vault *vault, int *ret_fd, struct error *reterr);

/*
 * host.json of a host (DIR/.husk/host.json): where its key files lie.
 * {"version":1,"keyfiles":[{"vault":HEX,"path":BYTES}]}. Missing file: no key files. Paths are relative to
 * the host's root DIR.
 */
struct host_keyfile {
    struct vault_id vault;
    char *path; /* owned */
};
struct host_record {
    struct host_keyfile *keyfiles; /* owned */
    size_t keyfile_count;
};
must_check enum error_code host_read(const char *at, struct host_record *ret_record, struct error *reterr);
/* Record or forget a key file and write host.json durably. */
must_check enum error_code host_add_keyfile(const char *at, const struct vault_id *vault, const char *path,
                                            struct error *reterr);
must_check enum error_code host_forget_vault(const char *at, const struct vault_id *vault,
                                             struct error *reterr);
void host_record_done(struct host_record *record);
