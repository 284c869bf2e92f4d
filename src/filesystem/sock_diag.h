/* Unix sockets of the network namespace the calling thread is in. Reads only. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Call each for every socket bound to a name on the device, until it returns something other than OK.
 * ERR_UNSUPPORTED when the kernel does not tell (built without it, or its module cannot be loaded). */
must_check enum error_code sock_diag_each(dev_t device,
                                          enum error_code (*each)(uint64_t socket_inode, uint64_t inode,
                                                                  void *context, struct error *reterr),
                                          void *context, struct error *reterr);

/* The sockets with a path in the text of /proc/net/unix. Pure. The path is as its binder wrote it. */
must_check enum error_code unix_sockets_parse(const char *text,
                                              enum error_code (*each)(uint64_t socket_inode, const char *path,
                                                                      void *context, struct error *reterr),
                                              void *context, struct error *reterr);
