#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/text.h"
#include "orders.h"

/* systemd(1), "SIGNALS": SIGRTMIN+4 starts poweroff.target. It needs no program, and no D-Bus. */
#define SYSTEMD_RUNS "/run/systemd/system"
enum { SYSTEMD_PID = 1, SYSTEMD_POWER_OFF = 4 };

enum error_code power_off(const char *at, struct error *reterr)
{
    if (strcmp(at, "/") != 0)
        return error_set(reterr, ERR_UNSUPPORTED, 0,
                         "the host at %s is not the system that runs here: this machine stays on",
                         text_shown(at));
    if (access(SYSTEMD_RUNS, F_OK) < 0)
        return error_set(reterr, ERR_UNSUPPORTED, 0,
                         "systemd does not run this machine: who administers it has to power it off");
    if (kill(SYSTEMD_PID, SIGRTMIN + SYSTEMD_POWER_OFF) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot tell systemd to power off");
    return OK;
}
