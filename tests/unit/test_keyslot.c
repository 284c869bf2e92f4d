#include <ctype.h>
#include <endian.h>
#include <sodium.h>
#include <stdio.h>

#include "base/text.h"
#include "keyslot/keyslot.h"
#include "unit.h"

#define MACHINE_MEMORY (UINT64_C(256) << 20)

static int start(void **state)
{
    (void)state;
    return secret_start(NULL) == OK ? 0 : -1;
}

static int64_t fixed_time(void *context)
{
    (void)context;
    return INT64_C(1772366400) * CLOCK_NS_PER_S;
}
static const struct clock fixed_clock = {.unix_ns = fixed_time};

static const struct vault_id vault = {.bytes = "the vault's id."};

static struct secret *secret_of(const void *bytes, size_t length)
{
    struct secret *secret = NULL;
    assert_ok(secret_new_copy(bytes, length, &secret, &error));
    return secret;
}

static struct secret *random_secret(size_t length)
{
    struct secret *secret = NULL;
    assert_ok(secret_new_random(length, &secret, &error));
    return secret;
}

/* A keyslot with its answer and the secret inside. */
struct made {
    struct keyslot keyslot;
    struct secret *answer, *vault_secret;
};

static struct made make(enum keyslot_kind kind)
{
    struct made made = {.vault_secret = random_secret(VAULT_SECRET_SIZE),
                        .answer = kind == KEYSLOT_PASSPHRASE ? secret_of("open sesame", 11)
                                                             : random_secret(RECOVERY_KEY_SIZE)};
    assert_ok(keyslot_new(kind, &vault, made.vault_secret, made.answer, MACHINE_MEMORY, &fixed_clock,
                          &made.keyslot, &error));
    return made;
}

static void made_done(struct made *made)
{
    secret_free(made->answer);
    secret_free(made->vault_secret);
}

static const enum keyslot_kind local_kinds[] = {KEYSLOT_KEYFILE, KEYSLOT_PASSPHRASE, KEYSLOT_RECOVERY};

static void a_keyslot_of_each_kind_gives_the_vault_secret_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(local_kinds); i++) {
        _cleanup_(made_done) struct made made = make(local_kinds[i]);
        struct keyslot read;
        assert_ok(keyslot_parse(made.keyslot.file, KEYSLOT_FILE_SIZE, &read, &error));
        assert_memory_equal(&read, &made.keyslot, sizeof(read));
        assert_int_equal(read.kind, local_kinds[i]);
        assert_memory_equal(&read.vault, &vault, sizeof(vault));
        assert_int_equal(read.created_unix_s, 1772366400);
        bool is_passphrase = local_kinds[i] == KEYSLOT_PASSPHRASE;
        assert_int_equal(read.argon2_passes, is_passphrase ? 3 : 0);
        assert_int_equal(read.argon2_memory_bytes, is_passphrase ? MACHINE_MEMORY / 4 : 0);

        _cleanup_(secret_freep) struct secret *opened = NULL;
        assert_ok(keyslot_finish(&read, made.answer, &opened, &error));
        assert_int_equal(opened->length, VAULT_SECRET_SIZE);
        assert_memory_equal(opened->bytes, made.vault_secret->bytes, VAULT_SECRET_SIZE);
    }
}

/* Made once with the answer and the secret below, and opened by another implementation of the format: whoever
 * changes a label, an offset or a parameter of format 1 locks people out, and this shows it. */
static const struct {
    enum keyslot_kind kind;
    const char *head; /* bytes 0 to 199 */
} kept[] = {
    {KEYSLOT_KEYFILE,
     "4855534b534c4f54010000000100000002000000000000000000000000000000e29a7e62cf1b33d2199727e9be626d58"
     "74686520736565647327207661756c749d5e7f0d3b339353725ff0e82abb0dc892bd4e29172ae3af240c112f2bd614ea"
     "e314056b000000000000000000000000000000000000000000000000000000003d27c24913c8cce1c23832a085c0de98"
     "e220d6477c815622bafb49e6019741742fd13b59e8b09570bceee72eece867263677c5e6d631269be5ebcd4179ee90ad"
     "f5dcd6ee40d5b424"},
    {KEYSLOT_PASSPHRASE,
     "4855534b534c4f54010000000100000003000000030000000000000400000000707f15fe2131ce4b6fdb751b11efa054"
     "74686520736565647327207661756c740e4403f2feacac88c7e37123021812bb6630a4c2be555e4021fb7daa190b0be1"
     "e314056b0000000000000000000000000000000000000000000000000000000076fd58f9234ad20519b4f8a7648cc9c0"
     "83e46a08b721c23a2dbe1cdbdcda1c2e66217aa643b27f6cc3547e6f17fbb6a5687683ee002533ee3cdcaab31bb664fa"
     "ce753871e0d40d5f"},
    {KEYSLOT_RECOVERY,
     "4855534b534c4f540100000001000000040000000000000000000000000000006d6cd59fa3580574dc1599a19f665768"
     "74686520736565647327207661756c741932fbd87d8348aabe13d700abd1fb4d6a278b847f190e3ad5dd17963c4dbd5d"
     "e414056b00000000000000000000000000000000000000000000000000000000b0427421905d0adf1303f36f76184c3a"
     "f1d4d5aca0a859a8211015d3d7b2760cd1c61ab591c7e71902e4f90264c176b0053455a4952601b75867bae768e63d33"
     "df051e00c445c85c"},
};

