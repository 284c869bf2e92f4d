/* What an interrupted conversion of the vault itself means for a plan of it: reads only. */
#include "base/file.h"
#include "base/text.h"
#include "convert/steps.h"
#include "tree/mount.h"

enum error_code plan_read_journal(int clone_fd, const char *vault_name, struct convert_journal *ret_journal,
                                  struct error *reterr)
{
    char path[VAULT_NAME_MAXIMUM + 64];
    _cleanup_(close_fdp) int fd = -1;
    struct error error = ERROR_NONE;
    snprintf(path, sizeof(path), HUSK_DIRECTORY "/" CONVERT_DIRECTORY "/%s", vault_name);
    enum error_code code = tree_open_directory(clone_fd, path, &fd, &error);
    if (!code)
        code = journal_read(fd, ret_journal, &error);
    if (code && code != ERR_NOT_FOUND && reterr)
        *reterr = error;
    return code == ERR_NOT_FOUND ? OK : code;
}

char *plan_show_path(const struct convert_plan *plan, const char *path)
{
    char *shown = NULL;
    const char *mount = plan->filesystem->mount_point;
    if (asprintf(&shown, "%s%s%s", strcmp(mount, "/") ? text_shown(mount) : "",
                 *path || !strcmp(mount, "/") ? "/" : "", text_shown(path)) < 0)
        return NULL;
    return shown;
}

static bool is_planned(const struct convert_plan *plan, const char *path)
{
    for (size_t i = 0; i < plan->directory_count; i++)
        if (!strcmp(plan->directories[i].path, path))
            return true;
    return false;
}

enum error_code plan_add_under_way(struct convert_plan *plan, const struct convert_journal *journal,
                                   struct error *reterr)
{
    struct convert_plan_directory *directories =
        reallocarray(plan->directories, plan->directory_count + journal->count + 1, sizeof(*directories));
    if (!directories)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    plan->directories = directories;
    for (size_t i = 0; i < journal->count; i++) {
        if (is_planned(plan, journal->directories[i].path))
            continue;
        struct convert_plan_directory *directory = &directories[plan->directory_count++];
        *directory =
            (struct convert_plan_directory){.path = strdup(journal->directories[i].path),
                                            .shown_path = plan_show_path(plan, journal->directories[i].path),
                                            .action = CONVERT_CONTINUE,
                                            .not_asked_for = true};
        if (!directory->path || !directory->shown_path)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    return OK;
}

void plan_refuse_joining(struct convert_plan *plan, const struct convert_journal *journal,
                         const char *vault_name)
{
    const bool waits = journal->direction == CONVERT_PROTECT;
    char remedy[2 * VAULT_NAME_MAXIMUM + 128];
    if (waits)
        snprintf(remedy, sizeof(remedy),
                 "husk protect --root --commit on the booted host (although it has not booted: husk protect "
                 "--root --commit "
                 "--confirm %s), then the same command again",
                 vault_name);
    else
        snprintf(remedy, sizeof(remedy),
                 "finish that: husk unprotect %s; or go back: husk protect --abort --vault %s", vault_name,
                 vault_name);
    for (size_t i = 0; i < plan->directory_count; i++) {
        const struct convert_plan_directory *directory = &plan->directories[i];
        if (directory->action != CONVERT_NOTHING && directory->action != CONVERT_CONTINUE)
            finding_add(&plan->findings, FINDING_BLOCKS, "converting-already", directory->shown_path, remedy,
                        waits ? "cannot join yet: old trees of the vault %s wait to be scrubbed"
                              : "cannot join now: the vault %s is in the middle of being unprotected",
                        vault_name);
    }
}
