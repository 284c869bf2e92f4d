/*
 * A keyslot file: what parses has sound fields, and never opens for an answer it was not made for. The seeds
 * are keyslots made for the answer, or of an authority for the scalar, below; so one that opens must give the
 * secret below. Passphrases are not tried, only parsed: their bounds are what keeps Argon2id in bounds.
 */
#include "keyslot/keyslot.h"
#include "target.h"

static struct secret *answer, *scalar;

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
    (void)argument_count;
    (void)arguments;
    must_hold(secret_start(NULL) == OK);
    must_hold(secret_new_copy("the answer of the seeds, 32 byte", 32, &answer, NULL) == OK);
    must_hold(secret_new_copy("the scalar of the seeds, 31 byt", 32, &scalar, NULL) == OK);
    return 0;
}

static void check_fields(const struct keyslot *keyslot)
{
    must_hold(keyslot->kind >= KEYSLOT_AUTHORITY && keyslot->kind <= KEYSLOT_RECOVERY);
    must_hold(keyslot->created_unix_s >= 0);
    if (keyslot->kind == KEYSLOT_PASSPHRASE) {
        must_hold(keyslot->argon2_passes >= KDF_ARGON2_PASSES_LEAST);
        must_hold(keyslot->argon2_passes <= KDF_ARGON2_PASSES_MOST);
        must_hold(keyslot->argon2_memory_bytes >= KDF_ARGON2_MEMORY_LEAST);
        must_hold(keyslot->argon2_memory_bytes <= KDF_ARGON2_MEMORY_MOST);
    } else {
        must_hold(keyslot->argon2_passes == 0 && keyslot->argon2_memory_bytes == 0);
    }
}

/* The answer of the authority of the seeds. */
static struct secret *ask(const struct keyslot *keyslot)
{
    _cleanup_(keyslot_question_done) struct keyslot_question question = {0};
    uint8_t evaluated[OPRF_ELEMENT_SIZE];
    struct secret *given = NULL;
    must_hold(keyslot_blind(keyslot, &question, NULL) == OK);
    must_hold(oprf_evaluate(scalar, question.blinded, evaluated, NULL) == OK);
    must_hold(keyslot_unblind(keyslot, question.blind, evaluated, &given, NULL) == OK);
    return given;
}

static void try_to_open(const struct keyslot *keyslot)
{
    struct keyslot_challenge challenge;
    enum error_code code = keyslot_begin(keyslot, &challenge, NULL);
    must_hold(code == OK);
    if (challenge.slow)
        return;
    must_hold(challenge.answer_least <= challenge.answer_most);
    _cleanup_(secret_freep) struct secret *opened = NULL, *given = NULL;
    if (keyslot->kind == KEYSLOT_AUTHORITY)
        given = ask(keyslot);
    code = keyslot_finish(keyslot, given ? given : answer, &opened, NULL);
    must_hold(code == OK || code == ERR_WRONG_KEY);
    must_hold((code == OK) == (opened != NULL));
    if (opened)
        must_hold(!memcmp(opened->bytes, "the vault secret of the seeds...", VAULT_SECRET_SIZE));
}

static void parse(const uint8_t *bytes, size_t length)
{
    struct keyslot keyslot;
    enum error_code code = keyslot_parse(bytes, length, &keyslot, NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_TOO_NEW);
    if (code)
        return;
    must_hold(!memcmp(keyslot.file, bytes, KEYSLOT_FILE_SIZE));
    check_fields(&keyslot);
    try_to_open(&keyslot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(data, size);
    /* And as the beginning of a file of the right size, so that seeds can be short. */
    uint8_t file[KEYSLOT_FILE_SIZE] = {0};
    if (size != sizeof(file)) {
        memcpy(file, data, size < sizeof(file) ? size : sizeof(file));
        parse(file, sizeof(file));
    }
    return 0;
}
