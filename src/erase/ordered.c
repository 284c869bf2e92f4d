#include "erase/ordered.h"

#include "erase/erase.h"
#include "json/json.h"

static const char *text_of(const json_t *item, const char *member)
{
    const char *text = json_string_value(json_object_get(item, member));
    return text ? text : "";
}

static bool is_at(const json_t *item, const char *name, const char *filesystem)
{
    return !strcmp(text_of(item, "name"), name) && !strcmp(text_of(item, "filesystem"), filesystem);
}

static const json_t *find(const json_t *items, const char *name, const char *filesystem)
{
    size_t index;
    json_t *item;
    json_array_foreach(items, index, item)
    {
        if (is_at(item, name, filesystem))
            return item;
    }
    return NULL;
}

static bool is_whole(const json_t *vault)
{
    static const char *const verdicts[] = {"key_destruction", "plaintext_before"};
    for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
        const char *word = text_of(vault, verdicts[i]);
        if (!*word || !strcmp(word, erase_verdict_word(ERASE_INCOMPLETE)))
            return false;
    }
    return true;
}

static bool add(json_t *left, const char *name, const char *filesystem)
{
    return find(left, name, filesystem) ||
           json_array_append_new(left, json_pack("{s:s, s:s}", "name", name, "filesystem", filesystem)) == 0;
}

static size_t count_incomplete(const json_t *vaults, const char *name)
{
    size_t index, count = 0;
    json_t *vault;
    json_array_foreach(vaults, index, vault) count +=
        !is_whole(vault) && !strcmp(text_of(vault, "name"), name);
    return count;
}

static size_t count_failed(const json_t *findings, const char *name)
{
    size_t index, count = 0;
    json_t *finding;
    json_array_foreach(findings, index, finding) count +=
        !strcmp(text_of(finding, "kind"), "vault-failed") && !strcmp(text_of(finding, "subject"), name);
    return count;
}

/* Those it could not even begin with are no vaults of the result. Vaults of two filesystems may have one
 * name. */
static bool add_failed(json_t *left, const json_t *vaults, const json_t *findings)
{
    size_t index;
    json_t *finding;
    bool whole = true;
    json_array_foreach(findings, index, finding)
    {
        const char *kind = text_of(finding, "kind"), *subject = text_of(finding, "subject");
        if (!strcmp(kind, "vault-unreadable") || !strcmp(kind, "directory-foreign") ||
            (!strcmp(kind, "vault-failed") &&
             count_failed(findings, subject) > count_incomplete(vaults, subject)))
            whole &= add(left, subject, "");
    }
    return whole;
}

json_t *erase_find_left(const json_t *before, const json_t *document)
{
    size_t index;
    json_t *item, *left = json_array();
    const json_t *vaults = json_object_get(json_object_get(document, "result"), "vaults");
    bool whole = left != NULL;
    json_array_foreach(json_object_get(before, "left"), index, item)
    {
        const json_t *now = find(vaults, text_of(item, "name"), text_of(item, "filesystem"));
        if (!now || !is_whole(now))
            whole &= add(left, text_of(item, "name"), text_of(item, "filesystem"));
    }
    json_array_foreach(vaults, index, item)
    {
        if (!is_whole(item))
            whole &= add(left, text_of(item, "name"), text_of(item, "filesystem"));
    }
    const json_t *findings = json_object_get(document, "findings");
    whole = whole && add_failed(left, vaults, findings);
    if (whole && (!document || json_array_size(findings) >= FINDING_MAXIMUM)) /* more than is said here */
        whole = add(left, "", "");
    if (!whole) {
        json_decref(left);
        return NULL;
    }
    return left;
}

/* Nothing but these vaults. */
static bool leaves_these(const struct client_order *order, struct vault *const *vaults, size_t count)
{
    size_t index;
    json_t *item;
    const char *root = text_of(order->report, "at");
    const json_t *left = json_object_get(order->report, "left");
    json_array_foreach(left, index, item)
    {
        bool is_one = false;
        for (size_t i = 0; i < count; i++)
            is_one |= is_at(item, vaults[i]->name, root);
        if (!is_one)
            return false;
    }
    return !strcmp(order->outcome, "incomplete") && json_array_size(left) > 0;
}

enum erase_ordered erase_look_ordered(struct client *client, struct vault *const *vaults, size_t count)
{
    enum erase_ordered ordered = ERASE_NOT_ORDERED;
    bool all_read = true;
    if (erase_host_has_begun(client))
        return ERASE_ORDERED_THESE;
    for (size_t i = 0; i < client->pin_count; i++) {
        _cleanup_(client_orders_done) struct client_orders orders = {0};
        if (client_orders_read(client, &client->pins[i], &orders, NULL))
            all_read = false; /* the end of the host, with husk erase --all, asks what it was */
        for (size_t k = 0; k < orders.count; k++) {
            if (orders.items[k].action != ORDER_ERASE)
                continue;
            if (!leaves_these(&orders.items[k], vaults, count))
                return ERASE_ORDERED_MORE;
            ordered = ERASE_ORDERED_THESE;
        }
    }
    return ordered == ERASE_ORDERED_THESE && !all_read ? ERASE_ORDERED_MORE : ordered;
}
