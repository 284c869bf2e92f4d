/*
 * Erasing, drawn as what is on disk after each step. A crash anywhere is answered by the same call: each step
 * looks at what is there and does the rest.
 *
 *   active                    vault.json, keyslots/ID…
 *   erasing mark, durable     from here on husk opens nothing here, whatever happens next; it names the
 *                             authorities. On a full filesystem it is a second name of .husk/lock, which
 *                             takes no room, and in the end is overwritten with the report where that does
 *                             not fit beside it
 *   authorities have erased   each one's signed answer is in the mark; one that is not reached is waited
 *                             for at the end, and by the next run
 *   keyslots destroyed        keyslots/ empty; each file noted in the mark before it goes, and its steps
 *                             before the next one goes
 *   journal zeroed
 *   key evicted               the kernel has no key of it, or the erase stays incomplete and "erasing"
 *   old plaintext destroyed   what a conversion that was cut short left in .husk; while something of it is
 *                             there the erase stays incomplete and "erasing"
 *   erased mark = the report  durable; only then the erasing mark goes
 *   authorities are told      what was done here
 *
 * vault.json and the encrypted directories stay: ciphertext whose key no longer exists.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "convert/convert.h"
#include "erase/authorities.h"
#include "erase/copies.h"
#include "erase/document.h"
#include "erase/mark.h"

struct erasure {
    struct vault *vault;
    struct client *client; /* NULL: not known */
    const char *at;
    const struct clock *clock;
    const struct report *report;
    struct finding_list *findings;
    struct erase_progress progress;
    struct erase_outcome outcome;
    struct error first_failure;
    bool changed;
    int keyslots_fd;
};

/* A step of the host's own part failed: the others still run, the whole is incomplete. */
static void note_failure(struct erasure *erasure, const char *kind, const char *subject,
                         const struct error *why)
{
    erasure->outcome.facts.steps_failed++;
    if (!erasure->first_failure.code)
        erasure->first_failure = *why;
    finding_add(erasure->findings, FINDING_TELLS, kind, subject, "run the same command again", "%s",
                why->message);
}

/* An emergency does not wait for somebody to make room. */
static enum error_code write_mark(const struct erasure *erasure, struct error *reterr)
{
    struct error why = ERROR_NONE;
    enum error_code code = erase_progress_write(erasure->vault, &erasure->progress, &why);
    if (code && erasure->vault->mark == VAULT_ERASING) /* it is there since an earlier run */
        return OK;
    if (code && erase_wants_room(&why))
        return erase_mark_without_room(erasure->vault, reterr);
    if (code && reterr)
        *reterr = why;
    return code;
}

static enum error_code set_mark(struct erasure *erasure, struct error *reterr)
{
    struct vault *vault = erasure->vault;
    enum error_code code = erase_progress_read(vault, erasure->clock, &erasure->progress, reterr);
    if (!code)
        code = erase_authorities_note(vault, erasure->client, &erasure->progress, reterr);
    int injected = code ? 0 : fault("erase.mark");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write the erasing mark");
    if (!code)
        code = write_mark(erasure, reterr);
    if (code)
        return code;
    (void)fault("erase.marked");
    if (vault->mark == VAULT_ACTIVE) {
        vault->mark = VAULT_ERASING;
        erasure->changed = true;
        report_truth(erasure->report, "vault %s: its erase has begun: husk does not open it here any more",
                     vault->name);
    }
    return OK;
}

static bool read_keyslot(int keyslots_fd, const char *name, struct keyslot *ret_keyslot)
{
    struct buffer bytes = {0};
    bool whole = file_read(keyslots_fd, name, KEYSLOT_FILE_SIZE, &bytes, NULL) == OK &&
                 keyslot_parse((const uint8_t *)bytes.data, bytes.length, ret_keyslot, NULL) == OK;
    buffer_done(&bytes);
    return whole;
}

static void tell_destroyed(const struct erasure *erasure, const char *name, const struct keyslot *keyslot,
                           const struct destroy_result *result)
{
    char steps[128] = "";
    size_t used = 0;
    for (enum destroy_step step = 0; step < DESTROY_STEPS; step++)
        if (result->outcome[step] == DESTROY_DONE && used < sizeof(steps))
            used += (size_t)snprintf(steps + used, sizeof(steps) - used, "%s%s", used ? ", " : "",
                                     destroy_step_word(step));
    report_truth(erasure->report, "vault %s, %s keyslot %s: %s", erasure->vault->name,
                 keyslot ? keyslot_kind_word(keyslot->kind) : "unreadable", text_shown(name), steps);
}