static void keyslots_made_earlier_still_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        uint8_t file[KEYSLOT_FILE_SIZE] = {0};
        struct keyslot keyslot;
        _cleanup_(secret_freep) struct secret *answer = secret_of("the answer of the seeds, 32 byte", 32);
        _cleanup_(secret_freep) struct secret *opened = NULL;
        assert_ok(text_parse_hex(kept[i].head, file, 200, &error));
        assert_ok(keyslot_parse(file, sizeof(file), &keyslot, &error));
        assert_int_equal(keyslot.kind, kept[i].kind);
        assert_memory_equal(keyslot.vault.bytes, "the seeds' vault", 16);
        assert_ok(keyslot_finish(&keyslot, answer, &opened, &error));
        assert_memory_equal(opened->bytes, "the vault secret of the seeds...", VAULT_SECRET_SIZE);
    }
}

static void a_keyslot_says_what_it_asks_for(void **state)
{
    (void)state;
    static const struct keyslot_challenge expected[] = {
        {KEYSLOT_KEYFILE, 32, 1 << 20, false},
        {KEYSLOT_PASSPHRASE, 8, 1024, true},
        {KEYSLOT_RECOVERY, 32, 32, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        struct keyslot keyslot = {.kind = expected[i].kind};
        struct keyslot_challenge challenge;
        assert_ok(keyslot_begin(&keyslot, &challenge, &error));
        assert_int_equal(challenge.kind, expected[i].kind);
        assert_int_equal(challenge.answer_least, expected[i].answer_least);
        assert_int_equal(challenge.answer_most, expected[i].answer_most);
        assert_int_equal(challenge.slow, expected[i].slow);
    }
}

static void kinds_have_the_words_of_the_design(void **state)
{
    (void)state;
    assert_string_equal(keyslot_kind_word(KEYSLOT_AUTHORITY), "authority");
    assert_string_equal(keyslot_kind_word(KEYSLOT_KEYFILE), "keyfile");
    assert_string_equal(keyslot_kind_word(KEYSLOT_PASSPHRASE), "passphrase");
    assert_string_equal(keyslot_kind_word(KEYSLOT_RECOVERY), "recovery");
    assert_string_equal(keyslot_kind_word((enum keyslot_kind)0), "unknown");
    assert_string_equal(keyslot_kind_word((enum keyslot_kind)99), "unknown");
}

static const struct authority_id authority = {.bytes = "the authority's"};

/* What an authority does: one scalar per keyslot. */
static void evaluate(const struct secret *scalar, const struct keyslot_question *question,
                     uint8_t ret_evaluated[OPRF_ELEMENT_SIZE])
{
    assert_ok(oprf_evaluate(scalar, question->blinded, ret_evaluated, &error));
}

static struct secret *ask(const struct secret *scalar, const struct keyslot *keyslot)
{
    _cleanup_(keyslot_question_done) struct keyslot_question question = {0};
    uint8_t evaluated[OPRF_ELEMENT_SIZE];
    struct secret *answer = NULL;
    assert_ok(keyslot_blind(keyslot, &question, &error));
    evaluate(scalar, &question, evaluated);
    assert_ok(keyslot_unblind(keyslot, question.blind, evaluated, &answer, &error));
    return answer;
}

struct bound {
    struct keyslot keyslot;
    struct secret *scalar, *vault_secret;
};

static struct bound bind_one(void)
{
    struct bound bound = {.vault_secret = random_secret(VAULT_SECRET_SIZE)};
    assert_ok(oprf_key_new(&bound.scalar, &error));
    assert_ok(keyslot_draft(&authority, &vault, &fixed_clock, &bound.keyslot, &error));
    _cleanup_(secret_freep) struct secret *answer = ask(bound.scalar, &bound.keyslot);
    assert_ok(keyslot_seal(&bound.keyslot, bound.vault_secret, answer, &error));
    return bound;
}

static void bound_done(struct bound *bound)
{
    secret_free(bound->scalar);
    secret_free(bound->vault_secret);
}

static void an_authority_keyslot_opens_with_a_new_question_each_time(void **state)
{
    (void)state;
    _cleanup_(bound_done) struct bound bound = bind_one();
    struct keyslot read;
    assert_ok(keyslot_parse(bound.keyslot.file, KEYSLOT_FILE_SIZE, &read, &error));
    assert_int_equal(read.kind, KEYSLOT_AUTHORITY);
    assert_memory_equal(&read.authority, &authority, sizeof(authority));
    for (int i = 0; i < 3; i++) {
        _cleanup_(secret_freep) struct secret *answer = ask(bound.scalar, &read), *opened = NULL;
        assert_ok(keyslot_finish(&read, answer, &opened, &error));
        assert_memory_equal(opened->bytes, bound.vault_secret->bytes, VAULT_SECRET_SIZE);
    }
    _cleanup_(keyslot_question_done) struct keyslot_question one = {0}, other = {0};
    assert_ok(keyslot_blind(&read, &one, &error));
    assert_ok(keyslot_blind(&read, &other, &error));
    assert_memory_not_equal(one.blinded, other.blinded, OPRF_ELEMENT_SIZE);
}

static void another_scalar_opens_no_authority_keyslot(void **state)
{
    (void)state;
    _cleanup_(bound_done) struct bound bound = bind_one();
    _cleanup_(secret_freep) struct secret *other = NULL, *opened = NULL;
    assert_ok(oprf_key_new(&other, &error));
    _cleanup_(secret_freep) struct secret *answer = ask(other, &bound.keyslot);
    assert_fails(ERR_WRONG_KEY, keyslot_finish(&bound.keyslot, answer, &opened, &error));
    assert_null(opened);
}

static void a_draft_opens_nothing(void **state)
{
    (void)state;
    _cleanup_(bound_done) struct bound bound = bind_one();
    struct keyslot draft;
    struct secret *opened = NULL;
    assert_ok(keyslot_draft(&authority, &vault, &fixed_clock, &draft, &error));
    _cleanup_(secret_freep) struct secret *answer = ask(bound.scalar, &draft);
    assert_fails(ERR_WRONG_KEY, keyslot_finish(&draft, answer, &opened, &error));
}

static void what_is_no_element_is_refused(void **state)
{
    (void)state;
    _cleanup_(bound_done) struct bound bound = bind_one();
    _cleanup_(keyslot_question_done) struct keyslot_question question = {0};
    struct secret *answer = NULL;
    uint8_t evaluated[OPRF_ELEMENT_SIZE] = {0}; /* the identity */
    assert_ok(keyslot_blind(&bound.keyslot, &question, &error));
    assert_fails(ERR_CORRUPT, keyslot_unblind(&bound.keyslot, question.blind, evaluated, &answer, &error));
    memset(evaluated, 0xff, sizeof(evaluated));
    assert_fails(ERR_CORRUPT, keyslot_unblind(&bound.keyslot, question.blind, evaluated, &answer, &error));
}

static void a_flipped_bit_in_an_authority_s_keyslot_fails_closed(void **state)
{
    (void)state;
    _cleanup_(bound_done) struct bound bound = bind_one();
    _cleanup_(secret_freep) struct secret *answer = ask(bound.scalar, &bound.keyslot);
    for (size_t bit = 0; bit < 200 * 8; bit++) {
        struct keyslot changed = bound.keyslot;
        changed.file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct secret *opened = NULL;
        struct error error = ERROR_NONE;
        assert_int_not_equal(keyslot_finish(&changed, answer, &opened, &error), OK);
        assert_null(opened);
    }
}

static void only_an_authority_keyslot_is_asked_about(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    _cleanup_(secret_freep) struct secret *secret = random_secret(OPRF_OUTPUT_SIZE);
    struct keyslot keyslot = {.kind = KEYSLOT_AUTHORITY};
    struct keyslot_question question = {0};
    struct keyslot_challenge challenge;
    assert_fails(ERR_UNSUPPORTED, keyslot_new(KEYSLOT_AUTHORITY, &vault, made.vault_secret, secret,
                                              MACHINE_MEMORY, &fixed_clock, &keyslot, &error));
    assert_fails(ERR_UNSUPPORTED, keyslot_blind(&made.keyslot, &question, &error));
    assert_fails(ERR_UNSUPPORTED, keyslot_seal(&made.keyslot, made.vault_secret, secret, &error));
    assert_ok(keyslot_begin(&keyslot, &challenge, &error));
    assert_int_equal(challenge.answer_least, OPRF_OUTPUT_SIZE);
    assert_int_equal(challenge.answer_most, OPRF_OUTPUT_SIZE);
}

static void a_wrong_answer_opens_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(local_kinds); i++) {
        _cleanup_(made_done) struct made made = make(local_kinds[i]);
        struct secret *opened = NULL;
        made.answer->bytes[3] ^= 1;
        assert_fails_saying(ERR_WRONG_KEY, keyslot_kind_word(local_kinds[i]),
                            keyslot_finish(&made.keyslot, made.answer, &opened, &error));
        secret_shorten(made.answer, 5); /* shorter than any kind allows */
        assert_fails(ERR_WRONG_KEY, keyslot_finish(&made.keyslot, made.answer, &opened, &error));
        assert_null(opened);
    }
}

