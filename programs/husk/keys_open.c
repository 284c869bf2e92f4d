#include <strings.h>
#include <sys/types.h>
#include <unistd.h>

#include "authorities.h"
#include "base/cleanup.h"
#include "keys.h"

enum { ASK_TIMES = 3 };

/* Where a passphrase would do as well, a recovery key that is mistyped is told as one. */
static void tell_mistyped(const struct unlock_kinds *kinds, const struct secret *text)
{
    static const char start[] = "husk-";
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct error not_one = ERROR_NONE;
    if (kinds->recovery && kinds->passphrase && text->length > strlen(start) &&
        !strncasecmp((const char *)text->bytes, start, strlen(start)) &&
        recovery_key_parse(text, &key, &not_one))
        fprintf(stderr, "%s\n", not_one.message);
}

static enum error_code ask_once(struct run *run, const struct vault *vault, const struct unlock_kinds *kinds,
                                struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                                struct error *reterr)
{
    char prompt[128];
    snprintf(prompt, sizeof(prompt), "%s of vault %s: ", unlock_typed_word(kinds), vault->name);
    run_flush(run);
    progress_end(&run->progress);
    struct secret *typed = NULL;
    enum error_code code = secret_ask(prompt, PASSPHRASE_MOST, &typed, reterr);
    if (code)
        return code;
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    tell_mistyped(kinds, typed);
    code = unlock_answers_add_typed(&answers, kinds, typed, reterr);
    if (code == ERR_USAGE) { /* no recovery key */
        fprintf(stderr, "%s\n", reterr->message);
        code = OK;
    }
    return code ? code : unlock_open(vault, &answers, ret_vault_secret, ret_kind, &findings, reterr);
}

static enum error_code ask(struct run *run, const struct vault *vault, const struct unlock_kinds *kinds,
                           struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                           struct error *reterr)
{
    for (int i = 1;; i++) {
        enum error_code code = ask_once(run, vault, kinds, ret_vault_secret, ret_kind, reterr);
        if (code != ERR_WRONG_KEY || i == ASK_TIMES)
            return code;
        fprintf(stderr, "that does not open vault %s\n", vault->name);
    }
}

/* Nothing was given that opens it and nothing can be asked: say what can be given. */
static enum error_code say_options(const struct vault *vault, const struct key_options *options,
                                   enum keys_sources sources, const struct error *tried, struct error *reterr)
{
    if (tried->code)
        *reterr = *tried;
    else
        error_set(reterr, ERR_WRONG_KEY, 0, "no key that opens vault %s was given", vault->name);
    if (reterr->code != ERR_WRONG_KEY) /* of an authority, which says what to do */
        return reterr->code;
    error_subject(reterr, "%s", vault->name);
    if (sources == KEYS_NOT_RECORDED)
        return error_remedy(reterr, "give its key: --%s F or --%s F", husk_options[options->passphrase].name,
                            husk_options[options->recovery].name);
    return error_remedy(reterr, "give its key: --%s F, --%s F or --%s F", husk_options[options->keyfile].name,
                        husk_options[options->passphrase].name, husk_options[options->recovery].name);
}

enum error_code keys_ask(struct run *run, const struct vault *vault, const struct key_options *options,
                         enum keys_sources sources, const struct error *tried,
                         struct secret **ret_vault_secret, enum keyslot_kind *ret_kind, struct error *reterr)
{
    struct unlock_kinds kinds;
    enum error_code code = unlock_get_kinds(vault, &kinds, reterr);
    if (code)
        return code;
    if (!run_can_ask(run) || !(kinds.passphrase || kinds.recovery))
        return say_options(vault, options, sources, tried, reterr);
    if (tried->code && tried->code != ERR_WRONG_KEY)
        fprintf(stderr, "%s\n", tried->message);
    if (kinds.keyfile && sources != KEYS_NOT_RECORDED)
        fprintf(stderr, "vault %s has a keyslot of a keyfile, too: --%s F\n", vault->name,
                husk_options[options->keyfile].name);
    return ask(run, vault, &kinds, ret_vault_secret, ret_kind, reterr);
}

static enum error_code try_recorded(struct run *run, const struct vault *vault,
                                    struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                                    struct error *reterr)
{
    _cleanup_(unlock_answers_done) struct unlock_answers recorded = {0};
    enum error_code code =
        unlock_answers_add_host(&recorded, run->at, vault, UNLOCK_KEYFILES_ALL, &run->findings, reterr);
    if (code)
        return code;
    if (recorded.count == 0)
        return error_set(reterr, ERR_WRONG_KEY, 0, "no key that opens vault %s was given", vault->name);
    code = unlock_open(vault, &recorded, ret_vault_secret, ret_kind, &run->findings, reterr);
    if (code == ERR_WRONG_KEY)
        error_set(reterr, ERR_WRONG_KEY, 0, "no keyfile that this host records opens vault %s", vault->name);
    return code;
}

/* Without waiting: the lock of the vault may be held. Without an authority to ask, what was tried stays. */
static enum error_code try_authorities(struct run *run, struct vault *vault, struct secret **ret_vault_secret,
                                       enum keyslot_kind *ret_kind, struct error *reterr)
{
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    struct unlock_kinds kinds = {0};
    enum error_code code = unlock_get_kinds(vault, &kinds, reterr);
    if (code || !kinds.authority)
        return code ? code : ERR_WRONG_KEY;
    code = authorities_ask(run, &vault, 1, NULL, 0, &answers, NULL, reterr);
    return code ? code : unlock_open(vault, &answers, ret_vault_secret, ret_kind, &run->findings, reterr);
}

enum error_code keys_open(struct run *run, struct vault *vault, const struct key_options *options,
                          const struct unlock_answers *answers, enum keys_sources sources,
                          struct secret **ret_vault_secret, enum keyslot_kind *ret_kind, struct error *reterr)
{
    if (answers->count > 0)
        return unlock_open(vault, answers, ret_vault_secret, ret_kind, &run->findings, reterr);

    struct error tried = ERROR_NONE;
    if (sources != KEYS_NOT_RECORDED) {
        bool ends = true;
        enum error_code code = try_recorded(run, vault, ret_vault_secret, ret_kind, &tried);
        if (code == ERR_WRONG_KEY && sources == KEYS_ANY_SOURCE) {
            code = try_authorities(run, vault, ret_vault_secret, ret_kind, &tried);
            ends = !code || code == ERR_INTERRUPTED;
        }
        if (ends && code)
            *reterr = tried;
        if (ends)
            return code;
    }
    return keys_ask(run, vault, options, sources, &tried, ret_vault_secret, ret_kind, reterr);
}
