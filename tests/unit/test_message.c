#include <sodium.h>
#include <stdio.h>

#include "base/text.h"
#include "message/descriptor.h"
#include "message/message.h"
#include "unit.h"

static int start(void **state)
{
    (void)state;
    return secret_start(NULL) == OK ? 0 : -1;
}

/* A host and its authority. */
struct talk {
    struct secret *message_private, *identity;
    uint8_t message_key[HPKE_KEY_SIZE], identity_public[HPKE_KEY_SIZE], host_id[MESSAGE_HOST_ID_SIZE];
    struct buffer wire;
    struct hpke_context *asked, *answering;
    json_t *opened;
};

static void talk_done(struct talk *talk)
{
    secret_free(talk->message_private);
    secret_free(talk->identity);
    buffer_done(&talk->wire);
    hpke_context_free(talk->asked);
    hpke_context_free(talk->answering);
    json_decref(talk->opened);
}

static json_t *object_of(const char *text)
{
    json_t *object = NULL;
    assert_ok(json_parse_object(text, strlen(text), "the test", &object, &error));
    return object;
}

#define ID "\"id\":\"000102030405060708090a0b0c0d0e0f\""

static void talk_make(struct talk *talk, const char *text, enum message_mode mode)
{
    *talk = (struct talk){.host_id = "sixteen bytes id"};
    assert_ok(hpke_key_new(&talk->message_private, talk->message_key, &error));
    assert_ok(hpke_key_new(&talk->identity, talk->identity_public, &error));
    _cleanup_(json_freep) json_t *object = object_of(text);
    const bool auth = mode == MESSAGE_AUTH;
    assert_ok(message_seal(object, talk->message_key, auth ? talk->identity : NULL,
                           auth ? talk->host_id : NULL, &talk->wire, &talk->asked, &error));
}

static enum error_code open_it(struct talk *talk, const uint8_t *identity, struct error *reterr)
{
    const struct hpke_sender sender = {identity, NULL};
    return message_open(talk->wire.data, talk->wire.length,
                        (struct message_key){talk->message_private, talk->message_key},
                        identity ? &sender : NULL, &talk->opened, &talk->answering, reterr);
}

