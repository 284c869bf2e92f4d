/*
 * Opening a vault from whatever answers there are: key files, passphrases, recovery keys given by the caller,
 * the key files host.json knows, and the authorities the host is enrolled at. The first that opens a keyslot
 * wins.
 */
#pragma once
#include "client/client.h"
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

/* Add the key files host.json of at names for this vault: all, or those that a boot has before anything is
 * open. A key file that is missing or short becomes a finding (tells). */
enum unlock_keyfiles { UNLOCK_KEYFILES_ALL, UNLOCK_KEYFILES_OF_BOOT };
must_check enum error_code unlock_answers_add_host(struct unlock_answers *answers, const char *at,
                                                   const struct vault *vault, enum unlock_keyfiles which,
                                                   struct finding_list *findings, struct error *reterr);
void unlock_answers_done(struct unlock_answers *answers);

/* Which kinds of keyslots a vault has. */
struct unlock_kinds {
    bool authority, passphrase, recovery, keyfile;
};
must_check enum error_code unlock_get_kinds(const struct vault *vault, struct unlock_kinds *ret_kinds,
                                            struct error *reterr);

/* What to ask a person for: "passphrase or recovery key", as the vault has keyslots. Static storage. */
const char *unlock_typed_word(const struct unlock_kinds *kinds);

/* Add what was typed (taken over) as what it may be: a passphrase, and a recovery key where it reads as one.
 * Where it can only be a recovery key and is none, the error says what is wrong with it. */
must_check enum error_code unlock_answers_add_typed(struct unlock_answers *answers,
                                                    const struct unlock_kinds *kinds, struct secret *typed,
                                                    struct error *reterr);

/* Try the answers against the keyslots of their kind, quick kinds first. ERR_WRONG_KEY says what was tried
 * against what; ERR_ERASED; damaged keyslots become findings and the others are tried. *ret_kind is the kind
 * that opened (may be NULL). */
must_check enum error_code unlock_open(const struct vault *vault, const struct unlock_answers *answers,
                                       struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                                       struct finding_list *findings, struct error *reterr);

/* Whether a request that is pending waits for people. Else the authority first asks an earlier boot of the
 * host whether it still runs, and then decides. */
bool unlock_waits_for_people(const struct client_decision *decision);

/* Told once when a request waits for people, or still waits when unlock_ask ends. */
struct unlock_watch {
    void (*pending)(void *context, const struct client_pin *pin, const struct client_decision *decision);
    void *context;
};

/*
 * Ask every authority that keyslots of these vaults are bound to, at most wait_s seconds (0: each once, and
 * some seconds more where an earlier boot may have to be asked whether it still runs), and
 * add what they grant to answers: with them unlock_open opens. OK when there is an answer for every vault;
 * else answers may still have some, and the error tells why not more: ERR_PENDING (the request stays, and the
 * next call of this boot takes it up), ERR_UNREACHABLE, ERR_DENIED, ERR_ERASED, ERR_WRONG_KEY when no
 * authority is to be asked. Blocks; ERR_INTERRUPTED. watch may be NULL. No lock is needed, and none should be
 * held while people decide.
 */
must_check enum error_code unlock_ask(struct client *client, struct vault *const *vaults, size_t count,
                                      unsigned wait_s, const struct unlock_watch *watch,
                                      struct unlock_answers *answers, struct finding_list *findings,
                                      struct error *reterr);

/* Make a keyslot of this vault at an authority: two questions about the same, and both answers have to be
 * equal (ERR_DENIED). The authority has made its part durable when this returns; the keyslot is the caller's
 * to write. Until the caller has forgotten it (vault_forget_binding) the filesystem knows it as a binding; so
 * it does after a failure where the authority could not be told. The lock must be held. */
must_check enum error_code unlock_bind(struct client *client, struct client_pin *pin,
                                       const struct filesystem *filesystem, const struct vault_id *vault,
                                       const char *vault_name, const struct secret *vault_secret,
                                       const struct clock *clock, struct keyslot *ret_keyslot,
                                       struct error *reterr);

/* Have the authority destroy its part of a keyslot. True when it has none any more; else the error says why.
 */
must_check bool unlock_unbind(struct client *client, struct client_pin *pin, const struct keyslot_id *id,
                              struct error *reterr);

/* The authorities of a host as vault_unlock compares them. */
void unlock_pins(const struct client *client, struct vault_pins *ret_pins);
