#include "authority/erasing.h"

#include <sodium.h>

#include "authority/record.h"
#include "authority/resealing.h"
#include "base/fault.h"
#include "message/statement.h"

/* More of a host that is refused than that are not told with it: a message has its limit. */
enum { LISTED_BYTES_MAXIMUM = 16000, KEYSLOTS_LISTED_MAXIMUM = 256 };

/* A vault that was bound at another authority, or before a backup, is erased here too, and this is written
 * down; but not of as many as somebody may invent. */
enum { UNKNOWN_VAULTS_MAXIMUM = 256 };

static enum error_code insert_erase(struct clerk *clerk, const struct host *host, bool is_final,
                                    const uint8_t *order, int64_t *ret_erase, struct error *reterr)
{
    uint8_t own[STATEMENT_ID_SIZE];
    randombytes_buf(own, sizeof(own));
    enum error_code code = sql_run(
        clerk->sql, reterr, "INSERT INTO erases(host, final, order_id, begun_at) VALUES(?, ?, ?, ?)", "bibi",
        host->id, sizeof(host->id), (int64_t)is_final, order ? order : own, sizeof(own), clerk->now_unix_s);
    if (!code)
        *ret_erase = sql_last_insert_id(clerk->sql);
    clerk->has_erases = true;
    clerk_wake(clerk, host->id);
    return code;
}

static enum error_code mark_vault(struct clerk *clerk, const struct host *host, int64_t erase,
                                  const struct erasing_vault *vault, struct error *reterr)
{
    enum error_code code =
        sql_run(clerk->sql, reterr,
                "INSERT INTO erased_vaults(host, vault, erase) VALUES(?, ?, ?) ON CONFLICT DO NOTHING", "bbi",
                host->id, sizeof(host->id), vault->id, sizeof(vault->id), erase);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE keyslots SET erase = ? WHERE host = ? AND vault = ? AND erase IS NULL", "ibb",
                       erase, host->id, sizeof(host->id), vault->id, sizeof(vault->id));
    return code;
}

static enum error_code mark_all(struct clerk *clerk, const struct host *host, int64_t erase,
                                struct error *reterr)
{
    enum error_code code = sql_run(clerk->sql, reterr,
                                   "INSERT INTO erased_vaults(host, vault, erase) "
                                   "SELECT DISTINCT host, vault, ? FROM keyslots WHERE host = ? "
                                   "ON CONFLICT DO NOTHING",
                                   "ib", erase, host->id, sizeof(host->id));
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE keyslots SET erase = ? WHERE host = ? AND erase IS NULL",
                       "ib", erase, host->id, sizeof(host->id));
    return code;
}

