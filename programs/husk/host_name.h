/* What a host calls itself: what --confirm repeats. */
#pragma once
#include <limits.h>

/* The name of the host at --at; of a disk attached to another machine, what its /etc/hostname says. */
void host_name_at(const char *at, char name[HOST_NAME_MAX + 1]);
