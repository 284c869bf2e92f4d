/* What protect would do and what forbids it: reads only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "convert/space.h"
#include "convert/steps.h"
#include "tree/attributes.h"
#include "tree/links.h"
#include "tree/mount.h"

struct planner {
    struct convert_plan *plan;
    const struct vault *vault;      /* NULL when it is to be made */
    struct convert_journal journal; /* count 0 when none */
    enum convert_direction direction;
    struct ext4_facts facts;
    struct busy_set *busy;
    struct space_need *need;
    int clone_fd;
    const struct report *report;
};

/* One tree being looked at. */
struct survey {
    struct planner *planner;
    struct space_need *need; /* NULL when no twin of it is to be made */
    const char *shown;
    atomic_ullong files, directories, others, bytes;
    atomic_bool hard_links;
    pthread_mutex_t mutex; /* of findings */
    struct finding_list findings;
};

static void add(struct survey *survey, const struct tree_directory *directory, const char *name,
                const char *kind, const char *remedy, const char *cause)
{
    char subject[2 * TREE_PATH_SIZE];
    const char *below = tree_shown(directory, name);
    snprintf(subject, sizeof(subject), "%s%s%s", survey->shown, strcmp(below, ".") ? "/" : "",
             strcmp(below, ".") ? below : "");
    pthread_mutex_lock(&survey->mutex);
    finding_add(&survey->findings, FINDING_BLOCKS, kind, subject, remedy, "%s", cause);
    pthread_mutex_unlock(&survey->mutex);
}

static void check_busy(struct survey *survey, const struct tree_directory *directory, const char *name,
                       uint64_t inode)
{
    size_t count;
    const struct busy_use *uses = busy_set_find(survey->planner->busy, inode, &count);
    for (size_t i = 0; i < count; i++)
        add(survey, directory, name, uses[i].kind, uses[i].remedy, uses[i].what);
}

static enum error_code on_enter(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct survey *survey = context;
    (void)reterr;
    atomic_fetch_add(&survey->directories, 1);
    atomic_fetch_add(&survey->bytes, directory->status.stx_blocks * 512);
    if (survey->need)
        space_enter_directory(survey->need, directory);
    check_busy(survey, directory, NULL, directory->status.stx_ino);
    if (survey->planner->direction == CONVERT_PROTECT &&
        (directory->status.stx_attributes & STATX_ATTR_ENCRYPTED)) {
        add(survey, directory, NULL, "encrypted-inside",
            "while its vault is open, put a copy (cp -a) in its place: one that was moved here stays "
            "encrypted "
            "under the vault it comes from",
            "is encrypted already");
        directory->skip = true;
    }
    return OK;
}

static enum error_code on_entry(struct tree_directory *directory, const char *name,
                                const struct statx *status, void *context, struct error *reterr)
{
    struct survey *survey = context;
    const struct planner *planner = survey->planner;
    (void)reterr;
    atomic_fetch_add(S_ISREG(status->stx_mode) ? &survey->files : &survey->others, 1);
    atomic_fetch_add(&survey->bytes, status->stx_blocks * 512);
    if (survey->need)
        space_add_entry(survey->need, directory, name, status);
    report_advance(planner->report, 1, 0);
    if (status->stx_nlink > 1)
        atomic_store(&survey->hard_links, true);
    check_busy(survey, directory, name, status->stx_ino);
    /* The kernel keeps a length and a NUL with the encrypted target in one block. */
    if (planner->direction == CONVERT_PROTECT && S_ISLNK(status->stx_mode) &&
        status->stx_size > planner->facts.block_size - 3)
        add(survey, directory, name, "long-symlink", "shorten its target",
            "its target is too long for an encrypted symlink");
    const char *shut =
        planner->direction == CONVERT_PROTECT ? others_keep_shut(directory->fd, name, status) : NULL;
    if (shut)
        add(survey, directory, name, "encrypted-inside",
            "move it out of the tree, or make it anew where it lies", shut);
    if (status->stx_attributes & STATX_ATTR_DAX)
        add(survey, directory, name, "dax", "clear the flag (chattr -x) and remount",
            "uses DAX, which encrypted files cannot");
    return OK;
}

