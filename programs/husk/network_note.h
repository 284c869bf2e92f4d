/* Keeping .husk/network.json fresh. */
#pragma once
#include "client/client.h"
#include "verb.h"

/* Give client what the names of its authorities stood for when that was recorded. */
void network_names(struct run *run, struct client *client);

/* Record the network of the running system for its next boot. Only of the host this runs on: with --at
 * another is meant, whose network is not to be seen here. What goes wrong is a finding: nobody's command
 * fails because of it. With client (or NULL) what it found names to stand for is recorded too. */
void network_note(struct run *run, const struct client *client);
