/*
 * The consoles of a machine that is booting: what is said is said on all of them, and a line can be typed on
 * any. Nothing typed is shown. Terminal settings are as before after consoles_close. Not for other rooms.
 */
#pragma once
#include <poll.h>
#include <termios.h>

#include "base/finding.h"
#include "secret/secret.h"

#define CONSOLES_MAXIMUM 8

struct console {
    int fd;
    struct termios before;
    struct secret *line; /* owned; what is typed */
    size_t length;
    bool too_long;
    bool gone; /* hung up: nobody can type there any more */
};

struct consoles {
    struct console items[CONSOLES_MAXIMUM];
    size_t count;
};

/* Open the terminals of these paths, or where count is 0 the active consoles of the kernel. Those that cannot
 * be opened are left out; none at all is fine: then nobody reads and nobody answers. */
void consoles_open(const char *const *paths, size_t count, struct consoles *ret_consoles);
void consoles_close(struct consoles *consoles);

/* Say one line, or with consoles_prompt the beginning of one, on all of them. */
void consoles_say(struct consoles *consoles, const char *format, ...) __attribute__((format(printf, 2, 3)));
void consoles_prompt(struct consoles *consoles, const char *prompt);

/* Say an error with its remedy; findings, which are done then. What helps against those that block is said by
 * the error they lead to: at a console it is another thing than in a shell. */
void consoles_say_error(struct consoles *consoles, const struct error *why);
void consoles_say_findings(struct consoles *consoles, struct finding_list *findings);

/* Fill waited (room for count) for poll(2). After it: take what was typed. A whole line is given in *ret_line
 * (owned by the caller); an empty line is none, and NULL. */
void consoles_waited(const struct consoles *consoles, struct pollfd *waited);
must_check enum error_code consoles_take(struct consoles *consoles, const struct pollfd *waited,
                                         struct secret **ret_line, struct error *reterr);
