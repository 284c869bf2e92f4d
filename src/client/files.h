/* What a host keeps of its authorities: bytes and files. For the files of this room. */
#pragma once
#include "client/client.h"

#define CLIENT_AUTHORITIES_NAME "authorities"
#define CLIENT_FILE_MAXIMUM ((size_t)64 << 10)

/* The bytes of authorities/ID.json, pure. The descriptor has to be signed by the root that ID is the
 * fingerprint of. ERR_CORRUPT, ERR_TOO_NEW. client_pin_done frees. */
must_check enum error_code client_pin_parse(const char *text, size_t length, const uint8_t id[CLIENT_ID_SIZE],
                                            struct client_pin *ret_pin, struct error *reterr);
must_check enum error_code client_pin_format(const struct client_pin *pin, struct buffer *text,
                                             struct error *reterr);
void client_pin_done(struct client_pin *pin);

/* Take a descriptor: ERR_DENIED when another root signed it, ERR_EXISTS when its sequence is not higher,
 * ERR_UNSUPPORTED when this host could use none of its addresses: then that of before stays. */
must_check enum error_code client_pin_take_descriptor(struct client_pin *pin, const void *bytes,
                                                      size_t length, struct error *reterr);

/* Where another process has written a newer descriptor since pin was read, take that one. */
void client_pin_catch_up(struct client *client, struct client_pin *pin);

/* Write authorities/ID.json durably; read all of them into client, where before (may be NULL) read the same
 * already without verifying it again. */
must_check enum error_code client_pin_write(struct client *client, const struct client_pin *pin,
                                            struct error *reterr);
must_check enum error_code client_pins_read(struct client *client, struct client *before,
                                            struct error *reterr);

/* Where a host stands with each authority: the file lineage. */
struct lineage {
    struct lineage_entry {
        uint8_t authority[CLIENT_ID_SIZE];
        bool has_token;
        uint8_t token[CLIENT_ID_SIZE];
        int64_t planned_until; /* of a ticket; 0 for none */
    } entries[CLIENT_AUTHORITIES_MAXIMUM];
    size_t count;
};
must_check enum error_code lineage_parse(const char *text, size_t length, struct lineage *ret_lineage,
                                         struct error *reterr);
must_check enum error_code lineage_format(const struct lineage *lineage, struct buffer *text,
                                          struct error *reterr);

/* Held while a token is presented and the next one stored: two of this host at a time would make one of them
 * look stale. *ret_fd holds the lock until it is closed. */
must_check enum error_code lineage_lock(struct client *client, int *ret_fd, struct error *reterr);
/* The entry of an authority, empty when there is none; and put one there, durably. Under the lock. A file
 * that is damaged reads as ERR_CORRUPT. */
must_check enum error_code lineage_get(struct client *client, const uint8_t authority[CLIENT_ID_SIZE],
                                       struct lineage_entry *ret_entry, struct error *reterr);
must_check enum error_code lineage_put(struct client *client, const struct lineage_entry *entry,
                                       struct error *reterr);

/* The bytes of authorities/ID.orders, pure. client_orders_done frees. */
must_check enum error_code client_orders_parse(const char *text, size_t length,
                                               struct client_orders *ret_orders, struct error *reterr);
must_check enum error_code client_orders_format(const struct client_orders *orders, struct buffer *text,
                                                struct error *reterr);

/* The identity, into client: from host.key, or drawn and written durably where it is missing. */
must_check enum error_code client_identity_read(struct client *client, struct error *reterr);
must_check enum error_code client_identity_make(struct client *client, struct error *reterr);

/* Open client->runtime_fd. */
must_check enum error_code client_open_runtime(struct client *client, struct error *reterr);
/* Wait for a lock of that name in there; *ret_fd holds it until it is closed. */
must_check enum error_code client_lock(struct client *client, const char *name, int *ret_fd,
                                       struct error *reterr);
/* The nonce for the next message that changes state: zeros when none is known, which the authority answers
 * with one. Keeping it is no promise. */
void client_nonce_get(struct client *client, const struct client_pin *pin, uint8_t ret_nonce[CLIENT_ID_SIZE]);
void client_nonce_put(struct client *client, struct client_pin *pin, const uint8_t nonce[CLIENT_ID_SIZE]);

/* Open DIR/.husk, which must be root's alone to write; ERR_NOT_FOUND, or made. */
enum client_directory { CLIENT_DIRECTORY_THERE, CLIENT_DIRECTORY_MAKE };
must_check enum error_code client_open_husk(const char *at, enum client_directory how, struct client *client,
                                            struct error *reterr);
