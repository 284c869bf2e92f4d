#include "authority/workers.h"

#include <sodium.h>
#include <unistd.h>

#include "authority/clerk.h"

enum { WORKERS_MAXIMUM = 64 };

/* A worker that ran out of jobs waits this long before it sleeps, and is not woken for the few that come in
 * the meantime: to wake a thread for each costs as much as half of what it does. Whoever comes when nothing
 * happened for a while is served at once. */
enum { LINGER_NS = 2000000, LINGER_MOST = 8 };

/* What comes alone, so long after the last message, is not handed on: to wake a thread takes as long as to
 * open it. Nor is an answer that is alone in its batch. */
enum { ALONE_NS = 5000000, ALONE_EVALUATIONS = 2 };

static const char AWAITING_ROOT[] = "the authority was restored and waits for its descriptor: try again";

struct workers {
    struct clerk *clerk;
    uint8_t decoy[HPKE_KEY_SIZE]; /* an identity nobody has: what messages of unknown hosts are opened with */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct job *opening, **opening_end;     /* queues: what is to be opened, */
    struct job *answering, **answering_end; /* and what is to be answered, which goes first */
    size_t waiting;
    int64_t opened_ns; /* when the last message came */
    bool lingers;      /* one of the threads */
    bool is_stopping;
    pthread_t threads[WORKERS_MAXIMUM];
    unsigned count;
};

/* That a host is known is not to be told by how long it takes to find that a message is not its own: whatever
 * is known and kept, a message that does not open costs one exchange, and nothing is kept of it. */
static enum error_code open_from(struct workers *workers, struct message_key message_key,
                                 const uint8_t id[MESSAGE_HOST_ID_SIZE], struct job *job,
                                 struct error *reterr)
{
    struct presence *presence = &workers->clerk->presence;
    _cleanup_(secret_freep) struct secret *exchange = NULL, *unused = NULL;
    uint8_t identity[HPKE_KEY_SIZE];
    memcpy(identity, workers->decoy, sizeof(identity));
    (void)presence_get_identity(presence, id, identity);
    enum error_code code = presence_get_exchange(presence, id, message_key, &exchange, reterr);
    const bool is_kept = exchange != NULL;
    if (!code && !is_kept)
        code = hpke_exchange(message_key.private_key, identity, &exchange, reterr);
    const struct hpke_sender sender = {identity, exchange};
    if (!code)
        code = message_open(job->wire, job->wire_length, message_key, &sender, &job->object, &job->context,
                            reterr);
    if (!code && !is_kept)
        presence_keep_exchange(presence, id, message_key, exchange);
    if (code && is_kept)
        (void)!hpke_exchange(message_key.private_key, identity, &unused, NULL);
    return code;
}

static enum error_code open_message(struct workers *workers, const struct face *face, struct job *job,
                                    struct error *reterr)
{
    struct message_header header;
    enum error_code code = message_parse_header(job->wire, job->wire_length, &header, reterr);
    if (code)
        return code;
    const struct message_key message_key = face_choose_key(face, header.key_id);
    code = header.mode == MESSAGE_AUTH ? open_from(workers, message_key, header.host_id, job, reterr)
                                       : message_open(job->wire, job->wire_length, message_key, NULL,
                                                      &job->object, &job->context, reterr);
    if (!code)
        code = message_get_type(job->object, header.mode, &job->type, reterr);
    if (!code)
        code = json_get_hex(job->object, "id", job->id, sizeof(job->id), reterr);
    if (!code)
        memcpy(job->host, header.host_id, sizeof(job->host));
    return code;
}

static void work(struct workers *workers, struct job *job)
{
    struct clerk *clerk = workers->clerk;
    if (job->is_opened) {
        job_answer(job);
        return;
    }
    job->is_opened = true;
    struct face *face = face_place_take(&clerk->face_place);
    if (face->is_awaiting_root) {
        job_answer_plain(job, ANSWER_TRY_AGAIN, AWAITING_ROOT, sizeof(AWAITING_ROOT) - 1);
    } else if (open_message(workers, face, job, NULL) == OK) {
        free(TAKE(job->wire));
        clerk_put(clerk, job);
    } else {
        atomic_fetch_add(&clerk->unreadable, 1);
        job->in_vain = true;
        job_answer_plain(job, ANSWER_DESCRIPTOR, face->bytes.data, face->bytes.length);
    }
    face_place_give(&clerk->face_place, face);
}

static struct job *take_next(struct workers *workers)
{
    struct job **queue = workers->answering ? &workers->answering : &workers->opening;
    struct job *job = *queue;
    *queue = job->next;
    if (!workers->answering)
        workers->answering_end = &workers->answering;
    if (!workers->opening)
        workers->opening_end = &workers->opening;
    workers->waiting--;
    return job;
}

