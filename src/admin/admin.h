/*
 * The administrators' socket: DIR/admin.socket, a stream socket that only root and the group of the authority
 * can open. One connection carries one operation: a line of JSON {"operation","arguments"} (and "sudo_uid",
 * actor.h) and back a line
 * {"result","changed","error"}, error as in the documents of the command line. The kernel says who asks.
 * Files to write to travel with the first byte (SCM_RIGHTS).
 */
#pragma once
#include "authority/authority.h"

#define ADMIN_SOCKET_NAME "admin.socket"
#define ADMIN_REQUEST_MAXIMUM 65536 /* bytes of a line, with its end */
#define ADMIN_ANSWER_MAXIMUM ((size_t)64 << 20)

struct admin;

/* Make the socket in directory, mode 0660, of the group named (NULL, or a group that is not there: that of
 * the process), and begin to answer. A socket that is left over is replaced: whoever has the authority open
 * has the directory. ERR_USAGE when the path is too long for a socket. */
must_check enum error_code admin_start(const char *directory, const char *group, struct authority *authority,
                                       struct admin **ret_admin, struct error *reterr);

/* Take no more connections, let those that are being answered end (some seconds at most), remove the socket.
 * Before authority_close. NULL is fine. Blocks. */
void admin_end(struct admin *admin);

/* Ask an authority that is running, as a client. *ret_result is owned by the caller (json_decref), an object
 * or NULL. The error of the operation comes back as it was there; ERR_UNREACHABLE when nothing answers,
 * ERR_DENIED when the socket may not be opened. sudo_uid is the user behind sudo as the environment says it
 * (actor.h), -1 for none. *ret_changed is true also where the request was sent and no answer came: it may
 * have been done. Blocks as long as the operation takes. */
must_check enum error_code admin_ask(const char *directory, const char *operation, json_t *arguments,
                                     int64_t sudo_uid, json_t **ret_result, bool *ret_changed,
                                     struct error *reterr);

/* The same with the descriptors of count files that the operation writes to (AUTHORITY_FILES at most). They
 * stay the caller's, who makes them durable. */
must_check enum error_code admin_ask_with_files(const char *directory, const char *operation,
                                                json_t *arguments, int64_t sudo_uid, const int *fds,
                                                unsigned count, json_t **ret_result, bool *ret_changed,
                                                struct error *reterr);
