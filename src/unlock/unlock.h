/*
 * Opening a vault from whatever answers there are: key files, passphrases, recovery keys given by the caller,
 * and the key files host.json knows. The first that opens a keyslot wins. (Authorities join here later.)
 */
#pragma once
#include "vault/vault.h"

struct unlock_answer {
    enum keyslot_kind kind;
    struct secret *bytes; /* owned by the list */
    char *source;         /* owned; for messages, e.g. "/root/data.key" */
};
struct unlock_answers {
    struct unlock_answer *items; /* owned */
    size_t count;
};

/* Takes over bytes; source is copied. */
must_check enum error_code unlock_answers_add(struct unlock_answers *answers, enum keyslot_kind kind,
                                              struct secret *bytes, const char *source, struct error *reterr);

/* Add the key files host.json of at names for this vault. A key file that is missing or short becomes a
 * finding (tells). */
must_check enum error_code unlock_answers_add_host(struct unlock_answers *answers, const char *at,
                                                   const struct vault *vault, struct finding_list *findings,
                                                   struct error *reterr);
void unlock_answers_done(struct unlock_answers *answers);

/* Try the answers against the keyslots of their kind, quick kinds first. ERR_WRONG_KEY says what was tried
 * against what; ERR_ERASED; damaged keyslots become findings and the others are tried. *ret_kind is the kind
 * that opened (may be NULL). */
must_check enum error_code unlock_open(const struct vault *vault, const struct unlock_answers *answers,
                                       struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                                       struct finding_list *findings, struct error *reterr);
