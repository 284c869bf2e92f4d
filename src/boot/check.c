/* A rehearsal of the next boot, on the running system. */
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "boot/boot.h"
#include "boot/needed.h"
#include "convert/convert.h"
#include "convert/root.h"
#include "fscrypt/fscrypt.h"
#include "network/network.h"
#include "unlock/unlock.h"

struct checking {
    const char *at;
    struct finding_list *findings;
    bool has_needed, has_authority; /* of the vaults that the boot needs */
    bool is_locked;                 /* one of them */
    bool is_elsewhere;              /* the root of another machine's host: nothing here is its network */
    const struct vault **asking;    /* owned; those of them that an authority opens, and no keyfile */
    size_t asking_count;
};

#define CHECK_REMEDY "mend what keeps it from that, then husk check --boot again"

/* Whether one opens it that the boot will find. */
static bool check_keyfiles(struct checking *checking, const struct vault *vault)
{
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    if (unlock_answers_add_host(&answers, checking->at, vault, UNLOCK_KEYFILES_OF_BOOT, checking->findings,
                                NULL) ||
        answers.count == 0)
        return false;
    return unlock_open(vault, &answers, &vault_secret, NULL, checking->findings, NULL) == OK;
}

/* What a boot compares before it opens the vault. */
static enum error_code check_recorded(struct checking *checking, const struct vault *vault,
                                      struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = NULL;
    struct vault_pins pins = {0};
    if (client_open(checking->at, &client, NULL) == OK)
        unlock_pins(client, &pins);
    return vault_check_recorded(vault, client ? &pins : NULL, checking->findings, reterr);
}

/* Of any vault, also one whose directories are not exchanged yet: somebody who rehearses a boot wants to know
 * what is not finished. */
static void tell_conversion(struct checking *checking, const struct vault *vault)
{
    struct convert_status status = {0};
    if (vault->mark != VAULT_ACTIVE || vault->damage.code || convert_get_status(vault, &status, NULL) ||
        !status.state)
        return;
    if (status.waits)
        finding_add(checking->findings, FINDING_TELLS, "plaintext-waits", vault->name,
                    "when the host has booted well: husk protect --root --commit",
                    "the old trees of vault %s still lie on this disk in the clear", vault->name);
    else
        finding_add(checking->findings, FINDING_TELLS, "conversion-unfinished", vault->name,
                    "finish it: husk status tells how", "a conversion of vault %s is not finished",
                    vault->name);
    convert_status_done(&status);
}

static enum error_code check_vault(struct checking *checking, const struct vault *vault, struct error *reterr)
{
    struct unlock_kinds kinds = {0};
    struct error why = ERROR_NONE;
    checking->has_needed = true;
    if (vault->mark != VAULT_ACTIVE) {
        finding_add(checking->findings, FINDING_BLOCKS, "vault-erased", vault->name,
                    "husk status tells whether the erase is finished; the host is to be installed anew",
                    "it is erased or being erased: nothing boots from it");
        checking->is_locked = true;
        return OK;
    }
    checking->is_locked |= vault->damage.code != OK;
    if (vault->damage.code)
        why = vault->damage;
    if (why.code || unlock_get_kinds(vault, &kinds, &why)) {
        finding_add(checking->findings, FINDING_BLOCKS, "vault-unreadable", vault->name, why.remedy, "%s",
                    why.message);
        return OK;
    }
    enum vault_state state;
    if (vault_get_state(vault, &state, NULL) == OK && state == VAULT_LOCKED) {
        char remedy[VAULT_NAME_MAXIMUM + 64];
        snprintf(remedy, sizeof(remedy), "husk unlock %s, then husk check --boot again", vault->name);
        finding_add(checking->findings, FINDING_BLOCKS, "vault-locked", vault->name, remedy,
                    "it is locked: what makes the initramfs and mounts the root cannot be looked at");
        checking->is_locked = true;
    }
    checking->has_authority |= kinds.authority;
    const bool has_keyfile = check_keyfiles(checking, vault);
    if (kinds.authority && !has_keyfile)
        checking->asking[checking->asking_count++] = vault;
    if (!has_keyfile && !kinds.authority && !kinds.passphrase && !kinds.recovery)
        finding_add(checking->findings, FINDING_BLOCKS, "no-way-in", vault->name,
                    "have a keyfile in /boot or /.husk on the filesystem of the root, or add another keyslot",
                    "only keyfiles open it, and none that a boot finds does");
    else if (!kinds.passphrase && !kinds.recovery) {
        char remedy[VAULT_NAME_MAXIMUM + 64];
        snprintf(remedy, sizeof(remedy), "add one: husk keyslot add %s --recovery-out F", vault->name);
        finding_add(checking->findings, FINDING_TELLS, "no-way-in-for-people", vault->name, remedy,
                    "it has neither a passphrase nor a recovery key: nobody at the console could open it");
    }
    return check_recorded(checking, vault, reterr);
}

