/*
 * Walking a directory tree with several threads, safely while users change it: one name at a time relative to
 * an open directory, never following a symlink, never crossing a mount (walk a clone from mount.h, which has
 * none), access times untouched. Memory and descriptors grow with the depth, not with the number of files; a
 * tree deeper than TREE_DEPTH_MAXIMUM is refused.
 *
 * Order: enter(directory), then entry() for each of its names that is no directory and the same for each
 * subdirectory, in any order and from any thread, then leave(directory) when all below it is done. The
 * callbacks of one directory's entries may run at the same time.
 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buffer.h"

#define TREE_DEPTH_MAXIMUM 4096
#define TREE_THREADS_MAXIMUM 16

struct tree_directory {
    struct tree_directory *parent; /* NULL for the root of the walk */
    char *name;                    /* "" for the root */
    int fd;                        /* open for reading */
    int twin_fd;                   /* -1, or what enter() put there; closed by the walk */
    unsigned depth;
    struct statx status; /* as it was when opened; by tree_look, as that of entries */
    bool twin_fresh;     /* enter() made the twin: it was empty */
    atomic_ulong names;  /* how many names it had, known in leave() */
    atomic_ulong known;  /* the visitor's own */
    bool skip;           /* enter() sets it: nothing below is visited, no leave() */
    atomic_uint pending; /* the walk's own */
};

struct tree_visitor {
    enum error_code (*enter)(struct tree_directory *directory, void *context, struct error *reterr);
    enum error_code (*entry)(struct tree_directory *directory, const char *name, const struct statx *status,
                             void *context, struct error *reterr);
    enum error_code (*leave)(struct tree_directory *directory, void *context, struct error *reterr);
    void *context;
};

/* Walk the tree whose root is the open directory root_fd. The first error of any callback ends it. A name
 * that vanishes between listing and looking is ERR_CHANGED. Any callback may be NULL. Stops with
 * ERR_INTERRUPTED between two entries. */
must_check enum error_code tree_walk(int root_fd, unsigned threads, const struct tree_visitor *visitor,
                                     struct error *reterr);

/* The number of the calling walk thread, 0 to threads - 1. */
unsigned tree_walk_worker(void);

/* How many threads are worth using here, at most TREE_THREADS_MAXIMUM: as many as this process may use
 * processors, or, for work that mostly waits for the disk to answer, several for each of them. */
unsigned tree_walk_threads(void);
unsigned tree_walk_waiting_threads(void);

/* Escaped path of a name below the root of the walk, for messages. name may be NULL for the directory itself.
 * Long paths lose their middle. Returns out. */
#define TREE_PATH_SIZE 1024
const char *tree_path(const struct tree_directory *directory, const char *name, char out[TREE_PATH_SIZE]);
#define tree_shown(directory, name) tree_path((directory), (name), (char[TREE_PATH_SIZE]){0})
