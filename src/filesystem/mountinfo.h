/*
 * The text of /proc/PID/mountinfo as a table. Pure: no system calls. Names are unescaped; what holds them
 * lives as long as the table.
 */
#pragma once
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct mount_entry {
    int id, parent_id;
    dev_t device;
    const char *root;        /* path inside the filesystem; ends in "//deleted" when that is gone */
    const char *mount_point; /* as seen from the root directory of the process it was read for */
    const char *type;
    const char *source;        /* may be empty */
    const char *super_options; /* still escaped: a comma inside a value is \054 */
};

struct mount_table {
    struct mount_entry *items; /* owned; in the order of the kernel */
    size_t count;
    size_t *by_id; /* owned; indexes of items, sorted by id */
    char *text;    /* owned; what the strings point into */
};

/* Parse a whole mountinfo. ERR_CORRUPT for a line that is not one, with its number. */
must_check enum error_code mount_table_parse(const char *text, size_t length, struct mount_table *ret_table,
                                             struct error *reterr);

/* Read and parse a mountinfo file, e.g. "/proc/self/mountinfo". ERR_NOT_FOUND when the process is gone. */
must_check enum error_code mount_table_read(const char *path, struct mount_table *ret_table,
                                            struct error *reterr);

/* The mount with this id, or NULL when it is not in the table. */
const struct mount_entry *mount_table_find(const struct mount_table *table, int id);

void mount_table_done(struct mount_table *table);

/* Replace the kernel's \ooo escapes in place; anything else stays as it is. */
void mount_unescape(char *text);

/* The value of option name ("usrjquota") in comma-separated options, in place, still escaped: *ret_length
 * bytes; NULL when it is not there. An option without a value has length 0. */
const char *mount_option_find(const char *options, const char *name, size_t *ret_length);

/* What lies behind directory in path when path is at or below it: "" for equal, else "sub/dir"; else NULL.
 * Both without a slash at their end; "" and "/" are the top. */
const char *path_below(const char *path, const char *directory);
