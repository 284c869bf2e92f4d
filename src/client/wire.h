/* Sending: URLs, names, HTTP, messages. For the files of this room. */
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include "client/client.h"
#include "message/url.h"

#define CLIENT_SOCKETS_MAXIMUM 8
struct client_socket_address {
    struct sockaddr_storage address;
    socklen_t length;
};
/* The addresses of a host, IPv4 and IPv6. A literal needs no resolver. deadline_ns is of clock_monotonic_ns.
 * names (NULL: none; struct client) learns what a name stands for, and tells it where no name server does.
 * ERR_UNREACHABLE. */
must_check enum error_code client_resolve(const struct url *url, int64_t deadline_ns, json_t *names,
                                          struct client_socket_address addresses[CLIENT_SOCKETS_MAXIMUM],
                                          size_t *ret_count, struct error *reterr);

/* The head of an answer: "HTTP/1.x STATUS ...", fields, an empty line. */
#define CLIENT_HEAD_MAXIMUM 8192
struct client_head {
    size_t size; /* bytes up to the body */
    unsigned status;
    size_t body_size; /* Content-Length, which has to be there once, and no Transfer-Encoding */
};
/* ERR_PENDING while the head is not complete; ERR_CORRUPT for anything this reader does not take. */
must_check enum error_code client_head_parse(const char *bytes, size_t length, struct client_head *ret_head,
                                             struct error *reterr);

/* POST bytes to URL/v1/message and append the body of the answer, MESSAGE_MAXIMUM bytes at most. An answer of
 * a status other than 200, and none, is ERR_UNREACHABLE. names is as for client_resolve. */
must_check enum error_code client_post(const char *url, json_t *names, const void *bytes, size_t length,
                                       unsigned timeout_s, struct buffer *body, struct error *reterr);

/* A new message of that type: {"type","id"}; free with json_decref. */
must_check enum error_code client_message_new(enum message_type type, json_t **ret_message,
                                              struct error *reterr);

/* Send message to an authority and get the result of its sealed answer (json_decref). Takes newer descriptors
 * and nonces, tries every address, and again as effort tells. ERR_UNREACHABLE; else what the authority's
 * error says. */
must_check enum error_code client_exchange(struct client *client, struct client_pin *pin, json_t *message,
                                           struct client_effort effort, json_t **ret_result,
                                           struct error *reterr);

/* The same. Where the authority's own error ends it, *ret_refusal is that error's object with what it brings
 * (json_decref), else NULL. */
must_check enum error_code client_exchange_or_refusal(struct client *client, struct client_pin *pin,
                                                      json_t *message, struct client_effort effort,
                                                      json_t **ret_result, json_t **ret_refusal,
                                                      struct error *reterr);

/* Send `done` about the order or vault (subject) of that id. Takes over report. */
must_check enum error_code client_tell_done(struct client *client, struct client_pin *pin,
                                            const char *subject, const uint8_t id[CLIENT_ID_SIZE],
                                            const char *outcome, json_t *report, struct error *reterr);

/* "facts" of a message: looked up once, and again after client_facts_anew, which reads the running kernel's
 * files in any case and keeps their hashes. */
must_check enum error_code client_facts(struct client *client, json_t *message, struct error *reterr);
void client_facts_anew(struct client *client);

/* The BLAKE2b of a file in /boot of the host: as it is kept where the file still looks the same, else read
 * now. False where it cannot be read. */
#define CLIENT_KERNEL_PREFIX "vmlinuz-"
#define CLIENT_INITRAMFS_PREFIX "initrd.img-"
#define CLIENT_HASH_SIZE 32
bool client_boot_file_hash(const struct client *client, const char *name, uint8_t ret_hash[CLIENT_HASH_SIZE]);

/* "boot" of a message. */
must_check enum error_code client_set_boot(struct client *client, json_t *message, struct error *reterr);
