#include "user.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the child. */
static int ready_fd = -1, end_fd = -1;

void user_ready(void)
{
    if (write(ready_fd, "x", 1) != 1)
        _exit(1);
}

_Noreturn void user_wait(void)
{
    char byte;
    while (read(end_fd, &byte, 1) > 0)
        ;
    _exit(0);
}

struct user start_user(void (*doing)(void))
{
    int ends[2], ready[2];
    if (pipe2(ends, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0)
        abort();
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        close(ends[1]);
        close(ready[0]);
        ready_fd = ready[1];
        end_fd = ends[0];
        doing();
        user_ready();
        user_wait();
    }
    close(ends[0]);
    close(ready[1]);
    char byte;
    ssize_t got = read(ready[0], &byte, 1);
    close(ready[0]);
    struct user user = {.pid = pid, .pipe_fd = ends[1]};
    if (got != 1) {
        end_user(&user);
        user.pid = 0;
    }
    return user;
}

void end_user(struct user *user)
{
    if (!user->pid)
        return;
    close(user->pipe_fd);
    waitpid(user->pid, NULL, 0);
}
