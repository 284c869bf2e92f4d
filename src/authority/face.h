/*
 * What the authority shows hosts: the descriptor, and the keys it reads messages with. A face never changes.
 * Another descriptor is another face, put in the place of the one before while messages are read: who took
 * that one keeps it until he gives it back. Any thread may take and give; only the clerk puts.
 */
#pragma once
#include <pthread.h>

#include "authority/keyring.h"
#include "base/buffer.h"
#include "message/descriptor.h"
#include "message/message.h"

#define FACE_MESSAGE_KEYS 3 /* the one of now, the next, the previous */

struct face {
    struct descriptor descriptor;
    struct buffer bytes; /* of the descriptor, as the root signed it */
    /* Restored, and the root has not signed its epoch yet: it shows nothing and reads nothing. */
    bool is_awaiting_root;
    struct secret *message_keys[FACE_MESSAGE_KEYS]; /* owned */
    uint8_t message_publics[FACE_MESSAGE_KEYS][HPKE_KEY_SIZE];
    uint8_t message_key_ids[FACE_MESSAGE_KEYS][MESSAGE_KEY_ID_SIZE];
    size_t message_key_count;
    int64_t previous_until_unix_s; /* when the previous message key is to be destroyed; 0: there is none */
    unsigned taken;                /* of the place's mutex */
};

/* From the descriptor's bytes and the keyring they are for. root is the one that must have signed; NULL: the
 * one it names. epoch is the ledger's. ERR_CORRUPT when the keyring is that of another descriptor. */
must_check enum error_code face_new(const void *descriptor, size_t length, const uint8_t *root,
                                    const struct keyring *keyring, uint64_t epoch, struct face **ret_face,
                                    struct error *reterr);
void face_free(struct face *face); /* NULL is fine; nobody else may have it */

/* The private key for messages under that id. One that is none of ours gets the key of now, and fails like
 * any other: the same work for all. */
struct message_key face_choose_key(const struct face *face, const uint8_t id[MESSAGE_KEY_ID_SIZE]);

struct face_place {
    pthread_mutex_t mutex;
    struct face *face; /* of now */
};

void face_place_init(struct face_place *place);
void face_place_done(struct face_place *place);
/* Takes over face. */
void face_place_put(struct face_place *place, struct face *face);
struct face *face_place_take(struct face_place *place);
void face_place_give(struct face_place *place, struct face *face);
