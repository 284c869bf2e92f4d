#include "base/clock.h"

#include <time.h>

static int64_t read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * CLOCK_NS_PER_S + now.tv_nsec;
}

static int64_t system_unix_ns(void *context)
{
    (void)context;
    return read_ns(CLOCK_REALTIME);
}

const struct clock *clock_system(void)
{
    static const struct clock system_clock = {.unix_ns = system_unix_ns};
    return &system_clock;
}

int64_t clock_monotonic_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_boottime_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

void clock_format(int64_t unix_s, char text[CLOCK_TEXT_SIZE])
{
    time_t time = (time_t)unix_s;
    struct tm parts;
    if (!gmtime_r(&time, &parts) || !strftime(text, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts))
        snprintf(text, CLOCK_TEXT_SIZE, "%lld", (long long)unix_s);
}
