/* A child process that uses a filesystem until it is told to end. */
#pragma once
#include <sys/types.h>

struct user {
    pid_t pid;
    int pipe_fd;
};

/* doing() runs in the child; when it returns, start_user does, and the child waits. It says ready() itself
 * where it does not return. pid is 0 when it failed: then it ended by itself. */
struct user start_user(void (*doing)(void));
void user_ready(void);

/* In the child: wait to be told to end, and end. */
_Noreturn void user_wait(void);

void end_user(struct user *user);