/* Every file there, whatever its name: temporaries of a crash hold wrapped secrets as well. */
static enum error_code destroy_keyslot(const char *name, void *context, struct error *reterr)
{
    struct erasure *erasure = context;
    struct destroy_result result = {0};
    struct keyslot keyslot;
    struct error why = ERROR_NONE;
    bool whole = read_keyslot(erasure->keyslots_fd, name, &keyslot);
    enum error_code code = erase_progress_begin(&erasure->progress, name, whole ? &keyslot : NULL, reterr);
    if (code)
        return code;
    /* On disk before it goes: afterwards nothing else may know that it was here. Without room for that it
     * goes all the same. */
    (void)!erase_progress_write(erasure->vault, &erasure->progress, NULL);
    int injected = fault("erase.keyslot");
    code = injected ? error_set(&why, ERR_FAILED, injected, "cannot destroy a keyslot")
                    : destroy_file(erasure->keyslots_fd, name, &result, &why);
    (void)fault("erase.keyslot.destroyed");
    erasure->changed = true;
    if (code)
        note_failure(erasure, "keyslot-not-destroyed", text_shown(name), &why);
    else
        tell_destroyed(erasure, name, whole ? &keyslot : NULL, &result);
    code = erase_progress_end(&erasure->progress, &result, code ? 0 : clock_unix_s(erasure->clock), reterr);
    if (code)
        return code;
    code = erase_progress_write(erasure->vault, &erasure->progress, &why);
    if (code) /* only what a crash would forget: the report of this run has it, and the next keyslot is due */
        finding_add(erasure->findings, FINDING_TELLS, "progress-not-kept", text_shown(name),
                    "keep this output, if the erase has to be run again",
                    "what was done to this keyslot could not be noted on the disk: %s", why.message);
    return OK;
}

static enum error_code destroy_keyslots(struct erasure *erasure, struct error *reterr)
{
    struct error why = ERROR_NONE;
    enum error_code code =
        directory_open(erasure->vault->fd, VAULT_KEYSLOTS_NAME, &erasure->keyslots_fd, &why);
    if (!code) {
        code = directory_list(erasure->keyslots_fd, destroy_keyslot, erasure, reterr);
        close_fdp(&erasure->keyslots_fd);
        if (code)
            return code;
    } else if (code != ERR_NOT_FOUND) {
        note_failure(erasure, "keyslot-not-destroyed", VAULT_KEYSLOTS_NAME, &why);
    }
    why = ERROR_NONE;
    if (vault_destroy_unfinished(erasure->vault, &why))
        note_failure(erasure, "keyslot-not-destroyed", erasure->vault->name, &why);
    return OK;
}

static void zero_journal(struct erasure *erasure)
{
    struct error why = ERROR_NONE;
    int injected = fault("erase.journal");
    enum error_code code = injected ? error_set(&why, ERR_FAILED, injected, "cannot zero the journal")
                                    : destroy_journal(erasure->vault->fd, &why);
    erasure->outcome.journal = code == OK ? "done" : code == ERR_UNSUPPORTED ? "not supported" : "failed";
    if (code == ERR_UNSUPPORTED)
        finding_add(erasure->findings, FINDING_TELLS, "journal-not-zeroed", erasure->vault->name, why.remedy,
                    "%s", why.message);
    else if (code)
        note_failure(erasure, "journal-not-zeroed", erasure->vault->name, &why);
}

static bool identifier_is_known(const struct vault *vault)
{
    struct fscrypt_identifier identifiers[VAULT_IDENTIFIERS_MAXIMUM];
    size_t count;
    vault_find_identifiers(vault, identifiers, &count);
    return count > 0;
}

/* What the kernel itself says, not what removing returned. */
static enum error_code check_absent(const struct vault *vault, struct error *reterr)
{
    enum fscrypt_key_state state = FSCRYPT_KEY_PRESENT;
    enum error_code code = vault_key_state(vault, &state, reterr);
    if (code || state == FSCRYPT_KEY_ABSENT)
        return code;
    return error_set(reterr, ERR_BUSY, 0, "the kernel still has the key of the vault %s", vault->name);
}