static enum error_code record_begun(struct clerk *clerk, const struct host *host, int64_t erase,
                                    enum erasing_extent extent, const struct erasing_vault *vaults,
                                    size_t count, const char *by, struct error *reterr)
{
    json_t *details = record_of_host(host->id), *array = json_array();
    enum error_code code = json_set_new(details, "vaults", array, reterr);
    for (size_t i = 0; !code && i < count; i++)
        if (json_array_append_new(array, record_hex(vaults[i].id)) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = json_set_new(details, "erase", json_integer(erase), reterr);
    if (!code)
        code = json_set_new(details, "final", json_boolean(extent == ERASING_ALL), reterr);
    if (!code)
        code = json_set_new(details, "actor", json_string(by), reterr);
    if (!code)
        code = record_append(clerk, "erase-begun", TAKE(details), reterr);
    json_decref(details);
    return code;
}

enum error_code erasing_begin(struct clerk *clerk, const struct host *host, enum erasing_extent extent,
                              const struct erasing_vault *vaults, size_t count, const uint8_t *order,
                              const char *by, struct error *reterr)
{
    int64_t erase = 0;
    enum error_code code = insert_erase(clerk, host, extent == ERASING_ALL, order, &erase, reterr);
    for (size_t i = 0; !code && i < count; i++)
        code = mark_vault(clerk, host, erase, &vaults[i], reterr);
    if (!code && extent == ERASING_ALL)
        code = mark_all(clerk, host, erase, reterr);
    if (!code && extent == ERASING_ALL)
        code = sql_run(clerk->sql, reterr, "UPDATE hosts SET erased = 1 WHERE id = ?", "b", host->id,
                       sizeof(host->id));
    return code ? code : record_begun(clerk, host, erase, extent, vaults, count, by, reterr);
}

enum error_code erasing_begin_keyslot(struct clerk *clerk, const struct host *host,
                                      const uint8_t keyslot[KEYRING_KEYSLOT_SIZE], struct error *reterr)
{
    int64_t erase = 0;
    json_t *details = record_of_host(host->id);
    enum error_code code = insert_erase(clerk, host, false, NULL, &erase, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE keyslots SET erase = ? WHERE id = ? AND host = ? AND erase IS NULL", "ibb",
                       erase, keyslot, (size_t)KEYRING_KEYSLOT_SIZE, host->id, sizeof(host->id));
    if (!code)
        code = json_set_hex(details, "keyslot", keyslot, KEYRING_KEYSLOT_SIZE, reterr);
    if (!code)
        code = json_set_new(details, "erase", json_integer(erase), reterr);
    if (!code)
        code = record_append(clerk, "keyslot-unbound", TAKE(details), reterr);
    json_decref(details);
    return code;
}

static enum error_code count_unknown(struct clerk *clerk, const struct host *host, int64_t *ret_count,
                                     struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT count(*) FROM erased_vaults e WHERE host = ? AND NOT "
                                      "EXISTS(SELECT 1 FROM keyslots WHERE host "
                                      "= e.host AND vault = e.vault)",
                                      "b", host->id, sizeof(host->id));
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there)
        *ret_count = sql_integer(&rows, 0);
    sql_done(&rows);
    return code;
}

enum error_code erasing_check_room(struct clerk *clerk, const struct host *host,
                                   const struct erasing_vault *vaults, size_t count, struct error *reterr)
{
    int64_t unknown = 0;
    bool has_new = false;
    enum error_code code = count_unknown(clerk, host, &unknown, reterr);
    for (size_t i = 0; !code && i < count; i++) {
        bool is_known = false;
        code = sql_exists(clerk->sql, &is_known, reterr,
                          "SELECT 1 FROM keyslots WHERE host = ?1 AND vault = ?2 UNION ALL "
                          "SELECT 1 FROM erased_vaults WHERE host = ?1 AND vault = ?2 LIMIT 1",
                          "bb", host->id, sizeof(host->id), vaults[i].id, sizeof(vaults[i].id));
        unknown += !code && !is_known;
        has_new |= !code && !is_known;
    }
    return code || !has_new || unknown <= UNKNOWN_VAULTS_MAXIMUM
               ? code
               : error_set(reterr, ERR_DENIED, 0,
                           "this host has erased %d vaults that were never bound here: no more of those",
                           UNKNOWN_VAULTS_MAXIMUM);
}

enum error_code erasing_is_done(struct clerk *clerk, const struct host *host,
                                const struct erasing_vault *vault, bool *ret_is_done, struct error *reterr)
{
    return sql_exists(
        clerk->sql, ret_is_done, reterr,
        "SELECT 1 FROM erased_vaults WHERE host = ? AND vault = ? AND signed IS NOT NULL AND NOT EXISTS("
        "SELECT 1 FROM keyslots WHERE host = erased_vaults.host AND vault = erased_vaults.vault AND "
        "erased_at IS NULL)",
        "bb", host->id, sizeof(host->id), vault->id, sizeof(vault->id));
}

