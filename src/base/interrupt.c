#include "base/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>

static volatile sig_atomic_t requested;
static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static void on_signal(int number)
{
    (void)number;
    requested = 1;
}

static void set_all(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = 0};
    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
}

void interrupt_install(void)
{
    set_all(on_signal);
}

void interrupt_ignore(void)
{
    set_all(SIG_IGN);
}

bool interrupt_requested(void)
{
    return requested != 0;
}

/* The signals are let through only inside ppoll, so that none falls between asking for the flag and waiting.
 */
int interrupt_poll(struct pollfd *waited, nfds_t count, int64_t timeout_ns)
{
    sigset_t ours, before;
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    sigemptyset(&ours);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&ours, signals[i]);
    sigprocmask(SIG_BLOCK, &ours, &before);
    int ready = -1;
    errno = EINTR;
    if (!requested)
        ready = ppoll(waited, count, timeout_ns < 0 ? NULL : &timeout, &before);
    int os_errno = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = os_errno;
    return ready;
}

bool interrupt_wait_readable(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (!requested && interrupt_poll(&ready, 1, -1) <= 0)
        if (errno != EINTR)
            break; /* the read that follows tells what is wrong */
    return requested == 0;
}

enum error_code interrupt_check(struct error *reterr)
{
    if (!requested)
        return OK;
    error_set(reterr, ERR_INTERRUPTED, 0, "interrupted");
    error_remedy(reterr, "run the same command again to go on");
    return ERR_INTERRUPTED;
}
