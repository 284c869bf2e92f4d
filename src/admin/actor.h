/* Who is at the other end of the administrators' socket. */
#pragma once
#include "authority/authority.h"

/*
 * What can be trusted, in this order:
 * - the user id comes from the kernel (SO_PEERCRED): it was so when the peer connected. It decides nothing
 * here but stands in the ledger; who may connect is decided by the mode of the socket.
 * - the login user comes from /proc/PID/loginuid, which PAM sets once per session and which stays through su
 * and sudo. Only a process with CAP_AUDIT_CONTROL can set it otherwise, so root can, and a kernel without
 * audit has none. PID may have ended and be another process by now; the window is that of one system call,
 * and whoever wins it was allowed to connect.
 * - sudo_uid is what the client says (SUDO_UID of its environment, -1: nothing). It is believed only from
 * root, who could as well have become that user, and is written as "alice (by sudo)". So the name tells
 * honest administrators apart. It proves nothing against one who is root.
 */
must_check enum error_code actor_of(int fd, int64_t sudo_uid, struct authority_actor *ret_actor,
                                    struct error *reterr);