enum error_code erasing_is_host_done(struct clerk *clerk, const struct host *host, bool *ret_is_done,
                                     struct error *reterr)
{
    return sql_exists(
        clerk->sql, ret_is_done, reterr,
        "SELECT 1 FROM erases WHERE host = ?1 AND final = 1 AND signed IS NOT NULL AND NOT EXISTS("
        "SELECT 1 FROM erases WHERE host = ?1 AND done_at IS NULL)",
        "b", host->id, sizeof(host->id));
}

/* The answers of these rows, signed. Ends them. */
static enum error_code list_rows(struct clerk *clerk, struct sql_rows *rows, json_t *array,
                                 struct error *reterr)
{
    bool is_there = false;
    enum error_code code = OK;
    while (!code && !(code = sql_next(rows, &is_there, reterr)) && is_there) {
        _cleanup_(buffer_done) struct buffer wire = {0};
        size_t length;
        const void *bytes = sql_blob(rows, 0, &length);
        code = record_sign_kept(clerk, ERASED_KIND, bytes, length, &wire, reterr);
        if (!code && json_array_append_new(array, json_hex(wire.data, wire.length)) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    sql_done(rows);
    return code;
}

enum error_code erasing_list_host(struct clerk *clerk, const struct host *host, json_t *array,
                                  struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT signed FROM erases WHERE host = ? AND signed IS NOT NULL ORDER BY id LIMIT 1", "b",
                   host->id, sizeof(host->id));
    return code ? code : list_rows(clerk, &rows, array, reterr);
}

enum error_code erasing_list_vault(struct clerk *clerk, const struct host *host,
                                   const struct erasing_vault *vault, json_t *array, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT signed FROM erased_vaults WHERE host = ? AND vault = ? AND signed IS NOT NULL",
                   "bb", host->id, sizeof(host->id), vault->id, sizeof(vault->id));
    return code ? code : list_rows(clerk, &rows, array, reterr);
}

enum error_code erasing_list(struct clerk *clerk, const struct host *host, json_t **ret_array,
                             struct error *reterr)
{
    struct sql_rows rows = {0};
    _cleanup_(json_freep) json_t *array = json_array();
    enum error_code code = array ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (!code)
        code = erasing_list_host(clerk, host, array, reterr);
    if (!code)
        code = sql_select(
            clerk->sql, &rows, reterr,
            "SELECT signed FROM (SELECT signed, sum(length(signed)) OVER (ORDER BY vault) AS total FROM "
            "(SELECT vault, signed FROM erased_vaults WHERE host = ? AND signed IS NOT NULL ORDER BY vault "
            "LIMIT 64)) WHERE total <= ?",
            "bi", host->id, sizeof(host->id), (int64_t)LISTED_BYTES_MAXIMUM);
    if (!code)
        code = list_rows(clerk, &rows, array, reterr);
    if (!code)
        *ret_array = TAKE(array);
    return code;
}

/* One erase that waits to be told, and what there is at all that its scalars may live on in: with neither it
 * is not asked for every one of a large group. */
struct finished {
    bool are_backups, are_old_images;
    int64_t erase;
    uint8_t host[MESSAGE_HOST_ID_SIZE];
    uint8_t order[STATEMENT_ID_SIZE];
    bool is_final;
};

/* The ids of the keyslots that this vault had here, the newest: what is certified is their scalars. */
static enum error_code list_keyslots(struct clerk *clerk, struct erased *erased, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    erased->keyslots = calloc(KEYSLOTS_LISTED_MAXIMUM, sizeof(*erased->keyslots));
    if (!erased->keyslots)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = sql_select(clerk->sql, &rows, reterr,
                                      "SELECT id FROM keyslots WHERE host = ? AND vault = ? AND erased_at IS "
                                      "NOT NULL ORDER BY created_at DESC, id LIMIT ?",
                                      "bbi", erased->host, sizeof(erased->host), erased->vault,
                                      sizeof(erased->vault), (int64_t)KEYSLOTS_LISTED_MAXIMUM);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        if (sql_bytes(&rows, 0, erased->keyslots[erased->keyslot_count], STATEMENT_ID_SIZE))
            erased->keyslot_count++;
    sql_done(&rows);
    return code;
}

