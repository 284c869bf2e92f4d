/*
 * Threads that do the arithmetic: open messages, evaluate elements, seal answers. They know no database; who
 * a host is they find in presence.
 */
#pragma once
#include "authority/job.h"

struct clerk;
struct workers;

/* Start count threads (0: one per processor). */
must_check enum error_code workers_start(struct clerk *clerk, unsigned count, struct workers **ret_workers,
                                         struct error *reterr);

/* Take over a job: one that is not opened is opened and handed to the clerk, others are answered. */
void workers_put(struct workers *workers, struct job *job);

/* How many jobs wait for a worker. */
size_t workers_waiting(struct workers *workers);

/* Finish what is there, end the threads. NULL is fine. */
void workers_stop(struct workers *workers);
