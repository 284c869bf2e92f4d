#include "convert/work.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "tree/attributes.h"
#include "tree/mount.h"
#include "tree/remove.h"

#define RECORDS_FILE "records"

void work_close(struct convert_work *work)
{
    progress_done(&work->progress);
    tree_records_free(work->records);
    journal_done(&work->journal);
    close_fdp(&work->clone_fd);
    close_fdp(&work->husk_fd);
    close_fdp(&work->convert_fd);
    close_fdp(&work->work_fd);
    close_fdp(&work->plaintext_fd);
    close_fdp(&work->old_fd);
    *work = WORK_NONE;
}

/* A project that is inherited from above would keep directories of another project from being moved here. */
static enum error_code stop_inheriting(int fd, struct error *reterr)
{
    uint32_t flags;
    enum error_code code = attributes_get_flags(fd, &flags, reterr);
    if (code || !(flags & FS_PROJINHERIT_FL))
        return code;
    return attributes_set_flags(fd, flags & ~(uint32_t)FS_PROJINHERIT_FL, reterr);
}

enum error_code work_open(struct vault *vault, const struct convert_options *options,
                          struct convert_work *ret_work, struct error *reterr)
{
    struct convert_work work = {.vault = vault,
                                .options = options,
                                .clone_fd = -1,
                                .husk_fd = -1,
                                .convert_fd = -1,
                                .work_fd = -1,
                                .plaintext_fd = -1,
                                .old_fd = -1};
    enum error_code code = filesystem_ext4_facts(vault->filesystem, &work.facts, reterr);
    if (!code)
        code = tree_clone_mount(vault->filesystem->root_fd, &work.clone_fd, reterr);
    if (!code)
        code = directory_make(work.clone_fd, HUSK_DIRECTORY, 0700, &work.husk_fd, reterr);
    if (!code)
        code = directory_make(work.husk_fd, CONVERT_DIRECTORY, 0700, &work.convert_fd, reterr);
    if (!code)
        code = directory_make(work.convert_fd, vault->name, 0700, &work.work_fd, reterr);
    if (!code)
        code = directory_make(work.husk_fd, PLAINTEXT_DIRECTORY, 0700, &work.plaintext_fd, reterr);
    if (!code)
        code = directory_make(work.plaintext_fd, vault->name, 0700, &work.old_fd, reterr);
    if (!code)
        code = stop_inheriting(work.work_fd, reterr);
    if (!code)
        code = stop_inheriting(work.old_fd, reterr);
    if (code) {
        work_close(&work);
        return code;
    }
    *ret_work = work;
    progress_init(&ret_work->progress, options->report, ret_work->work_fd);
    return OK;
}

unsigned work_features(const struct convert_work *work)
{
    return work->facts.project ? ATTRIBUTES_PROJECT : 0;
}

enum error_code work_open_records(struct convert_work *work, struct error *reterr)
{
    _cleanup_(close_fdp) int private_fd = -1;
    if (work->records)
        return OK;
    enum error_code code = vault_open_private(work->vault, &private_fd, reterr);
    return code ? code : tree_records_open(private_fd, RECORDS_FILE, &work->records, reterr);
}

enum error_code work_check_key(const struct convert_work *work, enum error_code code, struct error *reterr)
{
    const char *name = work->vault->name;
    enum fscrypt_key_state state = FSCRYPT_KEY_ABSENT;
    enum error_code asked =
        fscrypt_key_state(work->vault->fd, &work->vault->identifier, &state, code ? NULL : reterr);
    if (asked || state == FSCRYPT_KEY_PRESENT || code == ERR_INTERRUPTED)
        return code ? code : asked;
    error_set(reterr, ERR_LOCKED, 0, "the vault %s was locked in the middle of its conversion", name);
    error_subject(reterr, "%s", name);
    error_remedy(reterr, "husk unlock %s, then run the same command again", name);
    return ERR_LOCKED;
}

bool work_may_go(const struct tree_record *record, const struct statx *status)
{
    /* Overwriting goes to the end of the last block, also of those beyond the file's end. */
    const bool by_scrubbing =
        (record->flags & TREE_RECORD_SCRUBBED) &&
        (status->stx_size == record->size ||
         (status->stx_size > record->size && status->stx_size % status->stx_blksize == 0));
    return (record->flags & TREE_RECORD_PROVEN) && (by_scrubbing || tree_record_unwritten(record, status));
}

