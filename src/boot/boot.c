/*
 * One boot:
 *
 *   look ── no vault needed ──────────────────────────────> BOOT_NOTHING
 *     │ ^
 *     │ └─ cannot, or encrypted without a vault: said, and again after a pause; "shell" ──> BOOT_SHELL
 *     │
 *     ├─ a mark "erasing": go on with the erase (erasing.h) ─┐
 *     ├─ erased, or a damaged vault.json ────────────────────┴─> stay, saying so; "shell" ──> BOOT_SHELL
 *     │
 *     └─ ask: keyfiles, then authorities (asking.h) and people (consoles.h) side by side
 *          │  an answer: every vault it opens gets its manifest checked, then its key
 *          ├─ all are open ──> undo ──> BOOT_OPENED
 *          └─ "shell" ──> lock what is open, undo ──> BOOT_SHELL
 */
#include "boot/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "boot/asking.h"
#include "boot/consoles.h"
#include "boot/erasing.h"
#include "boot/needed.h"
#include "boot/priming.h"
#include "boot/writable.h"

#define WORD_SHELL "shell"
#define WORD_ACCEPT "accept"
#define COMMAND_LINE_PATH "/proc/cmdline"

/* Between two attempts to finish an erase, or to see what there is. */
enum { PAUSE_LEAST_MS = 5000, PAUSE_MOST_MS = 60000 };
enum { COMMAND_LINE_MOST = 4096 };

struct boot {
    const struct boot_options *options;
    int64_t begun_ns;
    struct consoles consoles;
    struct vault_list vaults; /* that the boot needs */
    struct asking *asking;
    struct priming priming;
    bool is_writable_by_us;
    /* owned; their subjects are the vaults whose manifest was said not to fit, and those of them that
     * "accept" was typed for since: nobody accepts what they were not told */
    struct finding_list changed, accepted;
    bool can_type;       /* some vault has a keyslot for what people type */
    bool has_told_words; /* what else may be typed */
    bool wants_shell;
};