struct answered {
    const struct client *client;
    bool by[CLIENT_AUTHORITIES_MAXIMUM]; /* as its pins are */
    bool opens;                          /* one of them has a keyslot of the vault that is looked at */
    bool is_erased;                      /* at one of them: nothing can be mended there */
};

static enum error_code look_at_keyslot(const struct keyslot_id *id, const struct keyslot *keyslot,
                                       const struct error *why, void *context, struct error *reterr)
{
    struct answered *answered = context;
    (void)id, (void)why, (void)reterr;
    for (size_t i = 0; keyslot && keyslot->kind == KEYSLOT_AUTHORITY && i < answered->client->pin_count; i++)
        answered->opens |= answered->by[i] && !memcmp(answered->client->pins[i].id, keyslot->authority.bytes,
                                                      sizeof(keyslot->authority.bytes));
    return OK;
}

/* What others than those that have a keyslot of a vault answer is of no use to it. */
static void check_opens(struct checking *checking, const struct vault *vault, struct answered *answered)
{
    char remedy[VAULT_NAME_MAXIMUM + 96] = CHECK_REMEDY;
    answered->opens = false;
    if (answered->is_erased)
        snprintf(remedy, sizeof(remedy), "husk keyslot list %s names what else opens it", vault->name);
    if (vault_each_keyslot(vault, look_at_keyslot, answered, NULL) || !answered->opens)
        finding_add(
            checking->findings, FINDING_BLOCKS, "authority-unreachable", vault->name, remedy,
            "no authority answers now that would open it: a boot would wait for one, or for a person");
}

struct way {
    const char *at;
    char address[CLIENT_ADDRESS_SIZE]; /* the last that was looked at */
};

static bool is_recorded(const char *address, void *context)
{
    struct way *way = context;
    snprintf(way->address, sizeof(way->address), "%s", address);
    return network_is_recorded(way->at, address);
}

/* Whatever is recorded: this host's way to the authority may be one that is not. */
static void check_way(struct checking *checking, const struct client *client, const struct client_pin *pin)
{
    struct way way = {.at = checking->at};
    if (!client_find_local(client, pin, is_recorded, &way) && way.address[0])
        finding_add(checking->findings, FINDING_BLOCKS, "network-not-recorded", client_id_shown(pin->id),
                    "have the authority be reached over a card, a VLAN or a bond",
                    "it is reached from %s, which no card, VLAN or bond has that is recorded (a bridge, a "
                    "tunnel): a boot would try DHCP, or wait for a person",
                    way.address);
}

/* It answers; whether it would open is another matter. */
static void check_answer(struct checking *checking, const struct client *client, size_t number,
                         const struct client_news *news, struct answered *answered)
{
    const struct client_pin *pin = &client->pins[number];
    const char *id = client_id_shown(pin->id);
    answered->by[number] = news->next_boot != CLIENT_NEXT_HELD;
    if (news->next_boot == CLIENT_NEXT_HELD)
        finding_add(checking->findings, FINDING_TELLS, "host-held", id,
                    "end the hold there: huskd host release NAME",
                    "this host, or its group, is on hold at it");
    else if (news->next_boot == CLIENT_NEXT_PEOPLE)
        finding_add(checking->findings, FINDING_TELLS, "approval-needed", id, "",
                    "it asks people at every boot: the next one waits until somebody approves it");
    else if (news->next_boot == CLIENT_NEXT_NO_TICKET)
        finding_add(checking->findings, FINDING_TELLS, "approval-needed", id, "",
                    "this boot was not opened by it, and gets no ticket: the next one waits until somebody "
                    "approves it");
    if (!checking->is_elsewhere)
        check_way(checking, client, pin);
}

/* A poll changes nothing there and shows that both sides know each other. */
static void check_authorities(struct checking *checking)
{
    _cleanup_(client_closep) struct client *client = NULL;
    struct error why = ERROR_NONE;
    if (client_open(checking->at, &client, &why)) {
        finding_add(checking->findings, FINDING_BLOCKS, "authority-unknown", text_shown(checking->at),
                    why.remedy, "%s", why.message);
        return;
    }
    struct answered answered = {.client = client};
    for (size_t i = 0; i < client->pin_count; i++) {
        _cleanup_(client_news_done) struct client_news news = {0};
        const char *id = client_id_shown(client->pins[i].id);
        if (client_poll(client, &client->pins[i], CLIENT_PROMPT, &news, &why))
            finding_add(checking->findings, FINDING_TELLS, "authority-unreachable", id, why.remedy, "%s",
                        why.message);
        else if (news.is_erased) {
            answered.is_erased = true;
            finding_add(checking->findings, FINDING_TELLS, "host-erased", id, "",
                        "this host is erased at the authority, which opens nothing for it any more");
        } else
            check_answer(checking, client, i, &news, &answered);
    }
    for (size_t i = 0; i < checking->asking_count; i++)
        check_opens(checking, checking->asking[i], &answered);
}

