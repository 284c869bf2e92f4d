/* protect --root: the root of a host, on its disk attached from outside; and --commit, on the host itself. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "network/network.h"
#include "protect.h"

/* Of the machine itself: the kernel's PROC_PID_INIT_INO. */
#define FIRST_PID_NAMESPACE 0xEFFFFFFCU

enum error_code protect_root_look(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    const char *swap = argument_value(&run->arguments, OPTION_SWAP);
    if (swap)
        protect->swap = strcmp(swap, "encrypt") ? CONVERT_SWAP_OFF : CONVERT_SWAP_ENCRYPT;
    if (!strcmp(run->at, "/")) {
        error_set(reterr, ERR_UNSUPPORTED, 0, "the root of the running system cannot be converted yet");
        return error_remedy(reterr, "attach its disk to another machine, mount it there, and name where: "
                                    "husk protect --root --at DIR");
    }
    enum error_code code = convert_root_look(run->at, &protect->root, reterr);
    if (!code && protect->root.count == 0)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is nothing to protect at %s", text_shown(run->at));
    return code;
}

/* A boot knows the keyfiles of host.json, which have to lie where nothing is encrypted: on this filesystem,
 * in what stays plain. Another filesystem that is mounted there now, as a /boot of its own, is not mounted
 * then. */
static enum error_code check_keyfile(const struct protect *protect, const char *path, struct error *reterr)
{
    static const char *const places[] = {"boot", HUSK_DIRECTORY};
    const char *at = protect->run->at;
    struct stat root, keyfile;
    const bool is_on_root =
        stat(at, &root) == 0 && stat(path, &keyfile) == 0 && root.st_dev == keyfile.st_dev;
    for (size_t i = 0; is_on_root && i < ARRAY_SIZE(places); i++) {
        char prefix[4200];
        snprintf(prefix, sizeof(prefix), "%s/%s/", strcmp(at, "/") ? at : "", places[i]);
        if (!strncmp(path, prefix, strlen(prefix)))
            return OK;
    }
    error_set(reterr, ERR_DENIED, 0, "no boot would find the keyfile %s", text_shown(path));
    return error_remedy(reterr, "keyfiles of a root lie in its /boot or /.husk, on the filesystem of the "
                                "root, where every copy of the disk has "
                                "them; a passphrase or an authority is better");
}

/* Enrolled from another machine, a host has nothing to reach its authority with but DHCP. */
static void tell_network(const struct protect *protect)
{
    struct run *run = protect->run;
    char path[4200];
    snprintf(path, sizeof(path), "%s/" HUSK_DIRECTORY "/" NETWORK_FILE, run->at);
    if (protect->keys.authority_count > 0 && access(path, F_OK) < 0)
        finding_add(&run->findings, FINDING_TELLS, "network-not-recorded", path,
                    "enroll the host on the host itself, where its agent records it, if it has no DHCP",
                    "its network is not recorded: the boot will reach the authority by DHCP or not at all");
}

enum error_code protect_root_check_keys(struct protect *protect, struct error *reterr)
{
    const struct new_keys *keys = &protect->keys;
    enum error_code code = OK;
    if (keys->recovery_text && !keys->recovery_out && !isatty(STDIN_FILENO)) {
        error_set(reterr, ERR_USAGE, 0, "nobody could type back the recovery key that is shown");
        return error_remedy(reterr, "name a new file for it, which is read back: --recovery-out F");
    }
    for (size_t i = 0; !code && i < keys->answers.count; i++)
        if (keys->keyfile_paths[i])
            code = check_keyfile(protect, keys->keyfile_paths[i], reterr);
    if (!code)
        tell_network(protect);
    if (code || keys->answers.count > 0 || argument_given(&protect->run->arguments, OPTION_NO_RECOVERY))
        return code;
    error_set(reterr, ERR_DENIED, 0, "nothing but an authority would open the root");
    return error_remedy(reterr, "add --recovery-out F, or say that it is meant with --no-recovery");
}

enum error_code protect_root_swap(struct protect *protect, struct error *reterr)
{
    struct run *run = protect->run;
    bool changed = false;
    if (protect->swap == CONVERT_SWAP_LEAVE)
        return OK;
    enum error_code code = convert_root_swap(run->at, protect->swap, &changed, reterr);
    run->changed |= changed;
    if (changed)
        report_truth(&run->report, "/etc/fstab of the host %s",
                     protect->swap == CONVERT_SWAP_OFF ? "swaps to nothing in the clear"
                                                       : "swaps to what gets a key drawn at each boot");
    return code;
}

static bool is_first_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == FIRST_PID_NAMESPACE;
}

/* Running from the new trees is what shows that they boot: not a chroot into them, nor a container, as on a
 * machine the disk is attached to. Who gives the encryption up again needs no boot, and says so in full. */
static enum error_code check_booted(const struct run *run, const struct vault *vault, struct error *reterr)
{
    struct stat root, first;
    const char *confirmed = argument_value(&run->arguments, OPTION_CONFIRM);
    if (confirmed && !strcmp(confirmed, vault->name))
        return OK;
    if (confirmed)
        return error_set(reterr, ERR_USAGE, 0, "nothing is scrubbed: --confirm %s is not %s",
                         text_shown(confirmed), vault->name);
    if (!strcmp(run->at, "/") && is_first_namespace() && stat("/", &root) == 0 &&
        root.st_dev == vault->filesystem->device && stat("/proc/1/root", &first) == 0 &&
        first.st_dev == root.st_dev && first.st_ino == root.st_ino)
        return OK;
    if (!strcmp(run->at, "/") && stat("/", &root) == 0 && root.st_dev != vault->filesystem->device) {
        error_set(reterr, ERR_DENIED, 0, "vault %s is on the disk at %s, not of the system that runs here",
                  vault->name, text_shown(vault->filesystem->mount_point));
        return error_remedy(reterr,
                            "commit on the host itself, once it has booted; or name the disk with --at");
    }
    error_set(reterr, ERR_DENIED, 0, "the old trees are what goes back while the new ones have not booted");
    return error_remedy(reterr,
                        "boot the host, and run husk protect --root --commit on it; to go back all the same: "
                        "husk protect --root --commit --confirm %s, then husk unprotect %s",
                        vault->name, vault->name);
}

enum error_code protect_root_commit(struct run *run, const char *name, const struct convert_options *options,
                                    struct error *reterr)
{
    _cleanup_(held_done) struct held_vault held = HELD_NONE;
    enum vault_state state;
    enum error_code code = held_take(run, name, HELD_READABLE, &held, reterr);
    if (!code)
        code = held_check_active(held.vault, reterr);
    if (!code)
        code = check_booted(run, held.vault, reterr);
    if (!code)
        code = vault_get_state(held.vault, &state, reterr);
    if (!code && state != VAULT_UNLOCKED) {
        code = error_set(reterr, ERR_LOCKED, 0, "vault %s is not unlocked", name);
        error_remedy(reterr, "husk unlock %s, then the same command again", name);
    }
    return code ? code : convert_commit(held.vault, options, &run->changed, reterr);
}