static enum error_code on_leave(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct survey *survey = context;
    (void)reterr;
    if (survey->need)
        space_leave_directory(survey->need, directory);
    return OK;
}

static enum error_code on_outside_link(const struct tree_directory *directory, const char *name,
                                       const struct statx *status, void *context, struct error *reterr)
{
    (void)status;
    (void)reterr;
    add(context, directory, name, "busy-link", "remove that link or move it into the tree",
        "has a hard link outside the tree");
    return OK;
}

/* Walk one tree, count it and find what forbids its conversion. */
static enum error_code survey_tree(struct planner *planner, struct convert_plan_directory *directory,
                                   int tree_fd, struct error *reterr)
{
    struct survey survey = {.planner = planner,
                            .need = directory->action == CONVERT_COPY ? planner->need : NULL,
                            .shown = directory->shown_path,
                            .mutex = PTHREAD_MUTEX_INITIALIZER};
    const struct tree_visitor visitor = {
        .enter = on_enter, .entry = on_entry, .leave = on_leave, .context = &survey};
    report_stage(planner->report, 0, 0, "looking at %s", directory->shown_path);
    enum error_code code = tree_walk(tree_fd, tree_walk_threads(), &visitor, reterr);
    if (!code && atomic_load(&survey.hard_links))
        code = tree_links_outside(tree_fd, on_outside_link, &survey, reterr);
    if (!code)
        code = filesystem_check_mounts(planner->plan->filesystem, directory->path, &survey.findings, reterr);
    pthread_mutex_destroy(&survey.mutex);
    directory->files = survey.files;
    directory->directories = survey.directories;
    directory->others = survey.others;
    directory->bytes = survey.bytes;
    finding_move_all(&planner->plan->findings, &survey.findings);
    return code;
}

static void block(struct planner *planner, const struct convert_plan_directory *directory, const char *kind,
                  const char *remedy, const char *cause)
{
    finding_add(&planner->plan->findings, FINDING_BLOCKS, kind, directory->shown_path, remedy, "%s", cause);
}

static bool is_below(const char *path, const char *ancestor)
{
    size_t length = strlen(ancestor);
    return !strncmp(path, ancestor, length) && (path[length] == '/' || path[length] == '\0');
}

/* Places where a policy cannot or must not be. *ret_allowed false with a finding. */
static void check_place(struct planner *planner, const struct convert_plan_directory *directory,
                        bool *ret_allowed)
{
    const char *path = directory->path;
    *ret_allowed = false;
    if (!*path)
        block(planner, directory, "filesystem-root", "protect the directories in it, each by its name",
              "is the root of its filesystem, which cannot be encrypted itself");
    else if (is_below(path, "lost+found"))
        block(planner, directory, "lost-and-found", "leave it out", "belongs to e2fsck");
    else if (is_below(path, HUSK_DIRECTORY))
        block(planner, directory, "husk-own", "leave it out", "holds husk's own files");
    else
        *ret_allowed = true;
}

/* The parent must let the names be exchanged, and must itself be plain. */
static enum error_code check_parent(struct planner *planner, const struct convert_plan_directory *directory,
                                    int directory_fd, struct error *reterr)
{
    const char *slash = strrchr(directory->path, '/');
    _cleanup_(freep) char *parent =
        slash ? strndup(directory->path, (size_t)(slash - directory->path)) : strdup("");
    _cleanup_(close_fdp) int fd = -1;
    struct statx status;
    if (!parent)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = tree_open_directory(planner->clone_fd, parent, &fd, reterr);
    if (code)
        return code;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot look at the parent of %s", directory->shown_path);
    if (status.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))
        block(planner, directory, "sealed-parent", "clear the flag on the directory above it (chattr -i -a)",
              "lies in a directory that is immutable or append-only");
    if (status.stx_attributes & STATX_ATTR_ENCRYPTED)
        block(planner, directory, "encrypted-ancestor", "protect the outermost directory only",
              "lies inside a directory that is encrypted already");
    bool moves = true;
    if (directory->action == CONVERT_COPY || directory->action == CONVERT_CONTINUE)
        code = attributes_may_move(directory_fd, fd, &moves, reterr);
    if (!code && !moves)
        block(planner, directory, "project-differs",
              "give both the same project (chattr -p), or clear the flag of the one above (chattr -P)",
              "the directory above hands its project down and has another one: no twin can be moved there");
    return code;
}

