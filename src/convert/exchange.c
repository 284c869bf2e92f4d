/*
 * One directory, protect (unprotect is the same with the sides swapped). P is its place, T the twin in
 * .husk/convert/NAME/N, O the old tree in .husk/plaintext/NAME/N:
 *
 *   1  P old   T twin        O -      (unprotect: the manifest no longer names P)
 *   2  P twin  T old         O -      renameat2(RENAME_EXCHANGE), both parents synced
 *   3  P twin  T -           O old    rename, both parents synced
 *   4  P twin with the root's own immutable or append-only flag; (protect: the manifest names P)
 *
 * A crash leaves one of these; where it stands is read from P's own policy and nonce, never from the journal.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "convert/steps.h"
#include "tree/attributes.h"
#include "tree/remove.h"

static enum error_code is_exchanged(const struct convert_work *work,
                                    const struct convert_directory *directory, int place_fd, bool *ret_is,
                                    struct error *reterr)
{
    bool encrypted;
    enum error_code code = work_is_encrypted_side(work, directory, place_fd, &encrypted, reterr);
    if (!code)
        *ret_is = encrypted == (work->journal.direction == CONVERT_PROTECT);
    return code;
}

/* 1 → 2 */
static enum error_code swap_names(struct convert_work *work, const struct convert_directory *directory,
                                  int place_fd, struct error *reterr)
{
    _cleanup_(close_fdp) int parent_fd = -1;
    const char *name;
    char twin[16];
    enum error_code code = work_open_parent(work, directory, &parent_fd, &name, reterr);
    if (!code)
        code = tree_unseal(place_fd, reterr); /* an immutable directory cannot be renamed */
    if (code)
        return code;
    int injected = fault("convert.exchange");
    if (injected ||
        renameat2(parent_fd, name, work->work_fd, work_name(work, directory, twin), RENAME_EXCHANGE) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot exchange %s with its twin",
                         work_shown(work, directory));
    (void)fault("convert.exchanged");
    code = file_sync(parent_fd, work_shown(work, directory), reterr);
    return code ? code : file_sync(work->work_fd, "the twins", reterr);
}

/* 2 → 3. Nothing to move: done before. */
static enum error_code put_away(struct convert_work *work, const struct convert_directory *directory,
                                struct error *reterr)
{
    char name[16];
    work_name(work, directory, name);
    int injected = fault("convert.put-away");
    if (injected ||
        (renameat2(work->work_fd, name, work->old_fd, name, RENAME_NOREPLACE) < 0 && errno != ENOENT))
        return error_set(reterr, ERR_FAILED, injected ? injected : errno,
                         "cannot put the old tree of %s away", work_shown(work, directory));
    enum error_code code = file_sync(work->old_fd, "the old trees", reterr);
    return code ? code : file_sync(work->work_fd, "the twins", reterr);
}

/* 3 → 4 */
static enum error_code seal_root(const struct convert_directory *directory, int place_fd,
                                 struct error *reterr)
{
    uint32_t flags;
    if (!directory->root_flags)
        return OK;
    enum error_code code = attributes_get_flags(place_fd, &flags, reterr);
    if (!code && (flags & directory->root_flags) != directory->root_flags)
        code = attributes_set_flags(place_fd, flags | directory->root_flags, reterr);
    return code;
}

static enum error_code exchange_one(struct convert_work *work, const struct convert_directory *directory,
                                    struct error *reterr)
{
    const bool protect = work->journal.direction == CONVERT_PROTECT;
    _cleanup_(close_fdp) int place_fd = -1;
    bool exchanged;
    enum error_code code = work_open_place(work, directory, &place_fd, reterr);
    if (!code)
        code = is_exchanged(work, directory, place_fd, &exchanged, reterr);
    if (!code && !exchanged && !protect)
        code = vault_remove_directory(work->vault, directory->path, reterr);
    if (!code && !exchanged)
        code = swap_names(work, directory, place_fd, reterr);
    if (!code)
        code = put_away(work, directory, reterr);
    if (code)
        return code;
    close_fdp(&place_fd);
    code = work_open_place(work, directory, &place_fd, reterr);
    if (!code)
        code = seal_root(directory, place_fd, reterr);
    if (!code && protect)
        code = vault_add_directory(work->vault, directory->path, &directory->nonce, work->options->clock,
                                   reterr);
    (void)fault("convert.recorded");
    return code;
}

enum error_code step_exchange(struct convert_work *work, struct error *reterr)
{
    enum error_code code = OK;
    if (work->journal.direction == CONVERT_PROTECT)
        vault_set_converted(work->vault);
    for (size_t i = 0; !code && i < work->journal.count; i++)
        code = exchange_one(work, &work->journal.directories[i], reterr);
    return code;
}

enum error_code exchange_begun(struct convert_work *work, bool *ret_begun, struct error *reterr)
{
    enum error_code code = OK;
    bool begun = false;
    for (size_t i = 0; !code && !begun && i < work->journal.count; i++) {
        _cleanup_(close_fdp) int place_fd = -1;
        code = work_open_place(work, &work->journal.directories[i], &place_fd, reterr);
        if (!code)
            code = is_exchanged(work, &work->journal.directories[i], place_fd, &begun, reterr);
    }
    if (!code)
        *ret_begun = begun;
    return code;
}

enum error_code exchange_undo(struct convert_work *work, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && work->journal.direction == CONVERT_UNPROTECT && i < work->journal.count; i++)
        code = vault_add_directory(work->vault, work->journal.directories[i].path,
                                   &work->journal.directories[i].nonce, work->options->clock, reterr);
    return code;
}
