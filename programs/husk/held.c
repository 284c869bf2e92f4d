#include "held.h"

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/text.h"

void held_done(struct held_vault *held)
{
    vault_free(held->vault);
    close_fdp(&held->husk_fd);
    close_fdp(&held->lock_fd);
    held->vault = NULL;
}

static enum error_code hold(const struct filesystem *filesystem, const char *name, enum held_reading reading,
                            struct held_vault *ret_held, struct error *reterr)
{
    _cleanup_(held_done) struct held_vault held = HELD_NONE;
    enum error_code code =
        vault_take_lock(filesystem, VAULT_LOCK_EXISTING, &held.lock_fd, &held.husk_fd, reterr);
    if (!code)
        code = reading == HELD_EVEN_DAMAGED ? vault_read_even_damaged(filesystem, name, &held.vault, reterr)
                                            : vault_read(filesystem, name, &held.vault, reterr);
    if (code)
        return code;
    *ret_held = held;
    held = HELD_NONE;
    return OK;
}

enum error_code held_take(struct run *run, const char *name, enum held_reading reading,
                          struct held_vault *ret_held, struct error *reterr)
{
    _cleanup_(filesystem_freep) struct filesystem *filesystem = NULL;
    enum error_code code = vault_find_filesystem(run->at, name, &filesystem, reterr);
    return code ? code : hold(filesystem, name, reading, ret_held, reterr);
}

