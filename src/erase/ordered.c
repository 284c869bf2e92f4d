#include "erase/ordered.h"

#include "erase/verdict.h"
#include "json/json.h"

static bool is_named(const char *name, struct vault *const *vaults, size_t count)
{
    for (size_t i = 0; name && i < count; i++)
        if (!strcmp(name, vaults[i]->name))
            return true;
    return false;
}

static size_t count_named(const json_t *items, const char *member, const char *name)
{
    size_t index, found = 0;
    json_t *item;
    json_array_foreach(items, index, item)
    {
        const char *other = json_string_value(json_object_get(item, member));
        found += other && name && !strcmp(other, name);
    }
    return found;
}

static bool is_incomplete(const json_t *item)
{
    static const char *const verdicts[] = {"key_destruction", "plaintext_before"};
    for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
        const char *word = json_string_value(json_object_get(item, verdicts[i]));
        if (!word || !strcmp(word, erase_verdict_word(ERASE_INCOMPLETE)))
            return true;
    }
    return false;
}

/* Each vault the agent met is whole but for these. Vaults of two filesystems may have one name. */
static bool are_others_whole(const json_t *met, struct vault *const *vaults, size_t count,
                             size_t *ret_incomplete)
{
    size_t index;
    json_t *item;
    *ret_incomplete = 0;
    json_array_foreach(met, index, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (!is_incomplete(item))
            continue;
        (*ret_incomplete)++;
        if (!is_named(name, vaults, count) || count_named(met, "name", name) > 1)
            return false;
    }
    return true;
}

/* Nor was there one that it could not even begin with: such a one is among the failed, and was not met. */
static bool were_all_met(const json_t *findings, size_t incomplete)
{
    const size_t failed = count_named(findings, "kind", "vault-failed");
    return (failed == 0 || failed == incomplete) && count_named(findings, "kind", "vault-unreadable") == 0 &&
           count_named(findings, "kind", "directory-foreign") == 0 &&
           json_array_size(findings) < CLIENT_ORDER_FINDINGS_MAXIMUM;
}

static bool leaves_these(const struct client_order *order, struct vault *const *vaults, size_t count)
{
    size_t incomplete;
    const json_t *met = json_object_get(order->report, "vaults");
    return !strcmp(order->outcome, "incomplete") && json_array_size(met) > 0 &&
           are_others_whole(met, vaults, count, &incomplete) &&
           were_all_met(json_object_get(order->report, "findings"), incomplete);
}

enum erase_ordered erase_look_ordered(struct client *client, struct vault *const *vaults, size_t count)
{
    enum erase_ordered ordered = ERASE_NOT_ORDERED;
    for (size_t i = 0; i < client->pin_count; i++) {
        _cleanup_(client_orders_done) struct client_orders orders = {0};
        if (client_orders_read(client, &client->pins[i], &orders, NULL))
            return ERASE_ORDERED_MORE;
        for (size_t k = 0; k < orders.count; k++) {
            if (orders.items[k].action != ORDER_ERASE)
                continue;
            if (!leaves_these(&orders.items[k], vaults, count))
                return ERASE_ORDERED_MORE;
            ordered = ERASE_ORDERED_THESE;
        }
    }
    return ordered;
}
