#include "authority/clerk.h"

#include <endian.h>
#include <sodium.h>

#include "authority/erasing.h"
#include "authority/piece.h"
#include "authority/rotation.h"
#include "base/text.h"

/* Batches begin so far apart, unless many jobs wait: a commit costs as much for one job as for twenty. Nobody
 * waits for heartbeats. */
enum { BATCH_APART_NS = 10000000, HEARTBEATS_APART_NS = 40000000, BATCH_FULL = 64 };
#define DESTROY_AGAIN_NS (10 * CLOCK_NS_PER_S)

void clerk_wake(struct clerk *clerk, const uint8_t host[MESSAGE_HOST_ID_SIZE])
{
    struct presence_host *known = presence_find(&clerk->presence, host);
    if (known)
        known->woken_round = clerk->wake_round;
    clerk->has_woken = true;
}

void clerk_draw_id(struct clerk *clerk, uint8_t ret_id[MESSAGE_ID_SIZE])
{
    const uint64_t when = htobe64((uint64_t)clerk->now_unix_s << 32 | clerk->ids++);
    randombytes_buf(ret_id, MESSAGE_ID_SIZE);
    memcpy(ret_id, &when, sizeof(when));
}

void clerk_tell(const struct clerk *clerk, const char *line)
{
    if (clerk->log)
        clerk->log(clerk->log_context, line);
}

void clerk_tell_erases(struct clerk *clerk, const struct error *why)
{
    char line[sizeof(why->message) + 128];
    if (!why == !clerk->has_told_erases)
        return;
    snprintf(line, sizeof(line), why ? "an erase is not carried out yet: %s" : "all erases are carried out%s",
             why ? why->message : "");
    clerk_tell(clerk, line);
    clerk->has_told_erases = why != NULL;
}

void clerk_tell_damage(struct clerk *clerk, const struct error *why)
{
    if (!clerk->has_told_damage)
        clerk_tell(clerk, why->message);
    clerk->has_told_damage = true;
}

void clerk_tell_trouble(struct clerk *clerk, const struct error *error)
{
    char line[sizeof(error->message) + sizeof(error->remedy) + 64];
    clerk->troubles++;
    _Static_assert(sizeof(clerk->told) == sizeof(error->message), "it fits");
    if (strcmp(clerk->told, error->message) == 0)
        return;
    snprintf(clerk->told, sizeof(clerk->told), "%s", error->message);
    snprintf(line, sizeof(line), "cannot decide: %s%s%s", error->message, error->remedy[0] ? "; " : "",
             error->remedy);
    clerk_tell(clerk, line);
}

void clerk_tell_over(struct clerk *clerk)
{
    if (!clerk->told[0])
        return;
    clerk->told[0] = '\0';
    clerk_tell(clerk, "decides again");
}

/* Jobs in the order they are looked at. */
struct batch {
    struct job *first, **end;
};

static void add(struct batch *batch, struct job *job)
{
    job->next = NULL;
    *batch->end = job;
    batch->end = &job->next;
}

static bool is_woken(struct clerk *clerk, const struct job *job)
{
    const struct presence_host *host = presence_find(&clerk->presence, job->host);
    return clerk->has_woken && host && host->woken_round == clerk->wake_round;
}