/* Under the mutex: until there is something to do. */
static void rest(struct workers *workers, bool has_worked)
{
    if (!has_worked || workers->lingers) {
        pthread_cond_wait(&workers->wake, &workers->mutex);
        return;
    }
    const int64_t until_ns = clock_monotonic_ns() + LINGER_NS;
    const struct timespec until = {.tv_sec = until_ns / CLOCK_NS_PER_S, .tv_nsec = until_ns % CLOCK_NS_PER_S};
    workers->lingers = true;
    pthread_cond_clockwait(&workers->wake, &workers->mutex, CLOCK_MONOTONIC, &until);
    workers->lingers = false;
}

static void *run(void *context)
{
    struct workers *workers = context;
    bool has_worked = false;
    pthread_mutex_lock(&workers->mutex);
    while (workers->waiting > 0 || !workers->is_stopping) {
        if (workers->waiting == 0) {
            rest(workers, has_worked);
            has_worked = false;
            continue;
        }
        struct job *job = take_next(workers);
        pthread_mutex_unlock(&workers->mutex);
        work(workers, job);
        has_worked = true;
        pthread_mutex_lock(&workers->mutex);
    }
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

/* Under the mutex. */
static bool comes_alone(struct workers *workers)
{
    const int64_t now_ns = clock_monotonic_ns(), before_ns = workers->opened_ns;
    workers->opened_ns = now_ns;
    return workers->waiting == 0 && now_ns - before_ns > ALONE_NS;
}

void workers_open(struct workers *workers, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&workers->mutex);
    if (comes_alone(workers)) {
        pthread_mutex_unlock(&workers->mutex);
        work(workers, job);
        return;
    }
    *workers->opening_end = job;
    workers->opening_end = &job->next;
    workers->waiting++;
    if (!workers->lingers || workers->waiting >= LINGER_MOST)
        pthread_cond_signal(&workers->wake);
    pthread_mutex_unlock(&workers->mutex);
}

void workers_answer(struct workers *workers, struct job *jobs)
{
    size_t count = 0;
    if (!jobs)
        return;
    if (!jobs->next && jobs->evaluation_count <= ALONE_EVALUATIONS) {
        job_answer(jobs);
        return;
    }
    pthread_mutex_lock(&workers->mutex);
    for (*workers->answering_end = jobs; *workers->answering_end; count++)
        workers->answering_end = &(*workers->answering_end)->next;
    workers->waiting += count;
    if (count < LINGER_MOST)
        pthread_cond_signal(&workers->wake);
    else
        pthread_cond_broadcast(&workers->wake);
    pthread_mutex_unlock(&workers->mutex);
}

size_t workers_waiting(struct workers *workers)
{
    pthread_mutex_lock(&workers->mutex);
    const size_t waiting = workers->waiting;
    pthread_mutex_unlock(&workers->mutex);
    return waiting;
}

static enum error_code start_threads(struct workers *workers, unsigned count, struct error *reterr)
{
    while (workers->count < count) {
        const int os_errno = pthread_create(&workers->threads[workers->count], NULL, run, workers);
        if (os_errno)
            return error_set(reterr, ERR_FAILED, os_errno, "cannot start a thread");
        pthread_setname_np(workers->threads[workers->count], "huskd-worker");
        workers->count++;
    }
    return OK;
}

enum error_code workers_start(struct clerk *clerk, unsigned count, struct workers **ret_workers,
                              struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *decoy_key = NULL;
    struct workers *workers = calloc(1, sizeof(*workers));
    if (!workers)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    workers->clerk = clerk;
    workers->opening_end = &workers->opening;
    workers->answering_end = &workers->answering;
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_cond_init(&workers->wake, NULL);
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (count == 0)
        count = processors > 0 ? (unsigned)processors : 1;
    enum error_code code = hpke_key_new(&decoy_key, workers->decoy, reterr);
    if (!code)
        code = start_threads(workers, count < WORKERS_MAXIMUM ? count : WORKERS_MAXIMUM, reterr);
    if (code)
        workers_stop(workers);
    else
        *ret_workers = workers;
    return code;
}

void workers_stop(struct workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->mutex);
    workers->is_stopping = true;
    pthread_cond_broadcast(&workers->wake);
    pthread_mutex_unlock(&workers->mutex);
    for (unsigned i = 0; i < workers->count; i++)
        pthread_join(workers->threads[i], NULL);
    pthread_mutex_destroy(&workers->mutex);
    pthread_cond_destroy(&workers->wake);
    free(workers);
}
