#include "keyslot/keyslot.h"

#include <sodium.h>

#include "keyslot/format.h"

/* What each kind asks for. The label separates the keys of the kinds from each other. */
static const struct kind {
    const char *word;
    const char *label;
    size_t answer_least, answer_most;
    bool slow;
} kinds[] = {
    [KEYSLOT_AUTHORITY] = {"authority", "husk keyslot authority v1", OPRF_OUTPUT_SIZE, OPRF_OUTPUT_SIZE,
                           false},
    [KEYSLOT_KEYFILE] = {"keyfile", "husk keyslot keyfile v1", KEYFILE_LEAST, KEYFILE_MOST, false},
    [KEYSLOT_PASSPHRASE] = {"passphrase", "husk keyslot passphrase v1", PASSPHRASE_LEAST, PASSPHRASE_MOST,
                            true},
    [KEYSLOT_RECOVERY] = {"recovery", "husk keyslot recovery v1", RECOVERY_KEY_SIZE, RECOVERY_KEY_SIZE,
                          false},
};

const char *keyslot_kind_word(enum keyslot_kind kind)
{
    return (size_t)kind < ARRAY_SIZE(kinds) && kinds[kind].word ? kinds[kind].word : "unknown";
}

static enum error_code find_kind(enum keyslot_kind kind, const struct kind **ret_kind, struct error *reterr)
{
    if ((size_t)kind >= ARRAY_SIZE(kinds) || !kinds[kind].label)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "an unknown kind of keyslot");
    *ret_kind = &kinds[kind];
    return OK;
}

/* The key-encryption key of an answer whose length was checked. */
static enum error_code derive_key(const struct keyslot *keyslot, const struct kind *kind,
                                  const struct secret *answer, struct secret **ret_key, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *stretched = NULL;
    if (keyslot->kind == KEYSLOT_PASSPHRASE) {
        struct kdf_argon2_parameters parameters = {.passes = keyslot->argon2_passes,
                                                   .memory_bytes = keyslot->argon2_memory_bytes};
        memcpy(parameters.salt, keyslot->salt, sizeof(parameters.salt));
        enum error_code code = kdf_argon2id(answer, &parameters, &stretched, reterr);
        if (code)
            return code;
    }
    return kdf_hkdf_sha256(stretched ? stretched : answer, keyslot->salt, sizeof(keyslot->salt), kind->label,
                           AEAD_KEY_SIZE, ret_key, reterr);
}

static enum error_code fill_header(struct keyslot *keyslot, enum keyslot_kind kind,
                                   const struct authority_id *authority, const struct vault_id *vault,
                                   uint64_t machine_memory_bytes, const struct clock *clock,
                                   struct error *reterr)
{
    *keyslot = (struct keyslot){.vault = *vault, .kind = kind, .created_unix_s = clock_unix_s(clock)};
    if (keyslot->created_unix_s < 0) /* a machine whose clock was never set */
        keyslot->created_unix_s = 0;
    if (authority)
        keyslot->authority = *authority;
    randombytes_buf(keyslot->id.bytes, sizeof(keyslot->id.bytes));
    randombytes_buf(keyslot->salt, sizeof(keyslot->salt));
    if (kind == KEYSLOT_PASSPHRASE) {
        struct kdf_argon2_parameters parameters;
        enum error_code code = kdf_argon2_choose(machine_memory_bytes, &parameters, reterr);
        if (code)
            return code;
        keyslot->argon2_passes = parameters.passes;
        keyslot->argon2_memory_bytes = parameters.memory_bytes;
    }
    keyslot_write_header(keyslot);
    return OK;
}

/* Wrap vault_secret under answer behind a header that is written. Only what can be read again is given out.
 */
static enum error_code wrap(struct keyslot *keyslot, const struct kind *kind,
                            const struct secret *vault_secret, const struct secret *answer,
                            struct keyslot *ret_keyslot, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *key = NULL;
    if (vault_secret->length != VAULT_SECRET_SIZE)
        return error_set(reterr, ERR_FAILED, 0, "a vault secret of %zu bytes", vault_secret->length);
    enum error_code code = derive_key(keyslot, kind, answer, &key, reterr);
    if (!code)
        code = aead_seal(key, keyslot->file, KEYSLOT_ASSOCIATED_SIZE, vault_secret,
                         keyslot_nonce(keyslot->file), keyslot_ciphertext(keyslot->file), reterr);
    if (!code)
        keyslot_write_checksum(keyslot);
    return code ? code : keyslot_parse(keyslot->file, sizeof(keyslot->file), ret_keyslot, reterr);
}

static enum error_code check_answer(const struct kind *kind, const struct secret *answer,
                                    struct error *reterr)
{
    if (answer->length >= kind->answer_least && answer->length <= kind->answer_most)
        return OK;
    return error_set(reterr, ERR_USAGE, 0, "the %s has %zu bytes; it must have %zu to %zu", kind->word,
                     answer->length, kind->answer_least, kind->answer_most);
}

