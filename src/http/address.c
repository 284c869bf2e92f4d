#include "http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/text.h"

static const uint8_t ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool is_ipv4(const struct address *address)
{
    return !memcmp(address->bytes, ipv4_prefix, sizeof(ipv4_prefix));
}

bool address_of(const struct sockaddr *socket_address, struct address *ret_address)
{
    if (socket_address->sa_family == AF_INET) {
        struct sockaddr_in ipv4;
        memcpy(&ipv4, socket_address, sizeof(ipv4));
        memcpy(ret_address->bytes, ipv4_prefix, sizeof(ipv4_prefix));
        memcpy(ret_address->bytes + sizeof(ipv4_prefix), &ipv4.sin_addr, 4);
        return true;
    }
    if (socket_address->sa_family != AF_INET6)
        return false;
    struct sockaddr_in6 ipv6;
    memcpy(&ipv6, socket_address, sizeof(ipv6));
    memcpy(ret_address->bytes, &ipv6.sin6_addr, sizeof(ret_address->bytes));
    return true;
}

bool address_parse(const char *text, size_t length, struct address *ret_address)
{
    char copy[ADDRESS_TEXT_SIZE];
    if (length == 0 || length >= sizeof(copy) || memchr(text, '\0', length))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    struct address address;
    memcpy(address.bytes, ipv4_prefix, sizeof(ipv4_prefix));
    if (inet_pton(AF_INET, copy, address.bytes + sizeof(ipv4_prefix)) != 1 &&
        inet_pton(AF_INET6, copy, address.bytes) != 1)
        return false;
    *ret_address = address;
    return true;
}

void address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE])
{
    const char *told = is_ipv4(address)
                           ? inet_ntop(AF_INET, address->bytes + sizeof(ipv4_prefix), text, ADDRESS_TEXT_SIZE)
                           : inet_ntop(AF_INET6, address->bytes, text, ADDRESS_TEXT_SIZE);
    if (!told)
        text[0] = '\0';
}

struct address address_of_peer(const struct address *address)
{
    struct address peer = *address;
    if (!is_ipv4(address))
        memset(peer.bytes + 8, 0, 8);
    return peer;
}

enum error_code network_parse(const char *text, struct network *ret_network, struct error *reterr)
{
    size_t length = strcspn(text, "/");
    struct network network = {.bits = 128};
    bool is_good = address_parse(text, length, &network.address);
    if (is_good && text[length] == '/') {
        unsigned width = is_ipv4(&network.address) ? 32 : 128;
        uint64_t bits = 0;
        is_good = text_parse_u64(text + length + 1, width, &bits, NULL) == OK;
        network.bits = 128 - width + (unsigned)bits;
    }
    if (!is_good)
        return error_set(reterr, ERR_USAGE, 0, "%s is no network: write it as 192.0.2.0/24 or 2001:db8::/32",
                         text_shown(text));
    *ret_network = network;
    return OK;
}

bool network_holds(const struct network *network, const struct address *address)
{
    unsigned whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->address.bytes, address->bytes, whole))
        return false;
    uint8_t mask = (uint8_t)(0xff00U >> rest);
    return rest == 0 || ((network->address.bytes[whole] ^ address->bytes[whole]) & mask) == 0;
}
