#include "destroy/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

enum { WORKERS_MAXIMUM = 16 };

struct share {
    void (*work)(void *context, size_t worker);
    void *context;
    size_t worker;
};

static void *do_share(void *argument)
{
    const struct share *share = argument;
    share->work(share->context, share->worker);
    return NULL;
}

void parallel_run(size_t workers, void (*work)(void *context, size_t worker), void *context)
{
    pthread_t threads[WORKERS_MAXIMUM];
    struct share shares[WORKERS_MAXIMUM];
    bool started[WORKERS_MAXIMUM] = {false};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    workers = workers < WORKERS_MAXIMUM ? workers : WORKERS_MAXIMUM;
    for (size_t i = 1; i < workers; i++) {
        shares[i] = (struct share){.work = work, .context = context, .worker = i};
        started[i] = pthread_create(&threads[i], NULL, do_share, &shares[i]) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work(context, 0);
    for (size_t i = 1; i < workers; i++) {
        if (started[i])
            pthread_join(threads[i], NULL);
        else
            work(context, i);
    }
}