enum error_code work_read_journal(struct convert_work *work, bool *ret_found, struct error *reterr)
{
    struct convert_journal journal;
    struct error error = ERROR_NONE;
    enum error_code code = journal_read(work->work_fd, &journal, &error);
    if (code == ERR_NOT_FOUND) {
        *ret_found = false;
        return OK;
    }
    if (code) {
        if (reterr)
            *reterr = error;
        return code;
    }
    /* A damaged vault does not say its id, and only an erase comes here with one. */
    if (!work->vault->damage.code && memcmp(&journal.vault, &work->vault->id, sizeof(journal.vault))) {
        journal_done(&journal);
        error_set(reterr, ERR_CORRUPT, 0, "the journal of a conversion is of another vault than %s",
                  work->vault->name);
        return error_remedy(
            reterr,
            "look at .husk/convert/%s on that filesystem; its twins may hold the only copy of "
            "nothing, the old trees are in place or in .husk/plaintext/%s",
            work->vault->name, work->vault->name);
    }
    journal_done(&work->journal);
    work->journal = journal;
    *ret_found = true;
    return OK;
}

enum error_code work_enter_state(struct convert_work *work, enum convert_state state, struct error *reterr)
{
    enum convert_state before = work->journal.state;
    work->journal.state = state;
    enum error_code code = journal_write(work->work_fd, &work->journal, reterr);
    if (code)
        work->journal.state = before;
    return code;
}

const char *work_name(const struct convert_work *work, const struct convert_directory *directory,
                      char name[16])
{
    snprintf(name, 16, "%u", (unsigned)(directory - work->journal.directories));
    return name;
}

const char *work_show(const struct convert_work *work, const struct convert_directory *directory,
                      char out[TREE_PATH_SIZE])
{
    const char *mount = work->vault->filesystem->mount_point;
    snprintf(out, TREE_PATH_SIZE, "%s/%s", strcmp(mount, "/") ? text_shown(mount) : "",
             text_shown(directory->path));
    return out;
}

enum error_code work_open_place(const struct convert_work *work, const struct convert_directory *directory,
                                int *ret_fd, struct error *reterr)
{
    enum error_code code = tree_open_directory(work->clone_fd, directory->path, ret_fd, reterr);
    if (code == ERR_NOT_FOUND || code == ERR_CHANGED)
        error_remedy(reterr,
                     "somebody moved it in the middle of its conversion: move it back to %s, "
                     "then run the same command again",
                     work_shown(work, directory));
    return code;
}

enum error_code work_open_parent(const struct convert_work *work, const struct convert_directory *directory,
                                 int *ret_parent_fd, const char **ret_name, struct error *reterr)
{
    const char *slash = strrchr(directory->path, '/');
    _cleanup_(freep) char *parent =
        slash ? strndup(directory->path, (size_t)(slash - directory->path)) : strdup("");
    if (!parent)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = tree_open_directory(work->clone_fd, parent, ret_parent_fd, reterr);
    if (!code)
        *ret_name = slash ? slash + 1 : directory->path;
    return code;
}

enum error_code work_is_encrypted_side(const struct convert_work *work,
                                       const struct convert_directory *directory, int fd, bool *ret_is,
                                       struct error *reterr)
{
    enum fscrypt_policy_state state;
    struct fscrypt_identifier identifier;
    struct fscrypt_nonce nonce;
    enum error_code code = fscrypt_get_policy(fd, &state, &identifier, reterr);
    if (code)
        return code;
    if (state != FSCRYPT_HUSK_POLICY || memcmp(&identifier, &work->vault->identifier, sizeof(identifier))) {
        *ret_is = false;
        return OK;
    }
    code = fscrypt_get_nonce(fd, &nonce, reterr);
    if (!code)
        *ret_is = !memcmp(&nonce, &directory->nonce, sizeof(nonce));
    return code;
}

enum error_code work_look_at_twin(const struct convert_work *work, const struct convert_directory *directory,
                                  enum work_twin *ret_twin, struct error *reterr)
{
    char name[16];
    struct error error = ERROR_NONE;
    enum fscrypt_policy_state state;
    struct fscrypt_identifier identifier;
    _cleanup_(close_fdp) int twin_fd = -1;
    enum error_code code = directory_open(work->work_fd, work_name(work, directory, name), &twin_fd, &error);
    if (code == ERR_NOT_FOUND) {
        *ret_twin = WORK_TWIN_NONE;
        return OK;
    }
    if (!code)
        code = fscrypt_get_policy(twin_fd, &state, &identifier, &error);
    if (code) {
        if (reterr)
            *reterr = error;
        return code;
    }
    const bool encrypted =
        state == FSCRYPT_HUSK_POLICY && !memcmp(&identifier, &work->vault->identifier, sizeof(identifier));
    *ret_twin = encrypted == (work->journal.direction == CONVERT_PROTECT) ? WORK_TWIN_COPY : WORK_TWIN_OLD;
    return OK;
}

