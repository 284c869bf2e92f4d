#include "http/resuming.h"

enum { BATCH_LEAST = 16, BATCHES = 16 };

static void give_back(struct request *first)
{
    while (first) {
        struct request *request = first;
        first = request->next_answered;
        MHD_resume_connection(request->connection);
    }
}

/* Under the mutex. */
static struct request *take_all(struct resuming *resuming)
{
    struct request *first = resuming->first;
    resuming->first = NULL;
    resuming->count = 0;
    resuming->given_back_ns = clock_monotonic_ns();
    return first;
}

static bool is_due(const struct resuming *resuming, unsigned held)
{
    const unsigned batch = held / BATCHES > BATCH_LEAST ? held / BATCHES : BATCH_LEAST;
    return resuming->ends || resuming->count > batch ||
           clock_monotonic_ns() >= resuming->given_back_ns + RESUMING_WAIT_MS * INT64_C(1000000);
}

void resuming_put(struct resuming *resuming, struct request *request)
{
    const unsigned held = connections_held(resuming->connections);
    struct request *ready = NULL;
    pthread_mutex_lock(&resuming->mutex);
    request->next_answered = resuming->first;
    resuming->first = request;
    resuming->count++;
    if (is_due(resuming, held))
        ready = take_all(resuming);
    else if (resuming->count == 1)
        pthread_cond_signal(&resuming->wake);
    pthread_mutex_unlock(&resuming->mutex);
    give_back(ready);
}

static void *run(void *context)
{
    struct resuming *resuming = context;
    pthread_mutex_lock(&resuming->mutex);
    while (!resuming->ends) {
        if (!resuming->first) {
            pthread_cond_wait(&resuming->wake, &resuming->mutex);
            continue;
        }
        pthread_mutex_unlock(&resuming->mutex);
        nanosleep(&(struct timespec){.tv_nsec = RESUMING_WAIT_MS * 1000000L}, NULL);
        pthread_mutex_lock(&resuming->mutex);
        struct request *ready = take_all(resuming);
        pthread_mutex_unlock(&resuming->mutex);
        give_back(ready);
        pthread_mutex_lock(&resuming->mutex);
    }
    pthread_mutex_unlock(&resuming->mutex);
    return NULL;
}

enum error_code resuming_start(struct resuming *resuming, struct connections *connections,
                               struct error *reterr)
{
    *resuming = (struct resuming){.connections = connections};
    pthread_mutex_init(&resuming->mutex, NULL);
    pthread_cond_init(&resuming->wake, NULL);
    int failed = pthread_create(&resuming->thread, NULL, run, resuming);
    resuming->runs = !failed;
    return failed ? error_set(reterr, ERR_FAILED, failed, "cannot start a thread") : OK;
}

void resuming_end(struct resuming *resuming)
{
    pthread_mutex_lock(&resuming->mutex);
    resuming->ends = true;
    struct request *ready = take_all(resuming);
    pthread_cond_signal(&resuming->wake);
    pthread_mutex_unlock(&resuming->mutex);
    give_back(ready);
    if (resuming->runs)
        pthread_join(resuming->thread, NULL);
    resuming->runs = false;
}

void resuming_done(struct resuming *resuming)
{
    pthread_cond_destroy(&resuming->wake);
    pthread_mutex_destroy(&resuming->mutex);
}