static struct erased erased_of(const struct clerk *clerk, const struct finished *finished)
{
    struct erased erased = {.sequence = (uint64_t)finished->erase, .at_unix_s = clerk->now_unix_s};
    memcpy(erased.host, finished->host, sizeof(erased.host));
    memcpy(erased.order, finished->order, sizeof(erased.order));
    return erased;
}

static enum error_code keep(const struct erased *erased, struct buffer *wire, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = erased_format(erased, &text, reterr);
    return code ? code : record_keep_text(&text, wire, reterr);
}

/* Of the disk that the keyring is on, or was on before a restore. */
static enum error_code find_images(struct clerk *clerk, const struct finished *finished, const uint8_t *vault,
                                   struct erased *erased, struct error *reterr)
{
    bool were_taken = false;
    enum error_code code = OK;
    if (finished->are_old_images)
        code = sql_exists(
            clerk->sql, &were_taken, reterr,
            "SELECT 1 FROM keyslots k JOIN moving m ON k.created_at <= m.imaged_until WHERE k.host = "
            "?1 AND (?2 IS NULL OR k.vault = ?2) LIMIT 1",
            "bb", erased->host, sizeof(erased->host), vault, sizeof(erased->vault));
    const bool has_any = !vault || erased->keyslot_count > 0;
    erased->copies[ERASED_COPY_IMAGE] =
        were_taken || (has_any && !keyring_has_holder_elsewhere(&clerk->place));
    return code;
}

/* Where the scalars may live on all the same, that this authority knows of. vault NULL: of all the host's. A
 * backup holds a scalar that was there when it was made. */
static enum error_code find_copies(struct clerk *clerk, const struct finished *finished, const uint8_t *vault,
                                   struct erased *erased, struct error *reterr)
{
    enum error_code code = OK;
    if (finished->are_backups)
        code = sql_exists(
            clerk->sql, &erased->copies[ERASED_COPY_BACKUP], reterr,
            "SELECT 1 FROM keyslots k JOIN backups b ON k.created_at <= b.made_at AND (k.erased_at IS "
            "NULL OR k.erased_at >= b.made_at) WHERE k.host = ?1 AND (?2 IS NULL OR k.vault = ?2) AND "
            "b.destroyed_at IS NULL LIMIT 1",
            "bb", erased->host, sizeof(erased->host), vault, sizeof(erased->vault));
    if (!code)
        code = find_images(clerk, finished, vault, erased, reterr);
    return code;
}

static enum error_code answer_vault(struct clerk *clerk, const struct finished *finished,
                                    const uint8_t *vault, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {0};
    _cleanup_(erased_done) struct erased erased = erased_of(clerk, finished);
    memcpy(erased.vault, vault, sizeof(erased.vault));
    enum error_code code = list_keyslots(clerk, &erased, reterr);
    if (!code)
        code = find_copies(clerk, finished, vault, &erased, reterr);
    if (!code)
        code = keep(&erased, &wire, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE erased_vaults SET signed = ? WHERE host = ? AND vault = ?",
                       "bbb", wire.data, wire.length, erased.host, sizeof(erased.host), vault,
                       sizeof(erased.vault));
    return code;
}

/* The ids of the vaults of an erase that have no answer yet. */
static enum error_code find_vaults(struct clerk *clerk, int64_t erase, struct buffer *ids,
                                   struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    struct erasing_vault vault;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT vault FROM erased_vaults WHERE erase = ? AND signed IS NULL", "i", erase);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there)
        code = sql_bytes(&rows, 0, vault.id, sizeof(vault.id))
                   ? buffer_append(ids, vault.id, sizeof(vault.id), reterr)
                   : error_set(reterr, ERR_FAILED, 0, "the database is damaged: an erased vault without id");
    sql_done(&rows);
    return code;
}

