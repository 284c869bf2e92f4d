#include "message/descriptor.h"

#include <sodium.h>

#include "base/sure.h"
#include "base/text.h"
#include "json/json.h"

#define DESCRIPTOR_KIND "husk descriptor v1"
enum { DESCRIPTOR_VERSION = 1 };

static enum error_code format_addresses(const struct descriptor *descriptor, json_t *object,
                                        struct error *reterr)
{
    json_t *array = json_array();
    enum error_code code = json_set_new(object, "addresses", array, reterr);
    for (unsigned i = 0; !code && i < descriptor->address_count; i++)
        if (json_array_append_new(array, json_string(descriptor->addresses[i])) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return code;
}

enum error_code descriptor_format(const struct descriptor *descriptor, struct buffer *text,
                                  struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = json_object();
    if (!object)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_set_new(object, "version", json_integer(DESCRIPTOR_VERSION), reterr);
    if (!code)
        code = json_set_new(object, "sequence", json_integer((json_int_t)descriptor->sequence), reterr);
    if (!code)
        code = json_set_new(object, "epoch", json_integer((json_int_t)descriptor->epoch), reterr);
    if (!code)
        code = json_set_hex(object, "root", descriptor->root, SIGN_PUBLIC_SIZE, reterr);
    if (!code)
        code = json_set_hex(object, "message_key", descriptor->message_key, HPKE_KEY_SIZE, reterr);
    if (!code)
        code = descriptor->has_next ? json_set_hex(object, "next_message_key", descriptor->next_message_key,
                                                   HPKE_KEY_SIZE, reterr)
                                    : json_set_new(object, "next_message_key", json_null(), reterr);
    if (!code)
        code = json_set_hex(object, "signing_key", descriptor->signing_key, SIGN_PUBLIC_SIZE, reterr);
    if (!code)
        code = format_addresses(descriptor, object, reterr);
    if (!code)
        code = json_set_new(object, "issued_at", json_integer(descriptor->issued_at_unix_s), reterr);
    return code ? code : json_format(object, text, reterr);
}

enum error_code descriptor_sign(const char *text, size_t length, const struct secret *root_key,
                                struct buffer *wire, struct error *reterr)
{
    return sign_append(root_key, DESCRIPTOR_KIND, text, length, wire, reterr);
}

enum error_code descriptor_add_address(struct descriptor *descriptor, const char *address,
                                       struct error *reterr)
{
    struct url url;
    if (descriptor->address_count == DESCRIPTOR_ADDRESSES_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "an authority has 1 to %d addresses",
                         DESCRIPTOR_ADDRESSES_MAXIMUM);
    enum error_code code = url_parse(address, &url, reterr);
    if (code == ERR_UNSUPPORTED) {
        error_set(reterr, ERR_USAGE, 0,
                  "\"%s\": hosts speak plain HTTP, their messages are sealed by themselves",
                  text_shown(address));
        return error_remedy(reterr, "write it as http://, that of the authority or of its proxy");
    }
    if (code)
        return code;
    snprintf(descriptor->addresses[descriptor->address_count++], DESCRIPTOR_ADDRESS_SIZE, "%s", address);
    return OK;
}

enum error_code descriptor_check_reachable(const struct descriptor *descriptor, struct error *reterr)
{
    struct url url;
    for (unsigned i = 0; i < descriptor->address_count; i++)
        if (url_parse(descriptor->addresses[i], &url, NULL) == OK)
            return OK;
    enum error_code code =
        error_set(reterr, ERR_UNSUPPORTED, 0,
                  "the descriptor has no address that hosts can use: they would find the authority no more");
    error_remedy(reterr,
                 "name one with --address http://HOST:PORT (huskd descriptor prepare, huskd restore)");
    return code;
}

/* One that was signed, whatever rules addresses had then: what cannot be used is passed over when sending. */
static enum error_code keep_address(struct descriptor *descriptor, const char *address)
{
    if (!address || strlen(address) >= DESCRIPTOR_ADDRESS_SIZE ||
        descriptor->address_count == DESCRIPTOR_ADDRESSES_MAXIMUM ||
        (strncmp(address, "http://", 7) != 0 && strncmp(address, "https://", 8) != 0))
        return ERR_CORRUPT;
    snprintf(descriptor->addresses[descriptor->address_count++], DESCRIPTOR_ADDRESS_SIZE, "%s", address);
    return OK;
}

static enum error_code parse_addresses(json_t *object, struct descriptor *descriptor, struct error *reterr)
{
    json_t *array;
    enum error_code code = json_get_array(object, "addresses", DESCRIPTOR_ADDRESSES_MAXIMUM, &array, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *address = json_string_value(json_array_get(array, i));
        if (keep_address(descriptor, address))
            return error_set(reterr, ERR_CORRUPT, 0, "the descriptor: an address that is no http URL");
    }
    return descriptor->address_count > 0
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0, "the descriptor: it has no address");
}

