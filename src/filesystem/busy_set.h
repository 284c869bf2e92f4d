/* Filling a busy set. One file per kind of user; the set itself is in busy_set.c. */
#pragma once
#include "filesystem/filesystem.h"
#include "filesystem/processes.h"

/* Adds a use of an inode of the set's device. what and path are copied, remedy and kind are static text.
 * ERR_BUSY when there are more than a set holds. */
must_check enum error_code busy_set_add(struct busy_set *set, const struct busy_use *use,
                                        struct error *reterr);

dev_t busy_set_device(const struct busy_set *set);

/* Sockets bound in the filesystem: which inode in it belongs to which socket. */
struct bound_socket {
    uint64_t socket_inode; /* in sockfs, as seen behind a descriptor */
    uint64_t inode;        /* on the device of the set */
    bool owner_known;
};
struct bound_sockets {
    struct bound_socket *items; /* owned; sorted by socket_inode */
    size_t count, capacity;
};
must_check enum error_code busy_sockets_read(dev_t device, struct bound_sockets *ret_sockets,
                                             struct error *reterr);
struct bound_socket *busy_sockets_find(struct bound_sockets *sockets, uint64_t socket_inode);
must_check enum error_code busy_sockets_add_unowned(struct busy_set *set, const struct bound_sockets *sockets,
                                                    struct error *reterr);
void busy_sockets_done(struct bound_sockets *sockets);

must_check enum error_code busy_add_processes(struct busy_set *set, struct bound_sockets *sockets,
                                              struct error *reterr);
must_check enum error_code busy_add_loops(struct busy_set *set, struct error *reterr);
must_check enum error_code busy_add_swaps(struct busy_set *set, struct error *reterr);
must_check enum error_code busy_add_overlays(struct busy_set *set, struct error *reterr);

/* What a user is told to do about a process. Static storage. */
extern const char busy_process_remedy[];