static void answers_out_of_bounds_make_no_keyslot(void **state)
{
    (void)state;
    static const struct {
        enum keyslot_kind kind;
        size_t length;
    } cases[] = {
        {KEYSLOT_KEYFILE, 31},  {KEYSLOT_PASSPHRASE, 7}, {KEYSLOT_PASSPHRASE, 1025},
        {KEYSLOT_RECOVERY, 31}, {KEYSLOT_RECOVERY, 33},
    };
    _cleanup_(secret_freep) struct secret *vault_secret = random_secret(VAULT_SECRET_SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(secret_freep) struct secret *answer = random_secret(cases[i].length);
        struct keyslot keyslot;
        assert_fails(ERR_USAGE, keyslot_new(cases[i].kind, &vault, vault_secret, answer, MACHINE_MEMORY,
                                            &fixed_clock, &keyslot, &error));
    }
}

static void the_longest_key_file_works(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *vault_secret = random_secret(VAULT_SECRET_SIZE), *opened = NULL;
    _cleanup_(secret_freep) struct secret *answer = random_secret(KEYFILE_MOST);
    struct keyslot keyslot;
    assert_ok(keyslot_new(KEYSLOT_KEYFILE, &vault, vault_secret, answer, 0, &fixed_clock, &keyslot, &error));
    assert_ok(keyslot_finish(&keyslot, answer, &opened, &error));
    assert_memory_equal(opened->bytes, vault_secret->bytes, VAULT_SECRET_SIZE);
}

