/* The other way to a network: somebody else's program. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "network/network.h"

enum { LOOK_AGAIN_MS = 100, END_PATIENCE_S = 5 };

/* With the DHCP client it runs. That may be in the background and out of the group, as Ubuntu's is: then only
 * the part of it that waits in the group, told to end, ends the other. */
static void end_group(pid_t pid)
{
    const int64_t until_ns = clock_monotonic_ns() + END_PATIENCE_S * CLOCK_NS_PER_S;
    bool ended = false;
    kill(-pid, SIGTERM);
    while (kill(-pid, 0) == 0 && clock_monotonic_ns() < until_ns) {
        ended = ended || waitpid(pid, NULL, WNOHANG) == pid;
        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000000L}, NULL);
    }
    kill(-pid, SIGKILL);
    while (!ended && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

enum error_code network_run(const char *program, struct error *reterr)
{
    _cleanup_(freep) char *name = strdup(program);
    char *const arguments[] = {name, NULL};
    if (!name)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    posix_spawnattr_t attributes;
    pid_t pid = 0;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int os_errno = posix_spawn(&pid, program, NULL, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    if (os_errno)
        return error_set(reterr, ERR_FAILED, os_errno, "cannot run %s", text_shown(program));
    int status = 0;
    bool ended = false;
    while (!ended && !interrupt_requested()) {
        ended = waitpid(pid, &status, WNOHANG) == pid;
        if (!ended)
            (void)interrupt_poll(NULL, 0, LOOK_AGAIN_MS * (CLOCK_NS_PER_S / 1000));
    }
    if (!ended) {
        end_group(pid);
        return interrupt_check(reterr);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? OK
               : error_set(reterr, ERR_UNREACHABLE, 0, "%s found no network", text_shown(program));
}
