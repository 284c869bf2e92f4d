#include "destroy/destroy.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "destroy/discard.h"
#include "destroy/open.h"
#include "destroy/overwrite.h"

/*
 * One file, step by step, and what a crash after each step leaves:
 *
 *   overwrite  random bytes in some or all of its blocks, under its name
 *   re-read    the same
 *   discard    an empty file under its name, its blocks free and discarded
 *   journal    the same, the journal zeroed: it held the old inode (inline data lies there), and the name
 *   rename     the empty file under a random name of the same length
 *   unlink     nothing, perhaps the random name again
 *   sync       nothing
 *
 * Where overwriting failed the file stays under its name, with its blocks: freed, they could not be reached
 * again. The journal is zeroed all the same, and the same call tries all of it again.
 *
 * Up to the journal the same call does it again from the start. After the rename the caller's name is gone
 * and so are the bytes; an empty file may be left under a random name.
 */
struct destruction {
    struct overwrite overwrite;
    struct overwrite_worker worker;
    struct destroy_result *result;
    enum error_code first_code;
    struct error first_error;
};

const char *destroy_step_word(enum destroy_step step)
{
    static const char *const words[DESTROY_STEPS] = {
        [DESTROY_OVERWRITE] = "overwritten",  [DESTROY_REREAD] = "re-read",  [DESTROY_DISCARD] = "discarded",
        [DESTROY_JOURNAL] = "journal zeroed", [DESTROY_UNLINK] = "unlinked",
    };
    return step < DESTROY_STEPS ? words[step] : "";
}

/* Note how a step ended. Only the first error of a step that must succeed is kept. */
static void note(struct destruction *destruction, enum destroy_step step, enum error_code code,
                 const struct error *error)
{
    destruction->result->outcome[step] = code == OK                ? DESTROY_DONE
                                         : code == ERR_UNSUPPORTED ? DESTROY_NOT_SUPPORTED
                                                                   : DESTROY_FAILED;
    destruction->result->os_errno[step] = code ? error->os_errno : 0;
    bool needed = step == DESTROY_OVERWRITE || step == DESTROY_REREAD || step == DESTROY_UNLINK;
    if (destruction->result->outcome[step] == DESTROY_FAILED && needed && !destruction->first_code) {
        destruction->first_code = ERR_FAILED;
        destruction->first_error = *error;
        destruction->first_error.code = ERR_FAILED;
    }
}

static void overwrite_and_reread(struct destruction *destruction)
{
    struct error error = ERROR_NONE;
    enum error_code code = overwrite_write(&destruction->overwrite, &destruction->worker, &error);
    struct error flush_error = ERROR_NONE;
    enum error_code flush_code = overwrite_flush(&destruction->overwrite, &flush_error);
    note(destruction, DESTROY_OVERWRITE, code ? code : flush_code, code ? &error : &flush_error);
    error = ERROR_NONE;
    code = overwrite_reread(&destruction->overwrite, &destruction->worker, &error);
    note(destruction, DESTROY_REREAD, code, &error);
}

static enum error_code rename_and_unlink(int directory_fd, const char *name, struct error *reterr)
{
    _cleanup_(freep) char *current = strdup(name);
    if (!current)
        return error_set(reterr, ERR_NO_MEMORY, ENOMEM, "cannot rename %s", text_shown(name));
    int os_errno = rename_at_random(directory_fd, &current, directory_fd);
    /* The step counts as done with the name or without: it is unlinked under whichever it has. */
    int injected = fault("destroy.unlink");
    if (injected || unlinkat(directory_fd, current, 0) < 0)
        os_errno = injected ? injected : errno;
    if (os_errno)
        return error_set(reterr, ERR_FAILED, os_errno, "cannot rename and unlink %s", text_shown(name));
    return file_sync(directory_fd, text_shown(name), reterr);
}

enum extent { NAME_AND_CONTENTS, CONTENTS };

/* The kernel does direct I/O on a file exactly where its contents are neither journaled nor in its inode. */
static bool journal_may_hold_contents(int fd)
{
    struct statx status;
    return statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) < 0 || !(status.stx_mask & STATX_DIOALIGN) ||
           status.stx_dio_offset_align == 0;
}

static enum error_code destroy_opened(int directory_fd, const char *name, const struct opened_file *file,
                                      enum extent extent, struct destruction *destruction)
{
    const bool zeroes_journal = extent == NAME_AND_CONTENTS || journal_may_hold_contents(file->fd);
    overwrite_begin(&destruction->overwrite, file->fd, &file->status);
    overwrite_and_reread(destruction);
    struct destroy_result *result = destruction->result;
    const bool overwritten = result->outcome[DESTROY_OVERWRITE] == DESTROY_DONE;
    if (overwritten)
        result->outcome[DESTROY_DISCARD] = discard_file(file->fd, &result->os_errno[DESTROY_DISCARD]);
    struct error error = ERROR_NONE;
    enum error_code code = zeroes_journal ? destroy_journal(directory_fd, &error) : OK;
    if (zeroes_journal)
        note(destruction, DESTROY_JOURNAL, code, &error);
    if (!overwritten)
        return destruction->first_code;
    error = ERROR_NONE;
    code = rename_and_unlink(directory_fd, name, &error);
    note(destruction, DESTROY_UNLINK, code, &error);
    return destruction->first_code;
}

static enum error_code destroy(int directory_fd, const char *name, enum extent extent,
                               struct destroy_result *ret_result, struct error *reterr)
{
    struct destroy_result result = {0};
    struct opened_file file = {.fd = -1};
    enum error_code code = open_for_destroying(directory_fd, name, &file, reterr);
    if (code == ERR_NOT_FOUND) {
        *ret_result = result;
        return OK;
    }
    if (code)
        return code;
    struct pattern pattern;
    struct destruction destruction = {.result = &result,
                                      .worker = {.pattern = &pattern, .stopping = OVERWRITE_TO_THE_END}};
    code = pattern_init(&pattern, reterr);
    if (!code)
        code = overwrite_worker_init(&destruction.worker, reterr);
    if (!code) {
        code = destroy_opened(directory_fd, name, &file, extent, &destruction);
        if (code && reterr) {
            *reterr = destruction.first_error;
            error_prefix(reterr, "%s was not destroyed completely", text_shown(name));
        }
        *ret_result = result;
    }
    overwrite_worker_done(&destruction.worker);
    close_fdp(&file.fd);
    return code;
}

enum error_code destroy_file(int directory_fd, const char *name, struct destroy_result *ret_result,
                             struct error *reterr)
{
    return destroy(directory_fd, name, NAME_AND_CONTENTS, ret_result, reterr);
}

enum error_code destroy_contents(int directory_fd, const char *name, struct destroy_result *ret_result,
                                 struct error *reterr)
{
    return destroy(directory_fd, name, CONTENTS, ret_result, reterr);
}