/* The initramfs gives nobody a shell where the kernel's command line says panic=. */
static const char *shell_does(void)
{
    _cleanup_(buffer_done) struct buffer line = {0};
    char *save = NULL;
    if (file_read(AT_FDCWD, COMMAND_LINE_PATH, COMMAND_LINE_MOST, &line, NULL) == OK && line.data)
        for (char *word = strtok_r(line.data, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
            if (!strncmp(word, "panic=", 6))
                return "restart the machine, for panic= on the kernel's command line keeps shells away";
    return "look around";
}

/* Keep of a list those the boot needs. A damaged one is named with what to do, needed or not. */
static void keep_needed(struct boot *boot)
{
    struct vault_list *list = &boot->vaults;
    size_t kept = 0;
    /* Each is looked at beside all of them, so none is freed before the end. */
    for (size_t i = 0; i < list->count; i++) {
        struct vault *vault = list->items[i];
        if (vault->damage.code)
            consoles_say_error(&boot->consoles, &vault->damage);
        if (needed_is(boot->options->at, vault, list)) {
            list->items[i] = list->items[kept];
            list->items[kept++] = vault;
        }
    }
    while (list->count > kept)
        vault_free(list->items[--list->count]);
}

static enum error_code look(struct boot *boot, struct error *reterr)
{
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    enum error_code code = vault_list_even_damaged(boot->options->at, &boot->vaults, &findings, reterr);
    if (!code && findings.count > 0)
        consoles_say_findings(&boot->consoles, &findings);
    if (!code)
        keep_needed(boot);
    if (!code)
        code = needed_check(boot->options->at, &boot->vaults, reterr);
    if (code)
        vault_list_done(&boot->vaults);
    return code;
}

static bool has_kind(const struct boot *boot, enum keyslot_kind kind)
{
    for (size_t i = 0; i < boot->vaults.count; i++) {
        struct unlock_kinds kinds = {0};
        if (unlock_get_kinds(boot->vaults.items[i], &kinds, NULL))
            continue;
        if ((kind == KEYSLOT_AUTHORITY && kinds.authority) || (kind == KEYSLOT_KEYFILE && kinds.keyfile) ||
            (kind == KEYSLOT_PASSPHRASE && (kinds.passphrase || kinds.recovery)))
            return true;
    }
    return false;
}

static bool is_word(const struct secret *line, const char *word)
{
    return line->length == strlen(word) && !memcmp(line->bytes, word, line->length);
}

/* Wait until somebody presses a key, or for so long (-1: for ever). The word sets wants_shell. */
static enum error_code wait_for_word(struct boot *boot, int pause_ms, bool *ret_typed, struct error *reterr)
{
    struct pollfd waited[CONSOLES_MAXIMUM];
    _cleanup_(secret_freep) struct secret *line = NULL;
    int ready;
    do {
        consoles_waited(&boot->consoles, waited);
        ready = poll(waited, boot->consoles.count, pause_ms);
    } while (ready < 0 && errno == EINTR && !interrupt_requested());
    if (ready < 0)
        return errno == EINTR ? interrupt_check(reterr)
                              : error_set(reterr, ERR_FAILED, errno, "cannot wait for the consoles");
    enum error_code code = consoles_take(&boot->consoles, waited, &line, reterr);
    boot->wants_shell |= !code && line && is_word(line, WORD_SHELL);
    *ret_typed = false;
    for (size_t i = 0; i < boot->consoles.count; i++)
        *ret_typed |= (waited[i].revents & POLLIN) && !boot->consoles.items[i].gone;
    return code;
}

static int longer(int pause_ms)
{
    return pause_ms * 2 < PAUSE_MOST_MS ? pause_ms * 2 : PAUSE_MOST_MS;
}

/* Where it cannot be seen what the boot needs, it must not go on as if that were nothing. */
static enum error_code look_until_seen(struct boot *boot, struct error *reterr)
{
    struct error why = ERROR_NONE;
    bool typed;
    enum error_code code = OK;
    for (int pause_ms = PAUSE_LEAST_MS; !code && !boot->wants_shell && look(boot, &why);
         pause_ms = longer(pause_ms)) {
        consoles_say_error(&boot->consoles, &why);
        consoles_say(&boot->consoles, "trying again. Type " WORD_SHELL " to %s.", shell_does());
        code = wait_for_word(boot, pause_ms, &typed, reterr);
    }
    return code;
}

/* Where authorities are asked the lineage moves on, on disk; marks and changes are written there too. True
 * when it is, and was not before. */
static bool become_writable(struct boot *boot)
{
    struct error why = ERROR_NONE;
    bool was = true;
    if (!boot->is_writable_by_us && writable_make(boot->options->at, &was, &why))
        consoles_say_error(&boot->consoles, &why);
    if (was)
        return false;
    boot->is_writable_by_us = true;
    for (size_t i = 0; i < boot->vaults.count; i++)
        boot->vaults.items[i]->filesystem->read_only = false;
    return true;
}

static void undo(struct boot *boot)
{
    struct error why = ERROR_NONE;
    asking_free(TAKE(boot->asking));
    priming_end(&boot->priming);
    vault_list_done(&boot->vaults); /* nothing of ours stays open on it */
    finding_list_done(&boot->changed);
    finding_list_done(&boot->accepted);
    if (boot->is_writable_by_us && writable_undo(boot->options->at, &why))
        consoles_say_error(&boot->consoles, &why);
    consoles_close(&boot->consoles);
}

/* Never half open: what was opened on the way is locked again, also where the disk takes nothing any more. */
static void lock_all(struct boot *boot)
{
    for (size_t i = 0; i < boot->vaults.count; i++) {
        _cleanup_(finding_list_done) struct finding_list findings = {0};
        struct error why = ERROR_NONE;
        bool changed;
        if (vault_lock_unwritten(boot->vaults.items[i], &changed, &findings, &why))
            consoles_say_error(&boot->consoles, &why);
        consoles_say_findings(&boot->consoles, &findings);
    }
}

/* Marks come first: with one nothing opens any more. */
static bool has_mark(const struct boot *boot)
{
    for (size_t i = 0; i < boot->vaults.count; i++)
        if (boot->vaults.items[i]->mark != VAULT_ACTIVE)
            return true;
    return false;
}

/* Nothing opens a damaged vault here, and its directories hold what would come next. */
static bool has_damage(const struct boot *boot)
{
    for (size_t i = 0; i < boot->vaults.count; i++)
        if (boot->vaults.items[i]->damage.code)
            return true;
    return false;
}

/* What cannot go on is said, and said again to whoever presses a key, until somebody wants a shell. An erase
 * that waits for an authority (or NULL) is tried again meanwhile. */
static enum error_code stay(struct boot *boot, const char *why, struct erasing *erasing, struct error *reterr)
{
    enum error_code code = OK;
    int pause_ms = PAUSE_LEAST_MS;
    for (bool says = true; !code && !boot->wants_shell;) {
        if (says)
            consoles_say(&boot->consoles, "%s. Switch the machine off, or type " WORD_SHELL " to %s.", why,
                         shell_does());
        const bool goes_on = erasing && erasing->waits;
        code = wait_for_word(boot, goes_on ? pause_ms : -1, &says, reterr);
        if (!code && !says && goes_on) {
            erasing_go_on(erasing);
            says = !erasing->waits;
            pause_ms = longer(pause_ms);
        }
    }
    return code;
}

/* Nothing opens; what can be done for an erase that was begun is. */
static enum error_code heed_marks(struct boot *boot, struct error *reterr)
{
    struct erasing erasing;
    become_writable(boot);
    erasing_begin(boot->options, &boot->consoles, boot->vaults.items, boot->vaults.count, &erasing);
    erasing_go_on(&erasing);
    lock_all(boot);
    enum error_code code = stay(boot, "this host does not boot", &erasing, reterr);
    erasing_end(&erasing);
    return code;
}

static bool has_named(const struct finding_list *list, const struct vault *vault)
{
    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(list->items[i].subject, vault->name))
            return true;
    return false;
}

/* The manifest is checked and the key added. ERR_CHANGED is said with what to do about it. */
static enum error_code add_key(struct boot *boot, struct vault *vault, const struct secret *vault_secret,
                               enum keyslot_kind kind, struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    _cleanup_(close_fdp) int lock_fd = -1, husk_fd = -1;
    struct vault_pins pins = {0};
    const bool is_persons = kind == KEYSLOT_PASSPHRASE || kind == KEYSLOT_RECOVERY;
    const bool accepts = is_persons && has_named(&boot->accepted, vault);
    const enum vault_acceptance accept = accepts ? VAULT_ACCEPT_CHANGES : VAULT_ACCEPT_NOTHING;
    enum error_code code =
        accepts ? vault_take_lock(vault->filesystem, VAULT_LOCK_EXISTING, &lock_fd, &husk_fd, reterr) : OK;
    if (!code && client_open(boot->options->at, &client, NULL) == OK)
        unlock_pins(client, &pins);
    if (!code)
        code = vault_unlock(vault, vault_secret, &pins, accept, &findings, reterr);
    if (code && reterr->os_errno == EROFS &&
        become_writable(boot)) /* what is the vault's own has to be mended */
        code = vault_unlock(vault, vault_secret, &pins, accept, &findings, reterr);
    consoles_say_findings(&boot->consoles, &findings);
    if (code == ERR_CHANGED) {
        finding_add(&boot->changed, FINDING_TELLS, "changed", vault->name, "", "%s", "");
        reterr->remedy[0] = '\0';
        error_remedy(reterr, "where these changes are meant, type " WORD_ACCEPT
                             ", then the passphrase or recovery key again");
    }
    return code;
}

static enum error_code open_one(struct boot *boot, struct vault *vault, const struct unlock_answers *answers,
                                struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    enum keyslot_kind kind;
    enum error_code code = unlock_open(vault, answers, &vault_secret, &kind, &findings, reterr);
    if (!code)
        code = add_key(boot, vault, vault_secret, kind, reterr);
    if (!code)
        consoles_say(&boot->consoles, "vault %s is open, by its %s", vault->name,
                     kind == KEYSLOT_RECOVERY ? "recovery key" : keyslot_kind_word(kind));
    return code;
}

/* The first vault that is not open yet, or NULL. */
static struct vault *first_locked(const struct boot *boot)
{
    enum vault_state state;
    for (size_t i = 0; i < boot->vaults.count; i++)
        if (vault_get_state(boot->vaults.items[i], &state, NULL) || state != VAULT_UNLOCKED)
            return boot->vaults.items[i];
    return NULL;
}

/* Every vault that these answers open. What is wrong is said. */
static void open_with(struct boot *boot, const struct unlock_answers *answers, bool by_person)
{
    for (size_t i = 0; i < boot->vaults.count; i++) {
        struct error why = ERROR_NONE;
        enum vault_state state;
        struct vault *vault = boot->vaults.items[i];
        if (vault_get_state(vault, &state, NULL) == OK && state == VAULT_UNLOCKED)
            continue;
        enum error_code code = open_one(boot, vault, answers, &why);
        if (code == ERR_WRONG_KEY && by_person)
            consoles_say(&boot->consoles, "that does not open vault %s", vault->name);
        else if (code)
            consoles_say_error(&boot->consoles, &why);
    }
}

static void open_with_keyfiles(struct boot *boot)
{
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    struct error why = ERROR_NONE;
    for (size_t i = 0; i < boot->vaults.count; i++)
        if (unlock_answers_add_host(&answers, boot->options->at, boot->vaults.items[i], UNLOCK_KEYFILES_ALL,
                                    &findings, &why))
            consoles_say_error(&boot->consoles, &why);
    consoles_say_findings(&boot->consoles, &findings);
    if (answers.count > 0)
        open_with(boot, &answers, false);
}

/* Once, where it did not open by itself at once. */
static void tell_words(struct boot *boot)
{
    if (!boot->has_told_words)
        consoles_say(&boot->consoles, "type " WORD_SHELL " to %s; Ctrl-C takes back what was typed",
                     shell_does());
    boot->has_told_words = true;
}

static void prompt(struct boot *boot)
{
    char text[160];
    struct unlock_kinds kinds;
    const struct vault *vault = first_locked(boot);
    if (!vault || unlock_get_kinds(vault, &kinds, NULL) || !(kinds.passphrase || kinds.recovery))
        return;
    snprintf(text, sizeof(text), "%s of vault %s: ", unlock_typed_word(&kinds), vault->name);
    consoles_prompt(&boot->consoles, text);
}

/* What a person typed. */
static enum error_code heed_line(struct boot *boot, struct secret *typed, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *line = typed;
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    struct unlock_kinds kinds;
    const struct vault *vault = first_locked(boot);
    if (is_word(line, WORD_SHELL)) {
        boot->wants_shell = true;
        return OK;
    }
    if (boot->changed.count > 0 && is_word(line, WORD_ACCEPT)) {
        become_writable(boot);
        finding_move_all(&boot->accepted, &boot->changed);
        consoles_say(&boot->consoles, "what is there now will be recorded once a person opens the vault");
        return OK;
    }
    enum error_code code = unlock_get_kinds(vault, &kinds, reterr);
    if (code)
        consoles_say_error(&boot->consoles, reterr);
    if (code || !(kinds.passphrase || kinds.recovery))
        return OK;
    consoles_say(&boot->consoles, "trying it");
    code = unlock_answers_add_typed(&answers, &kinds, TAKE(line), reterr);
    if (code == ERR_USAGE) {
        consoles_say_error(&boot->consoles, reterr);
        return OK;
    }
    if (!code && answers.count > 0)
        open_with(boot, &answers, true);
    return code;
}

static enum error_code heed_authorities(struct boot *boot, struct error *reterr)
{
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    _cleanup_(freep) char *lines = NULL;
    char *save = NULL;
    enum error_code code = asking_take(boot->asking, &lines, &answers, reterr);
    for (char *line = lines ? strtok_r(lines, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
        consoles_say(&boot->consoles, "%s", line);
    if (!code && answers.count > 0)
        open_with(boot, &answers, false);
    if (first_locked(boot)) {
        tell_words(boot);
        asking_go_on(boot->asking);
    }
    return code;
}

/* Side by side, until all is open or a shell is wanted. */
static enum error_code wait_for_answers(struct boot *boot, struct error *reterr)
{
    struct pollfd waited[CONSOLES_MAXIMUM + 1];
    const size_t consoles = boot->consoles.count;
    enum error_code code = OK;
    if (!boot->asking)
        tell_words(boot);
    for (bool is_new = true; !code && first_locked(boot) && !boot->wants_shell;) {
        struct secret *line = NULL;
        if (is_new)
            prompt(boot);
        consoles_waited(&boot->consoles, waited);
        waited[consoles] =
            (struct pollfd){.fd = boot->asking ? asking_fd(boot->asking) : -1, .events = POLLIN};
        if (interrupt_poll(waited, consoles + 1, -1) < 0) {
            if (errno != EINTR)
                return error_set(reterr, ERR_FAILED, errno, "cannot wait for answers");
            code = interrupt_check(reterr); /* nobody is asked any more */
            is_new = false;
            continue;
        }
        is_new = waited[consoles].revents != 0;
        if (is_new)
            code = heed_authorities(boot, reterr);
        if (!code && first_locked(boot))
            code = consoles_take(&boot->consoles, waited, &line, reterr);
        if (!code && line) {
            is_new = true;
            code = heed_line(boot, line, reterr);
        }
    }
    return code;
}

static enum error_code begin_asking(struct boot *boot, struct error *reterr)
{
    return asking_new(boot->options, boot->vaults.items, boot->vaults.count, &boot->asking, reterr);
}

/* The network is set up meanwhile, unless a keyfile may do without. */
static enum error_code ask(struct boot *boot, struct error *reterr)
{
    enum error_code code = OK;
    const bool has_authority = has_kind(boot, KEYSLOT_AUTHORITY);
    if (!first_locked(boot)) /* an earlier husk opened it all, and came no further */
        return OK;
    if (has_authority && !has_kind(boot, KEYSLOT_KEYFILE))
        code = begin_asking(boot, reterr);
    if (!code && has_authority)
        become_writable(boot);
    if (code)
        return code;
    boot->can_type = has_kind(boot, KEYSLOT_PASSPHRASE);
    open_with_keyfiles(boot);
    if (!first_locked(boot))
        return OK;
    if (!has_authority && !boot->can_type)
        return error_set(reterr, ERR_WRONG_KEY, 0, "none of the keyfiles of this host opens vault %s",
                         first_locked(boot)->name);
    if (has_authority && !boot->asking)
        code = begin_asking(boot, reterr);
    if (!code && boot->asking)
        asking_go_on(boot->asking);
    return code ? code : wait_for_answers(boot, reterr);
}

static enum error_code boot_all(struct boot *boot, enum boot_end *ret_end, struct error *reterr)
{
    struct error why = ERROR_NONE;
    if (has_mark(boot)) {
        *ret_end = BOOT_SHELL;
        return heed_marks(boot, reterr);
    }
    if (has_damage(boot)) {
        lock_all(boot);
        *ret_end = BOOT_SHELL;
        return stay(boot, "the root cannot be opened", NULL, reterr);
    }
    enum error_code code = ask(boot, &why);
    if (code)
        consoles_say_error(&boot->consoles, &why);
    if (!code && !boot->wants_shell) {
        const int64_t ms = (clock_monotonic_ns() - boot->begun_ns) / (CLOCK_NS_PER_S / 1000);
        consoles_say(&boot->consoles, "the root is open after %lld.%03lld s", (long long)ms / 1000,
                     (long long)ms % 1000);
        *ret_end = BOOT_OPENED;
        return OK;
    }
    asking_free(TAKE(boot->asking));
    lock_all(boot);
    *ret_end = BOOT_SHELL;
    if (code == ERR_INTERRUPTED) { /* the initramfs runs it again */
        if (reterr)
            *reterr = why;
        return code;
    }
    return boot->wants_shell ? OK : stay(boot, "the root cannot be opened", NULL, reterr);
}

enum error_code boot_run(const struct boot_options *options, enum boot_end *ret_end, struct error *reterr)
{
    struct boot boot = {.options = options, .begun_ns = clock_monotonic_ns()};
    enum boot_end end = BOOT_NOTHING;
    consoles_open(options->consoles, options->console_count, &boot.consoles);
    priming_begin(options->at, &boot.priming);
    (void)!mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT); /* there is no swap yet */
    enum error_code code = look_until_seen(&boot, reterr);
    if (!code && boot.wants_shell)
        end = BOOT_SHELL;
    else if (!code && boot.vaults.count > 0)
        code = boot_all(&boot, &end, reterr);
    undo(&boot);
    if (!code)
        *ret_end = end;
    return code;
}
