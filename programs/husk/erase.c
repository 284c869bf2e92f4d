#include "erase/erase.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "boot/boot.h"
#include "certificate.h"
#include "command/place.h"
#include "held.h"
#include "host_name.h"

struct erasing {
    struct client *client; /* owned; NULL where it cannot be told which authorities this host trusts */
    struct certificate certificate;
    json_t *vaults, *reports;
};

/* --all was confirmed with the name of one host: a disk of another one that is attached below its root, and
 * says so by its /etc/hostname or its host files, goes by that one's name. */
static enum error_code check_host(const struct run *run, const struct vault *vault, struct error *reterr)
{
    char own[PATH_MAX], other[PATH_MAX];
    const struct filesystem *filesystem = vault->filesystem;
    struct stat at;
    if (!argument_given(&run->arguments, OPTION_ALL) || vault->mark == VAULT_ERASED ||
        (stat(run->at, &at) == 0 && at.st_dev == filesystem->device))
        return OK;
    host_name_to_confirm(run->at, own);
    host_name_to_confirm(filesystem->mount_point, other);
    const bool has_name = host_name_on(filesystem->root_fd, other);
    if (has_name ? !strcmp(own, other) : !host_has_files(filesystem->root_fd))
        return OK;
    _cleanup_(freep) char *place = place_words("at", filesystem->mount_point);
    error_set(reterr, ERR_DENIED, 0, "not erased: the disk at %s is of %s, not of the host %s",
              text_shown(filesystem->mount_point), has_name ? text_shown(other) : "another host",
              text_shown(own));
    error_subject(reterr, "%s", vault->name);
    return error_remedy(
        reterr,
        "unmount it and run the same command again, or erase that host: husk erase%s --all --confirm %s",
        place ? place : "", text_shown(other));
}

/* What is meant, before it is confirmed. */
static void list_meant(struct run *run)
{
    const bool all = argument_given(&run->arguments, OPTION_ALL);
    _cleanup_(vault_list_done) struct vault_list list = {0};
    if (vault_list_even_damaged(run->at, &list, &run->findings, NULL))
        return;
    for (size_t i = 0; i < list.count; i++) {
        const struct vault *vault = list.items[i];
        const bool is_meant =
            all ? check_host(run, vault, NULL) == OK : !strcmp(vault->name, run->arguments.operands[0]);
        if (!is_meant)
            continue;
        if (all)
            run_text(run, "--all means vault %s of the filesystem at %s (%s)\n", vault->name,
                     text_shown(vault->filesystem->mount_point), text_shown(vault->filesystem->source));
        if (!strcmp(run->at, "/") && !vault->damage.code && boot_needs("/", vault))
            run_text(run,
                     "vault %s holds the root that runs: it is erased for good once the machine is off, and "
                     "boots no more\n",
                     vault->name);
    }
}

/* A disk that somebody forgot to mount has nothing to erase, and is not erased. */
static enum error_code check_there(const struct run *run, struct error *reterr)
{
    char path[PATH_MAX + sizeof(HUSK_DIRECTORY)];
    _cleanup_(vault_list_done) struct vault_list list = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    snprintf(path, sizeof(path), "%s/" HUSK_DIRECTORY, run->at);
    if (!strcmp(run->at, "/") || faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
        vault_list_even_damaged(run->at, &list, &findings, NULL) || list.count > 0 || findings.count > 0)
        return OK;
    error_set(reterr, ERR_NOT_FOUND, 0, "nothing is erased: there is no vault below %s", text_shown(run->at));
    return error_remedy(reterr, "mount the filesystem it is on there first");
}

/* An erase that was confirmed before is gone on with by the same command, though the name of the host may not
 * be readable any more. */
static bool was_confirmed(const struct run *run)
{
    _cleanup_(vault_list_done) struct vault_list list = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    char name[HOST_NAME_MAX + 1];
    if (host_name_at(run->at, name))
        return host_is_called(run->at, argument_value(&run->arguments, OPTION_CONFIRM));
    if (vault_list_even_damaged(run->at, &list, &findings, NULL) || findings.count > 0)
        return false;
    for (size_t i = 0; i < list.count; i++)
        if (list.items[i]->mark == VAULT_ACTIVE)
            return false;
    return list.count > 0;
}

