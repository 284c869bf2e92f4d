/* Trying answers against keyslots. */
#include "base/cleanup.h"
#include "base/text.h"
#include "unlock/unlock.h"

struct attempt {
    const struct unlock_answers *answers;
    struct finding_list *findings;
    bool slow;                          /* this round: passphrases, or everything else */
    struct secret *vault_secret;        /* owned until taken; NULL while nothing opened */
    enum keyslot_kind kind;             /* that opened */
    size_t keyslots;                    /* readable ones */
    size_t tried[KEYSLOT_RECOVERY + 1]; /* keyslots there was an answer for, by kind */
};

/* An answer fits a keyslot of its kind when its length can be right. Nothing but a wrong key is skipped: out
 * of memory, for one, must not look like a wrong passphrase. */
static enum error_code try_answers(struct attempt *attempt, const struct keyslot *keyslot,
                                   const struct keyslot_challenge *challenge, struct error *reterr)
{
    bool tried = false;
    for (size_t i = 0; i < attempt->answers->count && !attempt->vault_secret; i++) {
        const struct unlock_answer *answer = &attempt->answers->items[i];
        if (answer->kind != challenge->kind || answer->bytes->length < challenge->answer_least ||
            answer->bytes->length > challenge->answer_most)
            continue;
        tried = true;
        struct error why = ERROR_NONE;
        enum error_code code = keyslot_finish(keyslot, answer->bytes, &attempt->vault_secret, &why);
        if (code && code != ERR_WRONG_KEY) {
            if (reterr)
                *reterr = why;
            return code;
        }
        if (!code)
            attempt->kind = keyslot->kind;
    }
    attempt->tried[keyslot->kind] += tried;
    return OK;
}

static enum error_code try_keyslot(const struct keyslot_id *id, const struct keyslot *keyslot,
                                   const struct error *why, void *context, struct error *reterr)
{
    struct attempt *attempt = context;
    struct keyslot_challenge challenge;
    char subject[2 * sizeof(*id) + 1];
    if (attempt->vault_secret)
        return OK;
    if (!keyslot) {
        if (attempt->slow) /* told in the first round */
            return OK;
        text_format_hex(subject, id->bytes, sizeof(id->bytes));
        finding_add(attempt->findings, FINDING_TELLS,
                    why->code == ERR_NOT_FOUND ? "keyslot-missing" : "keyslot-damaged", subject,
                    "make another keyslot of its kind and remove this one", "%s", why->message);
        return OK;
    }
    enum error_code code = keyslot_begin(keyslot, &challenge, reterr);
    if (code)
        return code;
    if (challenge.slow != attempt->slow)
        return OK;
    attempt->keyslots++;
    code = try_answers(attempt, keyslot, &challenge, reterr);
    if (!code && !attempt->vault_secret && !keyslot_is_whole(keyslot)) {
        text_format_hex(subject, id->bytes, sizeof(id->bytes));
        finding_add(attempt->findings, FINDING_TELLS, "keyslot-damaged", subject,
                    "make another keyslot of its kind and remove this one",
                    "it is not as husk wrote it: no key may open it any more");
    }
    return code;
}

/* "2 passphrases and a key file" would need a grammar; sources are named one by one instead. */
static void name_sources(const struct unlock_answers *answers, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < answers->count && used < size; i++) {
        const char *source = answers->items[i].source;
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "",
                                 strcmp(source, "-") ? source : "standard input");
    }
}

static enum error_code tell_failure(const struct vault *vault, const struct attempt *attempt,
                                    struct error *reterr)
{
    char sources[256];
    name_sources(attempt->answers, sources, sizeof(sources));
    if (attempt->keyslots == 0)
        error_set(reterr, ERR_CORRUPT, 0, "the vault %s has no keyslot that can be read", vault->name);
    else if (attempt->answers->count == 0)
        error_set(reterr, ERR_WRONG_KEY, 0, "nothing was given to open the vault %s with", vault->name);
    else if (attempt->keyslots == 1)
        error_set(reterr, ERR_WRONG_KEY, 0, "the only keyslot of the vault %s does not open with %s",
                  vault->name, sources);
    else
        error_set(reterr, ERR_WRONG_KEY, 0, "none of %zu keyslots of the vault %s opens with %s",
                  attempt->keyslots, vault->name, sources);
    error_subject(reterr, "%s", vault->name);
    if (attempt->keyslots == 0)
        error_remedy(reterr,
                     "put one back that was exported before: cp FILE %s/" HUSK_DIRECTORY
                     "/vaults/%s/" VAULT_KEYSLOTS_NAME "/ID",
                     strcmp(vault->filesystem->mount_point, "/") ? text_shown(vault->filesystem->mount_point)
                                                                 : "",
                     vault->name);
    else
        error_remedy(reterr, "husk keyslot list %s shows which kinds there are", vault->name);
    return attempt->keyslots == 0 ? ERR_CORRUPT : ERR_WRONG_KEY;
}

static enum error_code check_mark(const struct vault *vault, struct error *reterr)
{
    enum vault_state state = VAULT_LOCKED;
    enum error_code code = vault_get_state(vault, &state, reterr);
    if (code || (state != VAULT_IS_ERASED && state != VAULT_IS_ERASING))
        return code;
    error_set(reterr, ERR_ERASED, 0, "the vault %s is %s: nothing opens it here any more", vault->name,
              state == VAULT_IS_ERASED ? "erased" : "being erased");
    error_subject(reterr, "%s", vault->name);
    return ERR_ERASED;
}

enum error_code unlock_open(const struct vault *vault, const struct unlock_answers *answers,
                            struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                            struct finding_list *findings, struct error *reterr)
{
    struct attempt attempt = {.answers = answers, .findings = findings};
    enum error_code code = check_mark(vault, reterr);
    if (!code)
        code = vault_each_keyslot(vault, try_keyslot, &attempt, reterr);
    if (!code && !attempt.vault_secret) {
        attempt.slow = true;
        code = vault_each_keyslot(vault, try_keyslot, &attempt, reterr);
    }
    if (!code && !attempt.vault_secret)
        code = tell_failure(vault, &attempt, reterr);
    if (code) {
        secret_free(attempt.vault_secret);
        return code;
    }
    *ret_vault_secret = attempt.vault_secret;
    if (ret_kind)
        *ret_kind = attempt.kind;
    return OK;
}
