#include "protect.h"

#include "authorities.h"
#include "base/cleanup.h"
#include "plan_vault.h"

void protect_done(struct protect *protect)
{
    new_keys_done(&protect->keys);
    convert_plan_free(protect->plan);
    convert_root_done(&protect->root);
    held_done(&protect->held);
}

const char *const *protect_paths(const struct protect *protect, size_t *ret_count)
{
    *ret_count = protect->is_root ? protect->root.count : protect->run->arguments.operand_count;
    return protect->is_root ? (const char *const *)protect->root.paths : protect->run->arguments.operands;
}

static struct convert_options options_of(struct run *run)
{
    bool skip = argument_given(&run->arguments, OPTION_SKIP_FREE_SPACE);
    return (struct convert_options){.clock = clock_system(),
                                    .report = &run->report,
                                    .findings = &run->findings,
                                    .free_space = skip ? CONVERT_SKIP_FREE_SPACE : CONVERT_SCRUB_FREE_SPACE,
                                    .scrubbing = argument_given(&run->arguments, OPTION_ROOT)
                                                     ? CONVERT_SCRUB_LATER
                                                     : CONVERT_SCRUB_AT_ONCE};
}

static bool is_done_already(const struct convert_plan *plan)
{
    for (size_t i = 0; i < plan->directory_count; i++)
        if (plan->directories[i].action != CONVERT_NOTHING)
            return false;
    return true;
}

static enum error_code convert(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    const struct convert_options options = options_of(run);
    bool changed = false;
    enum error_code code = convert_protect(protect->held.vault, protect->plan, &options, &changed, reterr);
    run->changed |= changed;
    return code;
}

/* Where nothing is left to do, no key is read: who gave one has to know that it may open nothing. */
static void tell_keys_untried(struct run *run, const char *name)
{
    static const unsigned keys[] = {OPTION_KEYFILE, OPTION_PASSPHRASE_FILE, OPTION_RECOVERY_OUT,
                                    OPTION_AUTHORITY};
    bool given = false;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        given |= argument_given(&run->arguments, keys[i]);
    if (!given)
        return;
    char remedy[2 * VAULT_NAME_MAXIMUM + 96];
    snprintf(remedy, sizeof(remedy),
             "husk keyslot list %s lists its keyslots, husk keyslot add %s --recovery-out F makes one", name,
             name);
    finding_add(
        &run->findings, FINDING_TELLS, "keys-not-tried", name, remedy,
        "there was nothing to do: the keys given were not tried, and no keyslot or recovery key was made");
}

static enum error_code go(struct protect *protect, struct error *reterr)
{
    enum error_code code = protect->is_root ? protect_root_look(protect, reterr) : OK;
    if (!code)
        code = protect_check_keys(protect, reterr);
    if (!code)
        code = protect_look(protect, reterr);
    if (!code)
        code = protect_find_vault(protect, reterr);
    if (code)
        return code;
    if (protect->held.vault && is_done_already(protect->plan)) {
        for (size_t i = 0; i < protect->plan->directory_count; i++)
            report_truth(&protect->run->report, "%s is protected already",
                         protect->plan->directories[i].shown_path);
        tell_keys_untried(protect->run, protect->name);
        return protect_root_swap(protect, reterr);
    }
    bool is_new = !protect->held.vault;
    code = is_new ? protect_read_keys(protect, reterr) : OK;
    run_show_findings(protect->run); /* of the keys: before a conversion, which may take hours */
    if (!code)
        code = protect_take_lock(protect, reterr);
    if (!code)
        authorities_settle(protect->run, protect->plan->filesystem);
    if (!code)
        code = is_new ? protect_make_vault(protect, reterr) : protect_open_vault(protect, reterr);
    if (!code)
        code = protect_root_swap(protect, reterr);
    return code ? code : convert(protect, reterr);
}

/* The authority keyslots of a vault that is given up. */
struct bound {
    struct keyslot keyslots[CLIENT_AUTHORITIES_MAXIMUM];
    size_t count;
    bool has_recovery; /* and whether it has one of a recovery key */
};

static enum error_code note_bound(const struct keyslot_id *id, const struct keyslot *keyslot,
                                  const struct error *why, void *context, struct error *reterr)
{
    struct bound *bound = context;
    (void)id;
    (void)why;
    (void)reterr;
    if (keyslot && keyslot->kind == KEYSLOT_AUTHORITY && bound->count < CLIENT_AUTHORITIES_MAXIMUM)
        bound->keyslots[bound->count++] = *keyslot;
    bound->has_recovery |= keyslot && keyslot->kind == KEYSLOT_RECOVERY;
    return OK;
}

static void release(struct run *run, const struct bound *bound)
{
    _cleanup_(client_closep) struct client *client = NULL;
    if (bound->count == 0 || client_open(run->at, &client, NULL))
        return;
    for (size_t i = 0; i < bound->count; i++) {
        struct client_pin *pin = client_find(client, bound->keyslots[i].authority.bytes);
        if (pin)
            authorities_release(run, client, pin, &bound->keyslots[i].id);
    }
}

