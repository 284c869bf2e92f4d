#include "message/message.h"
#include "base/sure.h"

#include <sodium.h>

#define MESSAGE_MAGIC "hskm"
#define ANSWER_MAGIC "hska"
#define ANSWER_LABEL "husk answer v1"

enum {
    VERSION = 1,
    SUITE = 1,
    MAGIC_SIZE = 4,
    ANSWER_HEADER_SIZE = 8,
    ANSWER_TEXT_MAXIMUM = MESSAGE_MAXIMUM - 128
};
/* Where things are in a message. */
enum {
    AT_VERSION = MAGIC_SIZE,
    AT_SUITE,
    AT_MODE,
    AT_ZERO,
    AT_KEY_ID = 8,
    AT_HOST_ID = AT_KEY_ID + MESSAGE_KEY_ID_SIZE,
    CLEAR_SIZE = AT_HOST_ID + MESSAGE_HOST_ID_SIZE,
    AT_ENCAPSULATED = CLEAR_SIZE,
    AT_CIPHERTEXT = AT_ENCAPSULATED + HPKE_ENCAPSULATED_SIZE,
};
_Static_assert(CLEAR_SIZE == 32 && AT_CIPHERTEXT == 64, "docs/protocol.md");

const struct message_type_facts message_types[MESSAGE_TYPES] = {
    [MESSAGE_ENROLL] = {"enroll", MESSAGE_BASE, false},
    [MESSAGE_BIND] = {"bind", MESSAGE_AUTH, true},
    [MESSAGE_UNBIND] = {"unbind", MESSAGE_AUTH, true},
    [MESSAGE_OPEN] = {"open", MESSAGE_AUTH, false},
    [MESSAGE_TICKET] = {"ticket", MESSAGE_AUTH, true},
    [MESSAGE_HEARTBEAT] = {"heartbeat", MESSAGE_AUTH, true},
    [MESSAGE_POLL] = {"poll", MESSAGE_AUTH, false},
    [MESSAGE_KEYCOPIES] = {"keycopies", MESSAGE_AUTH, true},
    [MESSAGE_ERASE] = {"erase", MESSAGE_AUTH, true},
    [MESSAGE_DONE] = {"done", MESSAGE_AUTH, true},
};

enum error_code message_get_type(json_t *object, enum message_mode mode, enum message_type *ret_type,
                                 struct error *reterr)
{
    const char *name;
    enum error_code code = json_get_string(object, "type", &name, reterr);
    if (code)
        return code;
    for (unsigned type = 0; type < MESSAGE_TYPES; type++)
        if (!strcmp(name, message_types[type].name) && message_types[type].mode == mode) {
            *ret_type = (enum message_type)type;
            return OK;
        }
    return error_set(reterr, ERR_CORRUPT, 0, "a message of an unknown type");
}

void message_key_id(const uint8_t message_key[HPKE_KEY_SIZE], uint8_t ret_id[MESSAGE_KEY_ID_SIZE])
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    sure(crypto_hash_sha256(hash, message_key, HPKE_KEY_SIZE));
    memcpy(ret_id, hash, MESSAGE_KEY_ID_SIZE);
}

static void write_clear(uint8_t clear[CLEAR_SIZE], const uint8_t *message_key, const uint8_t *host_id)
{
    memset(clear, 0, CLEAR_SIZE);
    memcpy(clear, MESSAGE_MAGIC, MAGIC_SIZE);
    clear[AT_VERSION] = VERSION;
    clear[AT_SUITE] = SUITE;
    clear[AT_MODE] = host_id ? MESSAGE_AUTH : MESSAGE_BASE;
    message_key_id(message_key, clear + AT_KEY_ID);
    if (host_id)
        memcpy(clear + AT_HOST_ID, host_id, MESSAGE_HOST_ID_SIZE);
}

