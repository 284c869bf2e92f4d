/* The same work by several threads at once. */
#pragma once
#include <stddef.h>

/* Call work(context, 0 .. workers - 1), each in a thread of its own but the first, and wait for all. Where no
 * thread can be made the caller's does its share. Signals stay with the calling thread. */
void parallel_run(size_t workers, void (*work)(void *context, size_t worker), void *context);
