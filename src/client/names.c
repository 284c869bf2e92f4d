/* What the names of authorities stand for, remembered for a time without name servers. */
#include "client/wire.h"

enum error_code client_names_get(const struct client *client, json_t **ret_names, struct error *reterr)
{
    struct url url;
    _cleanup_(json_freep) json_t *names = json_object();
    enum error_code code = names ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < client->pin_count; i++)
        for (size_t k = 0; !code && k < client->pins[i].descriptor.address_count; k++) {
            if (url_parse(client->pins[i].descriptor.addresses[k], &url, NULL))
                continue;
            json_t *addresses = json_object_get(client->names, url.host);
            if (addresses)
                code = json_set_new(names, url.host, json_incref(addresses), reterr);
        }
    if (!code)
        *ret_names = TAKE(names);
    return code;
}

enum error_code client_names_give(struct client *client, const json_t *names, struct error *reterr)
{
    json_t *copy = json_deep_copy(names);
    if (!copy)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    json_decref(client->names);
    client->names = copy;
    return OK;
}
