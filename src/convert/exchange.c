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
 * If T and O contradict P, somebody has put another directory in its place: nothing is done until it is back.
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

/* The proof lies a moment back: the directory must still be the one that was proven, as it was then, and have
 * the name that is exchanged. Below it the proof of the old tree looks once more, afterwards. */
static enum error_code check_still_proven(struct convert_work *work,
                                          const struct convert_directory *directory, int place_fd,
                                          int parent_fd, const char *name, struct error *reterr)
{
    struct statx status, named;
    struct tree_record record;
    if (tree_look(place_fd, "", &status) < 0 ||
        statx(parent_fd, name, AT_SYMLINK_NOFOLLOW, STATX_INO, &named) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at %s", work_shown(work, directory));
    enum error_code code = tree_records_get(work->records, &status, &record, reterr);
    if (code || (named.stx_ino == status.stx_ino && tree_record_unchanged(&record, &status) &&
                 (record.flags & TREE_RECORD_COMPARED)))
        return code;
    code = error_set(reterr, ERR_CHANGED, 0, "%s was changed before it could be exchanged",
                     work_shown(work, directory));
    error_remedy(reterr, "stop what writes there, then run the same command again");
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
        code = check_still_proven(work, directory, place_fd, parent_fd, name, reterr);
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

/* Where the directory stands, by its own policy, and by what lies where its twin and its old tree belong:
 * when they say different things, somebody has put something else in its place. */
static enum error_code find_exchanged(struct convert_work *work, const struct convert_directory *directory,
                                      int place_fd, bool *ret_exchanged, struct error *reterr)
{
    char name[16];
    struct stat old;
    enum work_twin twin;
    enum error_code code = is_exchanged(work, directory, place_fd, ret_exchanged, reterr);
    if (!code)
        code = work_look_at_twin(work, directory, &twin, reterr);
    if (code)
        return code;
    const bool put_away =
        fstatat(work->old_fd, work_name(work, directory, name), &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (!put_away && errno != ENOENT)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the old tree of %s",
                         work_shown(work, directory));
    if (*ret_exchanged ? twin == WORK_TWIN_COPY : twin == WORK_TWIN_OLD || put_away)
        return work_moved(work, directory, reterr);
    return OK;
}

static enum error_code exchange_one(struct convert_work *work, const struct convert_directory *directory,
                                    struct error *reterr)
{
    const bool protect = work->journal.direction == CONVERT_PROTECT;
    _cleanup_(close_fdp) int place_fd = -1;
    bool exchanged;
    enum error_code code = work_open_place(work, directory, &place_fd, reterr);
    if (!code)
        code = find_exchanged(work, directory, place_fd, &exchanged, reterr);
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
        code = is_exchanged(work, directory, place_fd, &exchanged, reterr);
    if (!code && !exchanged)
        return work_moved(work, directory, reterr);
    if (!code)
        code = seal_root(directory, place_fd, reterr);
    if (!code && protect)
        code = vault_add_directory(work->vault, directory->path, &directory->nonce, work->options->clock,
                                   reterr);
    (void)fault("convert.recorded");
    return code;
}

/* Symlinks may have come since it was begun. */
static enum error_code check_addable(const struct convert_work *work, struct error *reterr)
{
    _cleanup_(freep) const char **paths = calloc(work->journal.count + 1, sizeof(*paths));
    if (!paths)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < work->journal.count; i++)
        paths[i] = work->journal.directories[i].path;
    return vault_check_addable(work->vault, paths, work->journal.count, reterr);
}

enum error_code step_exchange(struct convert_work *work, struct error *reterr)
{
    enum error_code code = OK;
    /* Before anything is exchanged: a vault that a directory depends on is not given up, whoever moves the
     * directory away, and never says that it held no plaintext. */
    if (work->journal.direction == CONVERT_PROTECT)
        code = check_addable(work, reterr);
    if (!code && work->journal.direction == CONVERT_PROTECT)
        code = vault_begin_protecting(work->vault, true, work->options->clock, reterr);
    for (size_t i = 0; !code && i < work->journal.count; i++)
        code = exchange_one(work, &work->journal.directories[i], reterr);
    return code;
}

enum error_code exchange_look(struct convert_work *work, size_t *ret_exchanged, struct error *reterr)
{
    enum error_code code = OK;
    size_t exchanged = 0;
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        struct convert_directory *directory = &work->journal.directories[i];
        _cleanup_(close_fdp) int place_fd = -1;
        code = work_open_place(work, directory, &place_fd, reterr);
        if (!code)
            code = find_exchanged(work, directory, place_fd, &directory->exchanged, reterr);
        exchanged += !code && directory->exchanged;
    }
    if (!code)
        *ret_exchanged = exchanged;
    return code;
}

enum error_code exchange_undo(struct convert_work *work, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < work->journal.count; i++) {
        const struct convert_directory *directory = &work->journal.directories[i];
        _cleanup_(close_fdp) int place_fd = -1;
        if (directory->exchanged)
            continue;
        if (work->journal.direction == CONVERT_UNPROTECT)
            code = vault_add_directory(work->vault, directory->path, &directory->nonce, work->options->clock,
                                       reterr);
        if (!code)
            code = work_open_place(work, directory, &place_fd, reterr);
        if (!code)
            code = seal_root(directory, place_fd, reterr);
    }
    return code;
}
