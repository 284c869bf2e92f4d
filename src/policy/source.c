#include <arpa/inet.h>

#include "base/text.h"
#include "policy/policy.h"

enum { MAPPED_BITS = 96 };

/* An address of either family as 16 bytes. Returns how many bits its own prefix lengths begin behind (96 or
 * 0), or -1. */
static int parse_address(const char *text, uint8_t ret_address[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memcpy(ret_address, mapped, sizeof(mapped));
    if (inet_pton(AF_INET, text, ret_address + sizeof(mapped)) == 1)
        return MAPPED_BITS;
    return inet_pton(AF_INET6, text, ret_address) == 1 ? 0 : -1;
}

static bool is_set(const uint8_t address[16], unsigned bit)
{
    return address[bit / 8] & (0x80U >> bit % 8);
}

enum error_code policy_source_parse(const char *text, struct policy_source *ret_source, struct error *reterr)
{
    struct policy_source source;
    char address[INET6_ADDRSTRLEN];
    uint64_t bits = 128;
    const size_t length = strcspn(text, "/");
    if (length >= sizeof(address))
        return error_set(reterr, ERR_USAGE, 0, "\"%s\" is no address", text_shown(text));
    memcpy(address, text, length);
    address[length] = '\0';
    const int begin = parse_address(address, source.address);
    if (begin < 0)
        return error_set(reterr, ERR_USAGE, 0, "\"%s\" is no address", text_shown(text));
    if (text[length] == '/') {
        if (text_parse_u64(text + length + 1, (uint64_t)(128 - begin), &bits, NULL) != OK)
            return error_set(reterr, ERR_USAGE, 0, "\"%s\": the number behind / is from 0 to %d",
                             text_shown(text), 128 - begin);
        bits += (unsigned)begin;
    }
    for (unsigned bit = (unsigned)bits; bit < 128; bit++)
        if (is_set(source.address, bit))
            return error_set(reterr, ERR_USAGE, 0, "\"%s\": the address has bits set behind its prefix",
                             text_shown(text));
    source.prefix_bits = (unsigned)bits;
    *ret_source = source;
    return OK;
}

bool policy_source_contains(const struct policy_source *source, const char *text)
{
    uint8_t address[16];
    if (parse_address(text, address) < 0)
        return false;
    for (unsigned bit = 0; bit < source->prefix_bits; bit++)
        if (is_set(address, bit) != is_set(source->address, bit))
            return false;
    return true;
}
