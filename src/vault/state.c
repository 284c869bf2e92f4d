/* What state a vault is in. Reads only. */
#include "vault/store.h"

const char *vault_state_word(enum vault_state state)
{
    static const char *const words[] = {[VAULT_UNLOCKED] = "unlocked",
                                        [VAULT_LOCKED] = "locked",
                                        [VAULT_BUSY] = "busy",
                                        [VAULT_IS_ERASING] = "erasing",
                                        [VAULT_IS_ERASED] = "erased"};
    return words[state];
}

enum error_code vault_key_state(const struct vault *vault, enum fscrypt_key_state *ret_state,
                                struct error *reterr)
{
    struct fscrypt_identifier identifiers[VAULT_IDENTIFIERS_MAXIMUM];
    enum fscrypt_key_state whole = FSCRYPT_KEY_ABSENT;
    enum error_code code = OK;
    size_t count;
    vault_find_identifiers(vault, identifiers, &count);
    for (size_t i = 0; !code && i < count; i++) {
        enum fscrypt_key_state state = FSCRYPT_KEY_ABSENT;
        code = fscrypt_key_state(vault->fd, &identifiers[i], &state, reterr);
        if (whole != FSCRYPT_KEY_PRESENT && state != FSCRYPT_KEY_ABSENT)
            whole = state;
    }
    if (!code)
        *ret_state = whole;
    return code;
}

enum error_code vault_get_state(const struct vault *vault, enum vault_state *ret_state, struct error *reterr)
{
    enum vault_mark mark = VAULT_ACTIVE;
    enum fscrypt_key_state key = FSCRYPT_KEY_ABSENT;
    enum error_code code = vault_read_mark(vault->fd, &mark, reterr);
    if (!code && mark == VAULT_ACTIVE)
        code = vault_key_state(vault, &key, reterr);
    if (code) {
        error_prefix(reterr, "vault %s", vault->name);
        return code;
    }
    *ret_state = mark == VAULT_ERASED                      ? VAULT_IS_ERASED
                 : mark == VAULT_ERASING                   ? VAULT_IS_ERASING
                 : key == FSCRYPT_KEY_PRESENT              ? VAULT_UNLOCKED
                 : key == FSCRYPT_KEY_INCOMPLETELY_REMOVED ? VAULT_BUSY
                                                           : VAULT_LOCKED;
    return OK;
}