enum error_code work_moved(const struct convert_work *work, const struct convert_directory *directory,
                           struct error *reterr)
{
    error_set(reterr, ERR_CHANGED, 0, "%s is not the directory that its conversion left there",
              work_shown(work, directory));
    return error_remedy(reterr,
                        "somebody moved it in the middle of its conversion: put what stands there elsewhere, "
                        "move the other back to %s, then run the same command again",
                        work_shown(work, directory));
}

enum error_code work_sync(const struct convert_work *work, struct error *reterr)
{
    int injected = fault("convert.sync");
    if (injected || syncfs(work->husk_fd) < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot write %s to disk",
                         text_shown(work->vault->filesystem->mount_point));
    return OK;
}

static enum error_code refuse_left(const struct convert_work *work, const char *kind, const char *name,
                                   struct error *reterr)
{
    error_set(reterr, ERR_INCOMPLETE, 0, ".husk/%s/%s/%s holds a tree that no journal tells of", kind,
              work->vault->name, text_shown(name));
    return error_remedy(reterr, "look at it: it may be the only copy of a directory. Move it to where it "
                                "belongs or delete it, then run the same command again");
}

static enum error_code refuse_old_tree(const char *name, void *context, struct error *reterr)
{
    return refuse_left(context, PLAINTEXT_DIRECTORY, name, reterr);
}

static enum error_code note_name(const char *name, void *context, struct error *reterr)
{
    (void)name;
    (void)reterr;
    *(bool *)context = true;
    return OK;
}

static enum error_code refuse_twin(const char *name, void *context, struct error *reterr)
{
    const struct convert_work *work = context;
    _cleanup_(close_fdp) int fd = -1;
    bool any = false;
    struct stat status;
    if (fstatat(work->work_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at .husk/" CONVERT_DIRECTORY "/%s/%s",
                         work->vault->name, text_shown(name));
    if (!S_ISDIR(status.st_mode))
        return OK;
    enum error_code code = directory_open(work->work_fd, name, &fd, reterr);
    if (!code)
        code = directory_list(fd, note_name, &any, reterr);
    return code || !any ? code : refuse_left(work, CONVERT_DIRECTORY, name, reterr);
}

enum error_code work_refuse_trees(struct convert_work *work, struct error *reterr)
{
    enum error_code code = directory_list(work->old_fd, refuse_old_tree, work, reterr);
    return code ? code : directory_list(work->work_fd, refuse_twin, work, reterr);
}

static enum error_code remove_left(const char *name, void *context, struct error *reterr)
{
    const struct convert_work *work = context;
    if (!strcmp(name, "journal.json") || unlinkat(work->work_fd, name, 0) == 0 ||
        (errno == EISDIR && unlinkat(work->work_fd, name, AT_REMOVEDIR) == 0))
        return OK;
    return error_set(reterr, ERR_FAILED, errno, "cannot remove .husk/" CONVERT_DIRECTORY "/%s/%s",
                     work->vault->name, text_shown(name));
}

static enum error_code remove_records(struct convert_work *work, struct error *reterr)
{
    _cleanup_(close_fdp) int private_fd = -1;
    tree_records_free(work->records);
    work->records = NULL;
    enum error_code code = vault_open_private(work->vault, &private_fd, reterr);
    return code ? code : file_remove_durable(private_fd, RECORDS_FILE, 0, reterr);
}

enum error_code work_clear(struct convert_work *work, struct error *reterr)
{
    enum vault_state state;
    enum error_code code = work_refuse_trees(work, reterr);
    if (!code)
        code = directory_list(work->work_fd, remove_left, work, reterr);
    if (!code)
        code = vault_get_state(work->vault, &state, reterr);
    /* Of a locked vault the records stay. The next conversion knows from them only inodes whose twins are
     * gone. */
    if (!code && state == VAULT_UNLOCKED)
        code = remove_records(work, reterr);
    (void)fault("convert.clear");
    if (!code)
        code = file_remove_durable(work->work_fd, "journal.json", 0, reterr);
    if (!code)
        code = file_remove_durable(work->plaintext_fd, work->vault->name, AT_REMOVEDIR, reterr);
    if (!code)
        code = file_remove_durable(work->convert_fd, work->vault->name, AT_REMOVEDIR, reterr);
    return code;
}
