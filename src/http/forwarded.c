#include "http/forwarded.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The last element of the list; *length shrinks to what stands before it. */
static bool take_last(const char *list, size_t *length, struct address *ret_address)
{
    size_t end = *length, begin;
    for (begin = end; begin > 0 && list[begin - 1] != ',';)
        begin--;
    *length = begin > 0 ? begin - 1 : 0;
    while (begin < end && is_blank(list[begin]))
        begin++;
    while (begin < end && is_blank(list[end - 1]))
        end--;
    return address_parse(list + begin, end - begin, ret_address);
}

struct address forwarded_peer(const struct connections *connections, const struct address *from,
                              const char *header, size_t length)
{
    struct address peer = *from, next;
    while (length > 0 && connections_trust(connections, &peer) && take_last(header, &length, &next))
        peer = next;
    return peer;
}