static void an_exchange_that_is_at_hand_opens_what_its_sender_sealed_and_nothing_else(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk, other;
    _cleanup_(secret_freep) struct secret *its = NULL, *another = NULL;
    talk_make(&talk, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    talk_make(&other, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    const struct message_key key = {talk.message_private, talk.message_key};
    assert_ok(hpke_exchange(talk.message_private, talk.identity_public, &its, &error));
    assert_ok(hpke_exchange(talk.message_private, other.identity_public, &another, &error));
    const struct hpke_sender wrong = {talk.identity_public, another}, right = {talk.identity_public, its};
    assert_int_equal(
        message_open(talk.wire.data, talk.wire.length, key, &wrong, &talk.opened, &talk.answering, NULL),
        ERR_WRONG_KEY);
    assert_null(talk.opened);
    assert_ok(
        message_open(talk.wire.data, talk.wire.length, key, &right, &talk.opened, &talk.answering, &error));
}

static void a_message_and_its_answer_come_through(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk;
    _cleanup_(buffer_done) struct buffer answer = {0}, plain = {0};
    _cleanup_(json_freep) json_t *result = object_of("{\"result\":{\"state\":\"granted\"}}"), *got = NULL;
    struct message_header header;
    enum message_type type;
    enum answer_kind kind;
    uint8_t key_id[MESSAGE_KEY_ID_SIZE];
    talk_make(&talk, "{\"type\":\"open\"," ID "}", MESSAGE_AUTH);

    assert_ok(message_parse_header(talk.wire.data, talk.wire.length, &header, &error));
    message_key_id(talk.message_key, key_id);
    assert_int_equal(header.mode, MESSAGE_AUTH);
    assert_memory_equal(header.key_id, key_id, sizeof(key_id));
    assert_memory_equal(header.host_id, talk.host_id, sizeof(talk.host_id));
    assert_ok(open_it(&talk, talk.identity_public, &error));
    assert_ok(message_get_type(talk.opened, header.mode, &type, &error));
    assert_int_equal(type, MESSAGE_OPEN);

    assert_ok(answer_seal(result, talk.answering, &answer, &error));
    assert_ok(answer_open(answer.data, answer.length, talk.asked, &kind, &got, &plain, &error));
    assert_int_equal(kind, ANSWER_SEALED);
    assert_true(json_equal(got, result));
}

static void enrolling_needs_no_identity(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk;
    struct message_header header;
    talk_make(&talk, "{\"type\":\"enroll\"," ID "}", MESSAGE_BASE);
    assert_ok(message_parse_header(talk.wire.data, talk.wire.length, &header, &error));
    assert_int_equal(header.mode, MESSAGE_BASE);
    assert_ok(open_it(&talk, NULL, &error));
}

static void a_type_counts_in_its_own_mode_only(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPES; type++) {
        _cleanup_(json_freep) json_t *object = json_pack("{s:s}", "type", message_types[type].name);
        enum message_mode other = message_types[type].mode == MESSAGE_AUTH ? MESSAGE_BASE : MESSAGE_AUTH;
        enum message_type got;
        assert_ok(message_get_type(object, message_types[type].mode, &got, &error));
        assert_int_equal(got, type);
        assert_fails(ERR_CORRUPT, message_get_type(object, other, &got, &error));
    }
}

static void every_changed_byte_is_found(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk;
    talk_make(&talk, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    for (size_t at = 0; at < talk.wire.length; at++)
        for (int bit = 0; bit < 8; bit++) {
            struct error error = ERROR_NONE;
            talk.wire.data[at] = (char)(talk.wire.data[at] ^ (1 << bit));
            enum error_code code = open_it(&talk, talk.identity_public, &error);
            if (code != ERR_WRONG_KEY && code != ERR_CORRUPT && code != ERR_TOO_NEW)
                fail_msg("byte %zu, bit %d: %s", at, bit, error_word(code));
            assert_null(talk.opened);
            talk.wire.data[at] = (char)(talk.wire.data[at] ^ (1 << bit));
        }
    for (size_t length = 0; length < talk.wire.length; length++) {
        struct error error = ERROR_NONE;
        const struct hpke_sender sender = {talk.identity_public, NULL};
        assert_int_not_equal(message_open(talk.wire.data, length,
                                          (struct message_key){talk.message_private, talk.message_key},
                                          &sender, &talk.opened, &talk.answering, &error),
                             OK);
    }
    assert_ok(open_it(&talk, talk.identity_public, &error));
}

static void only_the_host_it_names_can_have_made_it(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk, other;
    talk_make(&talk, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    talk_make(&other, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    assert_fails(ERR_WRONG_KEY, open_it(&talk, other.identity_public, &error));
    assert_fails(ERR_CORRUPT, open_it(&talk, NULL, &error));
    talk_done(&other);
    talk_make(&other, "{\"type\":\"enroll\"," ID "}", MESSAGE_BASE);
    assert_fails(ERR_CORRUPT, open_it(&other, talk.identity_public, &error));
}

static void what_is_no_message_inside_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{" ID "}",
        "{\"type\":\"poll\"}",
        "{\"type\":\"poll\",\"id\":\"00\"}",
        "{\"type\":\"nothing\"," ID "}",
        "{\"type\":\"enroll\"," ID "}",
        "{\"type\":7," ID "}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        _cleanup_(talk_done) struct talk talk;
        talk_make(&talk, bad[i], MESSAGE_AUTH);
        assert_fails(ERR_CORRUPT, open_it(&talk, talk.identity_public, &error));
    }
}

static void a_message_longer_than_allowed_is_not_made(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk;
    talk_make(&talk, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    static char text[MESSAGE_MAXIMUM];
    memset(text, 'x', sizeof(text) - 1);
    _cleanup_(json_freep) json_t *object = json_pack("{s:s}", "long", text);
    _cleanup_(buffer_done) struct buffer wire = {0};
    struct hpke_context *context = NULL;
    assert_fails(ERR_NO_MEMORY, message_seal(object, talk.message_key, NULL, NULL, &wire, &context, &error));
    assert_null(context);
}

static void answers_in_the_clear_come_as_they_are(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk;
    _cleanup_(buffer_done) struct buffer answer = {0}, plain = {0};
    json_t *object = NULL;
    enum answer_kind kind;
    talk_make(&talk, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    assert_ok(answer_plain(ANSWER_TRY_AGAIN, "later\n", 6, &answer, &error));
    assert_ok(answer_open(answer.data, answer.length, talk.asked, &kind, &object, &plain, &error));
    assert_int_equal(kind, ANSWER_TRY_AGAIN);
    assert_string_equal(plain.data, "later\n");
    assert_null(object);
    for (size_t at = 0; at < 8; at++) {
        answer.data[at] = (char)(answer.data[at] ^ 64);
        struct error error = ERROR_NONE;
        assert_int_not_equal(
            answer_open(answer.data, answer.length, talk.asked, &kind, &object, &plain, &error), OK);
        answer.data[at] = (char)(answer.data[at] ^ 64);
    }
    assert_fails(ERR_CORRUPT, answer_open(answer.data, 7, talk.asked, &kind, &object, &plain, &error));
}

static void an_answer_to_another_message_is_refused(void **state)
{
    (void)state;
    _cleanup_(talk_done) struct talk talk, other;
    _cleanup_(buffer_done) struct buffer answer = {0}, plain = {0};
    _cleanup_(json_freep) json_t *result = object_of("{\"result\":{}}");
    json_t *got = NULL;
    enum answer_kind kind;
    talk_make(&talk, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    talk_make(&other, "{\"type\":\"poll\"," ID "}", MESSAGE_AUTH);
    assert_ok(open_it(&talk, talk.identity_public, &error));
    assert_ok(answer_seal(result, talk.answering, &answer, &error));
    assert_fails(ERR_WRONG_KEY,
                 answer_open(answer.data, answer.length, other.asked, &kind, &got, &plain, &error));
}

/* A root and what it signs. */
struct signer {
    struct secret *key;
    struct descriptor descriptor;
    struct buffer wire;
};

static void signer_done(struct signer *signer)
{
    secret_free(signer->key);
    buffer_done(&signer->wire);
}

static void signer_make(struct signer *signer)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    *signer = (struct signer){
        .descriptor = {.sequence = 7, .epoch = 3, .issued_at_unix_s = 1700000000, .address_count = 2}};
    assert_ok(sign_key_new(&signer->key, signer->descriptor.root, &error));
    randombytes_buf(signer->descriptor.message_key, HPKE_KEY_SIZE);
    randombytes_buf(signer->descriptor.signing_key, SIGN_PUBLIC_SIZE);
    snprintf(signer->descriptor.addresses[0], DESCRIPTOR_ADDRESS_SIZE, "http://192.0.2.1:7070");
    snprintf(signer->descriptor.addresses[1], DESCRIPTOR_ADDRESS_SIZE, "https://[2001:db8::1]");
    assert_ok(descriptor_format(&signer->descriptor, &text, &error));
    assert_ok(descriptor_sign(text.data, text.length, signer->key, &signer->wire, &error));
}

static void a_descriptor_is_what_its_root_signed(void **state)
{
    (void)state;
    _cleanup_(signer_done) struct signer signer, other;
    struct descriptor got;
    signer_make(&signer);
    signer_make(&other);
    assert_ok(descriptor_parse(signer.wire.data, signer.wire.length, signer.descriptor.root, &got, &error));
    assert_memory_equal(&got, &signer.descriptor, sizeof(got));
    assert_ok(descriptor_parse(signer.wire.data, signer.wire.length, NULL, &got, &error));
    assert_fails(ERR_DENIED,
                 descriptor_parse(signer.wire.data, signer.wire.length, other.descriptor.root, &got, &error));
}

static void an_address_no_host_could_use_is_none(void **state)
{
    (void)state;
    static const char *const wrong[] = {"https://husk.example", "ftp://husk.example", "http://", "http://a:0",
                                        "http://a b",           "husk.example",       ""};
    struct descriptor descriptor = {0};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_fails(ERR_USAGE, descriptor_add_address(&descriptor, wrong[i], &error));
    assert_int_equal(descriptor.address_count, 0);
    assert_fails(ERR_UNSUPPORTED, descriptor_check_reachable(&descriptor, &error));
    snprintf(descriptor.addresses[descriptor.address_count++], DESCRIPTOR_ADDRESS_SIZE, "https://a");
    assert_fails(ERR_UNSUPPORTED, descriptor_check_reachable(&descriptor, &error));
    assert_ok(descriptor_add_address(&descriptor, "http://[2001:db8::1]:4875/husk", &error));
    assert_ok(descriptor_check_reachable(&descriptor, &error));
}

static void a_changed_descriptor_is_refused(void **state)
{
    (void)state;
    _cleanup_(signer_done) struct signer signer;
    struct descriptor got;
    signer_make(&signer);
    for (size_t at = 0; at < signer.wire.length; at++) {
        struct error error = ERROR_NONE;
        signer.wire.data[at] = (char)(signer.wire.data[at] ^ 1);
        assert_int_equal(
            descriptor_parse(signer.wire.data, signer.wire.length, signer.descriptor.root, &got, &error),
            ERR_DENIED);
        assert_int_not_equal(descriptor_parse(signer.wire.data, signer.wire.length, NULL, &got, &error), OK);
        signer.wire.data[at] = (char)(signer.wire.data[at] ^ 1);
    }
    for (size_t length = 0; length < signer.wire.length; length++) {
        struct error error = ERROR_NONE;
        assert_int_not_equal(descriptor_parse(signer.wire.data, length, signer.descriptor.root, &got, &error),
                             OK);
    }
}

/* Signed by the root, and still not what a descriptor may be. */
static void a_descriptor_its_root_should_not_have_signed_is_refused(void **state)
{
    (void)state;
    _cleanup_(signer_done) struct signer signer;
    signer_make(&signer);
    const struct {
        const char *member;
        json_t *value;
        enum error_code expected;
    } bad[] = {
        {"version", json_integer(2), ERR_TOO_NEW},
        {"version", json_integer(0), ERR_CORRUPT},
        {"sequence", json_integer(0), ERR_CORRUPT},
        {"epoch", json_integer(0), ERR_CORRUPT},
        {"epoch", json_null(), ERR_CORRUPT},
        {"root", json_string("00"), ERR_CORRUPT},
        {"root", json_string("0000000000000000000000000000000000000000000000000000000000000000"),
         ERR_CORRUPT},
        {"message_key", json_null(), ERR_CORRUPT},
        {"addresses", json_array(), ERR_CORRUPT},
        {"addresses", json_pack("[s]", "ftp://192.0.2.1"), ERR_CORRUPT},
        {"addresses", json_pack("[i]", 1), ERR_CORRUPT},
        {"issued_at", json_integer(-1), ERR_CORRUPT},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
        struct descriptor got;
        _cleanup_(json_freep) json_t *object = NULL;
        assert_ok(descriptor_format(&signer.descriptor, &text, &error));
        assert_ok(json_parse_object(text.data, text.length, "the test", &object, &error));
        assert_int_equal(json_object_set_new(object, bad[i].member, bad[i].value), 0);
        buffer_done(&text);
        assert_ok(json_format(object, &text, &error));
        assert_ok(descriptor_sign(text.data, text.length, signer.key, &wire, &error));
        assert_fails(bad[i].expected,
                     descriptor_parse(wire.data, wire.length, signer.descriptor.root, &got, &error));
    }
}

static void a_signature_of_one_kind_is_none_of_another(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    uint8_t public_key[SIGN_PUBLIC_SIZE], again[SIGN_PUBLIC_SIZE], signature[SIGN_SIGNATURE_SIZE];
    assert_ok(sign_key_new(&key, public_key, &error));
    assert_ok(sign_public_key(key, again, &error));
    assert_memory_equal(again, public_key, sizeof(again));
    assert_ok(sign_bytes(key, "husk order v1", "text", 4, signature, &error));
    assert_ok(sign_verify(public_key, "husk order v1", "text", 4, signature, &error));
    assert_fails(ERR_CORRUPT, sign_verify(public_key, "husk erased v1", "text", 4, signature, &error));
    assert_fails(ERR_CORRUPT, sign_verify(public_key, "husk order v1", "texts", 5, signature, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_and_its_answer_come_through),
        cmocka_unit_test(enrolling_needs_no_identity),
        cmocka_unit_test(a_type_counts_in_its_own_mode_only),
        cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(only_the_host_it_names_can_have_made_it),
        cmocka_unit_test(an_exchange_that_is_at_hand_opens_what_its_sender_sealed_and_nothing_else),
        cmocka_unit_test(what_is_no_message_inside_is_refused),
        cmocka_unit_test(a_message_longer_than_allowed_is_not_made),
        cmocka_unit_test(answers_in_the_clear_come_as_they_are),
        cmocka_unit_test(an_answer_to_another_message_is_refused),
        cmocka_unit_test(a_descriptor_is_what_its_root_signed),
        cmocka_unit_test(an_address_no_host_could_use_is_none),
        cmocka_unit_test(a_changed_descriptor_is_refused),
        cmocka_unit_test(a_descriptor_its_root_should_not_have_signed_is_refused),
        cmocka_unit_test(a_signature_of_one_kind_is_none_of_another),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
