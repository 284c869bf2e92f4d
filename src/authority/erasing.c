#include "authority/erasing.h"

#include "authority/record.h"
#include "authority/resealing.h"
#include "base/fault.h"
#include "base/text.h"

#define ERASED_KIND "husk erased v1"
enum { ERASED_VERSION = 1 };

static enum error_code insert_erase(struct clerk *clerk, const struct host *host, bool is_final,
                                    int64_t *ret_erase, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        sql_run(clerk->sql, reterr, "INSERT INTO erases(host, final, begun_at) VALUES(?, ?, ?)", "bii",
                host->id, sizeof(host->id), (int64_t)is_final, clerk->now_unix_s);
    if (!code)
        code = sql_select(clerk->sql, &rows, reterr, "SELECT last_insert_rowid()", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code)
        *ret_erase = sql_integer(&rows, 0);
    sql_done(&rows);
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
                                    enum erasing_extent extent, const char *by, struct error *reterr)
{
    json_t *details = record_of_host(host->id);
    enum error_code code = json_set_new(details, "erase", json_integer(erase), reterr);
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
                              const struct erasing_vault *vaults, size_t count, const char *by,
                              struct error *reterr)
{
    int64_t erase = 0;
    enum error_code code = insert_erase(clerk, host, extent == ERASING_ALL, &erase, reterr);
    for (size_t i = 0; !code && i < count; i++)
        code = mark_vault(clerk, host, erase, &vaults[i], reterr);
    if (!code && extent == ERASING_ALL)
        code = mark_all(clerk, host, erase, reterr);
    if (!code && extent == ERASING_ALL)
        code = sql_run(clerk->sql, reterr, "UPDATE hosts SET erased = 1 WHERE id = ?", "b", host->id,
                       sizeof(host->id));
    return code ? code : record_begun(clerk, host, erase, extent, by, reterr);
}

enum error_code erasing_begin_keyslot(struct clerk *clerk, const struct host *host,
                                      const uint8_t keyslot[KEYRING_KEYSLOT_SIZE], struct error *reterr)
{
    int64_t erase = 0;
    json_t *details = record_of_host(host->id);
    enum error_code code = insert_erase(clerk, host, false, &erase, reterr);
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

enum error_code erasing_is_done(struct clerk *clerk, const struct host *host,
                                const struct erasing_vault *vault, bool *ret_is_done, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_done = false;
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT 1 FROM erased_vaults WHERE host = ? AND vault = ? AND signed IS NOT NULL AND NOT EXISTS("
        "SELECT 1 FROM keyslots WHERE host = erased_vaults.host AND vault = erased_vaults.vault AND "
        "erased_at IS "
        "NULL)",
        "bb", host->id, sizeof(host->id), vault->id, sizeof(vault->id));
    if (!code)
        code = sql_next(&rows, &is_done, reterr);
    sql_done(&rows);
    if (!code)
        *ret_is_done = is_done;
    return code;
}

enum error_code erasing_list(struct clerk *clerk, const struct host *host, json_t **ret_array,
                             struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    _cleanup_(json_freep) json_t *array = json_array();
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr, "SELECT signed FROM erased_vaults WHERE host = ? AND signed IS NOT NULL",
        "b", host->id, sizeof(host->id));
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        size_t length;
        const void *bytes = sql_blob(&rows, 0, &length);
        _cleanup_(freep) char *text = malloc(2 * length + 1);
        if (text)
            text_format_hex(text, bytes, length);
        if (!text || json_array_append_new(array, json_string(text)) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    sql_done(&rows);
    if (!code)
        *ret_array = TAKE(array);
    return code;
}

/* One erase that waits to be told. */
struct finished {
    int64_t erase;
    uint8_t host[MESSAGE_HOST_ID_SIZE];
    bool is_final;
};

/* The ids of the keyslots that this vault had here: what is certified is their scalars. */
static enum error_code list_keyslots(struct clerk *clerk, const struct finished *finished,
                                     const uint8_t *vault, json_t *array, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(
        clerk->sql, &rows, reterr,
        "SELECT id FROM keyslots WHERE host = ? AND vault = ? AND erased_at IS NOT NULL ORDER BY id", "bb",
        finished->host, sizeof(finished->host), vault, (size_t)16);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        uint8_t id[KEYRING_KEYSLOT_SIZE];
        if (sql_bytes(&rows, 0, id, sizeof(id)) && json_array_append_new(array, record_hex(id)) != 0)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    sql_done(&rows);
    return code;
}

static enum error_code sign_vault(struct clerk *clerk, const struct finished *finished, const uint8_t *vault,
                                  struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0}, wire = {0};
    uint8_t signature[SIGN_SIGNATURE_SIZE];
    json_t *keyslots = json_array();
    _cleanup_(json_freep) json_t *object = json_pack(
        "{s:i, s:o, s:o, s:I, s:b, s:o, s:I}", "version", ERASED_VERSION, "host", record_hex(finished->host),
        "vault", record_hex(vault), "erase", (json_int_t)finished->erase, "final", finished->is_final,
        "keyslots", keyslots, "at", (json_int_t)clerk->now_unix_s);
    if (!object)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = list_keyslots(clerk, finished, vault, keyslots, reterr);
    if (!code)
        code = json_format(object, &text, reterr);
    if (!code)
        code =
            sign_bytes(clerk->keyring->signing_key, ERASED_KIND, text.data, text.length, signature, reterr);
    if (!code)
        code = buffer_append(&wire, signature, sizeof(signature), reterr);
    if (!code)
        code = buffer_append(&wire, text.data, text.length, reterr);
    if (!code)
        code =
            sql_run(clerk->sql, reterr, "UPDATE erased_vaults SET signed = ? WHERE host = ? AND vault = ?",
                    "bbb", wire.data, wire.length, finished->host, sizeof(finished->host), vault, (size_t)16);
    return code;
}

