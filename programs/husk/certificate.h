/*
 * The file an erase writes its report to. It is made before anything is erased: afterwards it is too late to
 * find that it cannot be. Its directory may be another user's: it is opened once, and its path means nothing
 * any more.
 *
 * The same command finishes an erase that did not get to its end, so the file that one left, empty or with a
 * report of the same vaults, is taken again. Any other file that is there is refused.
 */
#pragma once
#include "base/buffer.h"
#include "verb.h"

struct certificate {
    int fd, directory_fd; /* -1 where no report was asked for */
    const char *name;     /* in that directory */
    char *shown;          /* owned; resolved, for showing; NULL where no report was asked for */
    bool was_there;       /* an earlier run made it */
    bool is_begun;        /* something was written to it by this run */
};
#define CERTIFICATE_NONE ((struct certificate){.fd = -1, .directory_fd = -1})

/* Make or take the file of --certificate, if that was given. ERR_EXISTS for a file that is something else,
 * ERR_DENIED for one that would lie in a vault. */
must_check enum error_code certificate_open(struct run *run, struct certificate *certificate,
                                            struct error *reterr);

/* Write one report, durable. The first one replaces what an earlier run wrote. */
must_check enum error_code certificate_write(struct certificate *certificate, const struct buffer *report,
                                             struct error *reterr);

/* Close it; a file that this run made and wrote nothing to is removed. */
void certificate_done(struct certificate *certificate);