/* Without a name: the only vault there is. */
static enum error_code check_only_one(const struct vault_list *list, const char *at, bool has_unreadable,
                                      struct error *reterr)
{
    if (list->count == 1)
        return OK;
    if (list->count == 0 && has_unreadable)
        return error_set(reterr, ERR_NOT_FOUND, 0, "no vault below %s can be read", text_shown(at));
    if (list->count == 0) {
        error_set(reterr, ERR_NOT_FOUND, 0, "there is no vault below %s", text_shown(at));
        return error_remedy(reterr, "mount the filesystem it is on there first; husk protect makes one");
    }
    error_set(reterr, ERR_USAGE, 0, "there are %zu vaults: which one?", list->count);
    char names[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < list->count && used < sizeof(names); i++)
        used +=
            (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", list->items[i]->name);
    return error_remedy(reterr, "name one of them, or all with --all: %s", names);
}

static bool is_on_several(const struct vault_list *list)
{
    for (size_t i = 1; i < list->count; i++)
        if (list->items[i]->filesystem->device != list->items[0]->filesystem->device)
            return true;
    return false;
}

/* Of several vaults: what was found of this one says so. */
static void name_in_findings(struct finding_list *findings, size_t first, const struct vault *vault,
                             bool with_place)
{
    for (size_t i = first; i < findings->count; i++) {
        struct finding *finding = &findings->items[i];
        const bool is_named = !strcmp(finding->subject, vault->name);
        char *cause = NULL;
        if (is_named && !with_place)
            continue;
        if (asprintf(&cause, "%s (vault %s%s%s)", finding->cause, vault->name, with_place ? " at " : "",
                     with_place ? text_shown(vault->filesystem->mount_point) : "") < 0)
            continue;
        free(finding->cause);
        finding->cause = cause;
    }
}

static enum error_code act_on(struct run *run, const struct vault *found, enum held_reading reading,
                              held_act *act, void *context, struct error *reterr)
{
    _cleanup_(held_done) struct held_vault held = HELD_NONE;
    enum error_code code = hold(found->filesystem, found->name, reading, &held, reterr);
    return code ? code : act(run, &held, context, reterr);
}

/* What [NAME|--all] means, as a list. */
static enum error_code select_vaults(struct run *run, enum held_reading reading, struct vault_list *ret_list,
                                     struct error *reterr)
{
    bool all = argument_given(&run->arguments, OPTION_ALL);
    if (all && run->arguments.operand_count > 0)
        return error_set(reterr, ERR_USAGE, 0, "either NAME or --all");
    _cleanup_(vault_list_done) struct vault_list list = {0};
    const size_t known = run->findings.count;
    enum error_code code = reading == HELD_EVEN_DAMAGED
                               ? vault_list_even_damaged(run->at, &list, &run->findings, reterr)
                               : vault_list_below(run->at, &list, &run->findings, reterr);
    if (!code && !all)
        code = check_only_one(&list, run->at, run->findings.count > known, reterr);
    if (code)
        return code;
    *ret_list = list;
    list = (struct vault_list){0};
    return OK;
}

enum error_code held_each_of(struct run *run, const struct vault_list *list, size_t failed, size_t total,
                             enum held_reading reading, held_act *act, void *context, struct error *reterr)
{
    if (total == 1 && list->count == 1)
        return act_on(run, list->items[0], reading, act, context, reterr);
    const bool with_place = is_on_several(list);
    for (size_t i = 0; i < list->count; i++) {
        const struct vault *vault = list->items[i];
        const size_t first = run->findings.count;
        struct error why = ERROR_NONE;
        run->beside = with_place ? vault->filesystem->mount_point : NULL;
        enum error_code code = act_on(run, vault, reading, act, context, &why);
        run->beside = NULL;
        if (code) {
            failed++;
            *reterr = why;
            finding_add(&run->findings, FINDING_BLOCKS, "vault-failed", vault->name, why.remedy, "%s",
                        why.message);
        }
        name_in_findings(&run->findings, first, vault, with_place);
        if (code == ERR_INTERRUPTED)
            return code;
    }
    if (failed == 0)
        return OK;
    return error_set(reterr, ERR_INCOMPLETE, 0, "%zu of %zu vaults failed", failed, total);
}

/* Vaults that were found and cannot be read, among the findings from first on. A .husk that is not root's may
 * hold some that were: where all are to be locked or erased, it is not passed over as if nothing were there.
 */
static size_t count_unreadable(const struct finding_list *findings, size_t first, bool with_foreign)
{
    size_t count = 0;
    for (size_t i = first; i < findings->count; i++)
        count += !strcmp(findings->items[i].kind, "vault-unreadable") ||
                 (with_foreign && !strcmp(findings->items[i].kind, "directory-foreign"));
    return count;
}

enum error_code held_each(struct run *run, enum held_reading reading, held_act *act, void *context,
                          struct error *reterr)
{
    if (run->arguments.operand_count > 0 && !argument_given(&run->arguments, OPTION_ALL)) {
        _cleanup_(held_done) struct held_vault held = HELD_NONE;
        enum error_code code = held_take(run, run->arguments.operands[0], reading, &held, reterr);
        return code ? code : act(run, &held, context, reterr);
    }
    _cleanup_(vault_list_done) struct vault_list list = {0};
    size_t known = run->findings.count;
    enum error_code code = select_vaults(run, reading, &list, reterr);
    if (code)
        return code;
    const bool shuts_all = reading == HELD_EVEN_DAMAGED && argument_given(&run->arguments, OPTION_ALL);
    const size_t failed = count_unreadable(&run->findings, known, shuts_all);
    return held_each_of(run, &list, failed, list.count + failed, reading, act, context, reterr);
}

enum error_code held_check_writable(const struct vault *vault, struct error *reterr)
{
    if (!vault->filesystem->read_only)
        return OK;
    const char *mount_point = text_shown(vault->filesystem->mount_point);
    error_set(reterr, ERR_DENIED, 0, "nothing is changed: the filesystem at %s is mounted read-only",
              mount_point);
    error_subject(reterr, "%s", vault->name);
    return error_remedy(reterr, "mount it writable: mount -o remount,rw %s", mount_point);
}

enum error_code held_check_active(const struct vault *vault, struct error *reterr)
{
    if (vault->mark == VAULT_ACTIVE)
        return OK;
    error_set(reterr, ERR_ERASED, 0, "vault %s is %s: nothing opens it here any more", vault->name,
              vault->mark == VAULT_ERASED ? "erased" : "being erased");
    error_subject(reterr, "%s", vault->name);
    return ERR_ERASED;
}

enum error_code held_shown_path(const struct vault *vault, const char *path, struct buffer *text,
                                struct error *reterr)
{
    const char *mount_point = vault->filesystem->mount_point;
    enum error_code code = text_escape(text, mount_point, strlen(mount_point), reterr);
    if (!code && strcmp(mount_point, "/") != 0)
        code = buffer_append(text, "/", 1, reterr);
    return code ? code : text_escape(text, path, strlen(path), reterr);
}