struct emptiness {
    bool empty;
};

static enum error_code not_empty(const char *name, void *context, struct error *reterr)
{
    (void)name;
    (void)reterr;
    ((struct emptiness *)context)->empty = false;
    return OK;
}

/* Named by the manifest, or below a directory that is. */
static bool is_recorded(const struct vault *vault, const char *path)
{
    for (size_t i = 0; i < vault->directory_count; i++)
        if (is_below(path, vault->directories[i].path))
            return true;
    return false;
}

/* What is to be done, from the directory's policy, the journal and whether there is anything in it. */
static enum error_code choose_action(struct planner *planner, struct convert_plan_directory *directory,
                                     int fd, struct error *reterr)
{
    enum fscrypt_policy_state state;
    struct fscrypt_identifier identifier;
    struct emptiness emptiness = {.empty = true};
    enum error_code code = fscrypt_get_policy(fd, &state, &identifier, reterr);
    if (code)
        return code;
    const bool ours = state == FSCRYPT_HUSK_POLICY && planner->vault &&
                      !memcmp(&identifier, &planner->vault->identifier, sizeof(identifier));
    const struct convert_directory *under_way = journal_find(&planner->journal, directory->path);
    if (under_way && planner->journal.direction == planner->direction) {
        directory->action = CONVERT_CONTINUE;
        return OK;
    }
    if (planner->direction == CONVERT_UNPROTECT) {
        directory->action = CONVERT_COPY;
        return OK;
    }
    if (ours || state != FSCRYPT_PLAIN) {
        const struct fscrypt_identifier *whose = state == FSCRYPT_HUSK_POLICY ? &identifier : NULL;
        directory->action =
            ours && !is_recorded(planner->vault, directory->path) ? CONVERT_RECORD : CONVERT_NOTHING;
        if (ours && under_way)
            others_refuse_unprotecting(planner->plan, directory, planner->vault->name);
        return ours ? OK : others_check_encrypted(planner->plan, directory, whose, reterr);
    }
    code = others_check_converting(planner->plan, directory, reterr);
    if (!code)
        code = directory_list(fd, not_empty, &emptiness, reterr);
    if (!code)
        directory->action = emptiness.empty ? CONVERT_SET_POLICY : CONVERT_COPY;
    return code;
}

/* Once exchanged the place holds the twin, and what uses it is no obstacle. In exchanging the machine itself
 * looks what is not exchanged yet. */
static bool past_freezing(const struct planner *planner, const struct convert_plan_directory *directory,
                          int fd)
{
    enum fscrypt_policy_state state;
    struct fscrypt_identifier identifier;
    return directory->action == CONVERT_CONTINUE &&
           (planner->journal.state >= CONVERT_EXCHANGING ||
            (fscrypt_get_policy(fd, &state, &identifier, NULL) == OK && state == FSCRYPT_HUSK_POLICY));
}

static enum error_code plan_directory(struct planner *planner, struct convert_plan_directory *directory,
                                      struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    bool allowed;
    check_place(planner, directory, &allowed);
    if (!allowed)
        return OK;
    struct error why = ERROR_NONE;
    enum error_code code = tree_open_directory(planner->clone_fd, directory->path, &fd, &why);
    if ((code == ERR_NOT_FOUND || code == ERR_CHANGED) && directory->not_asked_for)
        return OK; /* moved away or deleted since: the machine tells that, where it matters */
    if (code && reterr)
        *reterr = why;
    if (!code)
        code = choose_action(planner, directory, fd, reterr);
    if (code || directory->action == CONVERT_NOTHING || past_freezing(planner, directory, fd))
        return code;
    code = check_parent(planner, directory, fd, reterr);
    if (!code && planner->direction == CONVERT_PROTECT)
        code = movable_tell(planner->plan, planner->clone_fd, directory, reterr);
    if (code || directory->action == CONVERT_RECORD)
        return code;
    return survey_tree(planner, directory, fd, reterr);
}

