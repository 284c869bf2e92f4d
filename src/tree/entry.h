/* One name of the old tree and its twin: what copy.c and compare.c share. Not for other rooms. */
#pragma once
#include "tree/attributes.h"
#include "tree/copy.h"
#include "tree/drop_behind.h"

/* The work of one pass over a pair. */
struct tree_pass {
    const struct tree_pair *pair;
    uint8_t *buffers;                                /* per walk thread 2 * CONTENT_BUFFER_SIZE */
    struct drop_behind behind[TREE_THREADS_MAXIMUM]; /* copying, per walk thread */
    unsigned threads;
    pthread_mutex_t flushing;      /* copying: held by who writes out the small files */
    atomic_ulong small_bytes;      /* copying: of small files, since that was done last */
    atomic_llong newest_ns;        /* copying: see tree_copy */
    char example[TREE_PATH_SIZE];  /* comparing, under mutex */
    atomic_ulong differences;      /* comparing */
    atomic_ullong beyond_bytes;    /* comparing: allocated beyond the ends of files */
    pthread_mutex_t mutex;         /* of findings */
    struct finding_list *findings; /* comparing */
};

must_check enum error_code tree_pass_init(struct tree_pass *pass, const struct tree_pair *pair,
                                          unsigned threads, struct error *reterr);
void tree_pass_done(struct tree_pass *pass);

/* This thread's buffer, 2 * CONTENT_BUFFER_SIZE bytes. */
uint8_t *tree_pass_buffer(const struct tree_pass *pass);

/* For content_copy and content_compare: context is the pass. */
void tree_pass_advance(uint64_t bytes, void *context);

/* "SHOWN_PATH/relative path" put in front of an error's message and as its subject; returns its code. */
enum error_code tree_pass_blame(const struct tree_pass *pass, const struct tree_directory *directory,
                                const char *name, struct error *reterr);

/* Open or make the twin of a directory that the walk enters; sets twin_fd and twin_fresh. */
must_check enum error_code tree_enter_twin(struct tree_pass *pass, struct tree_directory *directory,
                                           struct error *reterr);

/* The flags of this directory that are not put on its twin: the root's sealing ones. */
uint32_t tree_hold_back(const struct tree_directory *directory);
