/* The sockets messages come by: given on the command line, by systemd, or the usual ones. */
#pragma once
#include "http/http.h"

struct listeners {
    int fds[HTTP_LISTENERS_MAXIMUM];
    unsigned count;
};

/* "127.0.0.1:4875", "[::1]:4875"; port 0 takes a free one. ERR_USAGE, ERR_FAILED. */
must_check enum error_code listen_at(struct listeners *listeners, const char *where, struct error *reterr);

/* Those systemd hands over (sd_listen_fds(3)): none where it does not. Takes the variables out of the
 * environment. ERR_USAGE when one of them is no listening TCP socket. */
must_check enum error_code listen_from_systemd(struct listeners *listeners, struct error *reterr);

/* Port 4875 of every address, IPv6 where the machine has it. */
must_check enum error_code listen_usual(struct listeners *listeners, struct error *reterr);

/* "127.0.0.1:4875" of a listener. */
#define LISTEN_TEXT_SIZE 64
void listen_format(int fd, char text[LISTEN_TEXT_SIZE]);

void listeners_done(struct listeners *listeners);