static void a_machine_with_little_memory_makes_no_passphrase_keyslot(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *secret = random_secret(VAULT_SECRET_SIZE);
    struct keyslot keyslot;
    assert_fails(ERR_NO_MEMORY, keyslot_new(KEYSLOT_PASSPHRASE, &vault, secret, secret, UINT64_C(255) << 20,
                                            &fixed_clock, &keyslot, &error));
}

static void a_vault_secret_of_another_size_makes_no_keyslot(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *answer = random_secret(32), *vault_secret = random_secret(31);
    struct keyslot keyslot;
    assert_fails(ERR_FAILED, keyslot_new(KEYSLOT_KEYFILE, &vault, vault_secret, answer, MACHINE_MEMORY,
                                         &fixed_clock, &keyslot, &error));
}

static int64_t time_before_1970(void *context)
{
    (void)context;
    return -5 * CLOCK_NS_PER_S;
}

static void a_clock_before_1970_does_not_hinder(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *secret = random_secret(32);
    const struct clock clock = {.unix_ns = time_before_1970};
    struct keyslot keyslot;
    assert_ok(keyslot_new(KEYSLOT_KEYFILE, &vault, secret, secret, MACHINE_MEMORY, &clock, &keyslot, &error));
    assert_int_equal(keyslot.created_unix_s, 0);
}

static void two_keyslots_of_the_same_answer_share_nothing(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *secret = random_secret(32);
    struct keyslot one, other;
    assert_ok(keyslot_new(KEYSLOT_KEYFILE, &vault, secret, secret, 0, &fixed_clock, &one, &error));
    assert_ok(keyslot_new(KEYSLOT_KEYFILE, &vault, secret, secret, 0, &fixed_clock, &other, &error));
    assert_memory_not_equal(&one.id, &other.id, sizeof(one.id));
    assert_memory_not_equal(one.salt, other.salt, sizeof(one.salt));
    assert_memory_not_equal(one.file + 128, other.file + 128, 24);   /* nonces */
    assert_memory_not_equal(one.file + 152, other.file + 152, 48);   /* ciphertexts */
    assert_memory_not_equal(one.file + 200, other.file + 200, 3896); /* paddings */
    assert_false(sodium_is_zero(one.file + 4096 - 64, 64));
}

/* Every kind under its own label: the same bytes as key file and as recovery key give different keys. */
static void a_keyslot_of_one_kind_does_not_open_as_another(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    struct secret *opened = NULL;
    made.keyslot.file[16] = KEYSLOT_RECOVERY;
    assert_fails(ERR_WRONG_KEY, keyslot_finish(&made.keyslot, made.answer, &opened, &error));
    assert_null(opened);
}

/* Whatever one bit of header, nonce or ciphertext is changed: nothing opens. In the padding it does not
 * matter. */
