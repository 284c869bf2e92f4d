/* Addresses of peers and networks. IPv4 is held as ::ffff:a.b.c.d, so that both kinds compare alike. */
#pragma once
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

struct address {
    uint8_t bytes[16];
};
#define ADDRESS_TEXT_SIZE 46

struct network {
    struct address address;
    unsigned bits; /* of the 128 */
};

/* False for other families. */
bool address_of(const struct sockaddr *socket_address, struct address *ret_address);

/* "192.0.2.1", "2001:db8::1", of length bytes. False for anything else. */
bool address_parse(const char *text, size_t length, struct address *ret_address);
void address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE]);

/* What one peer holds: an IPv4 address, or an IPv6 network of 64 bits. */
struct address address_of_peer(const struct address *address);

/* "10.0.0.0/8", "2001:db8::/32", or one address. ERR_USAGE. */
must_check enum error_code network_parse(const char *text, struct network *ret_network, struct error *reterr);
bool network_holds(const struct network *network, const struct address *address);
