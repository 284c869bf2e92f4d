/*
 * A conversion under way: everything open that its steps need. Not for other rooms.
 *
 * All paths go through one private clone of the filesystem's mount (tree/mount.h), so that nothing mounted in
 * between is met and renames and hard links never meet a mount boundary.
 */
#pragma once
#include "convert/journal.h"
#include "convert/progress.h"
#include "tree/copy.h"

struct convert_work {
    struct vault *vault; /* not owned, as the options */
    const struct convert_options *options;
    struct ext4_facts facts;
    int clone_fd;                 /* the filesystem's root in the clone */
    int husk_fd;                  /* .husk */
    int convert_fd;               /* .husk/convert */
    int work_fd;                  /* .husk/convert/NAME */
    int plaintext_fd;             /* .husk/plaintext */
    int old_fd;                   /* .husk/plaintext/NAME */
    struct tree_records *records; /* NULL until work_open_records */
    struct convert_journal journal;
    bool proven_unused;     /* step_prove_unused went well in this run */
    bool directory_changed; /* step_prove_old found one of an old tree that is not as it was compared */
    struct convert_progress progress;
};
#define WORK_NONE                                                                                            \
    ((struct convert_work){                                                                                  \
        .clone_fd = -1, .husk_fd = -1, .convert_fd = -1, .work_fd = -1, .plaintext_fd = -1, .old_fd = -1})

/* Open (and make) the directories; the journal stays empty. Give back with work_close. */
must_check enum error_code work_open(struct vault *vault, const struct convert_options *options,
                                     struct convert_work *ret_work, struct error *reterr);
void work_close(struct convert_work *work);

/* Of an inode of an old tree: proven, and nobody has written to it since but scrubbing itself. */
bool work_may_go(const struct tree_record *record, const struct statx *status);

/* For tree_pair and tree_directory_digest. */
unsigned work_features(const struct convert_work *work);

/* Open the records in the vault's private directory: the vault must be unlocked. */
must_check enum error_code work_open_records(struct convert_work *work, struct error *reterr);

/* After each walk of a tree, with how it ended: without the key the kernel shows other names in encrypted
 * directories than they have, as it does for whoever takes it away. ERR_LOCKED where it is gone, whatever the
 * walk came to; else code. */
must_check enum error_code work_check_key(const struct convert_work *work, enum error_code code,
                                          struct error *reterr);

/* Read the journal; *ret_found false when there is none. */
must_check enum error_code work_read_journal(struct convert_work *work, bool *ret_found,
                                             struct error *reterr);

/* Go to the next state, durably. */
must_check enum error_code work_enter_state(struct convert_work *work, enum convert_state state,
                                            struct error *reterr);

/* The name of directory number in work_fd and old_fd. */
const char *work_name(const struct convert_work *work, const struct convert_directory *directory,
                      char name[16]);

/* "MOUNT/PATH", escaped, for messages. */
const char *work_show(const struct convert_work *work, const struct convert_directory *directory,
                      char out[TREE_PATH_SIZE]);
#define work_shown(work, directory) work_show((work), (directory), (char[TREE_PATH_SIZE]){0})

/* Open the directory at its place, and its parent; *ret_name is the last component inside path. */
must_check enum error_code work_open_place(const struct convert_work *work,
                                           const struct convert_directory *directory, int *ret_fd,
                                           struct error *reterr);
must_check enum error_code work_open_parent(const struct convert_work *work,
                                            const struct convert_directory *directory, int *ret_parent_fd,
                                            const char **ret_name, struct error *reterr);

/* Whether an open directory is the encrypted side of this conversion of the directory: the vault's policy and
 * that nonce. */
must_check enum error_code work_is_encrypted_side(const struct convert_work *work,
                                                  const struct convert_directory *directory, int fd,
                                                  bool *ret_is, struct error *reterr);

/* What lies in the twin's place. The old tree: the directory was exchanged, whatever was done to its place
 * since. */
enum work_twin { WORK_TWIN_NONE, WORK_TWIN_COPY, WORK_TWIN_OLD };
must_check enum error_code work_look_at_twin(const struct convert_work *work,
                                             const struct convert_directory *directory,
                                             enum work_twin *ret_twin, struct error *reterr);

/* ERR_CHANGED of a directory whose place holds something else than it was left with. */
enum error_code work_moved(const struct convert_work *work, const struct convert_directory *directory,
                           struct error *reterr);

/* Write everything of the filesystem to disk and wait. */
must_check enum error_code work_sync(const struct convert_work *work, struct error *reterr);

/* ERR_INCOMPLETE where a tree lies in the directories of the conversion, twin or old: with no journal that
 * tells of it, it may be the only copy. */
must_check enum error_code work_refuse_trees(struct convert_work *work, struct error *reterr);

/* Delete records, journal and the directories of the conversion, unless work_refuse_trees. */
must_check enum error_code work_clear(struct convert_work *work, struct error *reterr);
