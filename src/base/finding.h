/*
 * One checked fact: kind, subject, cause, remedy. A list of them is what check, protect, erase and audit
 * tell. A finding that blocks forbids the act; another one is told and the act goes on.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct finding {
    char *kind;    /* a fixed word, e.g. "busy-file", "no-encrypt-feature" */
    char *subject; /* what it is about, escaped for showing */
    char *cause;
    char *remedy; /* may be empty */
    bool blocks;
};

struct finding_list {
    struct finding *items; /* owned */
    size_t count;
    size_t capacity;
    size_t dropped; /* found but not kept: past FINDING_MAXIMUM */
};

/* So that a hostile tree cannot fill memory with findings. */
#define FINDING_MAXIMUM 1000

enum finding_weight { FINDING_TELLS, FINDING_BLOCKS };

/* Add a finding; the strings are copied. One that is there already, word for word, is not added again. Where
 * memory runs out the finding is counted in dropped. Not thread-safe. */
void finding_add(struct finding_list *list, enum finding_weight weight, const char *kind, const char *subject,
                 const char *remedy, const char *cause_format, ...) __attribute__((format(printf, 6, 7)));

/* Move all of from to the end of list, but for those that are there already. */
void finding_move_all(struct finding_list *list, struct finding_list *from);

/* How many of them block (dropped ones count as blocking). */
size_t finding_count_blocking(const struct finding_list *list);

/* OK, or ERR_BUSY/ERR_DENIED with the first blocking finding as its message and "(and N more)". */
must_check enum error_code finding_refusal(const struct finding_list *list, struct error *reterr);

void finding_list_done(struct finding_list *list);
