/* Walking /proc. Processes that end while it is read are left out quietly. Reads only. */
#pragma once
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/buffer.h"

/* Call each for every process but the own one until it returns something other than OK. process_fd is its
 * directory in /proc. */
must_check enum error_code processes_each(enum error_code (*each)(pid_t pid, int process_fd, void *context,
                                                                  struct error *reterr),
                                          void *context, struct error *reterr);

/* The name of a process, escaped for showing; "?" when it is gone. */
#define PROCESS_NAME_SIZE 80
void process_name(int process_fd, char name[PROCESS_NAME_SIZE]);
void process_name_of(pid_t pid, char name[PROCESS_NAME_SIZE]);

/* Device and inode of what a link in /proc leads to, without asking a server for it. False with errno when
 * there is nothing (any more). */
struct inode_key {
    dev_t device;
    uint64_t inode;
    mode_t mode;
};
bool process_link(int directory_fd, const char *link, struct inode_key *ret_key);

/* True for the errno of a process that is there and that the kernel does not let us look at. */
bool process_is_hidden(int os_errno);

/* A number that is the whole name; 0 for any other name. */
pid_t process_number(const char *name);