static enum error_code discard(struct run *run, struct vault *vault, struct error *reterr)
{
    struct bound bound = {.count = 0};
    enum error_code code = vault_each_keyslot(vault, note_bound, &bound, reterr);
    if (!code)
        code = vault_discard(vault, reterr);
    if (!code)
        code = host_forget_vault(run->at, &vault->id, reterr);
    if (code)
        return code;
    release(run, &bound);
    if (bound.has_recovery)
        finding_add(&run->findings, FINDING_TELLS, "recovery-key-void", vault->name,
                    "delete the file that --recovery-out wrote: the next protect draws another key",
                    "the recovery key that was made for vault %s opens nothing any more", vault->name);
    run->changed = true;
    report_truth(&run->report, "vault %s protected nothing yet and is gone", vault->name);
    return OK;
}

/* A root's has a name without being given one. */
static const char *protect_vault_name(const struct run *run)
{
    const char *name = argument_value(&run->arguments, OPTION_VAULT);
    return name || !argument_given(&run->arguments, OPTION_ROOT) ? name : ROOT_VAULT_NAME;
}

/* --commit and --abort go on with what is there, whatever it is called. */
static const char *existing_name(const struct run *run, char name[VAULT_NAME_MAXIMUM + 1])
{
    const char *given = argument_value(&run->arguments, OPTION_VAULT);
    if (given || !argument_given(&run->arguments, OPTION_ROOT))
        return given;
    plan_find_root_vault(run->at, name);
    return name;
}

/* Back to before: a vault that protects nothing yet goes too. */
static enum error_code abort_it(struct run *run, struct error *reterr)
{
    if (run->arguments.operand_count > 0) {
        error_set(reterr, ERR_USAGE, 0, "--abort takes no PATH: it ends the whole conversion of a vault");
        return error_remedy(reterr, "husk protect --abort --vault NAME");
    }
    char name[VAULT_NAME_MAXIMUM + 1];
    _cleanup_(held_done) struct held_vault held = HELD_NONE;
    enum error_code code = held_take(run, existing_name(run, name), HELD_READABLE, &held, reterr);
    if (code)
        return code;
    const struct convert_options options = options_of(run);
    code = convert_abort(held.vault, &options, &run->changed, reterr);
    if (code)
        return code;
    if (run->changed &&
        (argument_given(&run->arguments, OPTION_ROOT) || !strcmp(held.vault->name, ROOT_VAULT_NAME)))
        convert_root_tell_swap(run->at, &run->findings);
    /* What an erase reports stays. */
    if (held.vault->directory_count == 0 && !held.vault->protected_since_unix_s &&
        held.vault->mark == VAULT_ACTIVE)
        return discard(run, held.vault, reterr);
    if (!run->changed)
        report_truth(&run->report, "no conversion of vault %s is under way", held.vault->name);
    else if (held.vault->directory_count > 0)
        report_truth(&run->report,
                     "vault %s still protects %zu directories, which were empty or protected before: husk "
                     "unprotect %s takes them out",
                     held.vault->name, held.vault->directory_count, held.vault->name);
    return OK;
}

static enum error_code check_swap(const struct arguments *arguments, struct error *reterr)
{
    const char *swap = argument_value(arguments, OPTION_SWAP);
    if (!swap)
        return OK;
    if (!argument_given(arguments, OPTION_ROOT) || argument_given(arguments, OPTION_COMMIT) ||
        argument_given(arguments, OPTION_ABORT))
        return error_set(reterr, ERR_USAGE, 0, "--swap goes with --root, without --commit and --abort");
    if (strcmp(swap, "off") != 0 && strcmp(swap, "encrypt") != 0)
        return error_set(reterr, ERR_USAGE, 0, "--swap is either off or encrypt");
    return OK;
}