static enum error_code check_filesystem(struct planner *planner, struct error *reterr)
{
    struct convert_plan *plan = planner->plan;
    enum error_code code = filesystem_check_vault(plan->filesystem, &plan->findings, reterr);
    if (!code)
        code = filesystem_ext4_facts(plan->filesystem, &planner->facts, reterr);
    if (!code && planner->facts.quota_active)
        finding_add(&plan->findings, FINDING_BLOCKS, "quota-active",
                    text_shown(plan->filesystem->mount_point),
                    "switch quotas off (quotaoff) until it is done",
                    "quotas are on: while both copies exist every user counts twice");
    if (!code && planner->facts.inline_data && planner->direction == CONVERT_PROTECT)
        finding_add(&plan->findings, FINDING_TELLS, "inline-data", text_shown(plan->filesystem->mount_point),
                    "",
                    "tiny files lie in their inodes here; what such a file held that was deleted earlier "
                    "is not overwritten");
    return code;
}

static int by_path(const void *left, const void *right)
{
    return strcmp(((const struct convert_plan_directory *)left)->path,
                  ((const struct convert_plan_directory *)right)->path);
}

/* The same directory twice is one; one inside another is refused. */
static enum error_code check_nesting(struct convert_plan *plan, struct error *reterr)
{
    qsort(plan->directories, plan->directory_count, sizeof(*plan->directories), by_path);
    for (size_t i = 0; i + 1 < plan->directory_count; i++)
        for (size_t j = i + 1; j < plan->directory_count; j++) {
            const struct convert_plan_directory *outer = &plan->directories[i],
                                                *inner = &plan->directories[j];
            if (!*outer->path || !is_below(inner->path, outer->path))
                continue;
            error_set(reterr, ERR_USAGE, 0, "%s lies inside %s", inner->shown_path, outer->shown_path);
            return error_remedy(reterr, "name the outer directory only");
        }
    return OK;
}

static enum error_code add_path(struct convert_plan *plan, const char *path, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    struct filesystem *filesystem = NULL;
    enum error_code code = filesystem_open_named(path, &fd, reterr);
    if (!code)
        code = filesystem_of(fd, &filesystem, reterr);
    if (code)
        return code;
    if (!plan->filesystem) {
        plan->filesystem = filesystem;
    } else {
        bool same = plan->filesystem->device == filesystem->device;
        filesystem_free(filesystem);
        if (!same) {
            error_set(reterr, ERR_USAGE, 0, "%s lies on another filesystem than the other directories",
                      text_shown(path));
            return error_remedy(reterr, "a vault lies on one filesystem: make one vault for each");
        }
    }
    _cleanup_(buffer_done) struct buffer relative = {0};
    code = filesystem_relative_path(fd, &relative, reterr);
    if (code)
        return code;
    struct convert_plan_directory *directory = &plan->directories[plan->directory_count];
    directory->path = strdup(relative.data ? relative.data : "");
    directory->shown_path = plan_show_path(plan, relative.data ? relative.data : "");
    plan->directory_count++;
    if (!directory->path || !directory->shown_path)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    /* Named twice: once is enough. */
    for (size_t i = 0; i + 1 < plan->directory_count; i++)
        if (!strcmp(plan->directories[i].path, directory->path)) {
            free(directory->path);
            free(directory->shown_path);
            *directory = (struct convert_plan_directory){0};
            plan->directory_count--;
            break;
        }
    return OK;
}