static void a_flipped_bit_fails_closed(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    for (size_t bit = 0; bit < 200 * 8; bit++) {
        struct keyslot changed = made.keyslot;
        changed.file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct secret *opened = NULL;
        struct error error = ERROR_NONE;
        enum error_code code = keyslot_finish(&changed, made.answer, &opened, &error);
        assert_true(code == ERR_CORRUPT || code == ERR_TOO_NEW || code == ERR_WRONG_KEY ||
                    code == ERR_UNSUPPORTED);
        assert_null(opened);
        struct keyslot parsed;
        if (keyslot_parse(changed.file, KEYSLOT_FILE_SIZE, &parsed, NULL) == OK)
            assert_true(code == ERR_WRONG_KEY || code == ERR_UNSUPPORTED);
    }
    struct keyslot changed = made.keyslot;
    changed.file[200] ^= 1;
    changed.file[KEYSLOT_FILE_SIZE - 1] ^= 1;
    _cleanup_(secret_freep) struct secret *opened = NULL;
    assert_ok(keyslot_finish(&changed, made.answer, &opened, &error));
}

/* The bytes that only Argon2id and the AEAD look at, in a passphrase's keyslot: a few, since each try is
 * slow. */
static void a_flipped_bit_in_a_passphrase_s_keyslot_fails_closed(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_PASSPHRASE);
    static const size_t at[] = {32, 64, 95, 96, 128, 152};
    for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
        struct keyslot changed = made.keyslot;
        changed.file[at[i]] ^= 1;
        struct secret *opened = NULL;
        assert_fails(ERR_WRONG_KEY, keyslot_finish(&changed, made.answer, &opened, &error));
        assert_null(opened);
    }
}

static void only_exactly_4096_bytes_are_a_keyslot(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    uint8_t longer[KEYSLOT_FILE_SIZE + 1] = {0};
    memcpy(longer, made.keyslot.file, KEYSLOT_FILE_SIZE);
    struct keyslot untouched, parsed;
    memset(&untouched, 0x5a, sizeof(untouched));
    memset(&parsed, 0x5a, sizeof(parsed));
    for (size_t length = 0; length <= sizeof(longer); length++) {
        if (length == KEYSLOT_FILE_SIZE)
            continue;
        /* A copy of just this length, so that a sanitizer sees any byte read behind it. */
        _cleanup_(freep) uint8_t *bytes = malloc(length ? length : 1);
        memcpy(bytes, longer, length);
        assert_fails(ERR_CORRUPT, keyslot_parse(bytes, length, &parsed, &error));
        assert_memory_equal(&parsed, &untouched, sizeof(parsed));
    }
}

/* Write a little-endian integer over a field. */
struct change {
    size_t at, size;
    uint64_t value;
    enum error_code code;
};

static void assert_change_is_refused(const struct keyslot *keyslot, const struct change *change)
{
    uint8_t file[KEYSLOT_FILE_SIZE];
    uint64_t value = htole64(change->value);
    memcpy(file, keyslot->file, sizeof(file));
    memcpy(file + change->at, &value, change->size);
    struct keyslot parsed;
    struct error error = ERROR_NONE;
    enum error_code code = keyslot_parse(file, sizeof(file), &parsed, &error);
    if (code != change->code)
        fail_msg("%zu bytes at %zu = %llu: %s", change->size, change->at, (unsigned long long)change->value,
                 error_word(code));
}

static void a_field_out_of_its_bounds_is_refused(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {8, 4, 0, ERR_CORRUPT},           {8, 4, 2, ERR_TOO_NEW},
        {8, 4, UINT32_MAX, ERR_TOO_NEW},  {12, 4, 0, ERR_CORRUPT},
        {12, 4, 2, ERR_TOO_NEW},          {16, 4, 0, ERR_CORRUPT},
        {16, 4, 5, ERR_TOO_NEW},          {16, 4, 3, ERR_CORRUPT}, /* a passphrase without parameters */
        {20, 4, 1, ERR_CORRUPT},          {24, 8, 1, ERR_CORRUPT},
        {96, 8, UINT64_MAX, ERR_CORRUPT}, {96, 8, 253402300800, ERR_CORRUPT},
        {104, 1, 1, ERR_CORRUPT}, /* the authority of a keyfile */
        {120, 1, 1, ERR_CORRUPT},         {127, 1, 0x80, ERR_CORRUPT},
    };
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
        assert_change_is_refused(&made.keyslot, &changes[i]);
}

static void argon2id_parameters_out_of_bounds_are_refused(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {20, 4, 0, ERR_CORRUPT},
        {20, 4, 2, ERR_CORRUPT},
        {20, 4, 17, ERR_CORRUPT},
        {20, 4, UINT32_MAX, ERR_CORRUPT},
        {24, 8, 0, ERR_CORRUPT},
        {24, 8, 63 << 20, ERR_CORRUPT},
        {24, 8, (64 << 20) + 1024, ERR_CORRUPT},
        {24, 8, 257 << 20, ERR_CORRUPT},
        {24, 8, UINT64_C(1) << 40, ERR_CORRUPT},
        {24, 8, UINT64_MAX, ERR_CORRUPT},
        {16, 4, KEYSLOT_KEYFILE, ERR_CORRUPT}, /* another kind has none */
    };
    _cleanup_(made_done) struct made made = make(KEYSLOT_PASSPHRASE);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
        assert_change_is_refused(&made.keyslot, &changes[i]);
}

