/* Keeping .husk/network.json fresh. */
#pragma once
#include "verb.h"

/* Record the network of the running system for its next boot. Only of the host this runs on: with --at
 * another is meant, whose network is not to be seen here. What goes wrong is a finding: nobody's command
 * fails because of it. */
void network_note(struct run *run);
