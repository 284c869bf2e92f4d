/*
 * What a host and its authority say to each other, docs/protocol.md: the bytes on the wire, sealed and
 * opened, and the table of types. It knows no sockets, no hosts and no decisions. Nothing here blocks. Bytes
 * from outside are checked here before anything uses them.
 */
#pragma once
#include "crypto/hpke.h"
#include "json/json.h"

#define MESSAGE_MAXIMUM 65536 /* bytes of a whole body, either way */
#define MESSAGE_HOST_ID_SIZE 16
#define MESSAGE_KEY_ID_SIZE 8
#define MESSAGE_ID_SIZE 16

enum message_mode { MESSAGE_BASE = 0, MESSAGE_AUTH = 2 };

enum message_type {
    MESSAGE_ENROLL,
    MESSAGE_BIND,
    MESSAGE_UNBIND,
    MESSAGE_OPEN,
    MESSAGE_TICKET,
    MESSAGE_HEARTBEAT,
    MESSAGE_POLL,
    MESSAGE_KEYCOPIES,
    MESSAGE_ERASE,
    MESSAGE_DONE,
    MESSAGE_TYPES
};

struct message_type_facts {
    const char *name;
    enum message_mode mode;
    bool takes_nonce; /* it changes state: it carries the nonce of the last answer */
};
extern const struct message_type_facts message_types[MESSAGE_TYPES];

/* The type in the member "type". ERR_CORRUPT when there is none of that name, or it came in the wrong mode.
 */
must_check enum error_code message_get_type(json_t *object, enum message_mode mode,
                                            enum message_type *ret_type, struct error *reterr);

/* The clear part in front of a message. */
struct message_header {
    enum message_mode mode;
    uint8_t key_id[MESSAGE_KEY_ID_SIZE];
    uint8_t host_id[MESSAGE_HOST_ID_SIZE]; /* zeros in mode base */
};

/* The id of a message key. */
void message_key_id(const uint8_t message_key[HPKE_KEY_SIZE], uint8_t ret_id[MESSAGE_KEY_ID_SIZE]);

/* Host: seal object to message_key. identity and host_id are NULL in mode base. Appended to wire;
 * *ret_context opens the answer, free with hpke_context_free. */
must_check enum error_code message_seal(const json_t *object, const uint8_t message_key[HPKE_KEY_SIZE],
                                        const struct secret *identity, const uint8_t *host_id,
                                        struct buffer *wire, struct hpke_context **ret_context,
                                        struct error *reterr);

/* Authority: the clear header. ERR_CORRUPT, ERR_TOO_NEW. */
must_check enum error_code message_parse_header(const void *wire, size_t length,
                                                struct message_header *ret_header, struct error *reterr);

/* A message key of the authority: both halves, borrowed. */
struct message_key {
    const struct secret *private_key;
    const uint8_t *public_key;
};

/* Authority: open a message whose header was parsed; sender is the host it names, NULL in mode base.
 * ERR_WRONG_KEY when it was not sealed to this key by that host; ERR_CORRUPT when what is inside is no object
 * with a known type and an id. Free *ret_object with json_decref; *ret_context seals the answer.
 */
must_check enum error_code message_open(const void *wire, size_t length, struct message_key message_key,
                                        const struct hpke_sender *sender, json_t **ret_object,
                                        struct hpke_context **ret_context, struct error *reterr);

enum answer_kind { ANSWER_SEALED = 1, ANSWER_DESCRIPTOR = 2, ANSWER_TRY_AGAIN = 3 };

/* Authority: append an answer to wire; text is an object's, as json_format would write it. */
must_check enum error_code answer_seal(const json_t *object, const struct hpke_context *context,
                                       struct buffer *wire, struct error *reterr);
must_check enum error_code answer_seal_text(const char *text, size_t length,
                                            const struct hpke_context *context, struct buffer *wire,
                                            struct error *reterr);
must_check enum error_code answer_plain(enum answer_kind kind, const void *bytes, size_t length,
                                        struct buffer *wire, struct error *reterr);

/* Host: read an answer. A sealed one fills *ret_object (json_decref), the others append their bytes to plain.
 * ERR_CORRUPT, ERR_TOO_NEW; ERR_WRONG_KEY when it is not the answer to this message. */
must_check enum error_code answer_open(const void *wire, size_t length, const struct hpke_context *context,
                                       enum answer_kind *ret_kind, json_t **ret_object, struct buffer *plain,
                                       struct error *reterr);
