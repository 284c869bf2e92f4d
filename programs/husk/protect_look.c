#include <fcntl.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "protect.h"

/* The finding about the missing feature, if nothing else is in the way. */
static const struct finding *find_only_feature(const struct finding_list *findings)
{
    const struct finding *found = NULL;
    if (findings->dropped)
        return NULL;
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        if (!finding->blocks)
            continue;
        if (strcmp(finding->kind, "no-encrypt-feature") != 0)
            return NULL;
        found = finding;
    }
    return found;
}

static enum error_code may_set_feature(struct run *run, const struct finding *lacking, bool *ret_may,
                                       struct error *reterr)
{
    *ret_may = argument_given(&run->arguments, OPTION_ENABLE_FEATURE);
    if (*ret_may || !run_can_ask(run))
        return OK;
    char question[1200];
    snprintf(question, sizeof(question), "%s: %s\n  %s\nSet the feature now?", lacking->subject,
             lacking->cause, lacking->remedy);
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
        code = convert_root_check(protect->run->at, &protect->plan->findings, reterr);
    return code;
}

/* Plan, show it, and say whether it may go on. */
static enum error_code plan(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    enum error_code code = make_plan(protect, reterr);
    if (code)
        return code;
    bool may_set = false;
    const struct finding *lacking = find_only_feature(&protect->plan->findings);
    if (lacking)
        code = may_set_feature(run, lacking, &may_set, reterr);
    if (code)
        return code;
    protect->lacks_feature = may_set;
    if (may_set) {
        /* Shown and told when it is set; the rest of the plan stands. */
        struct finding_list rest = {0};
        for (size_t i = 0; i < protect->plan->findings.count; i++) {
            const struct finding *finding = &protect->plan->findings.items[i];
            if (!finding->blocks)
                finding_add(&rest, FINDING_TELLS, finding->kind, finding->subject, finding->remedy, "%s",
                            finding->cause);
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

/* A vault is only found again on a filesystem at or below --at. */
static enum error_code check_below_at(const struct protect *protect, struct error *reterr)
{
    const struct filesystem *filesystem = protect->plan->filesystem;
    _cleanup_(filesystem_list_done) struct filesystem_list list = {0};
    enum error_code code = filesystem_list_below(protect->run->at, &list, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < list.count; i++)
        if (list.items[i]->device == filesystem->device)
            return OK;
    error_set(reterr, ERR_DENIED, 0, "the filesystem on %s is not mounted at or below %s",
              text_shown(filesystem->mount_point), text_shown(protect->run->at));
    error_subject(reterr, "%s", text_shown(filesystem->mount_point));
    return error_remedy(reterr, "give the root of the host with --at DIR: the vault is looked for below it");
}

enum error_code protect_look(struct protect *protect, struct error *reterr)
{
    enum error_code code = take_existing_lock(protect, reterr);
    if (!code)
        code = plan(protect, reterr);
    return code ? code : check_below_at(protect, reterr);
}

enum error_code protect_take_lock(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    enum error_code code = OK;
    bool changes_plan = protect->held.lock_fd < 0 || protect->lacks_feature;
    if (protect->lacks_feature) {
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
