#include "authority/record.h"

#include "base/text.h"

enum { ENTRY_VERSION = 1 };

json_t *record_hex(const uint8_t id[16])
{
    char text[33];
    text_format_hex(text, id, 16);
    return json_string(text);
}

json_t *record_of_host(const uint8_t host[MESSAGE_HOST_ID_SIZE])
{
    return json_pack("{s:o}", "host", record_hex(host));
}

json_t *record_of_request(const uint8_t host[MESSAGE_HOST_ID_SIZE], const uint8_t request[MESSAGE_ID_SIZE])
{
    return json_pack("{s:o, s:o}", "host", record_hex(host), "request", record_hex(request));
}

enum error_code record_get_head(struct sql *sql, uint64_t epoch, struct ledger_head *ret_head,
                                struct error *reterr)
{
    struct sql_rows rows = {0};
    struct ledger_head head;
    bool is_there = false;
    ledger_begin(epoch, &head);
    enum error_code code = sql_select(sql, &rows, reterr,
                                      "SELECT sequence, hash FROM ledger ORDER BY sequence DESC LIMIT 1", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && is_there) {
        head.sequence = (uint64_t)sql_integer(&rows, 0);
        if (!sql_bytes(&rows, 1, head.hash, sizeof(head.hash)))
            code = error_set(reterr, ERR_CORRUPT, 0, "the last entry of the ledger has no hash");
    }
    sql_done(&rows);
    if (!code)
        *ret_head = head;
    return code;
}

static enum error_code insert(struct clerk *clerk, const struct buffer *text, struct error *reterr)
{
    struct ledger_head head;
    enum error_code code = record_get_head(clerk->sql, clerk->epoch, &head, reterr);
    if (!code)
        code = ledger_append(&head, text->data, text->length, &head, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "INSERT INTO ledger(sequence, hash, entry) VALUES(?, ?, ?)", "ibb",
                       (int64_t)head.sequence, head.hash, sizeof(head.hash), text->data, text->length);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE state SET clock_highest = max(clock_highest, ?)", "i",
                       clerk->now_unix_s);
    return code;
}

enum error_code record_append(struct clerk *clerk, const char *kind, json_t *details, struct error *reterr)
{
    _cleanup_(json_freep) json_t *taken = details;
    _cleanup_(buffer_done) struct buffer text = {.maximum = LEDGER_ENTRY_MAXIMUM};
    _cleanup_(json_freep) json_t *entry = json_pack("{s:i, s:I, s:s}", "version", ENTRY_VERSION, "at",
                                                    (json_int_t)clerk->now_unix_s, "kind", kind);
    if (!taken || !entry || json_object_update(entry, taken) != 0)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_format(entry, &text, reterr);
    if (!code)
        code = insert(clerk, &text, reterr);
    if (!code)
        clerk->is_head_new = true;
    return code;
}

enum error_code record_sign_checkpoint(struct clerk *clerk, struct buffer *wire, struct error *reterr)
{
    struct ledger_checkpoint checkpoint = {.epoch = clerk->epoch, .at_unix_s = clerk->now_unix_s};
    enum error_code code = record_get_head(clerk->sql, clerk->epoch, &checkpoint.head, reterr);
    return code ? code : ledger_checkpoint_sign(&checkpoint, clerk->keyring->signing_key, wire, reterr);
}

enum error_code record_sign_again(struct clerk *clerk, const char *kind, const void *wire_before,
                                  size_t length, struct buffer *wire, struct error *reterr)
{
    const char *text = NULL;
    size_t text_length = 0;
    if (!wire_before || length <= SIGN_SIGNATURE_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "the database: something signed is not whole");
    if (sign_open(clerk->signing_public, kind, wire_before, length, &text, &text_length, NULL) == OK)
        return buffer_append(wire, wire_before, length, reterr);
    return sign_append(clerk->keyring->signing_key, kind, (const char *)wire_before + SIGN_SIGNATURE_SIZE,
                       length - SIGN_SIGNATURE_SIZE, wire, reterr);
}

enum error_code record_verify(struct sql *sql, uint64_t epoch, const struct ledger_checkpoint *checkpoints,
                              size_t count, struct ledger_head *ret_head, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct ledger_verifier verifier;
    bool is_there = false;
    ledger_verify_begin(&verifier, epoch, checkpoints, count);
    enum error_code code =
        sql_select(sql, &rows, reterr, "SELECT sequence, hash, entry FROM ledger ORDER BY sequence", "");
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        struct ledger_entry entry = {.sequence = (uint64_t)sql_integer(&rows, 0)};
        if (!sql_bytes(&rows, 1, entry.hash, sizeof(entry.hash)))
            memset(entry.hash, 0, sizeof(entry.hash));
        entry.bytes = sql_blob(&rows, 2, &entry.length);
        code = ledger_verify_entry(&verifier, &entry, reterr);
    }
    sql_done(&rows);
    if (!code)
        code = ledger_verify_end(&verifier, reterr);
    if (!code)
        *ret_head = verifier.head;
    return code;
}
