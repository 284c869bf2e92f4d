/* Whom a trusted proxy speaks for: X-Forwarded-For. */
#pragma once
#include "base/buffer.h"
#include "http/connections.h"

/*
 * header holds all values of X-Forwarded-For in their order, joined by commas; each proxy added its own peer
 * at the end. Read from the end: an address that is no trusted proxy is the peer, whatever stands before it
 * anybody may have written. What is no address ends the reading; the proxy that passed it on is then the
 * peer.
 */
struct address forwarded_peer(const struct connections *connections, const struct address *from,
                              const char *header, size_t length);
