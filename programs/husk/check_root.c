#include "check_root.h"

#include <fcntl.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "boot/boot.h"
#include "convert/root.h"
#include "fscrypt/fscrypt.h"
#include "plan_vault.h"

static enum error_code finish(struct run *run, struct finding_list *findings, const char *all_well,
                              struct error *reterr)
{
    enum error_code code = finding_refusal(findings, reterr);
    finding_move_all(&run->findings, findings);
    run_show_findings(run);
    if (!code)
        run_text(run, "%s\n", all_well);
    return code;
}

/* As a whole, which is what protect --root does, and not only some directory of it. */
static bool is_encrypted(const char *at)
{
    char path[4200];
    enum fscrypt_policy_state state = FSCRYPT_PLAIN;
    struct fscrypt_identifier identifier;
    _cleanup_(close_fdp) int fd = -1;
    snprintf(path, sizeof(path), "%s/etc", strcmp(at, "/") ? at : "");
    return directory_open(AT_FDCWD, path, &fd, NULL) == OK &&
           fscrypt_get_policy(fd, &state, &identifier, NULL) == OK && state == FSCRYPT_HUSK_POLICY;
}

/* What the plan would find on the other machine as well. The feature is set there. */
static enum error_code check_filesystem(const struct run *run, struct finding_list *findings,
                                        struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    _cleanup_(filesystem_freep) struct filesystem *filesystem = NULL;
    _cleanup_(finding_list_done) struct finding_list found = {0};
    enum error_code code = directory_open(AT_FDCWD, run->at, &fd, reterr);
    if (!code)
        code = filesystem_of(fd, &filesystem, reterr);
    if (!code)
        code = filesystem_check_vault(filesystem, &found, reterr);
    for (size_t i = 0; !code && i < found.count; i++) {
        const struct finding *finding = &found.items[i];
        const bool can_be_set = !strcmp(finding->kind, FILESYSTEM_NO_ENCRYPT_FEATURE);
        finding_add(findings, finding->blocks && !can_be_set ? FINDING_BLOCKS : FINDING_TELLS, finding->kind,
                    finding->subject,
                    can_be_set ? "say --enable-feature with husk protect --root, which sets it. GRUB older "
                                 "than 2.04 cannot read a filesystem that has it: where this one is older, "
                                 "run grub-install of a newer one first"
                               : finding->remedy,
                    "%s", finding->cause);
    }
    return code;
}

/* Everything uses the root of a running system: what the plan would find says nothing. */
enum error_code check_root(struct run *run, struct error *reterr)
{
    const char *given = argument_value(&run->arguments, OPTION_VAULT);
    char vault_name[VAULT_NAME_MAXIMUM + 1];
    _cleanup_(convert_plan_freep) struct convert_plan *plan = NULL;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    struct convert_root root = {0};
    enum error_code code = given ? vault_check_name(given, reterr) : OK;
    if (given)
        snprintf(vault_name, sizeof(vault_name), "%s", given);
    else
        plan_find_root_vault(run->at, vault_name);
    if (!code)
        code = convert_root_look(run->at, &root, reterr);
    if (!code)
        code = convert_root_check(run->at, CONVERT_SWAP_LEAVE, &findings, reterr);
    if (!code && strcmp(run->at, "/") != 0)
        code = convert_plan_new((const char *const *)root.paths, root.count, vault_name, &run->report, &plan,
                                reterr);
    convert_root_done(&root);
    if (code)
        return code;
    const bool encrypted = is_encrypted(run->at);
    if (!plan && !encrypted)
        code = convert_root_check_running(&findings, reterr);
    if (!code && !plan && !encrypted)
        code = check_filesystem(run, &findings, reterr);
    if (code)
        return code;
    if (encrypted)
        finding_add(&findings, FINDING_TELLS, "encrypted-already", text_shown(run->at),
                    "husk check --boot rehearses its next boot", "the root is encrypted already");
    if (!plan)
        return finish(
            run, &findings,
            encrypted ? "nothing found that would keep it from booting"
                      : "nothing found that would keep an encrypted root from booting; husk protect --root "
                        "--at DIR, on its disk attached to another machine, would look at the rest",
            reterr);
    finding_move_all(&plan->findings, &findings);
    code = plan_check_vault(run, plan, vault_name, reterr);
    if (!code)
        code = plan_show(run, plan, vault_name, reterr);
    if (!code)
        run_text(run, encrypted ? "nothing is in the way of protecting what is not protected yet\n"
                                : "nothing is in the way: husk protect would go ahead\n");
    return code;
}

enum error_code check_boot(struct run *run, struct error *reterr)
{
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    enum error_code code = boot_check(run->at, &findings, reterr);
    return code
               ? code
               : finish(run, &findings,
                        strcmp(run->at, "/") ? "nothing found on this disk that would keep it from "
                                               "booting; the network of its host can be looked at there alone"
                                             : "the next boot would go its way",
                        reterr);
}
