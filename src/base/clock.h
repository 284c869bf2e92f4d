/* Time as a parameter, so that tests can give their own. */
#pragma once
#include <stdint.h>

struct clock {
    int64_t (*unix_ns)(void *context); /* nanoseconds since 1970, may step */
    void *context;
};

#define CLOCK_NS_PER_S INT64_C(1000000000)

/* The machine's clock. Static storage. */
const struct clock *clock_system(void);

static inline int64_t clock_unix_s(const struct clock *clock)
{
    return clock->unix_ns(clock->context) / CLOCK_NS_PER_S;
}

/* Nanoseconds of the monotonic clock, for rates and durations. */
int64_t clock_monotonic_ns(void);

/* The same, and it goes on while the machine sleeps: how far the clock should have gone. */
int64_t clock_boottime_ns(void);

/* "2026-03-01T12:00:00Z" for seconds since 1970. text has room for CLOCK_TEXT_SIZE bytes. */
#define CLOCK_TEXT_SIZE 32
void clock_format(int64_t unix_s, char text[CLOCK_TEXT_SIZE]);
