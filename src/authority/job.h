/*
 * What waits for the clerk: a message that a worker has opened, or an administrator's operation.
 *
 *     message:    workers open it → clerk decides → (waits) → workers evaluate and seal → answer
 *     operation:  clerk decides → the caller, who waits on the condition, takes the result
 *
 * A job belongs to one of them at a time; who has it frees it or hands it on.
 */
#pragma once
#include <pthread.h>

#include "authority/authority.h"
#include "crypto/oprf.h"
#include "message/message.h"
#include "policy/policy.h"

enum job_kind { JOB_MESSAGE, JOB_OPERATION };

enum job_outcome {
    JOB_ANSWERED, /* result or error is there */
    JOB_WAITS,    /* until something changes or wait_until_ns */
    JOB_ERASES,   /* the erase it began is carried out, then it is looked at again */
    JOB_TRY_AGAIN /* nothing changed; the peer tries again */
};

/* Long work on a snapshot of the database, after the commit: the clerk does not wait for it. */
struct job_later {
    enum error_code (*write)(void *context, const struct authority_actor *actor, struct error *reterr);
    void (*free)(void *context);
    void *context; /* owned; NULL: nothing is to be done */
};
void job_later_done(struct job_later *later);

struct job_evaluation {
    struct secret *scalar; /* NULL: it is not here, and null is answered */
    uint8_t blinded[OPRF_ELEMENT_SIZE];
};
#define JOB_EVALUATIONS_MAXIMUM 16

struct job {
    struct job *next;
    enum job_kind kind;
    enum job_outcome outcome;
    json_t *result;
    struct error error;    /* its code says whether there is one */
    const char *wire_word; /* where the error has a word of its own on the wire */

    /* A message. */
    char peer[64];
    uint8_t *wire;
    size_t wire_length;
    authority_answer *answer;
    void *answer_context;
    struct hpke_context *context;
    json_t *object;
    enum message_type type;
    uint8_t host[MESSAGE_HOST_ID_SIZE]; /* for enroll: the one that was made */
    uint8_t id[MESSAGE_ID_SIZE];
    bool in_vain;     /* authority_answer */
    bool is_opened;   /* the clerk's part is next, or done */
    bool has_paid;    /* as the next */
    bool took_nonce;  /* not again when it is looked at again */
    bool has_begun;   /* the erase it asks for */
    bool has_request; /* an open: its request is there */
    uint8_t request[MESSAGE_ID_SIZE];
    bool has_waited; /* its time is over: the answer says what is so now */
    int64_t wait_until_ns;
    int64_t look_again_ns; /* before that; 0: not */
    struct job_evaluation evaluations[JOB_EVALUATIONS_MAXIMUM];
    size_t evaluation_count;
    bool has_nonce;
    char nonce[2 * 16 + 1];
    char *checkpoint; /* hexadecimal; owned */

    /* An operation. */
    const char *operation; /* the caller's, as the next two */
    json_t *arguments;
    const struct authority_actor *actor;
    bool changed;
    struct job_later later; /* what is written when its transaction is durable, in the caller's thread */
    pthread_mutex_t *mutex;
    pthread_cond_t *done;
    bool is_done;
};

void job_free(struct job *job); /* NULL is fine */

/* Answer with an error that keeps what was changed. Always returns OK. word is of docs/protocol.md, NULL: the
 * one of the code. */
enum error_code job_refuse(struct job *job, enum error_code code, const char *word, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A message's answer in the clear, and the end of the job. */
void job_answer_plain(struct job *job, enum answer_kind kind, const void *bytes, size_t length);

/* Evaluate, seal and answer, and the end of the job. */
void job_answer(struct job *job);

/* Wake the caller of an operation. */
void job_finish_operation(struct job *job);
