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

enum error_code vault_get_state(const struct vault *vault, enum vault_state *ret_state, struct error *reterr)
{
    enum vault_mark mark = VAULT_ACTIVE;
    enum fscrypt_key_state key = FSCRYPT_KEY_ABSENT;
    enum error_code code = vault_read_mark(vault->fd, &mark, reterr);
    if (!code && mark == VAULT_ACTIVE)
        code = fscrypt_key_state(vault->fd, &vault->identifier, &key, reterr);
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
