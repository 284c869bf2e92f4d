/* The vectors of docs/protocol.md, made by another implementation: read from the page and checked, each byte
 * of them. */
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>

#include "base/file.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "message/descriptor.h"
#include "message/message.h"
#include "message/statement.h"
#include "unit.h"

/* One of the page: bytes, or the text itself where its name ends in -text. */
struct vector {
    char name[32];
    char value[8192];
    size_t length;
};

enum { VECTORS_MAXIMUM = 40 };
struct page {
    struct vector vectors[VECTORS_MAXIMUM];
    size_t count;
};

static bool is_text(const struct vector *vector)
{
    const size_t length = strlen(vector->name);
    return length > 5 && !strcmp(vector->name + length - 5, "-text");
}

/* "name: value", or an indented line that carries on the one before. */
static void read_line(struct page *page, const char *line, size_t length)
{
    if (strncmp(line, "    ", 4) != 0) {
        const char *colon = memchr(line, ':', length);
        assert_non_null(colon);
        assert_true(page->count < VECTORS_MAXIMUM);
        struct vector *made = &page->vectors[page->count++];
        assert_in_range(colon - line, 1, sizeof(made->name) - 1);
        memcpy(made->name, line, (size_t)(colon - line));
        length -= (size_t)(colon - line) + 1;
        line = colon + 1;
    }
    assert_true(page->count > 0);
    struct vector *vector = &page->vectors[page->count - 1];
    for (; length > 0 && *line == ' '; length--)
        line++;
    assert_true(vector->length + length < sizeof(vector->value));
    memcpy(vector->value + vector->length, line, length);
    vector->length += length;
}

static void decode(struct vector *vector)
{
    uint8_t bytes[sizeof(vector->value) / 2];
    assert_int_equal(vector->length % 2, 0);
    assert_ok(text_parse_hex(vector->value, bytes, vector->length / 2, &error));
    vector->length /= 2;
    memset(vector->value, 0, sizeof(vector->value));
    memcpy(vector->value, bytes, vector->length);
}

static int read_page(void **state)
{
    struct page *page = calloc(1, sizeof(*page));
    _cleanup_(buffer_done) struct buffer text = {0};
    bool inside = false;
    if (!page || secret_start(NULL) != OK)
        return -1;
    assert_ok(file_read(AT_FDCWD, PROTOCOL_PAGE, 1 << 20, &text, &error));
    for (const char *line = text.data, *end; (end = strchr(line, '\n')); line = end + 1) {
        const size_t length = (size_t)(end - line);
        if (!strncmp(line, "```", 3))
            inside = !strncmp(line, "```vectors\n", 11);
        else if (inside)
            read_line(page, line, length);
    }
    for (size_t i = 0; i < page->count; i++)
        if (!is_text(&page->vectors[i]))
            decode(&page->vectors[i]);
    *state = page;
    return 0;
}

static int forget_page(void **state)
{
    free(*state);
    return 0;
}

static const struct vector *get(const struct page *page, const char *name)
{
    for (size_t i = 0; i < page->count; i++)
        if (!strcmp(page->vectors[i].name, name))
            return &page->vectors[i];
    static const struct vector none;
    fail_msg("docs/protocol.md has no vector %s", name);
    return &none;
}

static const uint8_t *bytes_of(const struct page *page, const char *name, size_t length)
{
    const struct vector *vector = get(page, name);
    assert_int_equal(vector->length, length);
    return (const uint8_t *)vector->value;
}

static bool equals(const struct vector *vector, const void *bytes, size_t length)
{
    return vector->length == length && !memcmp(vector->value, bytes, length);
}

static struct secret *secret_of(const struct page *page, const char *name)
{
    struct secret *secret = NULL;
    assert_ok(secret_new_copy(bytes_of(page, name, 32), 32, &secret, &error));
    return secret;
}

static struct secret *sign_key_of(const struct page *page, const char *name, uint8_t *ret_public)
{
    struct secret *key = NULL;
    assert_ok(secret_new(SIGN_KEY_SIZE, &key, &error));
    assert_int_equal(
        crypto_sign_ed25519_seed_keypair(ret_public, key->bytes, bytes_of(page, name, SIGN_PUBLIC_SIZE)), 0);
    return key;
}

/* NAME-private and NAME-public belong together. */
static bool check_exchange_pair(const struct page *page, const char *private_name, const char *public_name)
{
    _cleanup_(secret_freep) struct secret *key = secret_of(page, private_name);
    uint8_t public_key[HPKE_KEY_SIZE];
    assert_ok(hpke_public_key(key, public_key, &error));
    return equals(get(page, public_name), public_key, sizeof(public_key));
}

static bool check_sign_pair(const struct page *page, const char *private_name, const char *public_name)
{
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    secret_free(sign_key_of(page, private_name, public_key));
    return equals(get(page, public_name), public_key, sizeof(public_key));
}

