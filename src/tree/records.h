/*
 * What is known of every inode of the old tree, in one sparse file indexed by inode number: what it looked
 * like when it was copied, where its twin is (so that further names of it become hard links), and whether it
 * was compared and proven unused. The file lies inside the vault, so it tells nothing to who has only the
 * disk, and memory does not grow with the tree.
 *
 * A record alone never proves that the twin's bytes are on disk: after a power cut the comparison of the next
 * run does.
 */
#pragma once
#include <pthread.h>

#include "base/error.h"
#include "tree/look.h"

enum tree_record_flags {
    TREE_RECORD_COPIED = 1,   /* the twin is whole, as far as is known */
    TREE_RECORD_COMPARED = 2, /* in run `run`, every byte and attribute */
    TREE_RECORD_PROVEN = 4, /* after the exchange: nothing else can reach this inode and it is as compared */
    TREE_RECORD_LAYOUT_TRIED = 8, /* it was copied anew because its layout came out different */
    TREE_RECORD_SEALED = 16,      /* it was immutable or append-only */
    TREE_RECORD_FILE = 32,        /* a regular file, said with PROVEN */
    TREE_RECORD_SCRUBBED = 64,    /* its overwriting may have begun: its bytes are its own no more */
    TREE_RECORD_UNSEALED = 128    /* scrubbing took its sealing flags off to look, and put them on again */
};

struct tree_record {
    uint32_t magic;
    uint32_t flags;
    uint32_t run; /* that set COMPARED */
    uint32_t twin_inode;
    uint32_t twin_generation; /* these two are the file handle of the twin (ext4's FILEID_INO32_GEN) */
    uint32_t names;           /* of a directory: how many it had when it was compared; else its links */
    int64_t changed_ns;       /* ctime */
    int64_t born_ns;          /* stx_btime by tree_look; 0: an earlier husk had none without room for it */
    uint64_t size;
    int64_t modified_ns; /* mtime */
    uint64_t attributes; /* of a directory: its tree_directory_digest when it was compared */
};
_Static_assert(sizeof(struct tree_record) == 64, "a record never straddles a block");

struct tree_records {
    int fd;
    uint32_t run; /* drawn at random when opened */
    pthread_mutex_t stripes[64];
};

/* Open or make the file name under directory_fd. Free with tree_records_free. */
must_check enum error_code tree_records_open(int directory_fd, const char *name,
                                             struct tree_records **ret_records, struct error *reterr);
void tree_records_free(struct tree_records *records);

/* The record of an inode if it is of this very inode, by its birth time or what tree_look makes of the lack
 * of one; *ret_record is all zero when there is none. Thread-safe. */
must_check enum error_code tree_records_get(struct tree_records *records, const struct statx *status,
                                            struct tree_record *ret_record, struct error *reterr);

/* Write the record of an inode; magic, size, times, links and TREE_RECORD_SEALED are filled in from status.
 */
must_check enum error_code tree_records_put(struct tree_records *records, const struct statx *status,
                                            struct tree_record *record, struct error *reterr);

/* Set and clear flags in an inode's record and leave all else of it as it is, what it looked like too. */
must_check enum error_code tree_records_flag(struct tree_records *records, const struct statx *status,
                                             uint32_t set, uint32_t clear, struct error *reterr);

/* True when the inode looks as it did when the record was written (ctime and size). */
bool tree_record_unchanged(const struct tree_record *record, const struct statx *status);

/* The same, or all that differs is what taking it away does: one of its names is gone, or the flags that kept
 * it from being removed. */
bool tree_record_unwritten(const struct tree_record *record, const struct statx *status);

/* How many regular files were proven and never scrubbed: *ret_count of all records in the file. Reads the
 * file once, whose holes cost nothing. */
must_check enum error_code tree_records_count_missed(const struct tree_records *records, uint64_t *ret_count,
                                                     struct error *reterr);

/* So that two names of one inode are not copied at the same time. */
void tree_records_lock(struct tree_records *records, uint64_t inode);
void tree_records_unlock(struct tree_records *records, uint64_t inode);

must_check enum error_code tree_records_sync(struct tree_records *records, struct error *reterr);
