#include "authority/rotation.h"

#include "authority/record.h"

/* New keys, where none wait for the root already. */
static enum error_code draw(struct clerk *clerk, bool *ret_changed, struct error *reterr)
{
    struct keyring *keyring = NULL;
    uint8_t public_key[HPKE_KEY_SIZE];
    if (clerk_keyring(clerk)->prepared_message_key && clerk_keyring(clerk)->next_message_key)
        return OK;
    enum error_code code = clerk_change_keyring(clerk, &keyring, reterr);
    if (!code && !keyring->prepared_message_key)
        code = hpke_key_new(&keyring->prepared_message_key, public_key, reterr);
    if (!code && !keyring->prepared_signing_key)
        code = sign_key_new(&keyring->prepared_signing_key, public_key, reterr);
    if (!code && !keyring->next_message_key)
        code = hpke_key_new(&keyring->next_message_key, public_key, reterr);
    if (!code)
        code = record_append(clerk, "keys-prepared", json_object(), reterr);
    if (!code)
        *ret_changed = true;
    return code;
}

/* What was announced is used, and the new one announced. */
static enum error_code name_new_keys(const struct keyring *keyring, struct descriptor *descriptor,
                                     struct error *reterr)
{
    descriptor->has_next = true;
    enum error_code code = hpke_public_key(keyring->next_message_key, descriptor->message_key, reterr);
    if (!code)
        code = hpke_public_key(keyring->prepared_message_key, descriptor->next_message_key, reterr);
    return code ? code : sign_public_key(keyring->prepared_signing_key, descriptor->signing_key, reterr);
}

static enum error_code name_addresses(const json_t *addresses, struct descriptor *descriptor,
                                      struct error *reterr)
{
    enum error_code code = OK;
    if (json_array_size(addresses) == 0)
        return OK;
    descriptor->address_count = 0;
    for (size_t i = 0; !code && i < json_array_size(addresses); i++) {
        const char *address = json_string_value(json_array_get(addresses, i));
        code = address ? descriptor_add_address(descriptor, address, reterr)
                       : error_set(reterr, ERR_USAGE, 0, "an address that is no text");
    }
    return code;
}

enum error_code rotation_prepare(struct clerk *clerk, enum rotation_keys keys, const json_t *addresses,
                                 struct buffer *text, bool *ret_changed, struct error *reterr)
{
    struct descriptor descriptor = clerk->face->descriptor;
    const bool is_restored = descriptor.epoch != clerk->epoch;
    bool changed = false;
    descriptor.issued_at_unix_s = clerk->now_unix_s > 0 ? clerk->now_unix_s : 0;
    descriptor.sequence++;
    /* An authority that was restored does not know what it signed since the backup; its epoch is above that.
     */
    if (is_restored && descriptor.sequence < clerk->epoch)
        descriptor.sequence = clerk->epoch;
    descriptor.epoch = clerk->epoch;
    enum error_code code = name_addresses(addresses, &descriptor, reterr);
    if (!code)
        code = descriptor_check_reachable(&descriptor, reterr);
    if (!code && keys == ROTATION_NEW_KEYS)
        code = draw(clerk, &changed, reterr);
    if (!code && keys == ROTATION_NEW_KEYS)
        code = name_new_keys(clerk_keyring(clerk), &descriptor, reterr);
    if (!code)
        code = descriptor_format(&descriptor, text, reterr);
    if (!code)
        *ret_changed = changed;
    return code;
}

/* Move the private key of this public one, wherever it is held, to its new place. */
static enum error_code find_message_key(const struct keyring *keyring, const uint8_t *public_key,
                                        struct secret **ret_key, struct error *reterr)
{
    const struct secret *const held[] = {keyring->message_key, keyring->next_message_key,
                                         keyring->prepared_message_key};
    uint8_t computed[HPKE_KEY_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
        enum error_code code = held[i] ? hpke_public_key(held[i], computed, reterr) : OK;
        if (code)
            return code;
        if (held[i] && memcmp(computed, public_key, sizeof(computed)) == 0)
            return secret_new_copy(held[i]->bytes, held[i]->length, ret_key, reterr);
    }
    return error_set(reterr, ERR_DENIED, 0,
                     "the descriptor names a message key whose private half is not here");
}