static enum error_code sign_vaults(struct clerk *clerk, const struct finished *finished, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = true;
    uint8_t vault[16];
    enum error_code code = OK;
    while (!code && is_there) {
        code = sql_select(clerk->sql, &rows, reterr,
                          "SELECT vault FROM erased_vaults WHERE erase = ? AND signed IS NULL LIMIT 1", "i",
                          finished->erase);
        if (!code)
            code = sql_next(&rows, &is_there, reterr);
        if (!code && is_there && !sql_bytes(&rows, 0, vault, sizeof(vault)))
            code = error_set(reterr, ERR_CORRUPT, 0, "the database: an erased vault without id");
        sql_done(&rows);
        if (!code && is_there)
            code = sign_vault(clerk, finished, vault, reterr);
    }
    return code;
}

static enum error_code find_finished(struct clerk *clerk, struct finished *finished, bool *ret_is_there,
                                     struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr,
                   "SELECT id, host, final FROM erases WHERE done_at IS NULL ORDER BY id LIMIT 1", "");
    if (!code)
        code = sql_next(&rows, ret_is_there, reterr);
    if (!code && *ret_is_there) {
        finished->erase = sql_integer(&rows, 0);
        finished->is_final = sql_integer(&rows, 2);
        if (!sql_bytes(&rows, 1, finished->host, sizeof(finished->host)))
            code = error_set(reterr, ERR_CORRUPT, 0, "the database: an erase without host");
    }
    sql_done(&rows);
    return code;
}

static enum error_code tell(struct clerk *clerk, const struct finished *finished, struct error *reterr)
{
    json_t *details = record_of_host(finished->host);
    enum error_code code = sign_vaults(clerk, finished, reterr);
    if (!code)
        code = json_set_new(details, "erase", json_integer(finished->erase), reterr);
    if (!code)
        code =
            json_set_new(details, "generation", json_integer((json_int_t)clerk->keyring->generation), reterr);
    if (!code)
        code = record_append(clerk, "erased", TAKE(details), reterr);
    json_decref(details);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE erases SET done_at = ? WHERE id = ?", "ii",
                       clerk->now_unix_s, finished->erase);
    clerk_wake(clerk, finished->host);
    return code;
}

static enum error_code tell_all(struct clerk *clerk, struct error *reterr)
{
    struct finished finished = {0};
    bool is_there = true;
    enum error_code code = clerk_begin(clerk, reterr);
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
