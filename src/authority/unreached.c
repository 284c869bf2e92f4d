#include "authority/unreached.h"

#include <stdarg.h>

#include "authority/keycopies.h"
#include "base/text.h"
#include "message/statement.h"

struct looking {
    struct clerk *clerk;
    const uint8_t *host; /* NULL: all of the group */
    int64_t group_id;
    const char *subject;
    json_t *found;
};

_Static_assert(ORDER_ERASE == 1, "add_orders asks for it by number");

/* The hosts that were erased: ?1 is the host, or null, and then ?2 the group. */
#define ERASED_HOSTS "h.erased = 1 AND (h.id = ?1 OR (?1 IS NULL AND h.group_id = ?2))"

static enum error_code count(const struct looking *looking, const char *text, int64_t *ret_count,
                             struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(looking->clerk->sql, &rows, reterr, text, "bi", looking->host,
                                      (size_t)MESSAGE_HOST_ID_SIZE, looking->group_id);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code)
        *ret_count = is_there ? sql_integer(&rows, 0) : 0;
    sql_done(&rows);
    return code;
}

__attribute__((format(printf, 5, 6))) static enum error_code add(const struct looking *looking,
                                                                 const char *kind, const char *remedy,
                                                                 struct error *reterr, const char *format,
                                                                 ...)
{
    char cause[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cause, sizeof(cause), format, arguments);
    va_end(arguments);
    json_t *item = json_pack("{s:s, s:s, s:s, s:s}", "kind", kind, "subject", looking->subject, "cause",
                             cause, "remedy", remedy);
    return json_array_append_new(looking->found, item) == 0
               ? OK
               : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

static enum error_code add_orders(const struct looking *looking, int64_t *ret_open, struct error *reterr)
{
    enum error_code code =
        count(looking,
              "SELECT count(*) FROM hosts h CROSS JOIN orders o ON o.host = h.id WHERE " ERASED_HOSTS
              " AND o.is_done = 0 AND o.action = 1",
              ret_open, reterr);
    if (code || *ret_open == 0)
        return code;
    return add(
        looking, "order-not-answered",
        "have husk agent run there, or run husk erase --all there. A root that runs keeps its key until the "
        "machine is off: its next boot finishes the erase and answers; or run husk erase --all --at DIR with "
        "its disk on another machine. Where the machine is gone, have its disks and their copies destroyed",
        reterr,
        "%lld host%s not answered that the order to erase is carried out whole: what is open there stays "
        "open, and keyslots that need "
        "no "
        "authority stay on the disk, until its agent has carried it out",
        (long long)*ret_open, *ret_open == 1 ? " has" : "s have");
}

/* Of the authority itself. */
static enum error_code add_own_copies(const struct looking *looking, int64_t keyslots, struct error *reterr)
{
    int64_t backups = 0, imaged = 0;
    /* The span first: asking of every backup anew whether any keyslot was there takes a large group times the
     * number of backups. */
    enum error_code code = count(
        looking,
        "WITH span AS MATERIALIZED (SELECT min(k.created_at) AS first, max(coalesce(k.erased_at, "
        "9223372036854775807)) AS last FROM hosts h CROSS JOIN keyslots k ON k.host = h.id "
        "WHERE " ERASED_HOSTS ") SELECT count(*) FROM span CROSS JOIN backups b WHERE b.destroyed_at IS "
        "NULL AND b.made_at BETWEEN span.first AND span.last AND EXISTS(SELECT 1 FROM hosts h CROSS JOIN "
        "keyslots k ON k.host = h.id WHERE " ERASED_HOSTS " AND k.created_at <= b.made_at AND "
        "(k.erased_at IS NULL OR k.erased_at >= b.made_at))",
        &backups, reterr);
    if (!code)
        code =
            count(looking,
                  "SELECT count(*) FROM hosts h CROSS JOIN keyslots k ON k.host = h.id CROSS JOIN moving m "
                  "WHERE " ERASED_HOSTS " AND k.created_at <= m.imaged_until",
                  &imaged, reterr);
    if (!code && (imaged > 0 || (keyslots > 0 && !keyring_has_holder_elsewhere(&looking->clerk->place))))
        code =
            add(looking, "key-copy-authority-image",
                "destroy the images and backups of this machine's disk; an authority made with huskd init "
                "--holder, on another medium, has no such copies",
                reterr,
                "nothing on another filesystem seals the keyring of this authority, or did before it was "
                "restored: an image of its disk made while the keyslots existed opens them in copies of the "
                "host's disk");
    if (!code && backups > 0)
        code = add(
            looking, "key-copy-authority-backup",
            "destroy the envelopes of these backups, and declare it: huskd keycopy list, keycopy destroyed",
            reterr,
            "%lld backup%s of this authority %s made while the keyslots existed: restored with its envelope "
            "and the backup key, one opens them in copies of the host's disk",
            (long long)backups, backups == 1 ? "" : "s", backups == 1 ? "was" : "were");
    return code;
}

static enum error_code add_reported(const struct looking *looking, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(
        looking->clerk->sql, &rows, reterr,
        "SELECT k.kind, count(*) FROM hosts h CROSS JOIN keycopies k ON k.host = h.id WHERE " ERASED_HOSTS
        " AND k.kind <> '' AND k.destroyed_at IS NULL GROUP BY k.kind ORDER BY k.kind",
        "bi", looking->host, (size_t)MESSAGE_HOST_ID_SIZE, looking->group_id);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        code =
            add(looking, "key-copy-of-host",
                "destroy what huskd keycopy list names, and declare it: huskd keycopy destroyed", reterr,
                "%lld key cop%s of kind %s, which the host reported, open%s copies of its disk without this "
                "authority",
                (long long)sql_integer(&rows, 1), sql_integer(&rows, 1) == 1 ? "y" : "ies",
                text_shown(sql_text(&rows, 0)), sql_integer(&rows, 1) == 1 ? "s" : "");
    sql_done(&rows);
    return code;
}

static enum error_code add_unreported(const struct looking *looking, struct error *reterr)
{
    int64_t hosts = 0;
    enum error_code code =
        count(looking, "SELECT count(*) FROM hosts h WHERE " ERASED_HOSTS " AND NOT " KEYCOPIES_WERE_REPORTED,
              &hosts, reterr);
    if (code || hosts == 0)
        return code;
    return add(
        looking, "key-copies-unknown",
        "ask who set it up for its recovery key, passphrases and keyfiles, and destroy them", reterr,
        "%lld host%s never reported which key copies there are: recovery keys, passphrases and keyfiles may "
        "open its vaults without this authority",
        (long long)hosts, hosts == 1 ? " has" : "s have");
}

enum error_code unreached_add(struct clerk *clerk, const uint8_t *host, int64_t group_id, const char *subject,
                              json_t *result, struct error *reterr)
{
    int64_t keyslots = 0, open = 0;
    json_t *found = json_array();
    struct looking looking = {clerk, host, group_id, subject, found};
    enum error_code code = json_set_new(result, "not_reached", found, reterr);
    if (!code)
        code = count(&looking,
                     "SELECT count(*) FROM hosts h CROSS JOIN keyslots k ON k.host = h.id WHERE " ERASED_HOSTS
                     " AND k.erased_at IS NOT NULL",
                     &keyslots, reterr);
    if (!code)
        code = add_orders(&looking, &open, reterr);
    if (!code)
        code = add_own_copies(&looking, keyslots, reterr);
    if (!code)
        code = add_reported(&looking, reterr);
    if (!code)
        code = add_unreported(&looking, reterr);
    if (!code)
        code = json_set_new(result, "keyslots", json_integer(keyslots), reterr);
    if (!code)
        code =
            json_set_new(result, "key_destruction", json_string(open > 0 ? "INCOMPLETE" : "UNKNOWN"), reterr);
    return code;
}