static bool check_keys(const struct page *page)
{
    return check_sign_pair(page, "root-private", "root-public") &&
           check_sign_pair(page, "signing-private", "signing-public") &&
           check_exchange_pair(page, "message-private", "message-public") &&
           check_exchange_pair(page, "next-message-private", "next-message-public") &&
           check_exchange_pair(page, "identity-private", "identity-public");
}

/* Signed with this key, text becomes these bytes: signatures of Ed25519 have nothing random in them. */
static bool check_signed(const struct page *page, const char *key_name, const char *kind, const char *text,
                         const char *name)
{
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    _cleanup_(secret_freep) struct secret *key = sign_key_of(page, key_name, public_key);
    _cleanup_(buffer_done) struct buffer wire = {0};
    const struct vector *signed_text = get(page, text);
    assert_ok(sign_append(key, kind, signed_text->value, signed_text->length, &wire, &error));
    return equals(get(page, name), wire.data, wire.length);
}

static bool check_descriptor(const struct page *page)
{
    const struct vector *wire = get(page, "descriptor"), *text = get(page, "descriptor-text");
    _cleanup_(buffer_done) struct buffer again = {0};
    struct descriptor descriptor;
    if (!check_signed(page, "root-private", "husk descriptor v1", "descriptor-text", "descriptor") ||
        descriptor_parse(wire->value, wire->length, bytes_of(page, "root-public", 32), &descriptor, NULL) ||
        descriptor_format(&descriptor, &again, NULL))
        return false;
    return equals(text, again.data, again.length) && descriptor.sequence == 7 && descriptor.epoch == 3 &&
           descriptor.has_next && descriptor.address_count == 2 &&
           equals(get(page, "message-public"), descriptor.message_key, HPKE_KEY_SIZE) &&
           equals(get(page, "next-message-public"), descriptor.next_message_key, HPKE_KEY_SIZE) &&
           equals(get(page, "signing-public"), descriptor.signing_key, SIGN_PUBLIC_SIZE);
}

static bool check_checkpoint(const struct page *page)
{
    const struct vector *wire = get(page, "checkpoint");
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    _cleanup_(secret_freep) struct secret *key = sign_key_of(page, "signing-private", public_key);
    _cleanup_(buffer_done) struct buffer again = {0};
    struct ledger_checkpoint checkpoint;
    if (!check_signed(page, "signing-private", "husk checkpoint v1", "checkpoint-text", "checkpoint") ||
        ledger_checkpoint_parse(wire->value, wire->length, public_key, &checkpoint, NULL) ||
        ledger_checkpoint_sign(&checkpoint, key, &again, NULL))
        return false;
    return equals(wire, again.data, again.length) && checkpoint.head.sequence == 42;
}

static bool check_order(const struct page *page)
{
    const struct vector *wire = get(page, "order");
    _cleanup_(buffer_done) struct buffer again = {0};
    struct order order;
    if (!check_signed(page, "signing-private", "husk order v1", "order-text", "order") ||
        order_parse(wire->value, wire->length, bytes_of(page, "signing-public", 32),
                    bytes_of(page, "host", MESSAGE_HOST_ID_SIZE), &order, NULL) ||
        order_format(&order, &again, NULL))
        return false;
    return equals(get(page, "order-text"), again.data, again.length) && order.action == ORDER_LOCK;
}

static bool check_erased(const struct page *page)
{
    const struct vector *wire = get(page, "erased");
    _cleanup_(buffer_done) struct buffer again = {0};
    _cleanup_(erased_done) struct erased erased = {0};
    if (!check_signed(page, "signing-private", "husk erased v1", "erased-text", "erased") ||
        erased_parse(wire->value, wire->length, bytes_of(page, "signing-public", 32),
                     bytes_of(page, "host", MESSAGE_HOST_ID_SIZE), &erased, NULL) ||
        erased_format(&erased, &again, NULL))
        return false;
    return equals(get(page, "erased-text"), again.data, again.length) && !erased.is_host &&
           erased.keyslot_count == 2;
}

/* A message of the page: what is in it, the name of its ephemeral key, and its sender's, NULL in mode base.
 */
struct told {
    const char *wire, *text, *ephemeral, *identity;
    enum message_type type;
};

/* Sealed with that ephemeral key by the words of the page, text becomes these bytes. *ret_asked opens the
 * answer. */
static bool check_sealed(const struct page *page, const struct told *told, struct hpke_context **ret_asked)
{
    uint8_t head[64] = {'h', 's', 'k', 'm', 1, 1, told->identity ? 2 : 0, 0}, hash[32], sealed[4096];
    _cleanup_(secret_freep) struct secret *ephemeral = secret_of(page, told->ephemeral);
    _cleanup_(secret_freep) struct secret *identity = told->identity ? secret_of(page, told->identity) : NULL;
    const struct vector *text = get(page, told->text), *wire = get(page, told->wire);
    const uint8_t *message_key = bytes_of(page, "message-public", HPKE_KEY_SIZE);
    crypto_hash_sha256(hash, message_key, HPKE_KEY_SIZE);
    memcpy(head + 8, hash, 8);
    if (identity)
        memcpy(head + 16, bytes_of(page, "host", MESSAGE_HOST_ID_SIZE), MESSAGE_HOST_ID_SIZE);
    assert_true(text->length + HPKE_TAG_SIZE <= sizeof(sealed));
    assert_ok(
        hpke_setup_sender_with(ephemeral, message_key, identity, head, 32, head + 32, ret_asked, &error));
    assert_ok(hpke_seal(*ret_asked, NULL, 0, text->value, text->length, sealed, &error));
    return wire->length == sizeof(head) + text->length + HPKE_TAG_SIZE &&
           !memcmp(wire->value, head, sizeof(head)) &&
           !memcmp(wire->value + sizeof(head), sealed, text->length + HPKE_TAG_SIZE);
}

