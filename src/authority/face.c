#include "authority/face.h"

void face_free(struct face *face)
{
    if (!face)
        return;
    for (size_t i = 0; i < face->message_key_count; i++)
        secret_free(face->message_keys[i]);
    buffer_done(&face->bytes);
    free(face);
}

static enum error_code add_key(struct face *face, const struct secret *key, struct error *reterr)
{
    const size_t at = face->message_key_count;
    if (!key)
        return OK;
    enum error_code code = hpke_public_key(key, face->message_publics[at], reterr);
    if (!code)
        code = secret_new_copy(key->bytes, HPKE_KEY_SIZE, &face->message_keys[at], reterr);
    if (!code)
        message_key_id(face->message_publics[at], face->message_key_ids[at]);
    face->message_key_count += !code;
    return code;
}

static enum error_code is_public_of(const struct secret *key, const uint8_t public_key[HPKE_KEY_SIZE],
                                    bool *ret_is, struct error *reterr)
{
    uint8_t computed[HPKE_KEY_SIZE];
    enum error_code code = hpke_public_key(key, computed, reterr);
    if (!code)
        *ret_is = memcmp(computed, public_key, sizeof(computed)) == 0;
    return code;
}

static enum error_code check_keyring(const struct face *face, const struct keyring *keyring,
                                     struct error *reterr)
{
    const struct descriptor *descriptor = &face->descriptor;
    uint8_t signing[SIGN_PUBLIC_SIZE];
    bool fits = false, next_fits = !descriptor->has_next;
    enum error_code code = sign_public_key(keyring->signing_key, signing, reterr);
    if (!code)
        code = is_public_of(keyring->message_key, descriptor->message_key, &fits, reterr);
    if (!code && descriptor->has_next && keyring->next_message_key)
        code = is_public_of(keyring->next_message_key, descriptor->next_message_key, &next_fits, reterr);
    if (code)
        return code;
    return fits && next_fits && memcmp(signing, descriptor->signing_key, sizeof(signing)) == 0
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0,
                           "the keyring is not that of the descriptor in the database");
}

enum error_code face_new(const void *descriptor, size_t length, const uint8_t *root,
                         const struct keyring *keyring, uint64_t epoch, struct face **ret_face,
                         struct error *reterr)
{
    struct face *face = calloc(1, sizeof(*face));
    if (!face)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = buffer_append(&face->bytes, descriptor, length, reterr);
    if (!code)
        code = descriptor_parse(descriptor, length, root, &face->descriptor, reterr);
    if (!code)
        code = check_keyring(face, keyring, reterr);
    if (!code)
        code = add_key(face, keyring->message_key, reterr);
    if (!code)
        code = add_key(face, keyring->next_message_key, reterr);
    if (!code)
        code = add_key(face, keyring->previous_message_key, reterr);
    if (code) {
        face_free(face);
        return code;
    }
    face->is_awaiting_root = face->descriptor.epoch != epoch;
    *ret_face = face;
    return OK;
}

struct message_key face_choose_key(const struct face *face, const uint8_t id[MESSAGE_KEY_ID_SIZE])
{
    size_t chosen = 0;
    for (size_t i = 1; i < face->message_key_count; i++)
        if (memcmp(face->message_key_ids[i], id, MESSAGE_KEY_ID_SIZE) == 0)
            chosen = i;
    return (struct message_key){face->message_keys[chosen], face->message_publics[chosen]};
}

void face_place_init(struct face_place *place)
{
    pthread_mutex_init(&place->mutex, NULL);
    place->face = NULL;
}

void face_place_done(struct face_place *place)
{
    face_free(TAKE(place->face));
    pthread_mutex_destroy(&place->mutex);
}

void face_place_put(struct face_place *place, struct face *face)
{
    pthread_mutex_lock(&place->mutex);
    struct face *before = place->face;
    place->face = face;
    const bool is_free = before && before->taken == 0;
    pthread_mutex_unlock(&place->mutex);
    if (is_free)
        face_free(before);
}

struct face *face_place_take(struct face_place *place)
{
    pthread_mutex_lock(&place->mutex);
    struct face *face = place->face;
    face->taken++;
    pthread_mutex_unlock(&place->mutex);
    return face;
}

void face_place_give(struct face_place *place, struct face *face)
{
    pthread_mutex_lock(&place->mutex);
    const bool is_last = --face->taken == 0 && face != place->face;
    pthread_mutex_unlock(&place->mutex);
    if (is_last)
        face_free(face);
}