enum error_code keyslot_new(enum keyslot_kind kind_number, const struct vault_id *vault,
                            const struct secret *vault_secret, const struct secret *answer,
                            uint64_t machine_memory_bytes, const struct clock *clock,
                            struct keyslot *ret_keyslot, struct error *reterr)
{
    const struct kind *kind;
    struct keyslot keyslot;
    enum error_code code = find_kind(kind_number, &kind, reterr);
    if (code)
        return code;
    if (kind_number == KEYSLOT_AUTHORITY)
        code = error_set(reterr, ERR_UNSUPPORTED, 0, "an authority keyslot is made by a draft");
    else
        code = check_answer(kind, answer, reterr);
    if (!code)
        code = fill_header(&keyslot, kind_number, NULL, vault, machine_memory_bytes, clock, reterr);
    return code ? code : wrap(&keyslot, kind, vault_secret, answer, ret_keyslot, reterr);
}

enum error_code keyslot_draft(const struct authority_id *authority, const struct vault_id *vault,
                              const struct clock *clock, struct keyslot *ret_keyslot, struct error *reterr)
{
    struct keyslot keyslot;
    enum error_code code = fill_header(&keyslot, KEYSLOT_AUTHORITY, authority, vault, 0, clock, reterr);
    return code ? code : keyslot_parse(keyslot.file, sizeof(keyslot.file), ret_keyslot, reterr);
}

enum error_code keyslot_seal(struct keyslot *keyslot, const struct secret *vault_secret,
                             const struct secret *answer, struct error *reterr)
{
    struct keyslot draft;
    enum error_code code = keyslot_parse(keyslot->file, sizeof(keyslot->file), &draft, reterr);
    if (!code && draft.kind != KEYSLOT_AUTHORITY)
        code = error_set(reterr, ERR_UNSUPPORTED, 0, "a keyslot of kind %s has no draft",
                         keyslot_kind_word(draft.kind));
    if (!code)
        code = check_answer(&kinds[KEYSLOT_AUTHORITY], answer, reterr);
    return code ? code : wrap(&draft, &kinds[KEYSLOT_AUTHORITY], vault_secret, answer, keyslot, reterr);
}

void keyslot_question_done(struct keyslot_question *question)
{
    secret_free(question->blind);
    *question = (struct keyslot_question){0};
}

/* The x of an authority keyslot, from the file, for that is what is authenticated. */
static enum error_code read_x(const struct keyslot *keyslot, struct keyslot *checked, struct error *reterr)
{
    enum error_code code = keyslot_parse(keyslot->file, sizeof(keyslot->file), checked, reterr);
    if (!code && checked->kind != KEYSLOT_AUTHORITY)
        code = error_set(reterr, ERR_UNSUPPORTED, 0, "no authority answers a keyslot of kind %s",
                         keyslot_kind_word(checked->kind));
    return code;
}

enum error_code keyslot_blind(const struct keyslot *keyslot, struct keyslot_question *ret_question,
                              struct error *reterr)
{
    struct keyslot checked;
    struct keyslot_question question = {0};
    enum error_code code = read_x(keyslot, &checked, reterr);
    if (!code)
        code = oprf_blind(checked.salt, sizeof(checked.salt), &question.blind, question.blinded, reterr);
    if (!code)
        *ret_question = question;
    return code;
}

enum error_code keyslot_unblind(const struct keyslot *keyslot, const struct secret *blind,
                                const uint8_t evaluated[OPRF_ELEMENT_SIZE], struct secret **ret_answer,
                                struct error *reterr)
{
    struct keyslot checked;
    enum error_code code = read_x(keyslot, &checked, reterr);
    return code ? code
                : oprf_finalize(checked.salt, sizeof(checked.salt), blind, evaluated, ret_answer, reterr);
}

enum error_code keyslot_begin(const struct keyslot *keyslot, struct keyslot_challenge *ret_challenge,
                              struct error *reterr)
{
    const struct kind *kind;
    enum error_code code = find_kind(keyslot->kind, &kind, reterr);
    if (code)
        return code;
    *ret_challenge = (struct keyslot_challenge){.kind = keyslot->kind,
                                                .answer_least = kind->answer_least,
                                                .answer_most = kind->answer_most,
                                                .slow = kind->slow};
    return OK;
}

enum error_code keyslot_finish(const struct keyslot *keyslot, const struct secret *answer,
                               struct secret **ret_vault_secret, struct error *reterr)
{
    /* The file is what is authenticated, so nothing is taken from anywhere else. */
    struct keyslot checked;
    const struct kind *kind;
    enum error_code code = keyslot_parse(keyslot->file, sizeof(keyslot->file), &checked, reterr);
    if (!code)
        code = find_kind(checked.kind, &kind, reterr);
    if (code)
        return code;
    if (answer->length < kind->answer_least || answer->length > kind->answer_most)
        return error_set(reterr, ERR_WRONG_KEY, 0, "this %s does not open the keyslot", kind->word);

    _cleanup_(secret_freep) struct secret *key = NULL;
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    code = derive_key(&checked, kind, answer, &key, reterr);
    if (!code)
        code = aead_open(key, checked.file, KEYSLOT_ASSOCIATED_SIZE, keyslot_nonce(checked.file),
                         keyslot_ciphertext(checked.file), KEYSLOT_CIPHERTEXT_SIZE, &vault_secret, reterr);
    if (code == ERR_WRONG_KEY)
        error_set(reterr, ERR_WRONG_KEY, 0, "this %s does not open the keyslot", kind->word);
    if (!code)
        *ret_vault_secret = TAKE(vault_secret);
    return code;
}
