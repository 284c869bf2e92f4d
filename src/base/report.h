/*
 * How rooms tell of their progress without printing. A program gives its own functions; NULL members are
 * silent. All of them may be called from any thread.
 */
#pragma once
#include <stdint.h>

struct report {
    /* A new stage begins, e.g. "copying /srv/data". total_bytes or total_files may be 0 when not known. */
    void (*stage)(void *context, const char *name, uint64_t total_files, uint64_t total_bytes);
    /* More is done in this stage: increments, not sums. */
    void (*advance)(void *context, uint64_t files, uint64_t bytes);
    /* One thing that is now true, or a warning the user should read. One line, no full stop needed. */
    void (*truth)(void *context, const char *line);
    void (*warning)(void *context, const char *line);
    void *context;
};

/* NULL-safe calls. */
void report_stage(const struct report *report, uint64_t total_files, uint64_t total_bytes, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
void report_advance(const struct report *report, uint64_t files, uint64_t bytes);
void report_truth(const struct report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_warning(const struct report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
