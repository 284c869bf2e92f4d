#include "plan_vault.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "boot/boot.h"

void plan_find_root_vault(const char *at, char name[VAULT_NAME_MAXIMUM + 1])
{
    _cleanup_(vault_list_done) struct vault_list list = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    const struct vault *found = NULL;
    if (vault_list_even_damaged(at, &list, &findings, NULL) == OK)
        for (size_t i = 0; i < list.count; i++)
            if (!list.items[i]->damage.code && boot_needs(at, list.items[i]) &&
                (!found || found->mark != VAULT_ACTIVE ||
                 (list.items[i]->mark == VAULT_ACTIVE && !strcmp(list.items[i]->name, ROOT_VAULT_NAME))))
                found = list.items[i];
    snprintf(name, VAULT_NAME_MAXIMUM + 1, "%s", found ? found->name : ROOT_VAULT_NAME);
}

enum error_code plan_check_below_at(const struct run *run, const struct convert_plan *plan,
                                    struct error *reterr)
{
    const struct filesystem *filesystem = plan->filesystem;
    _cleanup_(filesystem_list_done) struct filesystem_list list = {0};
    enum error_code code = filesystem_list_below(run->at, &list, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < list.count; i++)
        if (list.items[i]->device == filesystem->device)
            return OK;
    error_set(reterr, ERR_DENIED, 0, "the filesystem on %s is not mounted at or below %s",
              text_shown(filesystem->mount_point), text_shown(run->at));
    error_subject(reterr, "%s", text_shown(filesystem->mount_point));
    return error_remedy(reterr, "give the root of the host with --at DIR: the vault is looked for below it");
}

enum error_code plan_find_vault(const struct run *run, const struct convert_plan *plan, const char *name,
                                struct vault **ret_vault, struct error *reterr)
{
    const struct filesystem *filesystem = plan->filesystem;
    _cleanup_(vault_freep) struct vault *vault = NULL;
    enum error_code code = vault_find(run->at, name, &vault, reterr);
    if (code == ERR_NOT_FOUND) {
        *reterr = ERROR_NONE;
        return OK;
    }
    if (code)
        return code;
    if (vault->filesystem->device != filesystem->device) {
        error_set(reterr, ERR_DENIED, 0,
                  "vault %s is on the filesystem at %s, the directories are on that at %s", vault->name,
                  text_shown(vault->filesystem->mount_point), text_shown(filesystem->mount_point));
        error_subject(reterr, "%s", vault->name);
        return error_remedy(reterr, "a vault stays on one filesystem: use another name");
    }
    if (held_check_active(vault, reterr))
        return error_remedy(reterr, "use another name for a new vault");
    *ret_vault = TAKE(vault);
    return OK;
}

enum error_code plan_check_vault(const struct run *run, struct convert_plan *plan, const char *name,
                                 struct error *reterr)
{
    _cleanup_(vault_freep) struct vault *vault = NULL;
    if (strcmp(plan->filesystem->type, "ext4") != 0)
        return OK; /* the plan says so */
    enum error_code code = plan_check_below_at(run, plan, reterr);
    const char *kind = code ? "not-below-at" : "vault-refused";
    if (!code && name)
        code = plan_find_vault(run, plan, name, &vault, reterr);
    if (code != ERR_DENIED && code != ERR_ERASED && code != ERR_EXISTS)
        return code;
    finding_add(&plan->findings, FINDING_BLOCKS, kind, reterr->subject, reterr->remedy, "%s",
                reterr->message);
    *reterr = ERROR_NONE;
    return OK;
}
