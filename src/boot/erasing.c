#include "boot/erasing.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "erase/erase.h"
#include "erase/ordered.h"

/* True for the first time. */
static bool is_new(struct erasing *erasing, const char *kind, const char *subject, const char *text)
{
    const size_t before = erasing->said.count;
    finding_add(&erasing->said, FINDING_TELLS, kind, subject, "", "%s", text);
    return erasing->said.count > before;
}

static void say_once(struct erasing *erasing, const char *line)
{
    if (is_new(erasing, "line", "", line))
        consoles_say(erasing->consoles, "%s", line);
}

static void on_truth(void *context, const char *line)
{
    say_once(context, line);
}

static bool may_try_another_way(const struct erasing *erasing)
{
    return online_may_try_recorded(&erasing->online) || online_may_try_dhcp(&erasing->online);
}

/* A network may mend it. */
static bool is_not_reached(const struct finding *finding)
{
    return !strcmp(finding->kind, "authority-not-reached") || !strcmp(finding->kind, "report-not-told");
}

/* While there is another way to an authority it is tried before anything is told; what cannot be found
 * again is. Times in findings move on, so that all but reasons are known by their subject. */
static void tell_findings(struct erasing *erasing, const struct finding_list *findings, bool goes_on)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        const char *known_by = is_not_reached(finding) ? finding->cause : "";
        if ((!goes_on || !strcmp(finding->kind, "progress-not-kept")) &&
            is_new(erasing, finding->kind, finding->subject, known_by))
            consoles_say(erasing->consoles, "%s: %s", finding->subject, finding->cause);
    }
}

/* Whether another network may help; and notes whether more can be done later. */
static bool has_not_reached(struct erasing *erasing, const struct finding_list *findings)
{
    bool has = false;
    for (size_t i = 0; i < findings->count; i++) {
        has |= is_not_reached(&findings->items[i]);
        erasing->waits |= !strcmp(findings->items[i].kind, ERASE_AUTHORITY_WAITS);
    }
    erasing->waits |= has;
    return has;
}

/* True when an authority was not reached. The erase of a vault that is erased is told once more, no more. */
static bool go_on_one(struct erasing *erasing, struct vault *vault, bool *ret_whole)
{
    const struct report report = {.truth = on_truth, .context = erasing};
    const bool was_erasing = vault->mark == VAULT_ERASING;
    struct erase_result result = {.key_destruction = ERASE_UNKNOWN, .plaintext_before = ERASE_UNKNOWN};
    struct error why = ERROR_NONE;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    _cleanup_(close_fdp) int lock_fd = -1, husk_fd = -1;
    _cleanup_(client_closep) struct client *client = NULL;
    enum error_code code = vault_take_lock(vault->filesystem, VAULT_LOCK_EXISTING, &lock_fd, &husk_fd, &why);
    if (!code && online_open_client(erasing->options->at, &client, NULL))
        client = NULL; /* its authorities then count as not reached */
    if (!code)
        code = erase_vault(vault, client, erasing->options->at, clock_system(), &report, &result, &findings,
                           &why);
    const bool unreached = has_not_reached(erasing, &findings),
               goes_on = unreached && may_try_another_way(erasing);
    tell_findings(erasing, &findings, goes_on);
    if (was_erasing && vault->mark == VAULT_ERASED)
        consoles_say(erasing->consoles, "vault %s: the erase is finished; key destruction %s", vault->name,
                     erase_verdict_word(result.key_destruction));
    if (code && !goes_on)
        say_once(erasing, why.message);
    erase_result_done(&result);
    *ret_whole = !code && vault->mark == VAULT_ERASED;
    return unreached;
}

/* Where an authority ordered all of this host erased, and that is done now, it is the end of the host. True
 * when an authority was not reached. */
static bool end_host(struct erasing *erasing, struct client *client)
{
    const struct report report = {.truth = on_truth, .context = erasing};
    struct error why = ERROR_NONE;
    bool changed = false;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    enum error_code code = erase_host(client, &report, &changed, &findings, &why);
    const bool unreached = has_not_reached(erasing, &findings),
               goes_on = unreached && may_try_another_way(erasing);
    tell_findings(erasing, &findings, goes_on);
    if (code && !goes_on)
        say_once(erasing, why.message);
    return unreached;
}

