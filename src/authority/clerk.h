/*
 * The clerk: what its handlers work with, and the thread that calls them. All of it is used by the clerk's
 * thread alone, but for the queue.
 *
 * A batch is one transaction: every job in it is a piece that can be undone alone (piece.h); then one commit;
 * then the answers leave. A handler that returns an error has changed nothing in the database. What it
 * changed in memory may stay when a commit fails: nonces that are lost, and times of hearing of a host.
 */
#pragma once
#include <stdatomic.h>

#include "authority/face.h"
#include "authority/job.h"
#include "authority/keyring.h"
#include "authority/presence.h"
#include "authority/sql.h"
#include "authority/workers.h"
#include "ledger/ledger.h"

struct clerk {
    struct sql *sql;
    struct keyring_place place;
    struct keyring *keyring;      /* of the generation the database says */
    struct keyring *next_keyring; /* changed in this transaction; NULL: not */
    struct presence presence;
    const struct clock *clock;
    char *database_path;          /* owned */
    struct face_place face_place; /* where workers find what they read messages with */
    const struct face *face;      /* the same */
    struct face *next_face;       /* from the commit of this transaction on; NULL: none */
    uint64_t epoch;
    int64_t now_unix_s; /* of this batch */
    int64_t now_ns;     /* monotonic */
    int64_t now_boot_ns;
    int64_t seen_unix_s, seen_boot_ns; /* the clock is measured by: of a batch that was committed; 0: none */
    bool clock_went_back;
    struct {
        struct ledger_head head;
        bool has_head;
        int64_t clock_unix_s;
    } ledger;         /* what this transaction wrote; all zero at its begin and after an undo */
    bool is_head_new; /* the ledger grew since checkpoint */
    char *checkpoint; /* hexadecimal of the signed one */
    struct policy_kept *policy_kept; /* groups.c */
    bool has_piece;                  /* what is handled can be undone alone */
    bool has_new_keys;     /* but for the keys it has changed: then nothing of this transaction is */
    bool is_lost;          /* something cannot: nothing of this transaction is to be */
    bool has_woken;        /* some host's waiting jobs are to be looked at again: those woken in this round */
    uint64_t wake_round;   /* from 1 */
    bool has_erases;       /* an erase was begun and is not carried out yet */
    bool has_old_keyring;  /* another generation is still to be destroyed: no other is written before */
    bool has_told_old;     /* that it could not be */
    bool is_unsettled;     /* the log may hold what is not in force, or hold in memory alone what is */
    bool has_told_expired; /* that the previous message key could not be destroyed */
    bool has_told_erases;  /* that an erase could not be carried out */
    bool has_told_damage;  /* of a scalar */
    int64_t expire_again_ns;  /* when that is tried again */
    int64_t keyring_again_ns; /* when a bind may need another keyring again; 0: the last could be written */
    int64_t again_ns;         /* when what was left to destroy is tried again, unless an erase is asked for */

    struct workers *workers;
    struct job *waiting; /* held polls and opens */
    size_t waiting_count;
    uint64_t batches, commits_failed; /* for metrics, as the next three */
    uint64_t troubles;                /* what could not be decided because of the disk */
    uint64_t granted, denied;
    void (*log)(void *context, const char *line); /* NULL: nobody listens */
    void *log_context;
    bool has_trouble;  /* in this batch */
    char told[768];    /* the trouble that was told last; empty: there is none */
    uint64_t requests; /* made since the start */
    uint32_t ids;      /* drawn since the start */
    atomic_uint_fast64_t messages, unreadable;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t wake;
    struct job *queue, **queue_end;
    size_t queued;
    bool is_urgent; /* one of them: somebody waits for it */
    bool is_stopping;
};

/* The longest queue of held jobs; beyond it they are answered at once. */
#define CLERK_WAITING_MAXIMUM 16384

/* Start and end the thread; afterwards what still waits is answered "try again" by clerk_drain, when the
 * workers have ended too. */
must_check enum error_code clerk_start(struct clerk *clerk, struct error *reterr);
void clerk_stop(struct clerk *clerk);
void clerk_drain(struct clerk *clerk);

/* Hand in a job; from any thread. */
void clerk_put(struct clerk *clerk, struct job *job);

/* One transaction apart from batches, for what is carried out in several. End it with clerk_commit or
 * sql_roll_back. */
must_check enum error_code clerk_begin(struct clerk *clerk, struct error *reterr);

/* Commit, the changed keyring with it; the old keyring is destroyed afterwards where clerk_destroy_old is
 * called. When it fails the transaction is rolled back. */
must_check enum error_code clerk_commit(struct clerk *clerk, struct error *reterr);

/* Instead: nothing of the transaction is to be. Returns code. */
enum error_code clerk_give_up(struct clerk *clerk, enum error_code code);

/* Destroy keyrings that are not valid any more. Where that cannot be, people are told once, and it is tried
 * again some seconds later, and before the next keyring is written. */
must_check enum error_code clerk_destroy_old(struct clerk *clerk, struct error *reterr);

/* From the commit of this transaction on: that keyring, a copy of clerk_keyring, and that face. Takes over
 * both. Cannot fail, so that a piece that is undone has changed neither. */
void clerk_change_keys(struct clerk *clerk, struct keyring *keyring, struct face *face);

/* The same with a face of the same keys. */
void clerk_change_face(struct clerk *clerk, struct face *face);

/* The keyring to change in this transaction. */
must_check enum error_code clerk_change_keyring(struct clerk *clerk, struct keyring **ret_keyring,
                                                struct error *reterr);

/* The one to seal and unseal with. */
static inline const struct keyring *clerk_keyring(const struct clerk *clerk)
{
    return clerk->next_keyring ? clerk->next_keyring : clerk->keyring;
}

/* One line to who looks after this authority. */
void clerk_tell(const struct clerk *clerk, const char *line);

/* Tell people of a trouble that keeps this authority from working, once until another one comes or it is
 * over; and that it is over. */
void clerk_tell_trouble(struct clerk *clerk, const struct error *error);
void clerk_tell_over(struct clerk *clerk);

/* That an erase could not be carried out, once; and with NULL, that all are. */
void clerk_tell_erases(struct clerk *clerk, const struct error *why);

/* Of one scalar, beside which others are whole: once in the life of this process. */
void clerk_tell_damage(struct clerk *clerk, const struct error *why);

/* What waits for this host is looked at again before the commit. */
void clerk_wake(struct clerk *clerk, const uint8_t host[MESSAGE_HOST_ID_SIZE]);

/* An id for a new host or request. Half of it says when, so that they stand one behind the other in the
 * database instead of all over it; half is random. */
void clerk_draw_id(struct clerk *clerk, uint8_t ret_id[MESSAGE_ID_SIZE]);
