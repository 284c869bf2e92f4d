/* What a person types. */
#include "base/cleanup.h"
#include "unlock/unlock.h"

static enum error_code note_kind(const struct keyslot_id *id, const struct keyslot *keyslot,
                                 const struct error *why, void *context, struct error *reterr)
{
    (void)id;
    (void)why;
    (void)reterr;
    struct unlock_kinds *kinds = context;
    if (keyslot) {
        kinds->authority |= keyslot->kind == KEYSLOT_AUTHORITY;
        kinds->keyfile |= keyslot->kind == KEYSLOT_KEYFILE;
        kinds->passphrase |= keyslot->kind == KEYSLOT_PASSPHRASE;
        kinds->recovery |= keyslot->kind == KEYSLOT_RECOVERY;
    }
    return OK;
}

enum error_code unlock_get_kinds(const struct vault *vault, struct unlock_kinds *ret_kinds,
                                 struct error *reterr)
{
    struct unlock_kinds kinds = {0};
    enum error_code code = vault_each_keyslot(vault, note_kind, &kinds, reterr);
    if (!code)
        *ret_kinds = kinds;
    return code;
}

const char *unlock_typed_word(const struct unlock_kinds *kinds)
{
    return !kinds->passphrase ? "recovery key"
           : kinds->recovery  ? "passphrase or recovery key"
                              : "passphrase";
}

enum error_code unlock_answers_add_typed(struct unlock_answers *answers, const struct unlock_kinds *kinds,
                                         struct secret *typed, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *text = typed;
    struct error not_one = ERROR_NONE;
    struct secret *recovery = NULL;
    enum error_code code = OK;
    if (kinds->recovery && !recovery_key_parse(text, &recovery, &not_one))
        code = unlock_answers_add(answers, KEYSLOT_RECOVERY, recovery, "the recovery key", reterr);
    else if (!kinds->passphrase && reterr) {
        *reterr = not_one;
        return not_one.code;
    }
    if (!code && kinds->passphrase && text->length > 0)
        code = unlock_answers_add(answers, KEYSLOT_PASSPHRASE, TAKE(text), "the passphrase", reterr);
    return code;
}