static enum erase_ordered look_ordered(const struct erasing *erasing, struct client *client)
{
    return client && client_has_identity(client) ? erase_look_ordered(client, erasing->vaults, erasing->count)
                                                 : ERASE_NOT_ORDERED;
}

/* An order is answered whichever boot finishes it; else the report is told by the boot that does. */
static bool is_to_do(const struct vault *vault, enum erase_ordered ordered, bool again)
{
    return vault->mark == VAULT_ERASING ||
           (vault->mark == VAULT_ERASED && (ordered == ERASE_ORDERED_THESE || again));
}

static void tell_state(struct erasing *erasing, const struct vault *vault)
{
    char line[512];
    if (vault->mark == VAULT_ACTIVE)
        return;
    if (vault->mark == VAULT_ERASED)
        snprintf(
            line, sizeof(line),
            "vault %s of this host is erased: its key is destroyed, and nothing on this disk opens it any "
            "more",
            vault->name);
    else
        snprintf(line, sizeof(line),
                 "vault %s of this host stays erasing: nothing opens it here any more, but its erase is not "
                 "finished. It is tried again while this machine is on, and at its next boot",
                 vault->name);
    say_once(erasing, line);
}

/* True when an authority was not reached. */
static bool go_on_all(struct erasing *erasing)
{
    _cleanup_(client_closep) struct client *client = NULL;
    const bool again = erasing->waits;
    bool unreached = false, is_whole = true, has_active = false;
    if (online_open_client(erasing->options->at, &client, NULL))
        client = NULL;
    const enum erase_ordered ordered = look_ordered(erasing, client);
    erasing->waits = false;
    for (size_t i = 0; i < erasing->count; i++) {
        bool whole = erasing->vaults[i]->mark == VAULT_ERASED;
        if (is_to_do(erasing->vaults[i], ordered, again))
            unreached |= go_on_one(erasing, erasing->vaults[i], &whole);
        is_whole &= whole;
        has_active |= erasing->vaults[i]->mark == VAULT_ACTIVE;
        if (whole)
            tell_state(erasing, erasing->vaults[i]);
    }
    if (is_whole && ordered == ERASE_ORDERED_THESE)
        unreached |= end_host(erasing, client);
    else if ((is_whole && ordered == ERASE_ORDERED_MORE) || (has_active && ordered != ERASE_NOT_ORDERED))
        say_once(erasing,
                 "what its agent left of the erase that an authority ordered is more than the vaults "
                 "of the root, or not known: attach the disks of this host to another machine, and run "
                 "husk erase --all --at DIR there");
    return unreached;
}

static void try_another_way(struct erasing *erasing)
{
    struct error why = ERROR_NONE;
    enum error_code code;
    if (online_may_try_recorded(&erasing->online)) {
        consoles_say(erasing->consoles,
                     "an authority has to be reached for the erase: setting up the network");
        code = online_try_recorded(&erasing->online, &why);
    } else {
        consoles_say(erasing->consoles, ONLINE_TRYING_DHCP);
        code = online_try_dhcp(&erasing->online, &why);
    }
    if (code)
        say_once(erasing, why.message);
}

void erasing_begin(const struct boot_options *options, struct consoles *consoles, struct vault *const *vaults,
                   size_t count, struct erasing *ret_erasing)
{
    struct error why = ERROR_NONE;
    *ret_erasing = (struct erasing){.options = options,
                                    .consoles = consoles,
                                    .vaults = vaults,
                                    .count = count,
                                    .online.options = options};
    if (online_begin(options, &ret_erasing->online, &why))
        say_once(ret_erasing, why.message);
}

void erasing_go_on(struct erasing *erasing)
{
    (void)online_may_try_again(&erasing->online);
    bool unreached, is_erased = true;
    while ((unreached = go_on_all(erasing)) && may_try_another_way(erasing))
        try_another_way(erasing);
    for (size_t i = 0; i < erasing->count; i++) {
        tell_state(erasing, erasing->vaults[i]);
        is_erased &= erasing->vaults[i]->mark == VAULT_ERASED;
    }
    if (erasing->waits && is_erased)
        say_once(erasing,
                 unreached
                     ? "an authority could not be told of it. It is tried again while this machine is on"
                     : "an authority is told again, while this machine is on, until it believes it");
}

void erasing_end(struct erasing *erasing)
{
    online_end(&erasing->online);
    finding_list_done(&erasing->said);
}
