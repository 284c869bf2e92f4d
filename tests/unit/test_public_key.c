#include <sodium.h>

#include "base/text.h"
#include "crypto/hpke.h"
#include "crypto/oprf.h"
#include "unit.h"

enum { BYTES_MAXIMUM = 256 };

static int start(void **state)
{
    (void)state;
    return secret_start(NULL) == OK ? 0 : -1;
}

/* Returns how many bytes the hexadecimal says. */
static size_t unhex(const char *hex, uint8_t bytes[BYTES_MAXIMUM])
{
    size_t length = strlen(hex) / 2;
    assert_true(length <= BYTES_MAXIMUM);
    assert_ok(text_parse_hex(hex, bytes, length, &error));
    return length;
}

static struct secret *secret_of_hex(const char *hex)
{
    uint8_t bytes[BYTES_MAXIMUM];
    size_t length = unhex(hex, bytes);
    struct secret *secret = NULL;
    assert_ok(secret_new_copy(bytes, length, &secret, &error));
    return secret;
}

static void assert_bytes_are(const uint8_t *bytes, const char *hex)
{
    uint8_t expected[BYTES_MAXIMUM];
    size_t length = unhex(hex, expected);
    assert_memory_equal(bytes, expected, length);
}

/* RFC 9180 appendix A.2: modes base and auth, the first three encryptions and all exports. */
static const struct hpke_vector {
    const char *info, *recipient, *recipient_public, *ephemeral, *sender, *sender_public, *encapsulated;
    struct {
        const char *associated, *plaintext, *ciphertext;
    } encryptions[3];
    struct {
        const char *context, *value;
    } exports[3];
} HPKE_VECTORS[] = {
    {
        .info = "4f6465206f6e2061204772656369616e2055726e",
        .recipient = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
        .recipient_public = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a",
        .ephemeral = "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
        .encapsulated = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
        .encryptions =
            {
                {"436f756e742d30", "4265617574792069732074727574682c20747275746820626561757479",
                 "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d"
                 "2dd1b51a28"},
                {"436f756e742d31", "4265617574792069732074727574682c20747275746820626561757479",
                 "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f"
                 "59992dc98c"},
                {"436f756e742d32", "4265617574792069732074727574682c20747275746820626561757479",
                 "71146bd6795ccc9c49ce25dda112a48f202ad220559502cef1f34271e0cb4b02b4f10ecac6f48c32"
                 "f878fae86b"},
            },
        .exports =
            {
                {"", "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e"},
                {"00", "8c1df14732580e5501b00f82b10a1647b40713191b7c1240ac80e2b68808ba69"},
                {"54657374436f6e74657874",
                 "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53"},
            },
    },
    {
        .info = "4f6465206f6e2061204772656369616e2055726e",
        .recipient = "3ca22a6d1cda1bb9480949ec5329d3bf0b080ca4c45879c95eddb55c70b80b82",
        .recipient_public = "1a478716d63cb2e16786ee93004486dc151e988b34b475043d3e0175bdb01c44",
        .ephemeral = "c94619e1af28971c8fa7957192b7e62a71ca2dcdde0a7cc4a8a9e741d600ab13",
        .sender = "2def0cb58ffcf83d1062dd085c8aceca7f4c0c3fd05912d847b61f3e54121f05",
        .sender_public = "f0f4f9e96c54aeed3f323de8534fffd7e0577e4ce269896716bcb95643c8712b",
        .encapsulated = "f7674cc8cd7baa5872d1f33dbaffe3314239f6197ddf5ded1746760bfc847e0e",
        .encryptions =
            {
                {"436f756e742d30", "4265617574792069732074727574682c20747275746820626561757479",
                 "ab1a13c9d4f01a87ec3440dbd756e2677bd2ecf9df0ce7ed73869b98e00c09be111cb9fdf077347a"
                 "eb88e61bdf"},
                {"436f756e742d31", "4265617574792069732074727574682c20747275746820626561757479",
                 "3265c7807ffff7fdace21659a2c6ccffee52a26d270c76468ed74202a65478bfaedfff9c2b7634e2"
                 "4f10b71016"},
                {"436f756e742d32", "4265617574792069732074727574682c20747275746820626561757479",
                 "3aadee86ad2a05081ea860033a9d09dbccb4acac2ded0891da40f51d4df19925f7a767b076a5cbc9"
                 "355c8fd35e"},
            },
        .exports =
            {
                {"", "070cffafd89b67b7f0eeb800235303a223e6ff9d1e774dce8eac585c8688c872"},
                {"00", "2852e728568d40ddb0edde284d36a4359c56558bb2fb8837cd3d92e46a3a14a8"},
                {"54657374436f6e74657874",
                 "1df39dc5dd60edcbf5f9ae804e15ada66e885b28ed7929116f768369a3f950ee"},
            },
    },
};

