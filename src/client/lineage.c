/*
 * The file lineage, in turns: {"version":1,"authorities":[{"authority","token","planned_until"}]}. A token is
 * on disk before it is presented: only from that file is one ever taken. A crash before the write presents
 * the older one again, and the authority offers the same next one.
 */
#include "base/fault.h"
#include "base/file.h"
#include "client/files.h"
#include "client/turns.h"

#define LINEAGE_NAME "lineage"
enum { LINEAGE_VERSION = 1, LINEAGE_MEMBERS = 2, ENTRY_MEMBERS = 3, PLACE_SIZE = TURNS_BLOCK };

static enum error_code parse_entry(json_t *item, struct lineage_entry *entry, struct error *reterr)
{
    enum error_code code = OK;
    if (json_object_size(item) > ENTRY_MEMBERS)
        code = error_set(reterr, ERR_CORRUPT, 0, "an authority has a member that does not belong there");
    if (!code)
        code = json_get_hex(item, "authority", entry->authority, sizeof(entry->authority), reterr);
    entry->has_token = !code && !json_is_null(json_object_get(item, "token"));
    if (!code && entry->has_token)
        code = json_get_hex(item, "token", entry->token, sizeof(entry->token), reterr);
    if (!code)
        code = json_get_integer(item, "planned_until", 0, INT64_MAX, &entry->planned_until, reterr);
    return code;
}

enum error_code lineage_parse(const char *text, size_t length, struct lineage *ret_lineage,
                              struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    json_t *array = NULL;
    struct lineage lineage = {0};
    enum error_code code = json_parse_object(text, length, LINEAGE_NAME, &file, reterr);
    if (!code)
        code = json_check_version(file, LINEAGE_VERSION, LINEAGE_NAME, reterr);
    if (!code && json_object_size(file) > LINEAGE_MEMBERS)
        code = error_set(reterr, ERR_CORRUPT, 0, "a member that does not belong there");
    if (!code)
        code = json_get_array(file, "authorities", CLIENT_AUTHORITIES_MAXIMUM, &array, reterr);
    for (size_t i = 0; !code && i < json_array_size(array); i++)
        code = parse_entry(json_array_get(array, i), &lineage.entries[lineage.count++], reterr);
    if (code) {
        error_prefix(reterr, "%s", LINEAGE_NAME);
        return code;
    }
    *ret_lineage = lineage;
    return OK;
}

static enum error_code format_entry(const struct lineage_entry *entry, json_t *item, struct error *reterr)
{
    enum error_code code =
        json_set_hex(item, "authority", entry->authority, sizeof(entry->authority), reterr);
    if (!code)
        code = entry->has_token ? json_set_hex(item, "token", entry->token, sizeof(entry->token), reterr)
                                : json_set_new(item, "token", json_null(), reterr);
    return code ? code : json_set_new(item, "planned_until", json_integer(entry->planned_until), reterr);
}

enum error_code lineage_format(const struct lineage *lineage, struct buffer *text, struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = json_object();
    json_t *array = json_array();
    enum error_code code = json_set_new(file, "version", json_integer(LINEAGE_VERSION), reterr);
    if (code)
        json_decref(array);
    else
        code = json_set_new(file, "authorities", array, reterr);
    for (size_t i = 0; !code && i < lineage->count; i++) {
        json_t *item = json_object();
        if (json_array_append_new(array, item) < 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        code = format_entry(&lineage->entries[i], item, reterr);
    }
    if (!code)
        code = json_format(file, text, reterr);
    return code ? code : buffer_append(text, "\n", 1, reterr);
}

enum error_code lineage_lock(struct client *client, int *ret_fd, struct error *reterr)
{
    return client_lock(client, "lineage.lock", ret_fd, reterr);
}

static enum error_code read_all(struct client *client, struct lineage *ret_lineage, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = turns_read(client->husk_fd, LINEAGE_NAME, PLACE_SIZE, &text, reterr);
    if (code == ERR_NOT_FOUND) {
        *ret_lineage = (struct lineage){0};
        return OK;
    }
    if (!code)
        code = lineage_parse(text.data, text.length, ret_lineage, reterr);
    if (code == ERR_CORRUPT)
        error_remedy(reterr,
                     "move .husk/lineage away; where the authority then takes this host for an old copy of "
                     "itself, people approve it as restored (huskd request approve --restored)");
    return code;
}

static struct lineage_entry *find(struct lineage *lineage, const uint8_t *authority)
{
    for (size_t i = 0; i < lineage->count; i++)
        if (!memcmp(lineage->entries[i].authority, authority, CLIENT_ID_SIZE))
            return &lineage->entries[i];
    return NULL;
}

enum error_code lineage_get(struct client *client, const uint8_t authority[CLIENT_ID_SIZE],
                            struct lineage_entry *ret_entry, struct error *reterr)
{
    struct lineage lineage;
    enum error_code code = read_all(client, &lineage, reterr);
    if (code)
        return code;
    const struct lineage_entry *entry = find(&lineage, authority);
    struct lineage_entry none = {0};
    memcpy(none.authority, authority, sizeof(none.authority));
    *ret_entry = entry ? *entry : none;
    return OK;
}

enum error_code lineage_put(struct client *client, const struct lineage_entry *entry, struct error *reterr)
{
    struct lineage lineage;
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = read_all(client, &lineage, reterr);
    if (code)
        return code;
    struct lineage_entry *there = find(&lineage, entry->authority);
    if (!there && lineage.count == CLIENT_AUTHORITIES_MAXIMUM)
        return error_set(reterr, ERR_DENIED, 0, "%s is full", LINEAGE_NAME);
    if (!there)
        there = &lineage.entries[lineage.count++];
    *there = *entry;
    code = lineage_format(&lineage, &text, reterr);
    int injected = code ? 0 : fault("client.lineage.write");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write %s", LINEAGE_NAME);
    if (!code)
        code = turns_write(client->husk_fd, LINEAGE_NAME, PLACE_SIZE, text.data, text.length, reterr);
    if (!code)
        (void)fault("client.lineage.written");
    return code;
}