static enum error_code find_signing_key(const struct keyring *keyring, const uint8_t *public_key,
                                        struct secret **ret_key, struct error *reterr)
{
    const struct secret *const held[] = {keyring->signing_key, keyring->prepared_signing_key};
    uint8_t computed[SIGN_PUBLIC_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
        enum error_code code = held[i] ? sign_public_key(held[i], computed, reterr) : OK;
        if (code)
            return code;
        if (held[i] && memcmp(computed, public_key, sizeof(computed)) == 0)
            return secret_new_copy(held[i]->bytes, held[i]->length, ret_key, reterr);
    }
    return error_set(reterr, ERR_DENIED, 0,
                     "the descriptor names a signing key whose private half is not here");
}

static void replace(struct secret **place, struct secret *key)
{
    secret_free(*place);
    *place = key;
}

/* Each key where the descriptor wants it. With the key of now unchanged the previous one stays what it is. */
static enum error_code place_keys(struct keyring *keyring, const struct descriptor *descriptor,
                                  int64_t keep_s, bool *ret_is_other, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *message = NULL, *next = NULL, *signing = NULL;
    enum error_code code = find_message_key(keyring, descriptor->message_key, &message, reterr);
    if (!code && descriptor->has_next)
        code = find_message_key(keyring, descriptor->next_message_key, &next, reterr);
    if (!code)
        code = find_signing_key(keyring, descriptor->signing_key, &signing, reterr);
    if (code)
        return code;
    *ret_is_other = memcmp(message->bytes, keyring->message_key->bytes, HPKE_KEY_SIZE) != 0;
    if (*ret_is_other) {
        replace(&keyring->previous_message_key, keep_s > 0 ? TAKE(keyring->message_key) : NULL);
        replace(&keyring->prepared_message_key, NULL);
        replace(&keyring->prepared_signing_key, NULL);
    }
    replace(&keyring->message_key, TAKE(message));
    replace(&keyring->next_message_key, TAKE(next));
    replace(&keyring->signing_key, TAKE(signing));
    return OK;
}

static enum error_code check(const struct clerk *clerk, const struct descriptor *descriptor,
                             struct error *reterr)
{
    const struct descriptor *now = &clerk->face->descriptor;
    if (descriptor->epoch != clerk->epoch)
        return error_set(reterr, ERR_DENIED, 0,
                         "the descriptor is for epoch %llu of the ledger, and this is epoch %llu",
                         (unsigned long long)descriptor->epoch, (unsigned long long)clerk->epoch);
    if (descriptor->sequence <= now->sequence) {
        error_set(reterr, ERR_DENIED, 0,
                  "the descriptor has sequence %llu, and %llu is in force: hosts would not take it",
                  (unsigned long long)descriptor->sequence, (unsigned long long)now->sequence);
        return error_remedy(reterr, "prepare another: huskd descriptor prepare --out F");
    }
    return OK;
}

enum error_code rotation_keep_descriptor(struct clerk *clerk, uint64_t sequence, const void *wire,
                                         size_t length, struct error *reterr)
{
    return sql_run(clerk->sql, reterr,
                   "INSERT INTO descriptors(sequence, signed, installed_at) VALUES(?, ?, ?)", "ibi",
                   (int64_t)sequence, wire, length, clerk->now_unix_s);
}

static enum error_code record(struct clerk *clerk, const struct face *face, const char *by,
                              struct error *reterr)
{
    json_t *details =
        json_pack("{s:I, s:s}", "descriptor_sequence", (json_int_t)face->descriptor.sequence, "actor", by);
    enum error_code code =
        json_set_hex(details, "descriptor", (const uint8_t *)face->bytes.data, face->bytes.length, reterr);
    if (!code)
        code = record_append(clerk, "descriptor", TAKE(details), reterr);
    json_decref(details);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE state SET descriptor = ?", "b", face->bytes.data,
                       face->bytes.length);
    if (!code)
        code = rotation_keep_descriptor(clerk, face->descriptor.sequence, face->bytes.data,
                                        face->bytes.length, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE moving SET previous_until = ?", "i",
                       face->previous_until_unix_s);
    return code;
}

