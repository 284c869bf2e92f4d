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

/* Take over a job: it is opened and handed to the clerk; by the caller's own thread when it comes alone. */
void workers_open(struct workers *workers, struct job *job);

/* Take over a list of jobs that are to be answered. A single one is before this returns. */
void workers_answer(struct workers *workers, struct job *jobs);

/* How many jobs wait for a worker. */
size_t workers_waiting(struct workers *workers);

/* Finish what is there, end the threads. NULL is fine. */
void workers_stop(struct workers *workers);