/* A disk that cannot be written to any more does not save the key. */
static enum error_code lock_whatever(const struct erasure *erasure, bool *ret_changed, struct error *reterr)
{
    (void)!syncfs(erasure->vault->fd);
    return vault_lock_unwritten(erasure->vault, ret_changed, erasure->findings, reterr);
}

static void evict_key(struct erasure *erasure)
{
    struct error why = ERROR_NONE;
    bool changed = false;
    const struct vault *vault = erasure->vault;
    if (!identifier_is_known(vault)) {
        erasure->outcome.kernel_key = "not known";
        erasure->outcome.facts.copies_unknown = true;
        finding_add(erasure->findings, FINDING_TELLS, "kernel-key-unknown", vault->name,
                    "unmount the filesystem or reboot: that takes every key out of the kernel",
                    "neither vault.json nor private/ says which key belongs to the vault");
        return;
    }
    int injected = fault("erase.evict");
    enum error_code code = injected ? error_set(&why, ERR_FAILED, injected, "cannot remove the key")
                                    : lock_whatever(erasure, &changed, &why);
    if (!code)
        code = check_absent(vault, &why);
    erasure->changed |= changed;
    if (!code) {
        erasure->outcome.kernel_key = "absent";
        report_truth(erasure->report, "vault %s: no key of it is in the kernel for this filesystem",
                     vault->name);
        return;
    }
    erasure->outcome.facts.key_in_memory = true;
    if (code != ERR_BUSY) {
        erasure->outcome.kernel_key = "not removed";
        note_failure(erasure, "key-in-memory", vault->name, &why);
        return;
    }
    erasure->outcome.kernel_key = "files in use keep theirs";
    if (!erasure->first_failure.code)
        erasure->first_failure = why;
    finding_add(erasure->findings, FINDING_TELLS, "key-in-memory", vault->name,
                "close these files and run the same command again, or power off", "%s", why.message);
}

/* After the key: that takes a moment, and this may take hours. */
static void destroy_plaintext(struct erasure *erasure)
{
    struct error why = ERROR_NONE;
    bool changed = false;
    enum convert_left left = CONVERT_LEFT_PLAINTEXT;
    struct erase_facts *facts = &erasure->outcome.facts;
    const struct convert_options options = {.clock = erasure->clock,
                                            .report = erasure->report,
                                            .findings = erasure->findings,
                                            .free_space = CONVERT_SKIP_FREE_SPACE};
    int injected = fault("erase.plaintext");
    enum error_code code = injected
                               ? error_set(&why, ERR_FAILED, injected, "cannot destroy the old plaintext")
                               : convert_destroy_left(erasure->vault, &options, &changed, &left, &why);
    (void)fault("erase.plaintext.destroyed");
    erasure->changed |= changed;
    facts->plaintext_left = left == CONVERT_LEFT_PLAINTEXT;
    facts->plaintext_unproven = left == CONVERT_LEFT_UNPROVEN;
    if (code)
        finding_add(erasure->findings, FINDING_TELLS, "plaintext-left", erasure->vault->name,
                    why.remedy[0] ? why.remedy : "run the same command again",
                    "the plaintext that a conversion left could not be destroyed: %s", why.message);
    else if (changed && left == CONVERT_LEFT_NOTHING)
        report_truth(erasure->report, "vault %s: what a conversion left in the clear in .husk is destroyed",
                     erasure->vault->name);
}

static enum error_code write_report(struct erasure *erasure, const struct buffer *text, struct error *reterr)
{
    struct vault *vault = erasure->vault;
    struct error why = ERROR_NONE;
    int injected = fault("erase.report");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot write the erased mark");
    enum error_code code =
        file_write_durable(vault->fd, VAULT_MARK_ERASED, 0600, text->data, text->length, &why);
    if (code && erase_wants_room(&why))
        code = erase_report_without_room(vault, text, &why);
    if (code) {
        if (reterr)
            *reterr = why;
        return code;
    }
    (void)fault("erase.reported");
    code = file_remove_durable(vault->fd, VAULT_MARK_ERASING, 0, reterr);
    if (!code) {
        vault->mark = VAULT_ERASED;
        report_truth(erasure->report, "vault %s is erased", vault->name);
    }
    return code;
}

