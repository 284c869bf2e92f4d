#include "boot/consoles.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/file.h"
#include "keyslot/keyslot.h"

#define ACTIVE_PATH "/sys/class/tty/console/active"
#define FALLBACK_PATH "/dev/console"
enum { WRITE_PATIENCE_MS = 1000, KEY_INTERRUPT = 0x03, KEY_ERASE = 0x7f, KEY_KILL = 0x15, KEY_WORD = 0x17 };

/* Characters come one by one and nothing is shown or stopped; a line ends as the terminal ends lines. */
static void set_raw(int fd, const struct termios *before)
{
    struct termios raw = *before;
    raw.c_iflag &= ~(tcflag_t)(IXON | IXOFF | IXANY | ISTRIP | INLCR | IGNCR);
    raw.c_iflag |= ICRNL;
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_oflag |= OPOST | ONLCR;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(fd, TCSANOW, &raw);
}

static void open_one(const char *path, struct consoles *consoles)
{
    struct console *console = &consoles->items[consoles->count];
    _cleanup_(close_fdp) int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (consoles->count == CONSOLES_MAXIMUM || fd < 0 || tcgetattr(fd, &console->before) < 0 ||
        secret_new(PASSPHRASE_MOST, &console->line, NULL))
        return;
    set_raw(fd, &console->before);
    console->fd = TAKE_FD(fd);
    console->length = 0;
    console->too_long = console->gone = false;
    consoles->count++;
}

static void open_active(struct consoles *consoles)
{
    _cleanup_(buffer_done) struct buffer active = {0};
    char path[64], *save = NULL;
    if (file_read(AT_FDCWD, ACTIVE_PATH, 1024, &active, NULL) == OK && active.data)
        for (char *name = strtok_r(active.data, " \n", &save); name; name = strtok_r(NULL, " \n", &save)) {
            snprintf(path, sizeof(path), "/dev/%s", name);
            open_one(path, consoles);
        }
    if (consoles->count == 0)
        open_one(FALLBACK_PATH, consoles);
}

void consoles_open(const char *const *paths, size_t count, struct consoles *ret_consoles)
{
    *ret_consoles = (struct consoles){0};
    for (size_t i = 0; i < count; i++)
        open_one(paths[i], ret_consoles);
    if (count == 0)
        open_active(ret_consoles);
}

void consoles_close(struct consoles *consoles)
{
    for (size_t i = 0; i < consoles->count; i++) {
        struct console *console = &consoles->items[i];
        tcsetattr(console->fd, TCSANOW, &console->before);
        close_fdp(&console->fd);
        secret_freep(&console->line);
    }
    consoles->count = 0;
}

/* A console nobody reads must not stop the boot: after a while the rest is dropped. */
static void write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        struct pollfd waited = {.fd = fd, .events = POLLOUT};
        const ssize_t wrote = write(fd, text, length);
        if (wrote < 0 && (errno != EAGAIN || poll(&waited, 1, WRITE_PATIENCE_MS) <= 0))
            return;
        if (wrote > 0) {
            text += wrote;
            length -= (size_t)wrote;
        }
    }
}

static void write_everywhere(struct consoles *consoles, const char *text, size_t length)
{
    for (size_t i = 0; i < consoles->count; i++)
        write_all(consoles->items[i].fd, text, length);
}

void consoles_say(struct consoles *consoles, const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    write_everywhere(consoles, "\rhusk: ", 7);
    write_everywhere(consoles, line, strlen(line));
    write_everywhere(consoles, "\n", 1);
}

void consoles_prompt(struct consoles *consoles, const char *prompt)
{
    write_everywhere(consoles, "\r", 1);
    write_everywhere(consoles, prompt, strlen(prompt));
}

void consoles_say_error(struct consoles *consoles, const struct error *why)
{
    const bool has_remedy = why->remedy[0] != '\0';
    consoles_say(consoles, "%s%s%s", why->message, has_remedy ? " - " : "", why->remedy);
}

void consoles_say_findings(struct consoles *consoles, struct finding_list *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        const char *remedy = finding->blocks ? "" : finding->remedy;
        consoles_say(consoles, "%s: %s%s%s", finding->subject, finding->cause, remedy[0] ? " - " : "",
                     remedy);
    }
    finding_list_done(findings);
}

void consoles_waited(const struct consoles *consoles, struct pollfd *waited)
{
    for (size_t i = 0; i < consoles->count; i++)
        waited[i] =
            (struct pollfd){.fd = consoles->items[i].gone ? -1 : consoles->items[i].fd, .events = POLLIN};
}

static void clear(struct console *console)
{
    sodium_memzero(console->line->bytes, console->line->length);
    console->length = 0;
    console->too_long = false;
}

/* A character; true when it ends the line. */
static bool take_byte(struct console *console, uint8_t byte)
{
    if (byte == '\n' || byte == '\r')
        return true;
    if (byte == KEY_KILL || byte == KEY_WORD || byte == KEY_INTERRUPT) {
        clear(console);
    } else if (byte == KEY_ERASE || byte == '\b') {
        if (console->length > 0)
            console->line->bytes[--console->length] = 0;
    } else if (console->length == console->line->length) {
        console->too_long = true;
    } else {
        console->line->bytes[console->length++] = byte;
    }
    return false;
}

/* Reads until a line ends; what was typed behind it stays in the terminal for the next time. */
static enum error_code take_from(struct console *console, struct secret **ret_line, struct error *reterr)
{
    uint8_t byte = 0;
    ssize_t got;
    enum error_code code = OK;
    while ((got = read(console->fd, &byte, 1)) == 1) {
        if (!take_byte(console, byte))
            continue;
        write_all(console->fd, "\n", 1);
        if (console->length > 0 && !console->too_long)
            code = secret_new_copy(console->line->bytes, console->length, ret_line, reterr);
        clear(console);
        break;
    }
    console->gone = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    sodium_memzero(&byte, 1);
    return code;
}

enum error_code consoles_take(struct consoles *consoles, const struct pollfd *waited,
                              struct secret **ret_line, struct error *reterr)
{
    enum error_code code = OK;
    *ret_line = NULL;
    for (size_t i = 0; !code && !*ret_line && i < consoles->count; i++)
        if (waited[i].revents & POLLIN)
            code = take_from(&consoles->items[i], ret_line, reterr);
        else if (waited[i].revents)
            consoles->items[i].gone = true;
    return code;
}
