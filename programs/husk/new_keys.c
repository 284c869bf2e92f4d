#include "new_keys.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "authorities.h"
#include "base/cleanup.h"
#include "base/text.h"

static const char copies_keep[] =
    "snapshots and backups of this disk that are taken while this keyslot exists "
    "open with it, also after it is removed here";

void new_keys_done(struct new_keys *keys)
{
    for (size_t i = 0; keys->keyfile_paths && i < keys->answers.count; i++)
        free(keys->keyfile_paths[i]);
    free(keys->keyfile_paths);
    free(keys->recovery_out);
    secret_free(keys->recovery_text);
    unlock_answers_done(&keys->answers);
    client_close(keys->client);
    *keys = (struct new_keys){0};
}

static enum error_code refuse_inside(const char *what, const char *path, struct error *reterr)
{
    error_set(reterr, ERR_DENIED, 0,
              "the %s %s lies inside the vault: it would be locked up with what it opens", what,
              text_shown(path));
    error_subject(reterr, "%s", text_shown(path));
    return error_remedy(reterr, "keep it in another place, best on another disk");
}

static enum error_code check_keyfile(struct run *run, const struct placement_rules *rules, const char *path,
                                     char **ret_real, struct error *reterr)
{
    _cleanup_(freep) char *real = NULL;
    enum placement placement;
    enum error_code code = placement_find(rules, path, &placement, &real, reterr);
    if (code)
        return code;
    struct stat status;
    if (stat(real, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat %s", text_shown(real));
    if (!S_ISREG(status.st_mode)) {
        error_set(reterr, ERR_DENIED, 0, "the keyfile %s is no regular file", text_shown(real));
        return error_remedy(reterr, "a keyfile has to be there again whenever the vault is to be opened");
    }
    if (placement == PLACEMENT_INSIDE)
        return refuse_inside("keyfile", real, reterr);
    if (placement == PLACEMENT_SAME_FILESYSTEM)
        finding_add(
            &run->findings, FINDING_TELLS, "keyfile-on-vault-filesystem", text_shown(real),
            "keep the keyfile on another disk",
            "the keyfile lies on the vault's own filesystem: every snapshot of this disk can open the "
            "vault");
    if (status.st_mode & 077)
        finding_add(&run->findings, FINDING_TELLS, "keyfile-readable", text_shown(real),
                    "chmod 600 that file", "others than root may read the keyfile (mode %04o)",
                    status.st_mode & 07777);
    *ret_real = TAKE(real);
    return OK;
}

enum error_code new_keys_check_outside(const struct placement_rules *rules, const char *path,
                                       struct error *reterr)
{
    _cleanup_(freep) char *real = NULL;
    enum placement placement;
    if (access(path, F_OK) < 0)
        return OK;
    enum error_code code = placement_find(rules, path, &placement, &real, reterr);
    return !code && placement == PLACEMENT_INSIDE ? refuse_inside("keyfile", real, reterr) : code;
}

/* As /root of a rescue system. */
static void tell_memory(struct run *run, const char *real)
{
    struct statfs status;
    _cleanup_(freep) char *directory = strndup(real, (size_t)(strrchr(real, '/') + 1 - real));
    if (directory && statfs(directory, &status) == 0 &&
        (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC))
        finding_add(&run->findings, FINDING_TELLS, "recovery-key-in-memory", text_shown(real),
                    "take it off this machine before that is switched off",
                    "the recovery key lies in memory (tmpfs): it is gone when this machine is");
}

static enum error_code check_recovery_out(struct run *run, const struct placement_rules *rules,
                                          const char *file, char **ret_real, struct error *reterr)
{
    if (!strcmp(file, "-")) {
        if (!run->json && isatty(STDOUT_FILENO))
            return OK;
        error_set(reterr, ERR_USAGE, 0, "a recovery key is only shown on a terminal, and never in JSON");
        return error_remedy(reterr, "name a new file for it: --recovery-out F");
    }
    _cleanup_(freep) char *real = NULL;
    enum placement placement;
    enum error_code code = placement_find(rules, file, &placement, &real, reterr);
    if (code)
        return code;
    if (access(real, F_OK) == 0) {
        error_set(reterr, ERR_EXISTS, 0, "%s is there already", text_shown(real));
        return error_remedy(reterr, "name a new file for the recovery key");
    }
    if (placement == PLACEMENT_INSIDE)
        return refuse_inside("recovery key", real, reterr);
    if (placement == PLACEMENT_SAME_FILESYSTEM)
        finding_add(
            &run->findings, FINDING_TELLS, "recovery-key-on-vault-filesystem", text_shown(real),
            "take it off the server, then destroy this file",
            "while the recovery key lies on the vault's own filesystem, every snapshot of this disk can "
            "open the vault");
    tell_memory(run, real);
    *ret_real = TAKE(real);
    return OK;
}

static enum error_code draw_recovery_key(struct new_keys *keys, struct error *reterr)
{
    struct secret *key = NULL;
    enum error_code code = recovery_key_new(&key, reterr);
    if (!code)
        code = recovery_key_format(key, &keys->recovery_text, reterr);
    if (code) {
        secret_free(key);
        return code;
    }
    return unlock_answers_add(&keys->answers, KEYSLOT_RECOVERY, key, "the recovery key", reterr);
}

static bool has_unattended(const struct new_keys *keys)
{
    for (size_t i = 0; i < keys->answers.count; i++)
        if (keys->answers.items[i].kind != KEYSLOT_RECOVERY)
            return true;
    return false;
}

static enum error_code add_authority(struct new_keys *keys, const char *text, struct error *reterr)
{
    struct client_pin *pin = NULL;
    enum error_code code = client_choose(keys->client, text, &pin, reterr);
    for (size_t i = 0; !code && i < keys->authority_count; i++)
        if (keys->authorities[i] == pin)
            return OK;
    if (!code)
        keys->authorities[keys->authority_count++] = pin;
    return code;
}

/* Those named by --authority; for a new vault also the host's where nothing else is said. */
static enum error_code choose_authorities(struct run *run, const struct vault *vault, struct new_keys *keys,
                                          struct error *reterr)
{
    const bool given = argument_given(&run->arguments, OPTION_AUTHORITY);
    if (!given && (vault || has_unattended(keys)))
        return OK;
    enum error_code code = client_open(run->at, &keys->client, reterr);
    if (!code && !given && keys->client->pin_count > 0)
        code = add_authority(keys, NULL, reterr);
    for (size_t i = 0; !code && i < run->arguments.given_count; i++)
        if (run->arguments.given[i].id == OPTION_AUTHORITY)
            code = add_authority(keys, run->arguments.given[i].value, reterr);
    return code;
}

static enum error_code check_bypass(struct run *run, const struct vault *vault, const struct new_keys *keys,
                                    struct error *reterr)
{
    const bool has_authority = keys->authority_count > 0 || (vault && vault->authority_count > 0);
    if (!has_authority || !has_unattended(keys) || argument_given(&run->arguments, OPTION_ALLOW_BYPASS))
        return OK;
    error_set(
        reterr, ERR_DENIED, 0,
        "a keyfile or passphrase opens the vault without asking its authority, now and from every copy of "
        "the disk");
    return error_remedy(reterr, "leave it away, or say that it is meant with --allow-bypass");
}

/* Keyslots that were there before an authority's are not refused: removing them is the way on. */
static void tell_bypass(struct run *run, const struct vault *vault, const struct new_keys *keys)
{
    for (size_t i = 0; vault && keys->authority_count > 0 && i < vault->key_copy_count; i++) {
        const struct vault_key_copy *copy = &vault->key_copies[i];
        if (copy->removed_unix_s == 0 && (copy->kind == KEYSLOT_KEYFILE || copy->kind == KEYSLOT_PASSPHRASE))
            finding_add(&run->findings, FINDING_TELLS, "bypass", client_id_shown(copy->id.bytes),
                        "remove it when the authority keyslot opens the vault: husk keyslot remove",
                        "this %s keyslot of vault %s opens it without asking the authority",
                        keyslot_kind_word(copy->kind), vault->name);
    }
}

enum error_code new_keys_read(struct run *run, const struct placement_rules *rules, const struct vault *vault,
                              enum new_keys_recovery recovery, struct new_keys *ret_keys,
                              struct error *reterr)
{
    _cleanup_(new_keys_done) struct new_keys keys = {0};
    if (argument_given(&run->arguments, OPTION_RECOVERY_KEY_FILE)) {
        error_set(reterr, ERR_USAGE, 0, "--recovery-key-file opens a vault, it makes no keyslot");
        return error_remedy(reterr, "a recovery key is drawn by husk: --recovery-out F");
    }
    enum error_code code = keys_read(run, &keys_plain, KEYS_NEW, &keys.answers, reterr);
    const char *recovery_out =
        recovery == NEW_KEYS_DRAW_RECOVERY ? argument_value(&run->arguments, OPTION_RECOVERY_OUT) : NULL;
    if (!code && recovery_out)
        code = check_recovery_out(run, rules, recovery_out, &keys.recovery_out, reterr);
    if (!code && recovery_out)
        code = draw_recovery_key(&keys, reterr);
    if (code)
        return code;
    code = choose_authorities(run, vault, &keys, reterr);
    if (!code)
        code = check_bypass(run, vault, &keys, reterr);
    if (code)
        return code;
    tell_bypass(run, vault, &keys);
    keys.keyfile_paths = calloc(keys.answers.count + 1, sizeof(*keys.keyfile_paths));
    if (!keys.keyfile_paths)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; !code && i < keys.answers.count; i++)
        if (keys.answers.items[i].kind == KEYSLOT_KEYFILE)
            code = check_keyfile(run, rules, keys.answers.items[i].source, &keys.keyfile_paths[i], reterr);
    if (code)
        return code;
    *ret_keys = keys;
    keys = (struct new_keys){0};
    return OK;
}

void new_keys_tell_no_recovery(struct run *run, const char *vault_name)
{
    char remedy[VAULT_NAME_MAXIMUM + 128];
    snprintf(remedy, sizeof(remedy),
             "add one and keep it off the server: husk keyslot add %s --recovery-out F", vault_name);
    finding_add(&run->findings, FINDING_TELLS, "no-recovery-key", vault_name, remedy,
                "vault %s has no recovery key: if what opens it is lost, so is the data", vault_name);
}

void new_keys_drop(struct new_keys *keys, size_t index)
{
    size_t behind = keys->answers.count - index - 1;
    struct unlock_answer *item = &keys->answers.items[index];
    secret_free(item->bytes);
    free(item->source);
    free(keys->keyfile_paths[index]);
    memmove(item, item + 1, behind * sizeof(*item));
    memmove(&keys->keyfile_paths[index], &keys->keyfile_paths[index + 1], behind * sizeof(char *));
    keys->answers.count--;
}

size_t new_keys_count(const struct new_keys *keys)
{
    return keys->authority_count + keys->answers.count;
}

static enum error_code make_local(struct run *run, const struct new_keys *keys, const struct vault_id *vault,
                                  const struct secret *vault_secret, struct keyslot *slots,
                                  struct error *reterr)
{
    uint64_t memory_bytes = 0;
    enum error_code code = kdf_machine_memory(&memory_bytes, reterr);
    /* The host that will boot from this disk may be smaller than the machine it is attached to. */
    if (!code && argument_given(&run->arguments, OPTION_ROOT) && memory_bytes > 4 * KDF_ARGON2_MEMORY_LEAST)
        memory_bytes = 4 * KDF_ARGON2_MEMORY_LEAST;
    for (size_t i = 0; !code && i < keys->answers.count; i++) {
        const struct unlock_answer *answer = &keys->answers.items[i];
        code = keyslot_new(answer->kind, vault, vault_secret, answer->bytes, memory_bytes, clock_system(),
                           &slots[i], reterr);
        if (!code)
            finding_add(&run->findings, FINDING_TELLS, "local-keyslot", key_word(answer->kind),
                        answer->kind == KEYSLOT_RECOVERY ? "keep the recovery key off this server" : "", "%s",
                        copies_keep);
    }
    return code;
}

enum error_code new_keys_make_slots(struct run *run, const struct new_keys *keys,
                                    const struct filesystem *filesystem, const struct vault_id *vault,
                                    const char *vault_name, const struct secret *vault_secret,
                                    struct keyslot **ret_slots, struct error *reterr)
{
    _cleanup_(freep) struct keyslot *slots = calloc(new_keys_count(keys) + 1, sizeof(*slots));
    if (!slots)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = OK;
    for (size_t i = 0; !code && i < keys->authority_count; i++)
        code = unlock_bind(keys->client, keys->authorities[i], filesystem, vault, vault_name, vault_secret,
                           clock_system(), &slots[i], reterr);
    if (!code)
        code = make_local(run, keys, vault, vault_secret, slots + keys->authority_count, reterr);
    if (!code)
        *ret_slots = TAKE(slots);
    else
        new_keys_unbind(run, keys, filesystem, slots, 0, NULL);
    return code;
}

/* Whether a keyslot lies in the vault, whatever became of the command that put it there. */
static bool is_on_disk(const struct vault *vault, const struct keyslot *slot)
{
    struct keyslot unused;
    return vault && vault_read_keyslot(vault, &slot->id, &unused, NULL) != ERR_NOT_FOUND;
}

void new_keys_unbind(struct run *run, const struct new_keys *keys, const struct filesystem *filesystem,
                     const struct keyslot *slots, size_t from, const struct vault *vault)
{
    for (size_t i = from; i < keys->authority_count; i++) {
        if (slots[i].kind != KEYSLOT_AUTHORITY)
            continue;
        if (is_on_disk(vault, &slots[i]) ||
            authorities_release(run, keys->client, keys->authorities[i], &slots[i].id))
            (void)!vault_forget_binding(filesystem, &slots[i].id, NULL);
    }
}

void new_keys_bound(const struct filesystem *filesystem, const struct keyslot *slot)
{
    if (slot->kind == KEYSLOT_AUTHORITY)
        (void)!vault_forget_binding(filesystem, &slot->id, NULL);
}

void new_keys_record_keyfile(struct run *run, const struct vault_id *vault, const char *real_path)
{
    size_t length = strcmp(run->at, "/") != 0 ? strlen(run->at) : 0;
    struct error why = ERROR_NONE;
    enum error_code code = OK;
    if (strncmp(real_path, run->at, length) != 0 || real_path[length] != '/')
        code = error_set(&why, ERR_DENIED, 0, "the keyfile lies outside the host at %s", text_shown(run->at));
    else
        code = host_add_keyfile(run->at, vault, real_path + length, &why);
    if (code)
        finding_add(&run->findings, FINDING_TELLS, "keyfile-not-recorded", text_shown(real_path),
                    "name it with --keyfile when unlocking", "its place is not recorded: %s", why.message);
}