static enum error_code check_arguments(const struct run *run, struct error *reterr)
{
    const struct arguments *arguments = &run->arguments;
    const bool is_root = argument_given(arguments, OPTION_ROOT);
    if (!protect_vault_name(run)) {
        error_set(reterr, ERR_USAGE, 0, "husk protect needs --vault NAME");
        return error_remedy(reterr, "see husk help protect");
    }
    if (is_root && arguments->operand_count > 0)
        return error_set(reterr, ERR_USAGE, 0, "--root takes no PATH: it means all of the root");
    if (!is_root &&
        (argument_given(arguments, OPTION_COMMIT) || argument_given(arguments, OPTION_NO_RECOVERY)))
        return error_set(reterr, ERR_USAGE, 0, "--commit and --no-recovery go with --root");
    if (argument_given(arguments, OPTION_COMMIT) && argument_given(arguments, OPTION_ABORT))
        return error_set(reterr, ERR_USAGE, 0, "either --commit or --abort");
    if (!is_root && !argument_given(arguments, OPTION_ABORT) && arguments->operand_count == 0) {
        error_set(reterr, ERR_USAGE, 0, "husk protect needs PATH...");
        return error_remedy(reterr, "see husk help protect");
    }
    if (argument_given(arguments, OPTION_CONFIRM) && !argument_given(arguments, OPTION_COMMIT))
        return error_set(reterr, ERR_USAGE, 0, "--confirm goes with --commit");
    enum error_code code = check_swap(arguments, reterr);
    return code ? code : vault_check_name(protect_vault_name(run), reterr);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    struct protect protect = {.run = run,
                              .name = protect_vault_name(run),
                              .is_root = argument_given(&run->arguments, OPTION_ROOT),
                              .held = HELD_NONE};
    enum error_code code = check_arguments(run, reterr);
    if (!code && argument_given(&run->arguments, OPTION_ABORT))
        return abort_it(run, reterr);
    if (!code && argument_given(&run->arguments, OPTION_COMMIT)) {
        char name[VAULT_NAME_MAXIMUM + 1];
        const struct convert_options options = options_of(run);
        return protect_root_commit(run, existing_name(run, name), &options, reterr);
    }
    if (!code)
        code = go(&protect, reterr);
    protect_done(&protect);
    return code;
}

const struct verb verb_protect = {
    .name = "protect",
    .operands = "PATH...|--root",
    .operands_most = VAULT_DIRECTORIES_MAXIMUM,
    .key = "[KEY]...",
    .summary = "Encrypt directories in place.",
    .text =
        "Each PATH is a directory that nothing uses, with only plain directories above it. It is copied into "
        "an "
        "encrypted twin, compared, exchanged with it, and the old one is overwritten and deleted. An empty "
        "one "
        "just gets the policy. Interrupted at any moment, the same command goes on where it was.\n\nA new "
        "vault "
        "is made with a keyslot for each KEY, and needs at least one; on an enrolled host that is an "
        "authority "
        "keyslot, unless a keyfile or passphrase is given alone. A keyfile or passphrase beside an authority "
        "bypasses it and needs --allow-bypass. An existing one has to be unlocked, or "
        "is "
        "opened by KEY; its directories become more. husk check PATH... prints the same plan and changes "
        "nothing.\n\nA keyfile has at least 32 bytes and may not lie in the vault. One on the vault's own "
        "filesystem is allowed and warned of: every snapshot of this disk can open the vault then. Where it "
        "lies "
        "is recorded, so that unlock finds it. Any keyslot made here lives on in the snapshots and backups "
        "taken "
        "while it exists.\n\n--root means everything at the top of the root filesystem below --at but mount "
        "points, "
        "/boot, /lost+found and /.husk: of a host whose disk is attached from outside, with husk and its "
        "initramfs installed on it. Its vault is called root, unless --vault says otherwise; --commit finds "
        "it. What would not "
        "boot is refused, and so is what would write memory elsewhere in the clear: swap (--swap changes "
        "/etc/fstab), hibernation, kdump. The old trees wait in /.husk/plaintext until the host has booted "
        "well and --root "
        "--commit is run on it. To go back, before as well as after that: --root --commit --confirm NAME, "
        "which "
        "scrubs them although nothing has booted, then husk unprotect NAME, which decrypts in place. An "
        "authority as the only way in needs --no-recovery.\n\nSnapshots from "
        "before the conversion hold the data in the clear, for good.",
    .options =
        (const struct verb_option[]){
            {OPTION_ROOT, ROLE_IN_OPERANDS, NULL},
            {OPTION_VAULT, ROLE_CONFIRMING, "the vault: letters, digits, '.', '_' and '-'"},
            {OPTION_AUTHORITY, ROLE_KEY, NULL},
            {OPTION_KEYFILE, ROLE_KEY, NULL},
            {OPTION_PASSPHRASE_FILE, ROLE_KEY, NULL},
            {OPTION_RECOVERY_OUT, ROLE_KEY, NULL},
            {OPTION_RECOVERY_KEY_FILE, ROLE_KEY,
             "opens an existing vault: F holds the recovery key; - is standard "
             "input, and asks on a terminal"},
            {OPTION_ALLOW_BYPASS, ROLE_OPTIONAL, NULL},
            {OPTION_ENABLE_FEATURE, ROLE_OPTIONAL, NULL},
            {OPTION_SKIP_FREE_SPACE, ROLE_OPTIONAL, NULL},
            {OPTION_NO_RECOVERY, ROLE_OPTIONAL, NULL},
            {OPTION_SWAP, ROLE_OPTIONAL, NULL},
            {OPTION_COMMIT, ROLE_OPTIONAL, NULL},
            {OPTION_CONFIRM, ROLE_OPTIONAL,
             "with --commit, the name of the vault: although the host has not booted from the new trees"},
            {OPTION_ABORT, ROLE_OPTIONAL, "go back, as long as nothing was exchanged; takes no PATH"},
            {.id = OPTION_END}},
    .act = act,
};
