#include <fcntl.h>
#include <sys/stat.h>

#include "authorities.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "command/place.h"
#include "plan_vault.h"
#include "protect.h"

/* The finding about the missing feature, and whether something else is in the way too. */
static const struct finding *find_lacking(const struct finding_list *findings, bool *ret_alone)
{
    const struct finding *found = NULL;
    *ret_alone = true;
    if (findings->dropped)
        return NULL;
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        if (finding->blocks && strcmp(finding->kind, FILESYSTEM_NO_ENCRYPT_FEATURE) == 0)
            found = finding;
        else if (finding->blocks)
            *ret_alone = false;
    }
    return found;
}

/* Nobody is asked for what would be refused all the same. */
static enum error_code may_set_feature(struct run *run, const struct finding *lacking, bool is_alone,
                                       bool *ret_may, struct error *reterr)
{
    *ret_may = argument_given(&run->arguments, OPTION_ENABLE_FEATURE);
    if (*ret_may || !is_alone || !run_can_ask(run))
        return OK;
    char question[1200];
    _cleanup_(buffer_done) struct buffer remedy = {0};
    enum error_code code = place_in_text(lacking->remedy, run->place, &remedy, reterr);
    if (code)
        return code;
    snprintf(question, sizeof(question), "%s: %s\n  %s\nSet the feature now?", lacking->subject,
             lacking->cause, remedy.data);
    return run_ask(run, question, ret_may, reterr);
}

static enum error_code make_plan(struct protect *protect, struct error *reterr)
{
    size_t count;
    const char *const *paths = protect_paths(protect, &count);
    convert_plan_free(TAKE(protect->plan));
    enum error_code code =
        convert_plan_new(paths, count, protect->name, &protect->run->report, &protect->plan, reterr);
    if (!code && protect->is_root)
        code = convert_root_check(protect->run->at, protect->swap, &protect->plan->findings, reterr);
    return code;
}

/* Plan, show it, and say whether it may go on. */
static enum error_code plan(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    enum error_code code = make_plan(protect, reterr);
    if (code)
        return code;
    bool may_set = false, is_alone;
    const struct finding *lacking = find_lacking(&protect->plan->findings, &is_alone);
    if (lacking)
        code = may_set_feature(run, lacking, is_alone, &may_set, reterr);
    if (code)
        return code;
    protect->lacks_feature = may_set;
    if (may_set) {
        /* Shown and told when it is set; the rest of the plan stands. */
        struct finding_list rest = {0};
        for (size_t i = 0; i < protect->plan->findings.count; i++) {
            const struct finding *finding = &protect->plan->findings.items[i];
            if (strcmp(finding->kind, FILESYSTEM_NO_ENCRYPT_FEATURE) != 0)
                finding_add(&rest, finding->blocks ? FINDING_BLOCKS : FINDING_TELLS, finding->kind,
                            finding->subject, finding->remedy, "%s", finding->cause);
        }
        finding_list_done(&protect->plan->findings);
        protect->plan->findings = rest;
    }
    return plan_show(run, protect->plan, protect->name, reterr);
}

/* The lock of the filesystem the first directory lies on, if husk was there before. What is wrong with the
 * directory or the filesystem is the plan's to say. */
static enum error_code take_existing_lock(struct protect *protect, struct error *reterr)
{
    _cleanup_(close_fdp) int fd =
        open(protect_paths(protect, &(size_t){0})[0], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct filesystem *filesystem = NULL;
    if (fd < 0 || filesystem_of(fd, &filesystem, NULL))
        return OK;
    enum error_code code = ERR_NOT_FOUND;
    if (!filesystem->read_only && !strcmp(filesystem->type, "ext4"))
        code = vault_take_lock(filesystem, VAULT_LOCK_EXISTING, &protect->held.lock_fd,
                               &protect->held.husk_fd, reterr);
    filesystem_free(filesystem);
    return code == ERR_NOT_FOUND ? OK : code;
}

/* Something that is not encrypted yet: looking at it takes long. */
static bool will_walk(const struct protect *protect)
{
    size_t count;
    struct statx status;
    const char *const *paths = protect_paths(protect, &count);
    for (size_t i = 0; i < count; i++)
        if (statx(AT_FDCWD, paths[i], AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) == 0 &&
            !(status.stx_attributes & STATX_ATTR_ENCRYPTED))
            return true;
    return false;
}

enum error_code protect_check_keys(const struct protect *protect, struct error *reterr)
{
    _cleanup_(vault_freep) struct vault *vault = NULL;
    if (!will_walk(protect)) /* where it is done already no key is read */
        return OK;
    const bool is_new = vault_find(protect->run->at, protect->name, &vault, NULL) == ERR_NOT_FOUND;
    return keys_check_files(protect->run, &keys_plain, is_new ? KEYS_NEW : KEYS_TO_OPEN, reterr);
}

enum error_code protect_look(struct protect *protect, struct error *reterr)
{
    enum error_code code = take_existing_lock(protect, reterr);
    if (!code)
        code = plan(protect, reterr);
    return code ? code : plan_check_below_at(protect->run, protect->plan, reterr);
}

enum error_code protect_take_lock(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    enum error_code code = OK;
    bool changes_plan = protect->held.lock_fd < 0 || protect->lacks_feature;
    if (protect->lacks_feature) {
        /* Nothing takes it off again: not for a protect that fails right behind it. */
        code = authorities_check_answer(protect->keys.client, protect->keys.authorities,
                                        protect->keys.authority_count, reterr);
        if (!code)
            code = filesystem_enable_encrypt(protect->plan->filesystem, reterr);
        if (code)
            return code;
        run->changed = true;
        report_truth(&run->report, "the ext4 filesystem on %s has the encrypt feature",
                     text_shown(protect->plan->filesystem->source));
        protect->lacks_feature = false;
    }
    if (protect->held.lock_fd < 0)
        code = vault_take_lock(protect->plan->filesystem, VAULT_LOCK_MAKE, &protect->held.lock_fd,
                               &protect->held.husk_fd, reterr);
    if (code || !changes_plan)
        return code;
    code = make_plan(protect, reterr);
    if (code)
        return code;
    code = finding_refusal(&protect->plan->findings, reterr);
    if (code)
        finding_move_all(&run->findings, &protect->plan->findings);
    return code;
}