static enum error_code parse_text(const char *text, size_t length, struct descriptor *descriptor,
                                  struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    int64_t sequence = 0, epoch = 0;
    enum error_code code = json_parse_object(text, length, "the descriptor", &object, reterr);
    if (!code)
        code = json_check_version(object, DESCRIPTOR_VERSION, "the descriptor", reterr);
    if (!code)
        code = json_get_integer(object, "sequence", 1, INT64_MAX, &sequence, reterr);
    if (!code)
        code = json_get_integer(object, "epoch", 1, INT64_MAX, &epoch, reterr);
    if (!code)
        code = json_get_hex(object, "root", descriptor->root, SIGN_PUBLIC_SIZE, reterr);
    if (!code)
        code = json_get_hex(object, "message_key", descriptor->message_key, HPKE_KEY_SIZE, reterr);
    descriptor->has_next = !code && !json_is_null(json_object_get(object, "next_message_key"));
    if (!code && descriptor->has_next)
        code = json_get_hex(object, "next_message_key", descriptor->next_message_key, HPKE_KEY_SIZE, reterr);
    if (!code)
        code = json_get_hex(object, "signing_key", descriptor->signing_key, SIGN_PUBLIC_SIZE, reterr);
    if (!code)
        code = json_get_integer(object, "issued_at", 0, INT64_MAX, &descriptor->issued_at_unix_s, reterr);
    if (!code)
        code = parse_addresses(object, descriptor, reterr);
    descriptor->sequence = (uint64_t)sequence;
    descriptor->epoch = (uint64_t)epoch;
    return code;
}

enum error_code descriptor_read_text(const char *text, size_t length, struct descriptor *ret_descriptor,
                                     struct error *reterr)
{
    struct descriptor descriptor = {0};
    enum error_code code = parse_text(text, length, &descriptor, reterr);
    if (!code)
        *ret_descriptor = descriptor;
    return code;
}

enum error_code descriptor_parse(const void *wire, size_t length, const uint8_t *root,
                                 struct descriptor *ret_descriptor, struct error *reterr)
{
    struct descriptor descriptor = {0};
    const uint8_t *signature = wire;
    if (length <= SIGN_SIGNATURE_SIZE || length > DESCRIPTOR_MAXIMUM)
        return error_set(reterr, ERR_CORRUPT, 0, "a descriptor of %zu bytes", length);
    const char *text = (const char *)wire + SIGN_SIGNATURE_SIZE;
    const size_t text_length = length - SIGN_SIGNATURE_SIZE;
    /* With a pinned root nothing is parsed before the signature fits. */
    enum error_code code = OK;
    if (root && sign_verify(root, DESCRIPTOR_KIND, text, text_length, signature, NULL) != OK)
        return error_set(reterr, ERR_DENIED, 0,
                         "the descriptor is not signed by the authority root pinned here");
    code = parse_text(text, text_length, &descriptor, reterr);
    if (!code && !root)
        code = sign_verify(descriptor.root, DESCRIPTOR_KIND, text, text_length, signature, reterr);
    if (!code && root && memcmp(descriptor.root, root, SIGN_PUBLIC_SIZE) != 0)
        code = error_set(reterr, ERR_CORRUPT, 0,
                         "the descriptor names another root than the one that signed it");
    if (!code)
        *ret_descriptor = descriptor;
    return code;
}

void descriptor_fingerprint(const uint8_t root[SIGN_PUBLIC_SIZE],
                            uint8_t ret_fingerprint[DESCRIPTOR_FINGERPRINT_SIZE])
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    sure(crypto_hash_sha256(hash, root, SIGN_PUBLIC_SIZE));
    memcpy(ret_fingerprint, hash, DESCRIPTOR_FINGERPRINT_SIZE);
}
