#include "base/interrupt.h"

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

enum error_code interrupt_check(struct error *reterr)
{
    if (!requested)
        return OK;
    error_set(reterr, ERR_INTERRUPTED, 0, "interrupted");
    error_remedy(reterr, "run the same command again to go on");
    return ERR_INTERRUPTED;
}
