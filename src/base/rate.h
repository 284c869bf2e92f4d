/* How often somebody may do something: so many a second, and some seconds' worth at once. */
#pragma once
#include <stdbool.h>

#include "base/clock.h"

struct rate {
    int64_t paid_until_ns; /* each costs a part of a second, from now on at least; zero at first */
};

/* One more at now_ns of the monotonic clock: false, and nothing changes, when it is too early. */
static inline bool rate_pay(struct rate *rate, unsigned per_s, unsigned burst_s, int64_t now_ns)
{
    const int64_t price_ns = CLOCK_NS_PER_S / per_s;
    const int64_t from_ns = rate->paid_until_ns < now_ns ? now_ns : rate->paid_until_ns;
    if (from_ns + price_ns > now_ns + burst_s * CLOCK_NS_PER_S)
        return false;
    rate->paid_until_ns = from_ns + price_ns;
    return true;
}
