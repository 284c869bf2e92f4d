/* How often somebody may do something: so many a second, and some seconds' worth at once. */
#pragma once
#include <stdbool.h>

#include "base/clock.h"

struct rate {
    int64_t paid_until_ns; /* each costs a part of a second, from now on at least; zero at first */
};

/* Until when it is paid after one more, which may be too early. */
static inline int64_t rate_next_ns(const struct rate *rate, unsigned per_s, int64_t now_ns)
{
    return (rate->paid_until_ns < now_ns ? now_ns : rate->paid_until_ns) + CLOCK_NS_PER_S / per_s;
}

/* Whether one more would be paid at now_ns. */
static inline bool rate_has_room(const struct rate *rate, unsigned per_s, unsigned burst_s, int64_t now_ns)
{
    return rate_next_ns(rate, per_s, now_ns) <= now_ns + burst_s * CLOCK_NS_PER_S;
}

/* One more at now_ns of the monotonic clock: false, and nothing changes, when it is too early. */
static inline bool rate_pay(struct rate *rate, unsigned per_s, unsigned burst_s, int64_t now_ns)
{
    if (!rate_has_room(rate, per_s, burst_s, now_ns))
        return false;
    rate->paid_until_ns = rate_next_ns(rate, per_s, now_ns);
    return true;
}