static enum error_code is_there(const char *name, void *context, struct error *reterr)
{
    (void)name;
    (void)reterr;
    *(bool *)context = true;
    return OK;
}

/* An erased vault stays so unless something came back: a keyslot out of a backup, a key. */
static bool is_done(const struct vault *vault)
{
    _cleanup_(close_fdp) int fd = -1;
    bool any = false;
    enum fscrypt_key_state state = FSCRYPT_KEY_ABSENT;
    if (vault->mark != VAULT_ERASED)
        return false;
    enum error_code code = directory_open(vault->fd, VAULT_KEYSLOTS_NAME, &fd, NULL);
    if (!code)
        code = directory_list(fd, is_there, &any, NULL);
    if ((code && code != ERR_NOT_FOUND) || any)
        return false;
    if (faccessat(vault->fd, VAULT_MARK_ERASING, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return false;
    return vault_key_state(vault, &state, NULL) == OK && state == FSCRYPT_KEY_ABSENT;
}

static enum error_code carry_out(struct erasure *erasure, struct error *reterr)
{
    bool answered = false;
    enum error_code code = set_mark(erasure, reterr);
    if (!code)
        code = erase_authorities_ask(erasure->client, erasure->vault, &erasure->progress, erasure->report,
                                     &erasure->outcome.facts, &answered, erasure->findings, reterr);
    erasure->changed |= answered;
    if (!code)
        code = destroy_keyslots(erasure, reterr);
    if (code)
        return code;
    zero_journal(erasure); /* it may have held a keyslot's bytes */
    if (erasure->outcome.facts.steps_failed == 0 && !strcmp(erasure->outcome.journal, "done"))
        report_truth(erasure->report, "vault %s: its keyslots on this disk are destroyed",
                     erasure->vault->name);
    evict_key(erasure);
    destroy_plaintext(erasure);
    return OK;
}

/* Nothing on this disk opens the vault any more, whether or not that can be written down. */
static enum error_code keep_report(struct erasure *erasure, const struct buffer *text, struct error *reterr)
{
    struct error why = ERROR_NONE;
    struct vault *vault = erasure->vault;
    enum error_code code = write_report(erasure, text, &why);
    if (code) {
        error_set(reterr, ERR_INCOMPLETE, 0,
                  "all that opens the vault %s here is destroyed, but its report could not be kept: %s",
                  vault->name, why.message);
        error_subject(reterr, "%s", vault->name);
        error_remedy(reterr, "%s", why.remedy[0] ? why.remedy : "run the same command again");
        return ERR_INCOMPLETE;
    }
    if (erasure->at && !vault->damage.code && host_forget_vault(erasure->at, &vault->id, &why))
        finding_add(erasure->findings, FINDING_TELLS, "keyfile-place-kept", vault->name, "",
                    "host.json still says where a keyfile of the vault lies: %s", why.message);
    return OK;
}

static enum error_code conclude(struct erasure *erasure, struct buffer *text, struct error *reterr)
{
    struct vault *vault = erasure->vault;
    erasure->outcome.finished_unix_s = clock_unix_s(erasure->clock);
    enum error_code code =
        erase_name_copies(vault, erasure->at, &erasure->progress, erasure->outcome.finished_unix_s,
                          &erasure->outcome.facts, erasure->findings, reterr);
    if (!code)
        code = erase_document_format(vault, &erasure->progress, &erasure->outcome, erasure->findings, text,
                                     reterr);
    if (code)
        return code;
    const struct erase_facts *facts = &erasure->outcome.facts;
    if (facts->steps_failed == 0 && !facts->key_in_memory && facts->authorities_open == 0 &&
        !facts->plaintext_left) {
        code = keep_report(erasure, text, reterr);
        if (!code)
            erase_authorities_tell(erasure->client, &erasure->progress, text, erasure->findings);
        return code;
    }
    error_set(reterr, ERR_INCOMPLETE, 0, "the vault %s is not erased completely: %s", vault->name,
              erasure->first_failure.code   ? erasure->first_failure.message
              : facts->authorities_open > 0 ? "an authority has not answered"
                                            : "plaintext of it is left");
    error_subject(reterr, "%s", vault->name);
    return error_remedy(reterr, facts->key_in_memory
                                    ? "end what the findings name and run the same command again, or power "
                                      "off; of the root of a running system the next boot finishes it"
                                : facts->plaintext_left ? "see the findings, then run the same command again"
                                                        : "run the same command again");
}

/* What an earlier erase reported, and again what it could not reach. It is told again too: the authorities
 * may not have been reached then, and know it by its content. */
static enum error_code repeat(struct erasure *erasure, struct buffer *text, struct error *reterr)
{
    struct stat status;
    const struct vault *vault = erasure->vault;
    if (fstatat(vault->fd, VAULT_MARK_ERASED, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat the erased mark");
    enum error_code code = file_read(vault->fd, VAULT_MARK_ERASED, BUFFER_DEFAULT_MAXIMUM, text, reterr);
    if (!code)
        code = erase_progress_recall(text, &erasure->progress, &erasure->outcome.facts, reterr);
    if (!code)
        destroy_plaintext(erasure);
    if (!code)
        code = erase_name_copies(vault, erasure->at, &erasure->progress, status.st_mtime,
                                 &erasure->outcome.facts, erasure->findings, reterr);
    if (!code)
        erase_authorities_tell(erasure->client, &erasure->progress, text, erasure->findings);
    return code;
}

/* Nothing opens the vault any more, but not all that was to be gone is. */
static enum error_code tell_plaintext(const struct vault *vault, const struct erase_facts *facts,
                                      struct error *reterr)
{
    error_set(reterr, ERR_INCOMPLETE, 0, "nothing on this disk opens the vault %s any more, but %s",
              vault->name,
              facts->plaintext_left
                  ? "plaintext of it is left"
                  : "some plaintext of it was deleted or moved away before it could be overwritten in place");
    error_subject(reterr, "%s", vault->name);
    if (facts->plaintext_left)
        return error_remedy(reterr, "see the findings, then run the same command again");
    return ERR_INCOMPLETE;
}

/* The mark as it is on disk now: the vault may have been read before the lock was taken. */
static enum error_code read_mark(struct vault *vault, struct error *reterr)
{
    enum vault_state state = VAULT_LOCKED;
    enum error_code code = vault_get_state(vault, &state, reterr);
    if (!code)
        vault->mark = state == VAULT_IS_ERASED    ? VAULT_ERASED
                      : state == VAULT_IS_ERASING ? VAULT_ERASING
                                                  : VAULT_ACTIVE;
    return code;
}

enum error_code erase_vault(struct vault *vault, struct client *client, const char *at,
                            const struct clock *clock, const struct report *report,
                            struct erase_result *ret_result, struct finding_list *findings,
                            struct error *reterr)
{
    struct finding_list found = {0};
    struct buffer text = {0};
    struct erasure erasure = {.vault = vault,
                              .client = client,
                              .at = at,
                              .clock = clock,
                              .report = report,
                              .findings = &found,
                              .keyslots_fd = -1,
                              .outcome = {.journal = "not tried", .kernel_key = "not tried"}};
    enum error_code code = read_mark(vault, reterr);
    if (!code && is_done(vault)) {
        code = repeat(&erasure, &text, reterr);
    } else if (!code) {
        code = carry_out(&erasure, reterr);
        if (!code)
            code = conclude(&erasure, &text, reterr);
    }
    const struct erase_facts *facts = &erasure.outcome.facts;
    if (!code && (facts->plaintext_left || facts->plaintext_unproven))
        code = tell_plaintext(vault, facts, reterr);
    finding_move_all(findings, &found);
    erase_progress_done(&erasure.progress);
    if (code && code != ERR_INCOMPLETE) {
        buffer_done(&text);
        return code;
    }
    *ret_result = (struct erase_result){.changed = erasure.changed,
                                        .key_destruction = erase_judge_keys(&erasure.outcome.facts),
                                        .plaintext_before = erase_judge_plaintext(&erasure.outcome.facts),
                                        .report_json = text};
    return code;
}

void erase_result_done(struct erase_result *result)
{
    buffer_done(&result->report_json);
}