static void check_network(struct checking *checking)
{
    struct error why = ERROR_NONE;
    if (checking->is_elsewhere) {
        finding_add(
            checking->findings, FINDING_TELLS, BOOT_NETWORK_NOT_COMPARED, NETWORK_FILE,
            "rehearse it on the host itself as well (check --boot)",
            "none of the cards that are recorded is here: this is another machine, and whether the host's "
            "network is as recorded cannot be seen");
        return;
    }
    const bool is_here = !strcmp(checking->at, "/");
    const bool is_kept = is_here || network_is_kept(checking->at);
    const enum error_code code = is_kept ? network_compare(checking->at, checking->findings, &why) : OK;
    if (!is_kept)
        finding_add(checking->findings, FINDING_TELLS, "network-not-recorded", NETWORK_FILE,
                    "its agent records it on the host itself",
                    "its network is not recorded: the boot will reach the authority by DHCP or not at all");
    if (code)
        finding_add(
            checking->findings, FINDING_BLOCKS,
            code == ERR_CHANGED ? "network-changed" : "network-not-recorded", NETWORK_FILE,
            is_here
                ? "restart husk-agent.service, which records it"
                : "on the host itself: restart husk-agent.service, which records it; another system on its "
                  "machine may have another network",
            "%s", why.message);
}

static bool is_recorded_at(const struct vault_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        for (size_t k = 0; !list->items[i]->damage.code && k < list->items[i]->directory_count; k++)
            if (!strcmp(list->items[i]->directories[k].path, name))
                return true;
    return false;
}

/* What came to the top of the root since it was converted: below an encrypted directory everything is. That
 * something else took the place of a protected one is told as that. */
static enum error_code tell_plain(struct checking *checking, const struct vault_list *list,
                                  struct error *reterr)
{
    struct convert_root root = {0};
    enum error_code code = convert_root_look(checking->at, &root, reterr);
    for (size_t i = 0; !code && i < root.count; i++) {
        enum fscrypt_policy_state state = FSCRYPT_HUSK_POLICY;
        struct fscrypt_identifier identifier;
        _cleanup_(close_fdp) int fd = -1;
        if (is_recorded_at(list, strrchr(root.paths[i], '/') + 1) ||
            directory_open(AT_FDCWD, root.paths[i], &fd, NULL) ||
            fscrypt_get_policy(fd, &state, &identifier, NULL) || state != FSCRYPT_PLAIN)
            continue;
        finding_add(checking->findings, FINDING_TELLS, "left-plain", text_shown(root.paths[i]),
                    "protect it too, into the vault of the root (--vault), while nothing uses it",
                    "this directory at the top of the root is not encrypted, nor is what it holds");
    }
    convert_root_done(&root);
    return code;
}

static enum error_code check(struct checking *checking, const struct vault_list *list, struct error *reterr)
{
    enum error_code code = OK;
    checking->asking = calloc(list->count + 1, sizeof(const struct vault *));
    if (!checking->asking)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < list->count; i++)
        tell_conversion(checking, list->items[i]);
    for (size_t i = 0; !code && i < list->count; i++)
        if (needed_is(checking->at, list->items[i], list))
            code = check_vault(checking, list->items[i], reterr);
    struct error uncovered = ERROR_NONE;
    if (!code && needed_check(checking->at, list, &uncovered)) {
        checking->has_needed = checking->is_locked = true;
        finding_add(checking->findings, FINDING_BLOCKS, "vault-unreadable", text_shown(checking->at),
                    uncovered.remedy, "%s", uncovered.message);
    }
    if (!code && !checking->has_needed) {
        finding_add(checking->findings, FINDING_TELLS, "nothing-to-open", text_shown(checking->at), "",
                    "no vault protects what a boot needs: it goes as without husk");
        return OK;
    }
    if (!code && !checking->is_locked)
        code = convert_root_check(checking->at, CONVERT_SWAP_LEAVE, checking->findings, reterr);
    if (!code && !checking->is_locked)
        code = tell_plain(checking, list, reterr);
    if (!code && checking->has_authority && network_has_stacked(checking->at))
        code = convert_root_check_stacked(checking->at, checking->findings, reterr);
    if (!code && checking->has_authority) {
        check_network(checking);
        check_authorities(checking);
    }
    return code;
}

enum error_code boot_check(const char *at, struct finding_list *findings, struct error *reterr)
{
    struct checking checking = {
        .at = at, .findings = findings, .is_elsewhere = strcmp(at, "/") != 0 && network_is_elsewhere(at)};
    _cleanup_(vault_list_done) struct vault_list list = {0};
    enum error_code code = vault_list_even_damaged(at, &list, findings, reterr);
    if (!code)
        code = check(&checking, &list, reterr);
    free(checking.asking);
    return code;
}
