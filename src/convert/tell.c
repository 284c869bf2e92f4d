/* What a conversion says of itself in the end, as it is then on the disk. */
#include "convert/steps.h"
#include "tree/mount.h"

/* Whether the encrypted directory stands at its place. */
static bool is_at_place(const struct convert_work *work, const struct convert_directory *directory)
{
    _cleanup_(close_fdp) int place_fd = -1;
    bool encrypted = false;
    return work_open_place(work, directory, &place_fd, NULL) == OK &&
           work_is_encrypted_side(work, directory, place_fd, &encrypted, NULL) == OK && encrypted;
}

static void tell_encrypted(const struct convert_work *work, const struct convert_directory *directory)
{
    report_truth(work->options->report,
                 is_at_place(work, directory)
                     ? "%s is encrypted under the vault %s"
                     : "%s was encrypted under the vault %s, and has been moved away or deleted since",
                 work_shown(work, directory), work->vault->name);
}

void tell_done(const struct convert_work *work)
{
    const struct report *report = work->options->report;
    for (size_t i = 0; i < work->journal.count; i++) {
        const char *shown = work_shown(work, &work->journal.directories[i]);
        if (work->journal.direction == CONVERT_UNPROTECT) {
            report_truth(report, "%s is no longer encrypted", shown);
            continue;
        }
        tell_encrypted(work, &work->journal.directories[i]);
        report_truth(
            report,
            work->journal.partly_overwritten
                ? "its old plaintext is not there any more, but not all of it could be overwritten in place"
            : work->options->free_space == CONVERT_SKIP_FREE_SPACE
                ? "its old plaintext was overwritten in place and deleted, but for targets of symlinks of "
                  "60 bytes and more, which may still lie in free space"
                : "its old plaintext was overwritten in place and deleted");
    }
    if (work->journal.direction == CONVERT_PROTECT)
        report_truth(report, "snapshots and backups made before now still hold the plaintext");
}

void tell_waiting(const struct convert_work *work)
{
    for (size_t i = 0; i < work->journal.count; i++)
        tell_encrypted(work, &work->journal.directories[i]);
    report_truth(work->options->report,
                 "the old trees wait, in the clear, in .husk/plaintext/%s: once the host has booted well, "
                 "husk protect --root --commit scrubs them",
                 work->vault->name);
}

static bool is_encrypted(const struct convert_work *work, const struct convert_plan_directory *directory)
{
    _cleanup_(close_fdp) int fd = -1;
    enum fscrypt_policy_state state = FSCRYPT_PLAIN;
    struct fscrypt_identifier identifier;
    return tree_open_directory(work->clone_fd, directory->path, &fd, NULL) == OK &&
           fscrypt_get_policy(fd, &state, &identifier, NULL) == OK && state == FSCRYPT_HUSK_POLICY &&
           !memcmp(&identifier, &work->vault->identifier, sizeof(identifier));
}

enum error_code tell_check_named(const struct convert_work *work, const struct convert_plan *plan,
                                 struct error *reterr)
{
    for (size_t i = 0; i < plan->directory_count; i++) {
        const struct convert_plan_directory *directory = &plan->directories[i];
        if (directory->not_asked_for || is_encrypted(work, directory))
            continue;
        error_set(reterr, ERR_INCOMPLETE, 0,
                  "%s is not encrypted: the directory that was there has been moved away or deleted",
                  directory->shown_path);
        return error_remedy(reterr,
                            "look at what stands there now; the same command, run again, encrypts that");
    }
    return OK;
}