static enum error_code answer_vaults(struct clerk *clerk, const struct finished *finished,
                                     struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer ids = {.maximum = SIZE_MAX};
    enum error_code code = find_vaults(clerk, finished->erase, &ids, reterr);
    for (size_t at = 0; !code && at < ids.length; at += sizeof(struct erasing_vault))
        code = answer_vault(clerk, finished, (const uint8_t *)ids.data + at, reterr);
    return code;
}

/* wire stays empty where the host is not erased with its vaults. */
static enum error_code answer_host(struct clerk *clerk, const struct finished *finished, struct buffer *wire,
                                   struct error *reterr)
{
    struct erased erased = erased_of(clerk, finished);
    erased.is_host = true;
    enum error_code code = finished->is_final ? find_copies(clerk, finished, NULL, &erased, reterr) : OK;
    return code || !finished->is_final ? code : keep(&erased, wire, reterr);
}

static enum error_code find_finished(struct clerk *clerk, struct finished *finished, bool *ret_is_there,
                                     struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT id, host, final, order_id FROM erases WHERE done_at IS NULL ORDER BY id LIMIT 1", "");
    if (!code)
        code = sql_next(&rows, ret_is_there, reterr);
    if (!code && *ret_is_there) {
        finished->erase = sql_integer(&rows, 0);
        finished->is_final = sql_integer(&rows, 2);
        if (!sql_bytes(&rows, 1, finished->host, sizeof(finished->host)) ||
            !sql_bytes(&rows, 3, finished->order, sizeof(finished->order)))
            code = error_set(reterr, ERR_FAILED, 0, "the database is damaged: an erase without host");
    }
    sql_done(&rows);
    return code;
}

static enum error_code tell(struct clerk *clerk, const struct finished *finished, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {0};
    json_t *details = record_of_host(finished->host);
    enum error_code code = answer_vaults(clerk, finished, reterr);
    if (!code)
        code = answer_host(clerk, finished, &wire, reterr);
    if (!code)
        code = json_set_new(details, "erase", json_integer(finished->erase), reterr);
    if (!code)
        code =
            json_set_new(details, "generation", json_integer((json_int_t)clerk->keyring->generation), reterr);
    if (!code)
        code = record_append(clerk, "erased", TAKE(details), reterr);
    json_decref(details);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "UPDATE erases SET signed = coalesce(?, signed), done_at = ? WHERE id = ?", "bii",
                       wire.data, wire.length, clerk->now_unix_s, finished->erase);
    clerk_wake(clerk, finished->host);
    return code;
}

static enum error_code tell_all(struct clerk *clerk, struct error *reterr)
{
    struct finished finished = {0};
    bool is_there = true;
    enum error_code code = clerk_begin(clerk, reterr);
    if (!code)
        code = sql_exists(clerk->sql, &finished.are_backups, reterr,
                          "SELECT 1 FROM backups WHERE destroyed_at IS NULL LIMIT 1", "");
    if (!code)
        code = sql_exists(clerk->sql, &finished.are_old_images, reterr,
                          "SELECT 1 FROM moving WHERE imaged_until <> 0", "");
    while (!code && is_there) {
        code = find_finished(clerk, &finished, &is_there, reterr);
        if (!code && is_there)
            code = tell(clerk, &finished, reterr);
    }
    if (code)
        sql_roll_back(clerk->sql);
    return code ? code : clerk_commit(clerk, reterr);
}

enum error_code erasing_carry_out(struct clerk *clerk, struct error *reterr)
{
    (void)fault("authority.erase.begun");
    enum error_code code = resealing_run(clerk, reterr);
    (void)fault("authority.erase.resealed");
    if (!code)
        code = clerk_destroy_old(clerk, reterr);
    (void)fault("authority.erase.destroyed");
    if (!code)
        code = tell_all(clerk, reterr);
    (void)fault("authority.erase.done");
    if (!code)
        clerk->has_erases = false;
    return code;
}