/* Nothing happens without the name typed a second time. */
static enum error_code check_confirmed(struct run *run, struct error *reterr)
{
    bool all = argument_given(&run->arguments, OPTION_ALL);
    if (all == (run->arguments.operand_count > 0))
        return error_set(reterr, ERR_USAGE, 0, "either the NAME of a vault or --all");
    char host_name[PATH_MAX];
    host_name_to_confirm(run->at, host_name);
    const char *wanted = all ? host_name : run->arguments.operands[0];
    const char *given = argument_value(&run->arguments, OPTION_CONFIRM);
    if (given && (!strcmp(given, wanted) || (all && was_confirmed(run))))
        return all ? check_there(run, reterr) : OK;
    list_meant(run);
    if (given)
        error_set(reterr, ERR_USAGE, 0, "nothing is erased: --confirm %s is not %s", text_shown(given),
                  text_shown(wanted));
    else
        error_set(reterr, ERR_USAGE, 0, "nothing is erased: it is not confirmed");
    return error_remedy(reterr,
                        "what cannot be undone has to be asked for in full: husk erase %s --confirm %s",
                        all ? "--all" : text_shown(wanted), text_shown(wanted));
}

static void write_report(struct erasing *erasing, const struct buffer *report, struct error *reterr,
                         enum error_code *code)
{
    struct error why = ERROR_NONE;
    enum error_code written = certificate_write(&erasing->certificate, report, &why);
    if (written && !*code) {
        error_prefix(&why, "the vault is erased, but its report could not be written");
        *reterr = why;
        *code = written;
    }
    json_t *parsed = report->length ? json_loadb(report->data, report->length, 0, NULL) : NULL;
    if (parsed)
        json_array_append_new(erasing->reports, parsed);
}

static void tell_verdicts(struct run *run, const struct vault *vault, const struct erase_result *result,
                          struct erasing *erasing)
{
    const char *keys = erase_verdict_word(result->key_destruction);
    const char *plaintext = erase_verdict_word(result->plaintext_before);
    json_array_append_new(erasing->vaults,
                          json_pack("{s:s, s:o, s:s, s:s}", "name", vault->name, "filesystem",
                                    json_text(text_shown(vault->filesystem->mount_point)), "key_destruction",
                                    keys, "plaintext_before", plaintext));
    if (!result->changed && vault->mark == VAULT_ERASED && result->plaintext_before != ERASE_INCOMPLETE)
        report_truth(&run->report, "vault %s was erased before", vault->name);
    else if (vault->mark != VAULT_ERASED)
        report_truth(
            &run->report,
            "vault %s is not erased yet: husk does not open it here, and goes on with the same command",
            vault->name);
    report_truth(&run->report, "vault %s: key destruction %s; plaintext from before conversion %s",
                 vault->name, keys, plaintext);
}

static enum error_code erase_one(struct run *run, struct held_vault *held, void *context,
                                 struct error *reterr)
{
    struct vault *vault = held->vault;
    struct erasing *erasing = context;
    if (check_host(run, vault, reterr) || held_check_writable(vault, reterr))
        return reterr->code;
    /* From here on it goes to its end: no hang-up, no Ctrl-C, no page of this program from the disk. What is
     * mapped later is locked when it is touched: read in at once, a file could not be re-read past the cache.
     */
    interrupt_ignore();
    if (mlockall(MCL_CURRENT) < 0 || mlockall(MCL_FUTURE | MCL_ONFAULT) < 0)
        finding_add(&run->findings, FINDING_TELLS, "memory-not-locked", vault->name,
                    "raise the limit on locked memory", "husk could not be locked in memory: %s",
                    strerror(errno));
    struct erase_result result = {.key_destruction = ERASE_UNKNOWN, .plaintext_before = ERASE_UNKNOWN};
    enum error_code code = erase_vault(vault, erasing->client, run->at, clock_system(), &run->report, &result,
                                       &run->findings, reterr);
    run->changed |= result.changed;
    if (!code || code == ERR_INCOMPLETE) {
        write_report(erasing, &result.report_json, reterr, &code);
        tell_verdicts(run, vault, &result, erasing);
    }
    erase_result_done(&result);
    return code;
}