static enum error_code plan_all(struct planner *planner, struct error *reterr)
{
    struct convert_plan *plan = planner->plan;
    enum error_code code = check_filesystem(planner, reterr);
    /* Where there is no ext4 to convert, that finding says all. */
    if (code || finding_count_blocking(&plan->findings) > 0)
        for (size_t i = 0; i < plan->findings.count; i++)
            if (!strcmp(plan->findings.items[i].kind, "not-ext4"))
                return OK;
    if (!code)
        code = tree_clone_mount(plan->filesystem->root_fd, &planner->clone_fd, reterr);
    if (!code && planner->vault)
        code = plan_read_journal(planner->clone_fd, planner->vault->name, &planner->journal, reterr);
    const struct convert_journal *journal = &planner->journal;
    const bool under_way = !code && planner->direction == CONVERT_PROTECT && planner->vault &&
                           journal->count > 0 && planner->vault->mark == VAULT_ACTIVE;
    const bool goes_on =
        journal->direction == CONVERT_PROTECT && !(journal->waits && journal->state == CONVERT_SCRUBBING);
    if (under_way && goes_on)
        code = plan_add_under_way(plan, journal, reterr);
    if (!code)
        code = busy_set_new(plan->filesystem->device, &planner->busy, reterr);
    if (!code)
        code = space_need_new(&planner->facts, planner->direction, &planner->need, reterr);
    for (size_t i = 0; !code && i < plan->directory_count; i++)
        code = plan_directory(planner, &plan->directories[i], reterr);
    if (under_way && !goes_on)
        plan_refuse_joining(plan, journal, planner->vault->name);
    if (!code)
        space_check(planner->need, plan);
    return code;
}

static enum error_code plan_new(const char *const *paths, size_t path_count, const char *vault_name,
                                const struct vault *vault, enum convert_direction direction,
                                const struct report *report, struct convert_plan **ret_plan,
                                struct error *reterr)
{
    _cleanup_(convert_plan_freep) struct convert_plan *plan = calloc(1, sizeof(*plan));
    struct planner planner = {
        .plan = plan, .vault = vault, .direction = direction, .clone_fd = -1, .report = report};
    struct vault *found = NULL;
    if (!plan || !(plan->directories = calloc(path_count + 1, sizeof(*plan->directories))))
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = OK;
    for (size_t i = 0; !code && i < path_count; i++)
        code = add_path(plan, paths[i], reterr);
    if (!code)
        code = check_nesting(plan, reterr);
    if (!code && vault_name && !strcmp(plan->filesystem->type, "ext4")) {
        struct error error = ERROR_NONE;
        code = vault_read(plan->filesystem, vault_name, &found, &error);
        if (code == ERR_NOT_FOUND)
            code = OK;
        else if (code && reterr)
            *reterr = error;
        planner.vault = found;
    }
    if (!code)
        code = plan_all(&planner, reterr);
    busy_set_free(planner.busy);
    space_need_free(planner.need);
    journal_done(&planner.journal);
    close_fdp(&planner.clone_fd);
    vault_free(found);
    if (!code)
        *ret_plan = TAKE(plan);
    return code;
}

enum error_code convert_plan_new(const char *const *paths, size_t path_count, const char *vault_name,
                                 const struct report *report, struct convert_plan **ret_plan,
                                 struct error *reterr)
{
    if (path_count == 0 || path_count > VAULT_DIRECTORIES_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "name 1 to %d directories", VAULT_DIRECTORIES_MAXIMUM);
    return plan_new(paths, path_count, vault_name, NULL, CONVERT_PROTECT, report, ret_plan, reterr);
}

enum error_code convert_plan_unprotect(const char *const *paths, size_t path_count, const struct vault *vault,
                                       const struct report *report, struct convert_plan **ret_plan,
                                       struct error *reterr)
{
    return plan_new(paths, path_count, NULL, vault, CONVERT_UNPROTECT, report, ret_plan, reterr);
}

void convert_plan_free(struct convert_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; plan->directories && i < plan->directory_count; i++) {
        free(plan->directories[i].path);
        free(plan->directories[i].shown_path);
    }
    free(plan->directories);
    filesystem_free(plan->filesystem);
    finding_list_done(&plan->findings);
    free(plan);
}
