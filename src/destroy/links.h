/*
 * Inodes with several names whose bytes were overwritten a short while ago, so that a file with a thousand
 * names is not overwritten a thousand times. Forgetful, so bounded: an inode that was forgotten is
 * overwritten again.
 */
#pragma once
#include <stdint.h>
#include <sys/stat.h>

enum { LINKS_REMEMBERED = 1024 };

struct links {
    struct {
        uint64_t inode;
        uint64_t generation; /* tells a new file in the same inode apart */
    } items[LINKS_REMEMBERED];
};

enum links_answer { LINKS_NEW, LINKS_KNOWN };

/* Ask for the open file and remember it. A file with one name, or whose generation cannot be read, is always
 * new. */
enum links_answer links_ask(struct links *links, int fd, const struct stat *status);