static void check_hpke(const struct hpke_vector *vector)
{
    uint8_t info[BYTES_MAXIMUM], recipient_public[BYTES_MAXIMUM], sender_public[BYTES_MAXIMUM];
    uint8_t encapsulated[HPKE_ENCAPSULATED_SIZE], derived[HPKE_KEY_SIZE];
    size_t info_length = unhex(vector->info, info);
    unhex(vector->recipient_public, recipient_public);
    _cleanup_(secret_freep) struct secret *recipient = secret_of_hex(vector->recipient);
    _cleanup_(secret_freep) struct secret *ephemeral = secret_of_hex(vector->ephemeral);
    _cleanup_(secret_freep) struct secret *sender = vector->sender ? secret_of_hex(vector->sender) : NULL;
    if (sender) {
        unhex(vector->sender_public, sender_public);
        assert_ok(hpke_public_key(sender, derived, &error));
        assert_memory_equal(derived, sender_public, HPKE_KEY_SIZE);
    }
    _cleanup_(hpke_context_freep) struct hpke_context *sealing = NULL, *opening = NULL;
    assert_ok(hpke_setup_sender_with(ephemeral, recipient_public, sender, info, info_length, encapsulated,
                                     &sealing, &error));
    assert_bytes_are(encapsulated, vector->encapsulated);
    assert_ok(hpke_setup_recipient(encapsulated, recipient, sender ? sender_public : NULL, info, info_length,
                                   &opening, &error));
    for (size_t i = 0; i < 3; i++) {
        uint8_t associated[BYTES_MAXIMUM], plaintext[BYTES_MAXIMUM], ciphertext[BYTES_MAXIMUM],
            opened[BYTES_MAXIMUM];
        size_t associated_length = unhex(vector->encryptions[i].associated, associated);
        size_t length = unhex(vector->encryptions[i].plaintext, plaintext);
        assert_ok(hpke_seal(sealing, associated, associated_length, plaintext, length, ciphertext, &error));
        assert_bytes_are(ciphertext, vector->encryptions[i].ciphertext);
        assert_ok(hpke_open(opening, associated, associated_length, ciphertext, length + HPKE_TAG_SIZE,
                            opened, &error));
        assert_memory_equal(opened, plaintext, length);
    }
    for (size_t i = 0; i < 3; i++) {
        uint8_t context[BYTES_MAXIMUM], value[32];
        size_t length = unhex(vector->exports[i].context, context);
        assert_ok(hpke_export(opening, context, length, value, sizeof(value), &error));
        assert_bytes_are(value, vector->exports[i].value);
    }
}

static void hpke_gives_the_vectors_of_rfc_9180(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(HPKE_VECTORS) / sizeof(HPKE_VECTORS[0]); i++)
        check_hpke(&HPKE_VECTORS[i]);
}

/* Two parties who have talked. */
struct pair {
    struct secret *recipient, *sender;
    uint8_t recipient_public[HPKE_KEY_SIZE], sender_public[HPKE_KEY_SIZE],
        encapsulated[HPKE_ENCAPSULATED_SIZE];
    struct hpke_context *sealing, *opening;
};

static void pair_done(struct pair *pair)
{
    hpke_context_free(pair->sealing);
    hpke_context_free(pair->opening);
    secret_free(pair->recipient);
    secret_free(pair->sender);
}