static enum error_code take_over(struct clerk *clerk, const void *wire, size_t length,
                                 const struct descriptor *descriptor, int64_t keep_s, const char *by,
                                 struct error *reterr)
{
    _cleanup_(keyring_freep) struct keyring *keyring = NULL;
    struct face *face = NULL;
    bool is_other = false;
    enum error_code code = keyring_copy(clerk_keyring(clerk), &keyring, reterr);
    if (!code)
        code = place_keys(keyring, descriptor, keep_s, &is_other, reterr);
    if (!code)
        code = face_new(wire, length, clerk->face->descriptor.root, keyring, clerk->epoch, &face, reterr);
    if (code)
        return code;
    face->previous_until_unix_s = !is_other    ? clerk->face->previous_until_unix_s
                                  : keep_s > 0 ? clerk->now_unix_s + keep_s
                                               : 0;
    code = record(clerk, face, by, reterr);
    if (code)
        face_free(face);
    else
        clerk_change_keys(clerk, TAKE(keyring), face);
    return code;
}

enum error_code rotation_install(struct clerk *clerk, const void *wire, size_t length, int64_t keep_s,
                                 const char *by, bool *ret_changed, struct error *reterr)
{
    struct descriptor descriptor;
    const struct buffer *now = &clerk->face->bytes;
    if (length == now->length && memcmp(wire, now->data, length) == 0) {
        *ret_changed = false;
        return OK;
    }
    enum error_code code = descriptor_parse(wire, length, clerk->face->descriptor.root, &descriptor, reterr);
    if (code == ERR_DENIED) {
        error_set(reterr, code, 0, "the descriptor is not signed by the root of this authority");
        return error_remedy(reterr, "sign it first: huskd descriptor sign FILE --root F --out F");
    }
    if (!code)
        code = check(clerk, &descriptor, reterr);
    if (!code)
        code = descriptor_check_reachable(&descriptor, reterr);
    if (!code)
        code = take_over(clerk, wire, length, &descriptor, keep_s, by, reterr);
    if (!code)
        *ret_changed = true;
    return code;
}

bool rotation_is_due(const struct clerk *clerk)
{
    const int64_t until_unix_s = clerk->face->previous_until_unix_s;
    return until_unix_s && clock_unix_s(clerk->clock) >= until_unix_s && !clerk->clock_went_back;
}

enum error_code rotation_expire(struct clerk *clerk, struct error *reterr)
{
    _cleanup_(keyring_freep) struct keyring *keyring = NULL;
    struct face *face = NULL;
    const struct face *now = clerk->face;
    if (!rotation_is_due(clerk))
        return OK;
    enum error_code code = keyring_copy(clerk_keyring(clerk), &keyring, reterr);
    if (code)
        return code;
    replace(&keyring->previous_message_key, NULL);
    code = face_new(now->bytes.data, now->bytes.length, NULL, keyring, clerk->epoch, &face, reterr);
    if (!code)
        code = record_append(clerk, "message-key-destroyed", json_object(), reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE moving SET previous_until = 0", "");
    if (code)
        face_free(face);
    else
        clerk_change_keys(clerk, TAKE(keyring), face);
    return code;
}

enum error_code rotation_follow_clock(struct clerk *clerk, int64_t back_s, struct error *reterr)
{
    struct face *face = NULL;
    const struct face *now = clerk->next_face ? clerk->next_face : clerk->face;
    const int64_t earlier_unix_s = now->previous_until_unix_s - back_s;
    if (!now->previous_until_unix_s)
        return OK;
    enum error_code code =
        face_new(now->bytes.data, now->bytes.length, NULL, clerk_keyring(clerk), clerk->epoch, &face, reterr);
    if (code)
        return code;
    face->previous_until_unix_s = earlier_unix_s > 0 ? earlier_unix_s : 1;
    code =
        sql_run(clerk->sql, reterr, "UPDATE moving SET previous_until = ?", "i", face->previous_until_unix_s);
    if (code)
        face_free(face);
    else
        clerk_change_face(clerk, face);
    return code;
}
