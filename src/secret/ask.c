/*
 * One question on the terminal, without echo. Signals that end or stop the process are caught while echo is
 * off, put into a pipe, and sent again once the terminal is as it was before. So there is no moment at which
 * a signal leaves a terminal that does not echo.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <termios.h>

#include "base/file.h"
#include "secret/secret.h"

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGPIPE};
static const int stopping[] = {SIGTSTP, SIGTTIN, SIGTTOU};
enum { SIGNALS = ARRAY_SIZE(ending) + ARRAY_SIZE(stopping) };

struct question {
    int fd; /* the terminal to read from */
    struct termios terminal;
    struct sigaction handlers[SIGNALS];
    int pipe_read_fd, pipe_write_fd;
    bool echo_is_off;
};

/* The one thing a handler can reach. Only one question is asked at a time. */
static volatile sig_atomic_t signal_pipe_fd = -1;

static void on_signal(int number)
{
    int os_errno = errno;
    uint8_t byte = (uint8_t)number;
    ssize_t ignored = write(signal_pipe_fd, &byte, 1);
    (void)ignored;
    errno = os_errno;
}

static int signal_at(size_t i)
{
    return i < ARRAY_SIZE(ending) ? ending[i] : stopping[i - ARRAY_SIZE(ending)];
}

static bool is_stopping(int number)
{
    for (size_t i = 0; i < ARRAY_SIZE(stopping); i++)
        if (stopping[i] == number)
            return true;
    return false;
}

static enum error_code question_open(struct question *question, struct error *reterr)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make a pipe");
    question->pipe_read_fd = ends[0];
    question->pipe_write_fd = ends[1];
    signal_pipe_fd = ends[1];
    const struct sigaction catching = {.sa_handler = on_signal}; /* no SA_RESTART: calls return EINTR */
    for (size_t i = 0; i < SIGNALS; i++) {
        sigaction(signal_at(i), &catching, &question->handlers[i]);
        /* What the program ignores (interrupt_ignore, nohup) stays ignored. */
        if (question->handlers[i].sa_handler == SIG_IGN)
            sigaction(signal_at(i), &question->handlers[i], NULL);
    }

    if (tcgetattr(question->fd, &question->terminal) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the terminal's settings");
    struct termios silent = question->terminal;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    silent.c_lflag |= ICANON | ISIG;
    if (tcsetattr(question->fd, TCSAFLUSH, &silent) == 0)
        question->echo_is_off = true;
    else if (errno != EINTR) /* EINTR: we are in the background; the pipe says SIGTTOU */
        return error_set(reterr, ERR_FAILED, errno, "cannot turn off the terminal's echo");
    return OK;
}

/* Everything as before. Returns the signal that came, or 0. */
static int question_close(struct question *question)
{
    if (question->echo_is_off)
        tcsetattr(question->fd, TCSANOW, &question->terminal);
    for (size_t i = 0; i < SIGNALS && question->pipe_read_fd >= 0; i++)
        sigaction(signal_at(i), &question->handlers[i], NULL);
    signal_pipe_fd = -1;
    uint8_t number = 0;
    if (question->pipe_read_fd >= 0 && read(question->pipe_read_fd, &number, 1) != 1)
        number = 0;
    close_fdp(&question->pipe_read_fd);
    close_fdp(&question->pipe_write_fd);
    return number;
}

static enum error_code tell(const struct question *question, const char *text, struct error *reterr)
{
    int fd = isatty(STDERR_FILENO) ? STDERR_FILENO : question->fd;
    return file_write_all(fd, text, strlen(text), reterr);
}

/* One byte of the line. ERR_INTERRUPTED at its end of file or when a signal came. */
static enum error_code next_byte(const struct question *question, uint8_t *ret_byte, struct error *reterr)
{
    for (;;) {
        struct pollfd ready[] = {{question->fd, POLLIN, 0}, {question->pipe_read_fd, POLLIN, 0}};
        int count = poll(ready, ARRAY_SIZE(ready), -1);
        if (count < 0 && errno != EINTR)
            return error_set(reterr, ERR_FAILED, errno, "cannot wait for the terminal");
        if (count < 0)
            continue;
        if (ready[1].revents)
            return error_set(reterr, ERR_INTERRUPTED, 0, "interrupted");
        ssize_t got = read(question->fd, ret_byte, 1);
        if (got == 1)
            return OK;
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0 && errno != EIO) /* EIO: the terminal hung up */
            return error_set(reterr, ERR_FAILED, errno, "cannot read from the terminal");
        return error_set(reterr, ERR_INTERRUPTED, 0, "no answer: the terminal's input ended");
    }
}

static enum error_code read_line(const struct question *question, struct secret *line, struct error *reterr)
{
    size_t length = 0;
    bool too_long = false;
    uint8_t byte = 0;
    enum error_code code;
    while (!(code = next_byte(question, &byte, reterr)) && byte != '\n') {
        if (length == line->length)
            too_long = true;
        else
            line->bytes[length++] = byte;
    }
    sodium_memzero(&byte, 1);
    if (!code && too_long)
        code = error_set(reterr, ERR_USAGE, 0, "the answer is longer than %zu bytes", line->length);
    if (!code)
        secret_shorten(line, length);
    return code;
}

/* Ask once. *ret_signal is the signal that ended it, or 0. */
static enum error_code ask_once(const char *prompt, struct secret *line, int *ret_signal,
                                struct error *reterr)
{
    struct question question = {.fd = STDIN_FILENO, .pipe_read_fd = -1, .pipe_write_fd = -1};
    enum error_code code = question_open(&question, reterr);
    if (!code)
        code = tell(&question, prompt, reterr);
    if (!code)
        code = read_line(&question, line, reterr);
    if (question.echo_is_off) {
        enum error_code newline_code = tell(&question, "\n", NULL); /* the user's own did not show */
        (void)newline_code;
    }
    *ret_signal = question_close(&question);
    return code;
}

enum error_code secret_ask(const char *prompt, size_t maximum, struct secret **ret_secret,
                           struct error *reterr)
{
    if (!isatty(STDIN_FILENO))
        return error_set(reterr, ERR_USAGE, 0, "cannot ask: standard input is no terminal");
    for (;;) {
        _cleanup_(secret_freep) struct secret *line = NULL;
        enum error_code code = secret_new(maximum, &line, reterr);
        if (code)
            return code;
        int number = 0;
        code = ask_once(prompt, line, &number, reterr);
        if (number)
            kill(getpid(), number);
        if (is_stopping(number) && code == ERR_INTERRUPTED)
            continue; /* stopped and continued: ask again */
        if (code)
            return code;
        *ret_secret = TAKE(line);
        return OK;
    }
}
