/*
 * "The user asked to stop" as one flag. Programs install the handlers; rooms with long loops ask between two
 * steps, where stopping loses nothing, and return ERR_INTERRUPTED.
 */
#pragma once
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Install handlers for SIGINT, SIGTERM and SIGHUP that set the flag. Called once by a program. */
void interrupt_install(void);

/* Ignore these signals from now on: for steps that must go to their end. */
void interrupt_ignore(void);

/* True once a signal came. Cheap. */
bool interrupt_requested(void);

/* Wait until fd can be read. False once a signal came, also one that comes just before the waiting begins: a
 * read(2) alone would then wait for ever. */
bool interrupt_wait_readable(int fd);

/* poll(2) for at most timeout_ns (-1: no limit) that a signal ends: how many are ready, 0 when the time is
 * over, -1 with errno; EINTR once a signal came. */
int interrupt_poll(struct pollfd *waited, nfds_t count, int64_t timeout_ns);

/* OK, or ERR_INTERRUPTED filled in once a signal came. */
must_check enum error_code interrupt_check(struct error *reterr);