enum error_code message_seal(const json_t *object, const uint8_t message_key[HPKE_KEY_SIZE],
                             const struct secret *identity, const uint8_t *host_id, struct buffer *wire,
                             struct hpke_context **ret_context, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = MESSAGE_MAXIMUM - AT_CIPHERTEXT - HPKE_TAG_SIZE};
    _cleanup_(hpke_context_freep) struct hpke_context *context = NULL;
    _cleanup_(freep) uint8_t *sealed = NULL;
    enum error_code code = json_format(object, &text, reterr);
    if (code)
        return code;
    const size_t length = AT_CIPHERTEXT + text.length + HPKE_TAG_SIZE;
    sealed = malloc(length);
    if (!sealed)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    write_clear(sealed, message_key, host_id);
    code = hpke_setup_sender(message_key, identity, sealed, CLEAR_SIZE, sealed + AT_ENCAPSULATED, &context,
                             reterr);
    if (!code)
        code = hpke_seal(context, NULL, 0, text.data, text.length, sealed + AT_CIPHERTEXT, reterr);
    if (!code)
        code = buffer_append(wire, sealed, length, reterr);
    if (!code)
        *ret_context = TAKE(context);
    return code;
}

static enum error_code broken(struct error *reterr)
{
    return error_set(reterr, ERR_CORRUPT, 0, "bytes that are no message of husk");
}

enum error_code message_parse_header(const void *wire, size_t length, struct message_header *ret_header,
                                     struct error *reterr)
{
    static const uint8_t zeros[MESSAGE_HOST_ID_SIZE];
    const uint8_t *bytes = wire;
    if (length < AT_CIPHERTEXT + HPKE_TAG_SIZE || length > MESSAGE_MAXIMUM ||
        memcmp(bytes, MESSAGE_MAGIC, MAGIC_SIZE) != 0)
        return broken(reterr);
    if (bytes[AT_VERSION] != VERSION || bytes[AT_SUITE] != SUITE)
        return error_set(reterr, ERR_TOO_NEW, 0, "a message of version %u, suite %u", bytes[AT_VERSION],
                         bytes[AT_SUITE]);
    if ((bytes[AT_MODE] != MESSAGE_BASE && bytes[AT_MODE] != MESSAGE_AUTH) || bytes[AT_ZERO] != 0 ||
        (bytes[AT_MODE] == MESSAGE_BASE && memcmp(bytes + AT_HOST_ID, zeros, sizeof(zeros)) != 0))
        return broken(reterr);
    ret_header->mode = (enum message_mode)bytes[AT_MODE];
    memcpy(ret_header->key_id, bytes + AT_KEY_ID, MESSAGE_KEY_ID_SIZE);
    memcpy(ret_header->host_id, bytes + AT_HOST_ID, MESSAGE_HOST_ID_SIZE);
    return OK;
}

/* The object in an opened text. */
static enum error_code parse_message(const char *text, size_t length, enum message_mode mode,
                                     json_t **ret_object, struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    enum message_type type;
    uint8_t id[MESSAGE_ID_SIZE];
    enum error_code code = json_parse_object(text, length, "the message", &object, reterr);
    if (!code)
        code = message_get_type(object, mode, &type, reterr);
    if (!code)
        code = json_get_hex(object, "id", id, sizeof(id), reterr);
    if (!code)
        *ret_object = TAKE(object);
    return code;
}

enum error_code message_open(const void *wire, size_t length, struct message_key message_key,
                             const struct hpke_sender *sender, json_t **ret_object,
                             struct hpke_context **ret_context, struct error *reterr)
{
    struct message_header header;
    _cleanup_(hpke_context_freep) struct hpke_context *context = NULL;
    _cleanup_(freep) char *text = NULL;
    const uint8_t *bytes = wire;
    enum error_code code = message_parse_header(wire, length, &header, reterr);
    if (!code && (header.mode == MESSAGE_AUTH) != (sender != NULL))
        code = broken(reterr);
    if (!code)
        code = hpke_setup_recipient_with(bytes + AT_ENCAPSULATED, message_key.private_key,
                                         message_key.public_key, sender, bytes, CLEAR_SIZE, &context, reterr);
    if (code)
        return code;
    text = malloc(length);
    if (!text)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    code =
        hpke_open(context, NULL, 0, bytes + AT_CIPHERTEXT, length - AT_CIPHERTEXT, (uint8_t *)text, reterr);
    if (!code)
        code = parse_message(text, length - AT_CIPHERTEXT - HPKE_TAG_SIZE, header.mode, ret_object, reterr);
    if (!code)
        *ret_context = TAKE(context);
    return code;
}

