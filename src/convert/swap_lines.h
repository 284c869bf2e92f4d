/* The lines of /etc/fstab and /etc/crypttab that say where a host swaps to, one at a time. Not for other
 * rooms. */
#pragma once
#include "convert/host_tree.h"
#include "convert/root.h"

/* Whether a boot swaps there. */
bool swap_line_counts(const struct host_tree_mount *mount);

/* Whether what is swapped out there gets encrypted under a key that nobody keeps: a mapping that crypttab has
 * with the option swap or a random key. zram stays in memory. */
must_check enum error_code swap_is_encrypted(int at_fd, const char *device, bool *ret_is,
                                             struct error *reterr);

/* Whether the line can be changed so: ERR_UNSUPPORTED says what is in the way. */
must_check enum error_code swap_line_can(int at_fd, enum convert_root_swap swap, const char *device,
                                         struct error *reterr);

/* What is done about it, and what that leaves behind. */
void swap_line_tell(struct finding_list *findings, enum convert_root_swap swap, const char *device);