static void a_newer_keyslot_is_told_from_a_damaged_one(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    struct keyslot parsed;
    struct error error = ERROR_NONE;
    made.keyslot.file[8] = 2;
    assert_int_equal(keyslot_parse(made.keyslot.file, KEYSLOT_FILE_SIZE, &parsed, &error), ERR_TOO_NEW);
    assert_non_null(strstr(error.message, "newer husk"));
    assert_true(error.remedy[0]);
    made.keyslot.file[0] = 'h';
    assert_int_equal(keyslot_parse(made.keyslot.file, KEYSLOT_FILE_SIZE, &parsed, &error), ERR_CORRUPT);
}

static void what_a_caller_changed_beside_the_file_does_not_count(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    memset(made.keyslot.salt, 0, sizeof(made.keyslot.salt));
    made.keyslot.kind = KEYSLOT_RECOVERY;
    _cleanup_(secret_freep) struct secret *opened = NULL;
    assert_ok(keyslot_finish(&made.keyslot, made.answer, &opened, &error));
    assert_memory_equal(opened->bytes, made.vault_secret->bytes, VAULT_SECRET_SIZE);
}

static void running_out_of_memory_makes_and_opens_nothing(void **state)
{
    (void)state;
    _cleanup_(made_done) struct made made = make(KEYSLOT_KEYFILE);
    struct secret *opened = NULL;
    struct keyslot keyslot;
    enum error_code code = OK;
    with_every_allocation_failing(code = keyslot_finish(&made.keyslot, made.answer, &opened, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(opened);
    });
    assert_int_equal(code, OK);
    secret_free(opened);
    with_every_allocation_failing(code = keyslot_new(KEYSLOT_KEYFILE, &vault, made.vault_secret, made.answer,
                                                     0, &fixed_clock, &keyslot, NULL),
                                  { assert_int_equal(code, ERR_NO_MEMORY); });
    assert_int_equal(code, OK);
}

/* Texts worked out from the definition by another implementation of it. */
static const struct {
    enum { COUNTING, ALL_ZERO, ALL_ONE } key;
    const char *text;
} known_texts[] = {
    {COUNTING, "husk-000GW-40R4Z-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFWT"},
    {ALL_ZERO, "husk-00006-0000C-0000A-0000R-0000Y-0000M-0000J-0000N-0000K-0000S-0000Z-0000D-000B9"},
    {ALL_ONE, "husk-ZZZZ6-ZZZZC-ZZZZA-ZZZZR-ZZZZY-ZZZZM-ZZZZJ-ZZZZN-ZZZZK-ZZZZS-ZZZZZ-ZZZZD-ZZZM9"},
};

static struct secret *known_key(size_t i)
{
    struct secret *key = random_secret(RECOVERY_KEY_SIZE);
    for (size_t at = 0; at < RECOVERY_KEY_SIZE; at++)
        key->bytes[at] = known_texts[i].key == COUNTING   ? (uint8_t)at
                         : known_texts[i].key == ALL_ZERO ? 0
                                                          : 0xff;
    return key;
}

static void a_recovery_key_is_written_as_defined(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(known_texts); i++) {
        _cleanup_(secret_freep) struct secret *key = known_key(i), *text = NULL, *again = NULL;
        assert_ok(recovery_key_format(key, &text, &error));
        assert_string_equal((const char *)text->bytes, known_texts[i].text);
        assert_int_equal(text->length, strlen(known_texts[i].text));
        assert_ok(recovery_key_parse(text, &again, &error));
        assert_memory_equal(again->bytes, key->bytes, RECOVERY_KEY_SIZE);
    }
}

static void random_recovery_keys_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        _cleanup_(secret_freep) struct secret *key = NULL, *text = NULL, *again = NULL;
        assert_ok(recovery_key_new(&key, &error));
        assert_int_equal(key->length, RECOVERY_KEY_SIZE);
        assert_ok(recovery_key_format(key, &text, &error));
        assert_ok(recovery_key_parse(text, &again, &error));
        assert_int_equal(again->length, RECOVERY_KEY_SIZE);
        assert_memory_equal(again->bytes, key->bytes, RECOVERY_KEY_SIZE);
    }
}

static void assert_reads_as_counting(const char *written)
{
    _cleanup_(secret_freep) struct secret *text = secret_of(written, strlen(written)), *key = NULL;
    _cleanup_(secret_freep) struct secret *expected = known_key(0);
    assert_ok(recovery_key_parse(text, &key, &error));
    assert_memory_equal(key->bytes, expected->bytes, RECOVERY_KEY_SIZE);
}