static enum error_code append_answer_header(struct buffer *wire, enum answer_kind kind, struct error *reterr)
{
    const uint8_t header[ANSWER_HEADER_SIZE] = {'h', 's', 'k', 'a', VERSION, (uint8_t)kind};
    return buffer_append(wire, header, sizeof(header), reterr);
}

enum error_code answer_seal_text(const char *text, size_t length, const struct hpke_context *context,
                                 struct buffer *wire, struct error *reterr)
{
    const size_t sealed_length = HPKE_RESPONSE_NONCE_SIZE + length + HPKE_TAG_SIZE;
    if (length > ANSWER_TEXT_MAXIMUM)
        return error_set(reterr, ERR_NO_MEMORY, 0, "an answer of %zu bytes", length);
    _cleanup_(freep) uint8_t *sealed = malloc(sealed_length);
    if (!sealed)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = hpke_response_seal(context, ANSWER_LABEL, text, length, sealed, reterr);
    if (!code)
        code = append_answer_header(wire, ANSWER_SEALED, reterr);
    return code ? code : buffer_append(wire, sealed, sealed_length, reterr);
}

enum error_code answer_seal(const json_t *object, const struct hpke_context *context, struct buffer *wire,
                            struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = ANSWER_TEXT_MAXIMUM};
    enum error_code code = json_format(object, &text, reterr);
    return code ? code : answer_seal_text(text.data, text.length, context, wire, reterr);
}

enum error_code answer_plain(enum answer_kind kind, const void *bytes, size_t length, struct buffer *wire,
                             struct error *reterr)
{
    enum error_code code = append_answer_header(wire, kind, reterr);
    return code ? code : buffer_append(wire, bytes, length, reterr);
}

static enum error_code open_sealed(const uint8_t *sealed, size_t length, const struct hpke_context *context,
                                   json_t **ret_object, struct error *reterr)
{
    _cleanup_(freep) char *text = malloc(length + 1);
    if (!text)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = hpke_response_open(context, ANSWER_LABEL, sealed, length, (uint8_t *)text, reterr);
    return code ? code
                : json_parse_object(text, length - HPKE_RESPONSE_NONCE_SIZE - HPKE_TAG_SIZE, "the answer",
                                    ret_object, reterr);
}

enum error_code answer_open(const void *wire, size_t length, const struct hpke_context *context,
                            enum answer_kind *ret_kind, json_t **ret_object, struct buffer *plain,
                            struct error *reterr)
{
    const uint8_t *bytes = wire;
    if (length < ANSWER_HEADER_SIZE || length > MESSAGE_MAXIMUM ||
        memcmp(bytes, ANSWER_MAGIC, MAGIC_SIZE) != 0)
        return broken(reterr);
    if (bytes[AT_VERSION] != VERSION)
        return error_set(reterr, ERR_TOO_NEW, 0, "an answer of version %u", bytes[AT_VERSION]);
    const enum answer_kind kind = (enum answer_kind)bytes[AT_VERSION + 1];
    enum error_code code = OK;
    if (bytes[6] != 0 || bytes[7] != 0)
        return broken(reterr);
    if (kind == ANSWER_SEALED)
        code =
            open_sealed(bytes + ANSWER_HEADER_SIZE, length - ANSWER_HEADER_SIZE, context, ret_object, reterr);
    else if (kind == ANSWER_DESCRIPTOR || kind == ANSWER_TRY_AGAIN)
        code = buffer_append(plain, bytes + ANSWER_HEADER_SIZE, length - ANSWER_HEADER_SIZE, reterr);
    else
        code = broken(reterr);
    if (!code)
        *ret_kind = kind;
    return code;
}
