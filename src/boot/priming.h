/*
 * What the kernel derives keys with is looked up by it when the first key is added, and it asks for modules
 * that may be no files at all: a quarter of a second in a small guest. A thread has that done while it is
 * seen what the boot needs, and authorities and people are asked.
 */
#pragma once
#include <pthread.h>
#include <stdbool.h>

struct priming {
    int fd;
    pthread_t thread;
    bool has_thread;
};

/* Where the filesystem at has vaults. What fails here fails again with the key itself, and is said then. */
void priming_begin(const char *at, struct priming *priming);

/* Waits until it is done; nothing of it stays open. Fine where none was begun. */
void priming_end(struct priming *priming);