/* Add those of the waiting whose time is over, or whose host was woken. */
static void add_due(struct clerk *clerk, struct batch *batch)
{
    for (struct job **at = &clerk->waiting; *at;) {
        struct job *job = *at;
        job->has_waited |= clerk->now_ns >= job->wait_until_ns;
        const bool is_time = job->look_again_ns && clerk->now_ns >= job->look_again_ns;
        if (!job->has_waited && !is_time && !is_woken(clerk, job)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        clerk->waiting_count--;
        struct presence_host *host = presence_find(&clerk->presence, job->host);
        if (host)
            host->held--;
        add(batch, job);
    }
    clerk->has_woken = false;
    clerk->wake_round++;
}

/* Jobs of this batch that found they had to wait, before another one of it woke them. */
static void look_again(struct clerk *clerk, struct batch *batch)
{
    for (struct job *job = batch->first; job && !clerk->is_lost; job = job->next)
        if (job->kind == JOB_MESSAGE && job->outcome == JOB_WAITS && is_woken(clerk, job))
            piece_handle(clerk, job);
}

/* All of them, and what waited for them, in one transaction. Handlers that wake find waiting jobs of that
 * host behind their own. */
static enum error_code handle_all(struct clerk *clerk, struct batch *batch, struct error *reterr)
{
    enum error_code code = clerk_begin(clerk, reterr);
    if (code)
        return code;
    add_due(clerk, batch);
    for (struct job *job = batch->first; job && !clerk->is_lost; job = job->next) {
        piece_handle(clerk, job);
        if (!clerk->is_lost && !job->next && clerk->has_woken) {
            look_again(clerk, batch);
            add_due(clerk, batch);
        }
    }
    clerk->batches++;
    if (clerk->is_lost)
        return clerk_give_up(clerk, error_set(reterr, ERR_FAILED, 0,
                                              "not all of a batch could be written, and nothing of it is"));
    return clerk_commit(clerk, reterr);
}

static void give_nonce_and_checkpoint(struct clerk *clerk, struct job *job)
{
    uint8_t nonce[PRESENCE_NONCE_SIZE];
    struct presence_host *host = presence_find(&clerk->presence, job->host);
    if (host) {
        presence_issue_nonce(&clerk->presence, host, nonce);
        text_format_hex(job->nonce, nonce, sizeof(nonce));
        job->has_nonce = true;
    }
    free(job->checkpoint);
    job->checkpoint = clerk->checkpoint ? strdup(clerk->checkpoint) : NULL;
}

/* The time of a host's oldest is over: it is answered with the next batch, which does not wait. */
static void end_oldest(struct clerk *clerk, const uint8_t host[MESSAGE_HOST_ID_SIZE])
{
    struct job *oldest = NULL;
    for (struct job *job = clerk->waiting; job; job = job->next)
        if (job->wait_until_ns > clerk->now_ns && memcmp(job->host, host, MESSAGE_HOST_ID_SIZE) == 0)
            oldest = job;
    if (oldest)
        oldest->wait_until_ns = clerk->now_ns;
}

/* One host cannot take the room of all. */
static void hold(struct clerk *clerk, struct job *job)
{
    struct presence_host *host = presence_find(&clerk->presence, job->host);
    job->next = clerk->waiting;
    clerk->waiting = job;
    clerk->waiting_count++;
    if (host && ++host->held > PRESENCE_HELD)
        end_oldest(clerk, job->host);
}

static void deliver_one(struct clerk *clerk, struct job *job, struct batch *answers)
{
    if (job->kind == JOB_OPERATION) {
        job_finish_operation(job);
    } else if (job->outcome == JOB_WAITS && clerk->waiting_count < CLERK_WAITING_MAXIMUM) {
        hold(clerk, job);
    } else {
        give_nonce_and_checkpoint(clerk, job);
        add(answers, job);
    }
}

/* Let go of the jobs, but for those whose erase is not carried out yet: they stay in the batch. */
static void deliver(struct clerk *clerk, struct batch *batch, enum error_code failure,
                    const struct error *error)
{
    struct job *job = batch->first;
    struct batch answers = {.end = &answers.first};
    *batch = (struct batch){.end = &batch->first};
    while (job) {
        struct job *next = job->next;
        if (failure) {
            job->outcome = JOB_TRY_AGAIN;
            job->error = *error;
        }
        if (job->outcome == JOB_ERASES)
            add(batch, job);
        else
            deliver_one(clerk, job, &answers);
        job = next;
    }
    workers_answer(clerk->workers, answers.first);
}

/* Whoever asked for an erase is told how far it is. What failed is not tried with every batch: a medium that
 * takes no writes takes its time to say so, and every host would wait for it. */
static enum error_code carry_out(struct clerk *clerk, bool is_asked_for, struct error *reterr)
{
    if ((!clerk->has_erases && !clerk->has_old_keyring) ||
        (!is_asked_for && clock_monotonic_ns() < clerk->again_ns))
        return OK;
    enum error_code code =
        clerk->has_erases ? erasing_carry_out(clerk, reterr) : clerk_destroy_old(clerk, reterr);
    if (!code)
        clerk_tell_erases(clerk, NULL);
    if (!code)
        return OK;
    clerk->again_ns = clock_monotonic_ns() + DESTROY_AGAIN_NS;
    if (clerk->has_erases)
        clerk_tell_erases(clerk, reterr);
    error_prefix(reterr, "what is to be erased opens no more, but not all of it is destroyed");
    error_remedy(reterr, "it is tried again every few seconds, at the next erase and at every start");
    return reterr->code = ERR_INCOMPLETE;
}

/* In a transaction of its own: while no keyring can be written, hosts are served all the same. */
static void destroy_previous_key(struct clerk *clerk)
{
    struct error why = ERROR_NONE;
    char line[sizeof(why.message) + 128];
    if (!rotation_is_due(clerk) || clock_monotonic_ns() < clerk->expire_again_ns)
        return;
    enum error_code code = clerk_begin(clerk, &why);
    if (!code) {
        code = rotation_expire(clerk, &why);
        if (code)
            sql_roll_back(clerk->sql);
        else
            code = clerk_commit(clerk, &why);
    }
    if (code && !clerk->has_told_expired) {
        snprintf(line, sizeof(line), "the previous message key is not destroyed, though its time is over: %s",
                 why.message);
        clerk_tell(clerk, line);
    }
    clerk->has_told_expired = code != OK;
    (void)sql_take_trouble(clerk->sql); /* of nobody in the batch */
    clerk->expire_again_ns = code ? clock_monotonic_ns() + DESTROY_AGAIN_NS : 0;
}

/* Jobs that begin an erase come back for a second round, with the erase carried out in between. */
static void run_batch(struct clerk *clerk, struct job *jobs)
{
    struct batch batch = {.first = jobs, .end = &batch.first};
    destroy_previous_key(clerk);
    while (*batch.end)
        batch.end = &(*batch.end)->next;
    do {
        struct error error = ERROR_NONE;
        const int64_t changes_before = sql_total_changes(clerk->sql);
        clerk->has_trouble = false;
        enum error_code code = handle_all(clerk, &batch, &error);
        if (code)
            clerk_tell_trouble(clerk, &error);
        else if (!clerk->has_trouble && sql_total_changes(clerk->sql) != changes_before)
            clerk_tell_over(clerk);
        deliver(clerk, &batch, code, &error);
        if (!code)
            code = carry_out(clerk, batch.first != NULL, &error);
        if (code)
            deliver(clerk, &batch, code, &error);
    } while (batch.first);
}

static struct timespec until(const struct clerk *clerk)
{
    int64_t ns = clock_monotonic_ns() + 60 * CLOCK_NS_PER_S;
    for (const struct job *job = clerk->waiting; job; job = job->next) {
        if (job->wait_until_ns < ns)
            ns = job->wait_until_ns;
        if (job->look_again_ns && job->look_again_ns < ns)
            ns = job->look_again_ns;
    }
    return (struct timespec){.tv_sec = ns / CLOCK_NS_PER_S, .tv_nsec = ns % CLOCK_NS_PER_S};
}

/* Under the mutex. Whoever comes when nothing happened for a while is served at once. */
static void wait_for_jobs(struct clerk *clerk, int64_t begun_ns)
{
    const struct timespec deadline = until(clerk);
    int result = 0;
    while (!clerk->queue && !clerk->is_stopping && result == 0)
        result = pthread_cond_timedwait(&clerk->wake, &clerk->mutex, &deadline);
    result = 0;
    while (clerk->queue && clerk->queued < BATCH_FULL && !clerk->is_stopping && result == 0) {
        const int64_t apart_ns = begun_ns + (clerk->is_urgent ? BATCH_APART_NS : HEARTBEATS_APART_NS);
        const struct timespec apart = {.tv_sec = apart_ns / CLOCK_NS_PER_S,
                                       .tv_nsec = apart_ns % CLOCK_NS_PER_S};
        result = pthread_cond_timedwait(&clerk->wake, &clerk->mutex, &apart);
    }
}

static void *run(void *context)
{
    struct clerk *clerk = context;
    int64_t begun_ns = 0;
    pthread_mutex_lock(&clerk->mutex);
    while (!clerk->is_stopping) {
        wait_for_jobs(clerk, begun_ns);
        if (clerk->is_stopping)
            break;
        struct job *jobs = TAKE(clerk->queue);
        clerk->queue_end = &clerk->queue;
        clerk->queued = 0;
        clerk->is_urgent = false;
        pthread_mutex_unlock(&clerk->mutex);
        begun_ns = clock_monotonic_ns();
        run_batch(clerk, jobs);
        pthread_mutex_lock(&clerk->mutex);
    }
    pthread_mutex_unlock(&clerk->mutex);
    return NULL;
}

void clerk_put(struct clerk *clerk, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&clerk->mutex);
    *clerk->queue_end = job;
    clerk->queue_end = &job->next;
    clerk->queued++;
    const bool was_urgent = clerk->is_urgent;
    clerk->is_urgent |= job->kind != JOB_MESSAGE || job->type != MESSAGE_HEARTBEAT;
    if (clerk->queued == 1 || clerk->queued == BATCH_FULL || clerk->is_urgent != was_urgent)
        pthread_cond_signal(&clerk->wake); /* in between it waits for more */
    pthread_mutex_unlock(&clerk->mutex);
}

