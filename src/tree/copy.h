/*
 * Making the twin of a tree, and proving that it is one. Both passes walk the old tree (of a clone, see
 * mount.h) and may be repeated after any interruption: what is there already is kept only where the records
 * say it was made whole, and whatever a power cut took from it the comparison finds.
 *
 * The old tree may change underneath, by mistake or by malice: every file is opened by a single name below an
 * open directory, and looked at before and after. A change is ERR_CHANGED with the path; nothing outside the
 * tree is ever read or written.
 */
#pragma once
#include "base/finding.h"
#include "base/report.h"
#include "tree/content.h"
#include "tree/records.h"
#include "tree/walk.h"

struct tree_pair {
    int clone_fd;      /* the mount both lie on */
    int source_fd;     /* root of the old tree */
    int twin_fd;       /* root of the twin: a directory that is there, with its policy or plain */
    unsigned features; /* attributes.h */
    enum content_unwritten unwritten;
    struct tree_records *records;
    const struct report *report;
    const char *shown_path; /* of the old tree, for messages */
};

/* Copy everything that is not there yet. The twin's root gets all but the sealing flags of the source's root.
 * Nothing is waited for: sync the filesystem afterwards. *ret_newest_ns is the latest ctime met that was not
 * in the future then: a change in the same tick of the clock would not show, so compare only when that tick
 * is over. */
must_check enum error_code tree_copy(const struct tree_pair *pair, int64_t *ret_newest_ns,
                                     struct error *reterr);

/* Stands for what a directory of the walk carries beside its entries and its times, and where it lies. */
must_check enum error_code tree_directory_digest(const struct tree_directory *directory, unsigned features,
                                                 uint64_t *ret_digest, struct error *reterr);

/* Compare everything that was not compared in this run, bytes past the page cache (sync before). What differs
 * loses TREE_RECORD_COPIED, so that the next tree_copy makes it anew: ret_differences tells how much, and one
 * example. Copy, sync and compare until that is 0; then every inode of the old tree has a record with
 * TREE_RECORD_COMPARED. Layouts (holes, unwritten extents) that cannot be made the same are findings that
 * tell. */
struct tree_differences {
    uint64_t count;
    char example[TREE_PATH_SIZE]; /* escaped */
};
must_check enum error_code tree_compare(const struct tree_pair *pair, struct finding_list *findings,
                                        struct tree_differences *ret_differences, struct error *reterr);
