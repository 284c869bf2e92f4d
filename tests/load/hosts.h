/* What a crowd of hosts does. Each prints what came of it. */
#pragma once
#include <netinet/in.h>
#include <stdint.h>

#include "base/error.h"

struct hosts {
    struct sockaddr_in address;
    uint64_t first, count;
    unsigned connections; /* at a time; for polls and beats: seconds */
    bool keeps;           /* connections, as a proxy in front of huskd does */
};

typedef enum error_code hosts_action(const struct hosts *hosts, struct error *reterr) must_check;

/* All open once, as fast as the connections allow. {"granted", "seconds", "p50_ms", "p99_ms", "most_ms",
 * "tries"}: the time of one is from when it first asked to its grant, with the pauses of its trying again. */
hosts_action hosts_open;

/* Each says that it is there, over connections that may be kept: {"greeted"}. */
hosts_action hosts_greet;

/* The same as hosts_open, with "HOST REQUEST" for each grant as it comes, and the end as soon as nobody
 * listens. */
hosts_action hosts_open_seen;

/* All hold a poll. {"held"} when they do; then they hold on for hosts->connections seconds. */
hosts_action hosts_poll;

/* Each is greeted first, for its nonce: {"greeted"}. Then heartbeats, spread evenly, once in
 * hosts->connections seconds each, for so long: {"beats", "refused", "p50_ms", …}. */
hosts_action hosts_beat;