enum error_code clerk_start(struct clerk *clerk, struct error *reterr)
{
    const int os_errno = pthread_create(&clerk->thread, NULL, run, clerk);
    if (os_errno)
        return error_set(reterr, ERR_FAILED, os_errno, "cannot start a thread");
    pthread_setname_np(clerk->thread, "huskd-clerk");
    clerk->has_thread = true;
    return OK;
}

void clerk_stop(struct clerk *clerk)
{
    if (!clerk->has_thread)
        return;
    pthread_mutex_lock(&clerk->mutex);
    clerk->is_stopping = true;
    pthread_cond_signal(&clerk->wake);
    pthread_mutex_unlock(&clerk->mutex);
    pthread_join(clerk->thread, NULL);
    clerk->has_thread = false;
}

static void answer_try_again(struct job *jobs)
{
    while (jobs) {
        struct job *job = jobs;
        jobs = job->next;
        job->outcome = JOB_TRY_AGAIN;
        if (job->kind == JOB_MESSAGE) {
            job_answer(job);
            continue;
        }
        error_set(&job->error, ERR_UNREACHABLE, 0, "the authority is ending");
        job_finish_operation(job);
    }
}

void clerk_drain(struct clerk *clerk)
{
    answer_try_again(TAKE(clerk->waiting));
    answer_try_again(TAKE(clerk->queue));
    clerk->queue_end = &clerk->queue;
}
