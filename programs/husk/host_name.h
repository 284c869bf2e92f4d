/* What a host calls itself: what --confirm repeats. */
#pragma once
#include <limits.h>
#include <stdbool.h>

/* The name of the host at --at; of a disk attached to another machine, what its /etc/hostname says, or where
 * that cannot be read, what it is called at its authority. False where nothing tells: name is that of this
 * machine then. */
bool host_name_at(const char *at, char name[HOST_NAME_MAX + 1]);

/* Whether it is called so at one of its authorities. */
bool host_is_called(const char *at, const char *name);

/* What --confirm repeats: the same, but at itself where nothing tells. */
void host_name_to_confirm(const char *at, char name[PATH_MAX]);

/* What /etc/hostname of the disk with this root says. False, and name is as before, where it has none. */
bool host_name_on(int root_fd, char name[HOST_NAME_MAX + 1]);

/* Whether the disk with this root has files that a host keeps at its own root: its identity, its keyfiles. */
bool host_has_files(int root_fd);