/* Opened as an authority does it, these bytes are text. */
static bool check_opened(const struct page *page, const struct told *told)
{
    const struct vector *wire = get(page, told->wire), *text = get(page, told->text);
    _cleanup_(secret_freep) struct secret *key = secret_of(page, "message-private");
    const struct message_key message_key = {key, bytes_of(page, "message-public", HPKE_KEY_SIZE)};
    const struct hpke_sender sender = {bytes_of(page, "identity-public", HPKE_KEY_SIZE), NULL};
    _cleanup_(hpke_context_freep) struct hpke_context *context = NULL;
    _cleanup_(json_freep) json_t *object = NULL;
    _cleanup_(buffer_done) struct buffer again = {0};
    enum message_type type;
    return message_open(wire->value, wire->length, message_key, told->identity ? &sender : NULL, &object,
                        &context, NULL) == OK &&
           message_get_type(object, told->identity ? MESSAGE_AUTH : MESSAGE_BASE, &type, NULL) == OK &&
           type == told->type && json_format(object, &again, NULL) == OK &&
           equals(text, again.data, again.length);
}

/* The signed thing in hexadecimal that the answer brings is the one of the page. */
static bool brings(const struct page *page, const json_t *string, const char *name)
{
    const struct vector *vector = get(page, name);
    char hex[2 * 1024 + 1];
    assert_true(vector->length <= 1024);
    text_format_hex(hex, (const uint8_t *)vector->value, vector->length);
    return json_is_string(string) && !strcmp(json_string_value(string), hex);
}

static bool check_answer(const struct page *page, const struct hpke_context *asked)
{
    const struct vector *wire = get(page, "answer");
    _cleanup_(buffer_done) struct buffer plain = {0}, again = {0};
    _cleanup_(json_freep) json_t *object = NULL;
    enum answer_kind kind;
    return answer_open(wire->value, wire->length, asked, &kind, &object, &plain, NULL) == OK &&
           kind == ANSWER_SEALED && json_format(object, &again, NULL) == OK &&
           equals(get(page, "answer-text"), again.data, again.length) &&
           brings(page, json_object_get(json_object_get(object, "checkpoint"), "signed"), "checkpoint") &&
           brings(page, json_array_get(json_object_get(json_object_get(object, "result"), "orders"), 0),
                  "order");
}

static bool check_messages(const struct page *page)
{
    static const struct told told[] = {
        {"message", "message-text", "message-ephemeral", "identity-private", MESSAGE_POLL},
        {"enroll", "enroll-text", "enroll-ephemeral", NULL, MESSAGE_ENROLL},
    };
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        _cleanup_(hpke_context_freep) struct hpke_context *asked = NULL;
        if (!check_sealed(page, &told[i], &asked) || !check_opened(page, &told[i]) ||
            (i == 0 && !check_answer(page, asked)))
            return false;
    }
    return true;
}

static const struct {
    const char *what;
    bool (*check)(const struct page *page);
} checks[] = {
    {"keys", check_keys},   {"descriptor", check_descriptor}, {"checkpoint", check_checkpoint},
    {"order", check_order}, {"erased", check_erased},         {"messages", check_messages},
};

static const char *first_wrong(const struct page *page)
{
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        if (!checks[i].check(page))
            return checks[i].what;
    return NULL;
}

static void what_the_page_says_is_what_husk_does(void **state)
{
    const char *wrong = first_wrong(*state);
    if (wrong)
        fail_msg("docs/protocol.md: its vectors of the %s are not what husk makes and reads", wrong);
}

/* Every value is looked at: none can be wrong without a test that says so. */
static void a_changed_byte_of_any_value_is_found(void **state)
{
    struct page *page = *state;
    assert_int_equal(page->count, 27);
    for (size_t i = 0; i < page->count; i++) {
        struct vector *vector = &page->vectors[i];
        for (size_t at = 0; at < vector->length; at += 1 + vector->length / 8) {
            vector->value[at] ^= 0x10;
            if (!first_wrong(page))
                fail_msg("byte %zu of %s counts for nothing", at, vector->name);
            vector->value[at] ^= 0x10;
        }
    }
    assert_null(first_wrong(page));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_page_says_is_what_husk_does),
        cmocka_unit_test(a_changed_byte_of_any_value_is_found),
    };
    return cmocka_run_group_tests(tests, read_page, forget_page);
}
