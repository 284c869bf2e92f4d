#include "boot/priming.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "fscrypt/fscrypt.h"

static void *run(void *context)
{
    const struct priming *priming = context;
    (void)!fscrypt_prime_derivation(priming->fd, NULL);
    return NULL;
}

void priming_begin(const char *at, struct priming *priming)
{
    char path[PATH_MAX];
    sigset_t all, before;
    snprintf(path, sizeof(path), "%s/.husk/vaults", at);
    *priming = (struct priming){.fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (priming->fd < 0)
        return;
    /* Signals are for the others. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    priming->has_thread = pthread_create(&priming->thread, NULL, run, priming) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!priming->has_thread)
        close_fdp(&priming->fd);
}

void priming_end(struct priming *priming)
{
    if (priming->has_thread) {
        pthread_join(priming->thread, NULL);
        priming->has_thread = false;
        close_fdp(&priming->fd);
    }
}