static void a_recovery_key_is_read_however_people_write_it(void **state)
{
    (void)state;
    static const char *const writings[] = {
        "HUSK-000GW-40R4Z-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFWT",
        "000gw40r4z0m30ze209a185gar38ej1w81h24gk22gahgc5rrp34d11p70xb3rfwt",
        "  husk 000GW 40R4Z 0M30Z E209A 185GA R38EJ 1W81H 24GK2 2GAHG C5RRP 34D11 P70XB 3RFWT\r\n",
        "husk-oOOGW-4OR4Z-oM3oZ-E2O9A-i85GA-R38EJ-lW8LH-24GK2-2GAHG-C5RRP-34DIL-P7oXB-3RFWT",
        "000GW\n40R4Z\n0M30Z\nE209A\n185GA\nR38EJ\n1W81H\n24GK2\n2GAHG\nC5RRP\n34D11\nP70XB\n3RFWT\n",
        "000GW40R4Z-0M30ZE209A-185GAR38EJ-1W81H24GK2-2GAHGC5RRP-34D11P70XB-3RFWT",
        "husk\xe2\x80\x93"
        "000GW\xe2\x80\x94"
        "40R4Z\xe2\x80\x91"
        "0M30Z\xe2\x88\x92"
        "E209A\xc2\xa0"
        "185GA--R38EJ - 1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFWT",
    };
    for (size_t i = 0; i < ARRAY_SIZE(writings); i++)
        assert_reads_as_counting(writings[i]);
}

static void assert_refused(const char *bytes, size_t length, const char *words)
{
    _cleanup_(secret_freep) struct secret *text = secret_of(bytes, length);
    struct secret *key = NULL;
    assert_fails_saying(ERR_USAGE, words, recovery_key_parse(text, &key, &error));
    assert_null(key);
}

static void a_mistake_in_a_recovery_key_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"husk-000GW-40R4Z-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFW5",
         "mistyped in group 13"},
        {"husk-000GW-40R4Z-0M370-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFWT",
         "mistyped in group 3"},
        {"husk-000GW-40R4X-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34DT1-P70XB-3RFWT",
         "mistyped in groups 2, 11"},
        {"husk-40R4Z-000GW-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFWT",
         "mistyped in groups 1, 2"},
        {"husk-000GW-40R4-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFWT",
         "group 2 has 4 letters"},
        {"husk-000GW-40R4Z-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP3-34D11-P70XB-3RFWT",
         "group 10 has 6 letters"},
        {"husk-000GW-40R4Z-0M30Z-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB", "has 60 letters"},
        {"000GW40R4Z0M30ZE209A185GAR38EJ1W81H24GK22GAHGC5RRP34D11P70XB3RFW", "has 64 letters"},
        {"000GW40R4Z0M30ZE209A185GAR38EJ1W81H24GK22GAHGC5RRP34D11P70XB3RFWT4", "has 66 letters"},
        {"husk-000GW-40R4Z-0M30U-E209A-185GA-R38EJ-1W81H-24GK2-2GAHG-C5RRP-34D11-P70XB-3RFWT",
         "letter 15 (group 3)"},
        {"husk-000GW-40R4Z-0M3\xc3\xa4", "letter 14 (group 3)"},
        {"husk", "has 0 letters"},
        {"-", "has 0 letters"},
        {"husk-husk", "letter 2"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].words);
    assert_refused("000GW\0", 6, "letter 6");
    _cleanup_(secret_freep) struct secret *empty = random_secret(1);
    struct secret *key = NULL;
    secret_shorten(empty, 0);
    assert_fails_saying(ERR_USAGE, "has 0 letters", recovery_key_parse(empty, &key, &error));
}

/* Every letter of a known text replaced by every other: always refused, always naming the group. */
static void one_wrong_letter_always_shows_and_its_group_is_named(void **state)
{
    (void)state;
    static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    char text[128];
    snprintf(text, sizeof(text), "%s", known_texts[0].text + 5);
    for (size_t at = 0; text[at]; at++) {
        char right = text[at];
        if (right == '-')
            continue;
        char words[64];
        snprintf(words, sizeof(words), "mistyped in group %zu", at / 6 + 1);
        for (size_t i = 0; letters[i]; i++) {
            if (letters[i] == right)
                continue;
            text[at] = letters[i];
            assert_refused(text, strlen(text), words);
        }
        text[at] = right;
    }
}

