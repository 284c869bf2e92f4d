/*
 * Entries of a tree on their way out, some hundred at a time: many files are overwritten before one flush.
 * The steps are drawn in batch.c.
 */
#pragma once
#include "base/finding.h"
#include "base/report.h"
#include "destroy/directory.h"
#include "destroy/overwrite.h"

enum { BATCH_ITEMS = 512, BATCH_DESCRIPTORS = 384, BATCH_WORKERS = 8 };
#define BATCH_BYTES (UINT64_C(64) << 20)

/* What happened over the whole of a tree. */
struct tally {
    uint64_t removed;         /* entries of any kind */
    uint64_t kept;            /* entries that stay, each with its finding */
    uint64_t not_overwritten; /* files removed all the same, each with its finding */
    uint64_t unverifiable;    /* overwritten, but the kernel would have answered from memory */
    bool left_over;           /* an entry or directory could not go, though nothing in it is kept */
};

/* What is done with a directory all of whose entries come before it. */
enum batch_directory { BATCH_SET_DIRECTORY_ASIDE, BATCH_REMOVE_DIRECTORY, BATCH_LEAVE_DIRECTORY };

struct batch_step {
    enum error_code code;
    int os_errno;
};

struct batch_item {
    struct directory *directory; /* counted; where the entry is */
    char *name;                  /* owned */
    ino_t inode;
    struct directory *child; /* counted; NULL for anything but a directory */
    enum batch_directory directory_act;
    int fd;         /* owned; a regular file to be overwritten, else -1 */
    uint64_t bytes; /* allocated to it */
    struct overwrite overwrite;
    struct batch_step overwritten;
    struct batch_step reread;
};

struct batch {
    struct batch_item items[BATCH_ITEMS];
    size_t count;
    size_t descriptors;
    uint64_t bytes;

    struct pattern pattern;
    struct overwrite_worker workers[BATCH_WORKERS];
    size_t worker_count;
    int aside_fd; /* borrowed; where directories are set aside, -1 where there is none */
    enum error_code (*begins)(void *context,
                              struct error *reterr); /* may be NULL; before files are overwritten */
    void *begins_context;
    const struct report *report;
    struct finding_list *kept_findings; /* of this pass over the tree */
    struct finding_list *findings;      /* lasting */
    struct tally *tally;
};

must_check enum error_code batch_init(struct batch *batch, struct error *reterr);
void batch_done(struct batch *batch);

bool batch_is_full(const struct batch *batch);

/* Whether a file of the batch is open under this inode: opening it again would break a lease held on it. */
bool batch_holds(const struct batch *batch, ino_t inode);

/* Add an entry that only has to go. There must be room. */
must_check enum error_code batch_add_entry(struct batch *batch, struct directory *directory, const char *name,
                                           ino_t inode, struct error *reterr);
/* Add a regular file to be overwritten first. fd is taken over, also on failure. */
must_check enum error_code batch_add_file(struct batch *batch, struct directory *directory, const char *name,
                                          int fd, const struct stat *status, struct error *reterr);
/* Add a directory all of whose entries were added before. What holds something kept stays as it is. */
must_check enum error_code batch_add_directory(struct batch *batch, struct directory *child,
                                               enum batch_directory act, struct error *reterr);

/* Carry it out; the batch is empty afterwards, also on failure (nothing is lost: entries not removed are
 * still there). ERR_INTERRUPTED, ERR_FAILED when the disk cannot be flushed. */
must_check enum error_code batch_run(struct batch *batch, struct error *reterr);

/* Tell that an entry stays: a finding, and its directory stays too. */
void batch_keep(struct batch *batch, struct directory *directory, const char *name, const char *kind,
                const char *cause, const char *remedy);

/* Tell that a file goes, or went, whose bytes were not overwritten for sure. */
void batch_tell_not_overwritten(struct batch *batch, const struct directory *directory, const char *name,
                                const char *cause);