/* What a crash left of a vault being made goes as well, with a vault of that name or without one. */
static enum error_code erase_all(struct run *run, struct erasing *erasing, struct error *reterr)
{
    const char *name = run->arguments.operand_count > 0 ? run->arguments.operands[0] : NULL;
    size_t unfinished = 0;
    enum error_code code = vault_destroy_all_unfinished(run->at, name, &unfinished, reterr);
    if (code)
        return code;
    if (unfinished > 0) {
        run->changed = true;
        report_truth(&run->report, "%zu vault%s that %s never finished: what was left is destroyed",
                     unfinished, unfinished == 1 ? "" : "s", unfinished == 1 ? "was" : "were");
    }
    code = held_each(run, HELD_EVEN_DAMAGED, erase_one, erasing, reterr);
    if (name && unfinished > 0 && code == ERR_NOT_FOUND) {
        *reterr = ERROR_NONE;
        return OK;
    }
    return code;
}

static void open_client(struct run *run, struct erasing *erasing)
{
    struct error why = ERROR_NONE;
    if (client_open(run->at, &erasing->client, &why))
        finding_add(&run->findings, FINDING_TELLS, "authorities-unreadable", text_shown(run->at), why.remedy,
                    "which authorities this host trusts cannot be read: %s", why.message);
}

/* With all vaults gone the host goes as well: at its authorities, and its identity here. */
static enum error_code end_host(struct run *run, struct erasing *erasing, struct error *reterr)
{
    if (!argument_given(&run->arguments, OPTION_ALL))
        return OK;
    if (!erasing->client)
        return error_set(reterr, ERR_INCOMPLETE, 0, "the authorities of this host could not be told");
    interrupt_ignore();
    return erase_host(erasing->client, &run->report, &run->changed, &run->findings, reterr);
}

static enum error_code act(struct run *run, struct error *reterr)
{
    enum error_code code = check_confirmed(run, reterr);
    if (code)
        return code;
    struct erasing erasing = {
        .certificate = CERTIFICATE_NONE, .vaults = json_array(), .reports = json_array()};
    run_result(run, "vaults", erasing.vaults);
    run_result(run, "reports", erasing.reports);
    code = certificate_open(run, &erasing.certificate, reterr);
    open_client(run, &erasing);
    if (!code)
        code = erase_all(run, &erasing, reterr);
    if (!code)
        code = end_host(run, &erasing, reterr);
    client_close(erasing.client);
    if (erasing.certificate.is_begun)
        report_truth(&run->report, "the unsigned report is in %s", text_shown(erasing.certificate.shown));
    certificate_done(&erasing.certificate);
    return code;
}

const struct verb verb_erase = {
    .name = "erase",
    .operands = "NAME|--all",
    .operands_most = 1,
    .summary = "Destroy the key of a vault for ever.",
    .text =
        "--confirm repeats the NAME of the vault, or with --all the name of the host; of a disk on another "
        "machine that is what its /etc/hostname says, or where its root is locked what its authority calls "
        "it, or else the directory --at names. From the first step on "
        "husk does not open the vault from this disk any more, and an interrupted erase is finished by the "
        "same command. Each "
        "authority a keyslot is bound to destroys its part, which reaches every copy of the disk, and says "
        "so "
        "signed. One that does not answer is waited for by no step: the rest is done, husk ends with status "
        "5, copies of the disk still open with its leave, "
        "and the same command asks again until it has answered. A root that runs keeps its key in memory "
        "until the machine is off; its next boot finishes the erase, tells the authorities, and where one of "
        "them ordered it, ends the host. The keyslots "
        "are destroyed in place, the key leaves the kernel, what a conversion that was cut short left in the "
        "clear in .husk is overwritten, and a report says what was done and which key copies "
        "were not reached: exported keyslots, keyfiles, and snapshots that hold a local keyslot, for which "
        "this "
        "disk can do nothing.\n\n--all without --confirm lists the vaults it means. A disk below the root "
        "that is of "
        "another host, by its /etc/hostname or host files of its own, is left and named. --all ends the "
        "host: its authorities destroy all they have of it, also of "
        "vaults that are not mounted now, and when each has said so the host's identity is destroyed as "
        "well. "
        "Nothing of it is enrolled any more.\n\nThe report is unsigned: it is this host's word. Its verdict "
        "on plaintext "
        "from "
        "before conversion is never COMPLETE.",
    .options = (const struct verb_option[]){{OPTION_CONFIRM, ROLE_CONFIRMING,
                                             "NAME again, or with --all the name of the host"},
                                            {OPTION_ALL, ROLE_IN_OPERANDS, "erase every vault of the host"},
                                            {OPTION_CERTIFICATE, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