static void two_letters_or_two_groups_swapped_always_show(void **state)
{
    (void)state;
    char text[128];
    snprintf(text, sizeof(text), "%s", known_texts[0].text + 5);
    for (size_t group = 0; group < 13; group++)
        for (size_t i = 0; i < 5; i++)
            for (size_t j = i + 1; j < 5; j++) {
                char *left = &text[group * 6 + i], *right = &text[group * 6 + j], held = *left;
                if (*left == *right)
                    continue;
                *left = *right;
                *right = held;
                assert_refused(text, strlen(text), "mistyped in group ");
                *right = *left;
                *left = held;
            }
    for (size_t i = 0; i < 13; i++)
        for (size_t j = i + 1; j < 13; j++) {
            char held[5], words[64];
            memcpy(held, text + i * 6, 5);
            memcpy(text + i * 6, text + j * 6, 5);
            memcpy(text + j * 6, held, 5);
            snprintf(words, sizeof(words), "mistyped in groups %zu, %zu", i + 1, j + 1);
            assert_refused(text, strlen(text), words);
            memcpy(held, text + i * 6, 5);
            memcpy(text + i * 6, text + j * 6, 5);
            memcpy(text + j * 6, held, 5);
        }
}

/* The all-zero key's text with one bit of its checksum changed, and the group's check letter made to fit
 * again: only the checksum is left to notice. */
static void a_mistake_that_fits_its_group_is_found_by_the_checksum(void **state)
{
    (void)state;
    char text[128];
    snprintf(text, sizeof(text), "%.*s000AC", 77, known_texts[1].text);
    assert_refused(text, strlen(text), "checksum");
}

static void a_recovery_key_of_a_wrong_size_is_not_written(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = random_secret(31);
    struct secret *text = NULL;
    assert_fails(ERR_FAILED, recovery_key_format(key, &text, &error));
    assert_null(text);
}

static void running_out_of_memory_reads_and_writes_no_recovery_key(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = known_key(0);
    struct secret *text = NULL, *again = NULL;
    enum error_code code = OK;
    with_every_allocation_failing(code = recovery_key_format(key, &text, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(text);
    });
    assert_int_equal(code, OK);
    with_every_allocation_failing(code = recovery_key_parse(text, &again, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(again);
    });
    assert_int_equal(code, OK);
    secret_free(text);
    secret_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_keyslot_of_each_kind_gives_the_vault_secret_back),
        cmocka_unit_test(keyslots_made_earlier_still_open),
        cmocka_unit_test(a_keyslot_says_what_it_asks_for),
        cmocka_unit_test(kinds_have_the_words_of_the_design),
        cmocka_unit_test(an_authority_keyslot_opens_with_a_new_question_each_time),
        cmocka_unit_test(another_scalar_opens_no_authority_keyslot),
        cmocka_unit_test(a_draft_opens_nothing),
        cmocka_unit_test(what_is_no_element_is_refused),
        cmocka_unit_test(a_flipped_bit_in_an_authority_s_keyslot_fails_closed),
        cmocka_unit_test(only_an_authority_keyslot_is_asked_about),
        cmocka_unit_test(a_wrong_answer_opens_nothing),
        cmocka_unit_test(answers_out_of_bounds_make_no_keyslot),
        cmocka_unit_test(the_longest_key_file_works),
        cmocka_unit_test(a_machine_with_little_memory_makes_no_passphrase_keyslot),
        cmocka_unit_test(a_vault_secret_of_another_size_makes_no_keyslot),
        cmocka_unit_test(a_clock_before_1970_does_not_hinder),
        cmocka_unit_test(two_keyslots_of_the_same_answer_share_nothing),
        cmocka_unit_test(a_keyslot_of_one_kind_does_not_open_as_another),
        cmocka_unit_test(a_flipped_bit_fails_closed),
        cmocka_unit_test(a_flipped_bit_in_a_passphrase_s_keyslot_fails_closed),
        cmocka_unit_test(only_exactly_4096_bytes_are_a_keyslot),
        cmocka_unit_test(a_field_out_of_its_bounds_is_refused),
        cmocka_unit_test(argon2id_parameters_out_of_bounds_are_refused),
        cmocka_unit_test(a_newer_keyslot_is_told_from_a_damaged_one),
        cmocka_unit_test(what_a_caller_changed_beside_the_file_does_not_count),
        cmocka_unit_test(running_out_of_memory_makes_and_opens_nothing),
        cmocka_unit_test(a_recovery_key_is_written_as_defined),
        cmocka_unit_test(random_recovery_keys_come_back),
        cmocka_unit_test(a_recovery_key_is_read_however_people_write_it),
        cmocka_unit_test(a_mistake_in_a_recovery_key_is_named),
        cmocka_unit_test(one_wrong_letter_always_shows_and_its_group_is_named),
        cmocka_unit_test(two_letters_or_two_groups_swapped_always_show),
        cmocka_unit_test(a_mistake_that_fits_its_group_is_found_by_the_checksum),
        cmocka_unit_test(a_recovery_key_of_a_wrong_size_is_not_written),
        cmocka_unit_test(running_out_of_memory_reads_and_writes_no_recovery_key),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