static void pair_make(struct pair *pair)
{
    *pair = (struct pair){0};
    assert_ok(hpke_key_new(&pair->recipient, pair->recipient_public, &error));
    assert_ok(hpke_key_new(&pair->sender, pair->sender_public, &error));
    assert_ok(hpke_setup_sender(pair->recipient_public, pair->sender, "i", 1, pair->encapsulated,
                                &pair->sealing, &error));
    assert_ok(hpke_setup_recipient(pair->encapsulated, pair->recipient, pair->sender_public, "i", 1,
                                   &pair->opening, &error));
}

static void hpke_opens_nothing_that_was_changed(void **state)
{
    (void)state;
    _cleanup_(pair_done) struct pair pair;
    uint8_t sealed[5 + HPKE_TAG_SIZE], opened[5];
    pair_make(&pair);
    assert_ok(hpke_seal(pair.sealing, "a", 1, "hello", 5, sealed, &error));
    for (size_t bit = 0; bit < sizeof(sealed) * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_fails(ERR_WRONG_KEY, hpke_open(pair.opening, "a", 1, sealed, sizeof(sealed), opened, &error));
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_fails(ERR_WRONG_KEY, hpke_open(pair.opening, "b", 1, sealed, sizeof(sealed), opened, &error));
    assert_fails(ERR_WRONG_KEY, hpke_open(pair.opening, "a", 1, sealed, sizeof(sealed) - 1, opened, &error));
    assert_fails(ERR_CORRUPT, hpke_open(pair.opening, "a", 1, sealed, HPKE_TAG_SIZE - 1, opened, &error));
    /* None of that took the number of the message. */
    assert_ok(hpke_open(pair.opening, "a", 1, sealed, sizeof(sealed), opened, &error));
    assert_fails(ERR_WRONG_KEY, hpke_open(pair.opening, "a", 1, sealed, sizeof(sealed), opened, &error));
}

static void hpke_knows_the_sender_and_what_it_is_about(void **state)
{
    (void)state;
    _cleanup_(pair_done) struct pair pair, other;
    uint8_t sealed[5 + HPKE_TAG_SIZE], opened[5];
    pair_make(&pair);
    pair_make(&other);
    assert_ok(hpke_seal(pair.sealing, NULL, 0, "hello", 5, sealed, &error));
    const struct {
        const struct secret *recipient;
        const uint8_t *sender, *encapsulated;
        const char *info;
    } wrong[] = {
        {other.recipient, pair.sender_public, pair.encapsulated, "i"},
        {pair.recipient, other.sender_public, pair.encapsulated, "i"},
        {pair.recipient, NULL, pair.encapsulated, "i"},
        {pair.recipient, pair.sender_public, other.encapsulated, "i"},
        {pair.recipient, pair.sender_public, pair.encapsulated, "j"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        _cleanup_(hpke_context_freep) struct hpke_context *context = NULL;
        assert_ok(hpke_setup_recipient(wrong[i].encapsulated, wrong[i].recipient, wrong[i].sender,
                                       wrong[i].info, 1, &context, &error));
        assert_fails(ERR_WRONG_KEY, hpke_open(context, NULL, 0, sealed, sizeof(sealed), opened, &error));
    }
}

/* Points whose product with any key is zero (RFC 7748 §6.1). */
static void hpke_refuses_public_keys_of_low_order(void **state)
{
    (void)state;
    static const char *const low[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    _cleanup_(pair_done) struct pair pair;
    pair_make(&pair);
    for (size_t i = 0; i < sizeof(low) / sizeof(low[0]); i++) {
        uint8_t point[BYTES_MAXIMUM], encapsulated[HPKE_ENCAPSULATED_SIZE];
        struct hpke_context *context = NULL;
        unhex(low[i], point);
        assert_fails(ERR_CORRUPT, hpke_setup_sender(point, NULL, NULL, 0, encapsulated, &context, &error));
        assert_fails(ERR_CORRUPT,
                     hpke_setup_recipient(point, pair.recipient, NULL, NULL, 0, &context, &error));
        assert_fails(ERR_CORRUPT, hpke_setup_recipient(pair.encapsulated, pair.recipient, point, NULL, 0,
                                                       &context, &error));
        assert_null(context);
    }
}

static void hpke_answers_only_to_the_message(void **state)
{
    (void)state;
    _cleanup_(pair_done) struct pair pair, other;
    uint8_t sealed[HPKE_RESPONSE_NONCE_SIZE + 6 + HPKE_TAG_SIZE], again[sizeof(sealed)], opened[6];
    pair_make(&pair);
    pair_make(&other);
    assert_ok(hpke_response_seal(pair.opening, "answer", "fine\0", 6, sealed, &error));
    assert_ok(hpke_response_open(pair.sealing, "answer", sealed, sizeof(sealed), opened, &error));
    assert_memory_equal(opened, "fine\0", 6);
    assert_ok(hpke_response_seal(pair.opening, "answer", "fine\0", 6, again, &error));
    assert_memory_not_equal(again, sealed, sizeof(sealed));
    assert_fails(ERR_WRONG_KEY,
                 hpke_response_open(other.sealing, "answer", sealed, sizeof(sealed), opened, &error));
    assert_fails(ERR_WRONG_KEY,
                 hpke_response_open(pair.sealing, "other", sealed, sizeof(sealed), opened, &error));
    assert_fails(ERR_CORRUPT, hpke_response_open(pair.sealing, "answer", sealed, 47, opened, &error));
    for (size_t at = 0; at < sizeof(sealed); at++) {
        sealed[at] ^= 1;
        assert_fails(ERR_WRONG_KEY,
                     hpke_response_open(pair.sealing, "answer", sealed, sizeof(sealed), opened, &error));
        sealed[at] ^= 1;
    }
}

/* RFC 9497 appendix A.1.1. */
static const char OPRF_KEY[] = "5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e";
static const struct {
    const char *input, *blind, *blinded, *evaluated, *output;
} OPRF_VECTORS[] = {
    {"00", "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706",
     "609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c",
     "7ec6578ae5120958eb2db1745758ff379e77cb64fe77b0b2d8cc917ea0869c7e",
     "527759c3d9366f277d8c6020418d96bb393ba2afb20ff90df23fb7708264e2f3ab9135e3bd699558"
     "51de4b1f9fe8a0973396719b7912ba9ee8aa7d0b5e24bcf6"},
    {"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a", "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706",
     "da27ef466870f5f15296299850aa088629945a17d1f5b7f5ff043f76b3c06418",
     "b4cbf5a4f1eeda5a63ce7b77c7d23f461db3fcab0dd28e4e17cecb5c90d02c25",
     "f4a74c9c592497375e796aa837e907b1a045d34306a749db9f34221f7e750cb4f2a6413a6bf6fa5e"
     "19ba6348eb673934a722a7ede2e7621306d18951e7cf2c73"},
};

static void the_oprf_gives_the_vectors_of_rfc_9497(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = secret_of_hex(OPRF_KEY);
    for (size_t i = 0; i < sizeof(OPRF_VECTORS) / sizeof(OPRF_VECTORS[0]); i++) {
        uint8_t input[BYTES_MAXIMUM], blinded[OPRF_ELEMENT_SIZE], evaluated[OPRF_ELEMENT_SIZE];
        size_t length = unhex(OPRF_VECTORS[i].input, input);
        _cleanup_(secret_freep) struct secret *blind = secret_of_hex(OPRF_VECTORS[i].blind), *output = NULL;
        assert_ok(oprf_blind_with(input, length, blind, blinded, &error));
        assert_bytes_are(blinded, OPRF_VECTORS[i].blinded);
        assert_ok(oprf_evaluate(key, blinded, evaluated, &error));
        assert_bytes_are(evaluated, OPRF_VECTORS[i].evaluated);
        assert_ok(oprf_finalize(input, length, blind, evaluated, &output, &error));
        assert_int_equal(output->length, OPRF_OUTPUT_SIZE);
        assert_bytes_are(output->bytes, OPRF_VECTORS[i].output);
    }
}

static struct secret *output_of(const struct secret *key, const char *input)
{
    uint8_t blinded[OPRF_ELEMENT_SIZE], evaluated[OPRF_ELEMENT_SIZE];
    _cleanup_(secret_freep) struct secret *blind = NULL;
    struct secret *output = NULL;
    assert_ok(oprf_blind(input, strlen(input), &blind, blinded, &error));
    assert_ok(oprf_evaluate(key, blinded, evaluated, &error));
    assert_ok(oprf_finalize(input, strlen(input), blind, evaluated, &output, &error));
    return output;
}

static void the_oprf_depends_on_key_and_input_and_not_on_the_blind(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL, *other = NULL;
    assert_ok(oprf_key_new(&key, &error));
    assert_ok(oprf_key_new(&other, &error));
    _cleanup_(secret_freep) struct secret *one = output_of(key, "x"), *same = output_of(key, "x"),
                                          *input = output_of(key, "y"), *empty = output_of(key, ""),
                                          *foreign = output_of(other, "x");
    assert_memory_equal(one->bytes, same->bytes, OPRF_OUTPUT_SIZE);
    assert_memory_not_equal(one->bytes, input->bytes, OPRF_OUTPUT_SIZE);
    assert_memory_not_equal(one->bytes, empty->bytes, OPRF_OUTPUT_SIZE);
    assert_memory_not_equal(one->bytes, foreign->bytes, OPRF_OUTPUT_SIZE);
}

static void two_blinds_of_one_input_show_nothing_in_common(void **state)
{
    (void)state;
    uint8_t one[OPRF_ELEMENT_SIZE], other[OPRF_ELEMENT_SIZE];
    _cleanup_(secret_freep) struct secret *first = NULL, *second = NULL;
    assert_ok(oprf_blind("x", 1, &first, one, &error));
    assert_ok(oprf_blind("x", 1, &second, other, &error));
    assert_memory_not_equal(first->bytes, second->bytes, OPRF_SCALAR_SIZE);
    assert_memory_not_equal(one, other, OPRF_ELEMENT_SIZE);
}

/* The identity; non-canonical field elements; negative ones; no square: from RFC 9496 appendix A.2. */
static void bad_elements_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    _cleanup_(secret_freep) struct secret *key = NULL;
    assert_ok(oprf_key_new(&key, &error));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t element[BYTES_MAXIMUM], out[OPRF_ELEMENT_SIZE];
        struct secret *output = NULL;
        unhex(bad[i], element);
        assert_fails(ERR_CORRUPT, oprf_evaluate(key, element, out, &error));
        assert_fails(ERR_CORRUPT, oprf_finalize("x", 1, key, element, &output, &error));
        assert_null(output);
    }
}

/* Zero, the group's order L and above, and wrong lengths. */
static void bad_scalars_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
        "eed3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "01",
        "010000000000000000000000000000000000000000000000000000000000000000",
    };
    uint8_t good[OPRF_ELEMENT_SIZE], out[OPRF_ELEMENT_SIZE];
    _cleanup_(secret_freep) struct secret *blind = NULL;
    assert_ok(oprf_blind("x", 1, &blind, good, &error));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        _cleanup_(secret_freep) struct secret *scalar = secret_of_hex(bad[i]);
        struct secret *output = NULL;
        assert_fails(ERR_CORRUPT, oprf_evaluate(scalar, good, out, &error));
        assert_fails(ERR_CORRUPT, oprf_blind_with("x", 1, scalar, out, &error));
        assert_fails(ERR_CORRUPT, oprf_finalize("x", 1, scalar, good, &output, &error));
        assert_null(output);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hpke_gives_the_vectors_of_rfc_9180),
        cmocka_unit_test(hpke_opens_nothing_that_was_changed),
        cmocka_unit_test(hpke_knows_the_sender_and_what_it_is_about),
        cmocka_unit_test(hpke_refuses_public_keys_of_low_order),
        cmocka_unit_test(hpke_answers_only_to_the_message),
        cmocka_unit_test(the_oprf_gives_the_vectors_of_rfc_9497),
        cmocka_unit_test(the_oprf_depends_on_key_and_input_and_not_on_the_blind),
        cmocka_unit_test(two_blinds_of_one_input_show_nothing_in_common),
        cmocka_unit_test(bad_elements_are_refused),
        cmocka_unit_test(bad_scalars_are_refused),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
