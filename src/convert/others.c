/* What the vaults of a filesystem have to do with a directory: reads only. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "convert/journal.h"
#include "convert/steps.h"
#include "tree/mount.h"

struct search {
    const struct filesystem *filesystem;
    const struct fscrypt_identifier *identifier; /* of the policy looked for; NULL when looking for path */
    const char *path;
    struct vault *found;
    enum convert_direction direction;
};

static bool is_below(const char *path, const char *ancestor)
{
    size_t length = strlen(ancestor);
    return !strncmp(path, ancestor, length) && (path[length] == '/' || path[length] == '\0');
}

/* Whether the journal of that vault has the path, one below it or one above it. An unreadable journal is for
 * its own vault's commands to tell. */
static bool is_converting(struct search *search, const char *name)
{
    char path[VAULT_NAME_MAXIMUM + 64];
    _cleanup_(close_fdp) int work_fd = -1;
    struct convert_journal journal = {0};
    bool found = false;
    snprintf(path, sizeof(path), HUSK_DIRECTORY "/" CONVERT_DIRECTORY "/%s", name);
    if (tree_open_directory(search->filesystem->root_fd, path, &work_fd, NULL) ||
        journal_read(work_fd, &journal, NULL))
        return false;
    for (size_t i = 0; !found && i < journal.count; i++)
        found = is_below(journal.directories[i].path, search->path) ||
                is_below(search->path, journal.directories[i].path);
    search->direction = journal.direction;
    journal_done(&journal);
    return found;
}

static enum error_code look_at_vault(const char *name, void *context, struct error *reterr)
{
    struct search *search = context;
    _cleanup_(vault_freep) struct vault *vault = NULL;
    (void)reterr;
    if (search->found || vault_check_name(name, NULL) || vault_read(search->filesystem, name, &vault, NULL))
        return OK;
    bool found = search->identifier
                     ? !memcmp(&vault->identifier, search->identifier, sizeof(*search->identifier))
                     : vault->mark == VAULT_ACTIVE && is_converting(search, name);
    if (found)
        search->found = TAKE(vault);
    return OK;
}

static enum error_code look(struct search *search, struct error *reterr)
{
    _cleanup_(close_fdp) int vaults_fd = -1;
    if (tree_open_directory(search->filesystem->root_fd, HUSK_DIRECTORY "/vaults", &vaults_fd, NULL))
        return OK; /* husk was never here */
    return directory_list(vaults_fd, look_at_vault, search, reterr);
}

enum error_code others_check_encrypted(struct convert_plan *plan,
                                       const struct convert_plan_directory *directory,
                                       const struct fscrypt_identifier *identifier, struct error *reterr)
{
    struct search search = {.filesystem = plan->filesystem, .identifier = identifier};
    enum error_code code = identifier ? look(&search, reterr) : OK;
    _cleanup_(vault_freep) struct vault *owner = search.found;
    char remedy[VAULT_NAME_MAXIMUM + 128];
    if (code)
        return code;
    if (!owner) {
        finding_add(
            &plan->findings, FINDING_BLOCKS, "encrypted-already", directory->shown_path,
            "leave it out; what is encrypted under a vault of another name, or one whose vault.json is "
            "missing, can be copied (cp -a) while that is open, and the copy be protected",
            "is encrypted already, by no vault of this filesystem that can be read");
    } else if (owner->mark != VAULT_ACTIVE) {
        finding_add(&plan->findings, FINDING_BLOCKS, "encrypted-already", directory->shown_path,
                    "leave it out, or delete it", "is ciphertext of the vault %s, which is erased",
                    owner->name);
    } else {
        snprintf(remedy, sizeof(remedy), "leave it out; husk unprotect %s takes its encryption off",
                 owner->name);
        finding_add(&plan->findings, FINDING_BLOCKS, "encrypted-already", directory->shown_path, remedy,
                    "is protected already, by the vault %s", owner->name);
    }
    return OK;
}

const char *others_keep_shut(int directory_fd, const char *name, const struct statx *status)
{
    if (!(status->stx_attributes & STATX_ATTR_ENCRYPTED))
        return NULL;
    if (S_ISLNK(status->stx_mode))
        return "is an encrypted symlink in a plain directory: whether what is read is its target, or only "
               "stands for it while its key is missing, cannot be told";
    _cleanup_(close_fdp) int fd =
        openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 && errno == ENOKEY ? "is encrypted already, and its key is missing" : NULL;
}

enum error_code others_check_converting(struct convert_plan *plan,
                                        const struct convert_plan_directory *directory, struct error *reterr)
{
    struct search search = {.filesystem = plan->filesystem, .path = directory->path};
    enum error_code code = look(&search, reterr);
    _cleanup_(vault_freep) struct vault *other = search.found;
    char remedy[VAULT_NAME_MAXIMUM + 128];
    if (code || !other)
        return code;
    snprintf(remedy, sizeof(remedy),
             "finish that with the command that began it, or go back: husk protect --abort --vault %s",
             other->name);
    finding_add(&plan->findings, FINDING_BLOCKS, "converting-already", directory->shown_path, remedy,
                "the vault %s is in the middle of %s it", other->name,
                search.direction == CONVERT_PROTECT ? "protecting" : "unprotecting");
    return OK;
}

void others_refuse_unprotecting(struct convert_plan *plan, const struct convert_plan_directory *directory,
                                const char *vault_name)
{
    char remedy[2 * VAULT_NAME_MAXIMUM + 128];
    snprintf(remedy, sizeof(remedy),
             "finish that: husk unprotect %s; or go back: husk protect --abort --vault %s", vault_name,
             vault_name);
    finding_add(
        &plan->findings, FINDING_BLOCKS, "converting-already", directory->shown_path, remedy,
        "the vault %s is in the middle of unprotecting it: plaintext of it may lie in " HUSK_DIRECTORY,
        vault_name);
}
