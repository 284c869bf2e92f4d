#include "authority/hosts.h"

#include <sodium.h>

bool host_name_is_valid(const char *name)
{
    const size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length > 0 && length < HOST_NAME_SIZE && !name[length] &&
           strspn(name, "0123456789abcdefABCDEF") != (size_t)2 * MESSAGE_HOST_ID_SIZE;
}

#define COLUMNS                                                                                              \
    "SELECT id, name, group_id, identity, created_at, confirmed, held, erased, lineage_current, "            \
    "lineage_offered, restore_accepted, live_boot FROM hosts "

static enum error_code read_host(struct sql_rows *rows, struct host *ret_host, struct error *reterr)
{
    bool is_there = false;
    struct host host = {0};
    enum error_code code = sql_next(rows, &is_there, reterr);
    if (!code && !is_there)
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no such host");
    if (!code && (!sql_bytes(rows, 0, host.id, sizeof(host.id)) ||
                  !sql_bytes(rows, 3, host.identity, sizeof(host.identity))))
        code = error_set(reterr, ERR_FAILED, 0, "the database is damaged: a host without id or identity");
    if (!code) {
        snprintf(host.name, sizeof(host.name), "%s", sql_text(rows, 1));
        host.group_id = sql_integer(rows, 2);
        host.created_at_unix_s = sql_integer(rows, 4);
        host.is_confirmed = sql_integer(rows, 5);
        host.held = (enum host_held)sql_integer(rows, 6);
        host.is_erased = sql_integer(rows, 7);
        host.lineage.has_current = sql_bytes(rows, 8, host.lineage.current, POLICY_TOKEN_SIZE);
        host.lineage.has_offered = sql_bytes(rows, 9, host.lineage.offered, POLICY_TOKEN_SIZE);
        host.restore_accepted = sql_integer(rows, 10);
        host.has_live_boot = sql_bytes(rows, 11, host.live_boot, POLICY_TOKEN_SIZE);
        *ret_host = host;
    }
    sql_done(rows);
    return code;
}

enum error_code host_find(struct clerk *clerk, const uint8_t id[MESSAGE_HOST_ID_SIZE], struct host *ret_host,
                          struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, COLUMNS "WHERE id = ?", "b", id, (size_t)MESSAGE_HOST_ID_SIZE);
    return code ? code : read_host(&rows, ret_host, reterr);
}

enum error_code host_find_by_name(struct clerk *clerk, const char *name, struct host *ret_host,
                                  struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   COLUMNS "WHERE name = ? ORDER BY erased, created_at DESC LIMIT 1", "t", name);
    return code ? code : read_host(&rows, ret_host, reterr);
}

enum error_code host_find_by_identity(struct clerk *clerk, const uint8_t identity[HPKE_KEY_SIZE],
                                      struct host *ret_host, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code = sql_select(clerk->sql, &rows, reterr, COLUMNS "WHERE identity = ?", "b", identity,
                                      (size_t)HPKE_KEY_SIZE);
    return code ? code : read_host(&rows, ret_host, reterr);
}

enum error_code host_insert(struct clerk *clerk, const struct host *host, struct error *reterr)
{
    return sql_run(clerk->sql, reterr,
                   "INSERT INTO hosts(id, name, group_id, identity, created_at) VALUES(?, ?, ?, ?, ?)",
                   "btibi", host->id, sizeof(host->id), host->name, host->group_id, host->identity,
                   sizeof(host->identity), host->created_at_unix_s);
}

enum error_code host_update(struct clerk *clerk, const struct host *host, struct error *reterr)
{
    const struct presence_host *known = presence_find(&clerk->presence, host->id);
    const struct policy_lineage *lineage = &host->lineage;
    return sql_run(
        clerk->sql, reterr,
        "UPDATE hosts SET confirmed = ?, held = ?, lineage_current = ?, lineage_offered = ?, "
        "restore_accepted = ?, live_boot = ?, last_seen = coalesce(nullif(?, 0), last_seen) WHERE id = ?",
        "iibbibib", (int64_t)host->is_confirmed, (int64_t)host->held,
        lineage->has_current ? lineage->current : NULL, (size_t)POLICY_TOKEN_SIZE,
        lineage->has_offered ? lineage->offered : NULL, (size_t)POLICY_TOKEN_SIZE,
        (int64_t)host->restore_accepted, host->has_live_boot ? host->live_boot : NULL,
        (size_t)POLICY_TOKEN_SIZE, known && known->was_seen ? known->last_seen_unix_s : 0, host->id,
        sizeof(host->id));
}

enum error_code host_move(struct clerk *clerk, const struct host *host, int64_t group_id,
                          struct error *reterr)
{
    enum error_code code = sql_run(clerk->sql, reterr, "UPDATE hosts SET group_id = ? WHERE id = ?", "ib",
                                   group_id, host->id, sizeof(host->id));
    return code ? code
                : sql_run(clerk->sql, reterr,
                          "UPDATE requests SET state = ?, flags = flags | ?, asked = 0 WHERE host = ? "
                          "AND " REQUEST_IS_OPEN,
                          "iib", (int64_t)POLICY_PENDING, (int64_t)POLICY_MOVED, host->id, sizeof(host->id));
}

enum error_code host_rename(struct clerk *clerk, const struct host *host, const char *name,
                            struct error *reterr)
{
    struct host other;
    if (!host_name_is_valid(name))
        return error_set(reterr, ERR_USAGE, 0, HOST_NAME_RULE);
    enum error_code code = host_find_by_name(clerk, name, &other, reterr);
    if (code && code != ERR_NOT_FOUND)
        return code;
    if (!code && !other.is_erased && memcmp(other.id, host->id, sizeof(other.id)) != 0) {
        error_set(reterr, ERR_EXISTS, 0, "another host is called %s", name);
        return error_remedy(reterr, "its name is free once it is erased (huskd host erase) or renamed");
    }
    return sql_run(clerk->sql, reterr, "UPDATE hosts SET name = ? WHERE id = ?", "tb", name, host->id,
                   sizeof(host->id));
}

struct policy_host host_for_policy(struct clerk *clerk, const struct host *host)
{
    const struct presence_host *known = presence_find(&clerk->presence, host->id);
    return (struct policy_host){
        .state = host->is_erased ? POLICY_HOST_ERASED
                 : host->held    ? POLICY_HOST_HELD
                                 : POLICY_HOST_ACTIVE,
        .held_after_restore = host->held == HOST_HELD_AFTER_RESTORE,
        .lineage = host->lineage,
        .restore_accepted = host->restore_accepted,
        .was_seen = known && known->was_seen,
        .last_seen_unix_s = known ? known->last_seen_unix_s : 0,
    };
}

bool lineage_advance(struct policy_lineage *lineage, const uint8_t *presented)
{
    const bool moves = policy_lineage_compare(lineage, presented) == POLICY_LINEAGE_OFFERED;
    if (moves) {
        memcpy(lineage->current, lineage->offered, POLICY_TOKEN_SIZE);
        lineage->has_current = true;
    }
    if (lineage->has_offered && !moves)
        return false;
    randombytes_buf(lineage->offered, POLICY_TOKEN_SIZE);
    return lineage->has_offered = true;
}

void lineage_accept(struct policy_lineage *lineage, const uint8_t *presented)
{
    lineage->has_current = presented != NULL;
    if (presented)
        memcpy(lineage->current, presented, POLICY_TOKEN_SIZE);
    randombytes_buf(lineage->offered, POLICY_TOKEN_SIZE);
    lineage->has_offered = true;
}
