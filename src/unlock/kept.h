/*
 * A request that waits for its approval, kept for the next husk of this boot: its id and the blinds, without
 * which its grant opens nothing. Where the kernel offers no keyring (a container may forbid it) nothing is
 * kept, and the next husk makes another request.
 */
#pragma once
#include "client/client.h"

#define KEPT_MAXIMUM 2048

void kept_put(struct client *client, const struct client_pin *pin, const struct secret *bytes,
              unsigned timeout_s);
must_check enum error_code kept_get(struct client *client, const struct client_pin *pin,
                                    struct secret **ret_bytes);
void kept_drop(struct client *client, const struct client_pin *pin);
