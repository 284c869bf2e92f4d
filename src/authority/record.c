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

enum error_code record_format_request(const uint8_t host[MESSAGE_HOST_ID_SIZE],
                                      const uint8_t request[MESSAGE_ID_SIZE], struct buffer *text,
                                      struct error *reterr)
{
    char host_hex[2 * MESSAGE_HOST_ID_SIZE + 1], request_hex[2 * MESSAGE_ID_SIZE + 1];
    text_format_hex(host_hex, host, MESSAGE_HOST_ID_SIZE);
    text_format_hex(request_hex, request, MESSAGE_ID_SIZE);
    return buffer_printf(text, reterr, "\"host\":\"%s\",\"request\":\"%s\"", host_hex, request_hex);
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
            code = error_set(reterr, ERR_FAILED, 0, "the last entry of the ledger has no hash");
    }
    sql_done(&rows);
    if (!code)
        *ret_head = head;
    return code;
}

static enum error_code note_clock(struct clerk *clerk, struct error *reterr)
{
    if (clerk->ledger.clock_unix_s == clerk->now_unix_s)
        return OK;
    enum error_code code = sql_run(
        clerk->sql, reterr, "UPDATE state SET clock_highest = max(clock_highest, ?)", "i", clerk->now_unix_s);
    if (!code)
        clerk->ledger.clock_unix_s = clerk->now_unix_s;
    return code;
}

static enum error_code insert(struct clerk *clerk, const struct buffer *text, struct error *reterr)
{
    struct ledger_head head = clerk->ledger.head;
    enum error_code code =
        clerk->ledger.has_head ? OK : record_get_head(clerk->sql, clerk->epoch, &head, reterr);
    if (!code)
        code = ledger_append(&head, text->data, text->length, &head, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr, "INSERT INTO ledger(sequence, hash, entry) VALUES(?, ?, ?)", "ibb",
                       (int64_t)head.sequence, head.hash, sizeof(head.hash), text->data, text->length);
    if (code)
        return code;
    clerk->ledger.head = head;
    clerk->ledger.has_head = true;
    return note_clock(clerk, reterr);
}

enum error_code record_append_text(struct clerk *clerk, const char *kind, const char *members,
                                   struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = LEDGER_ENTRY_MAXIMUM};
    enum error_code code =
        buffer_printf(&text, reterr, "{\"version\":%d,\"at\":%lld,\"kind\":\"%s\"%s%s}", ENTRY_VERSION,
                      (long long)clerk->now_unix_s, kind, *members ? "," : "", members);
    if (!code)
        code = insert(clerk, &text, reterr);
    if (!code)
        clerk->is_head_new = true;
    return code;
}

enum error_code record_append(struct clerk *clerk, const char *kind, json_t *details, struct error *reterr)
{
    _cleanup_(json_freep) json_t *taken = details;
    _cleanup_(buffer_done) struct buffer text = {.maximum = LEDGER_ENTRY_MAXIMUM};
    if (!taken)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_format(taken, &text, reterr);
    if (code)
        return code;
    text.data[text.length - 1] = '\0'; /* without the braces */
    return record_append_text(clerk, kind, text.data + 1, reterr);
}

enum error_code record_sign_checkpoint(struct clerk *clerk, struct buffer *wire, struct error *reterr)
{
    struct ledger_checkpoint checkpoint = {.epoch = clerk->epoch, .at_unix_s = clerk->now_unix_s};
    enum error_code code = record_get_head(clerk->sql, clerk->epoch, &checkpoint.head, reterr);
    return code ? code : ledger_checkpoint_sign(&checkpoint, clerk->keyring->signing_key, wire, reterr);
}

enum error_code record_keep_text(const struct buffer *text, struct buffer *wire, struct error *reterr)
{
    static const uint8_t room[SIGN_SIGNATURE_SIZE];
    enum error_code code = buffer_append(wire, room, sizeof(room), reterr);
    return code ? code : buffer_append(wire, text->data, text->length, reterr);
}

enum error_code record_sign_kept(struct clerk *clerk, const char *kind, const void *kept, size_t length,
                                 struct buffer *wire, struct error *reterr)
{
    if (!kept || length <= SIGN_SIGNATURE_SIZE)
        return error_set(reterr, ERR_FAILED, 0,
                         "the database is damaged: something to be signed is not whole");
    return sign_append(clerk->keyring->signing_key, kind, (const char *)kept + SIGN_SIGNATURE_SIZE,
                       length - SIGN_SIGNATURE_SIZE, wire, reterr);
}

enum error_code record_parse_checkpoint(struct clerk *clerk, const void *wire, size_t length,
                                        struct ledger_checkpoint *ret_checkpoint, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false, is_found = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, "SELECT signed FROM descriptors ORDER BY sequence DESC", "");
    while (!code && !is_found && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        struct descriptor descriptor;
        size_t size;
        const void *bytes = sql_blob(&rows, 0, &size);
        is_found = bytes && !descriptor_parse(bytes, size, clerk->face->descriptor.root, &descriptor, NULL) &&
                   !ledger_checkpoint_parse(wire, length, descriptor.signing_key, ret_checkpoint, NULL);
    }
    sql_done(&rows);
    return code || is_found ? code
                            : error_set(reterr, ERR_CORRUPT, 0,
                                        "a checkpoint that no signing key of this authority has signed");
}

/* Entry by entry. Ends rows. */
static enum error_code walk(struct sql_rows *rows, struct ledger_verifier *verifier, struct error *reterr)
{
    bool is_there = false;
    enum error_code code = OK;
    while (!code && !(code = sql_next(rows, &is_there, reterr)) && is_there) {
        struct ledger_entry entry = {.sequence = (uint64_t)sql_integer(rows, 0)};
        if (!sql_bytes(rows, 1, entry.hash, sizeof(entry.hash)))
            memset(entry.hash, 0, sizeof(entry.hash));
        entry.bytes = sql_blob(rows, 2, &entry.length);
        code = ledger_verify_entry(verifier, &entry, reterr);
    }
    sql_done(rows);
    return code ? code : ledger_verify_end(verifier, reterr);
}

/* The first entry of an epoch after the first says where the one before it ended: {"earlier_epoch",
 * "earlier_entries","earlier_hash"}. earlier 0: there was none. */
static enum error_code check_end(struct sql *sql, uint64_t epoch, uint64_t earlier,
                                 const struct ledger_head *head, struct error *reterr)
{
    struct sql_rows rows = {0};
    _cleanup_(json_freep) json_t *entry = NULL;
    uint8_t hash[LEDGER_HASH_SIZE];
    bool is_there = false;
    size_t length = 0;
    enum error_code code = sql_select(
        sql, &rows, reterr,
        "SELECT entry FROM ledger_earlier WHERE epoch = ?1 AND sequence = 1 UNION ALL SELECT entry "
        "FROM ledger WHERE sequence = 1 AND ?1 = (SELECT epoch FROM state)",
        "i", (int64_t)epoch);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    const void *bytes = !code && is_there ? sql_blob(&rows, 0, &length) : NULL;
    entry = bytes ? json_loadb(bytes, length, 0, NULL) : NULL;
    sql_done(&rows);
    if (code)
        return code;
    const json_t *named = json_object_get(entry, "earlier_epoch");
    const bool is_first = !earlier && !named;
    const bool goes_on =
        earlier && (uint64_t)json_integer_value(named) == earlier &&
        (uint64_t)json_integer_value(json_object_get(entry, "earlier_entries")) == head->sequence &&
        json_get_hex(entry, "earlier_hash", hash, sizeof(hash), NULL) == OK &&
        memcmp(hash, head->hash, sizeof(hash)) == 0;
    return is_first || goes_on ? OK
                               : error_set(reterr, ERR_CORRUPT, 0,
                                           "epoch %llu of the ledger does not go on from the one before it",
                                           (unsigned long long)epoch);
}

/* All epochs before epoch, one after the other: *ret_earlier is the last of them, where it stood ret_head. */
static enum error_code verify_earlier(struct sql *sql, const struct ledger_checkpoint *checkpoints,
                                      size_t count, uint64_t *ret_earlier, struct ledger_head *ret_head,
                                      struct error *reterr)
{
    enum error_code code = OK;
    for (;;) {
        struct sql_rows rows = {0};
        struct ledger_verifier verifier;
        bool is_there = false;
        code = sql_select(sql, &rows, reterr, "SELECT min(epoch) FROM ledger_earlier WHERE epoch > ?", "i",
                          (int64_t)*ret_earlier);
        if (!code)
            code = sql_next(&rows, &is_there, reterr);
        const bool is_last = !code && sql_is_null(&rows, 0);
        const uint64_t epoch = code ? 0 : (uint64_t)sql_integer(&rows, 0);
        sql_done(&rows);
        if (code || is_last)
            return code;
        code = check_end(sql, epoch, *ret_earlier, ret_head, reterr);
        _cleanup_(freep) struct ledger_checkpoint *of_epoch = calloc(count + 1, sizeof(*of_epoch));
        if (!code && !of_epoch)
            code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        if (!code)
            code = sql_select(sql, &rows, reterr,
                              "SELECT sequence, hash, entry FROM ledger_earlier WHERE epoch = ? "
                              "ORDER BY sequence",
                              "i", (int64_t)epoch);
        if (code)
            return code;
        size_t of_epoch_count = 0;
        for (size_t i = 0; i < count; i++)
            if (checkpoints[i].epoch == epoch)
                of_epoch[of_epoch_count++] = checkpoints[i];
        ledger_verify_begin(&verifier, epoch, of_epoch, of_epoch_count);
        code = walk(&rows, &verifier, reterr);
        if (code)
            return error_prefix(reterr, "epoch %llu", (unsigned long long)epoch);
        *ret_earlier = epoch;
        *ret_head = verifier.head;
    }
}

/* That every epoch of before is there of which there is a checkpoint: the chain of the others does not tell.
 */
static enum error_code check_epochs(struct sql *sql, uint64_t epoch,
                                    const struct ledger_checkpoint *checkpoints, size_t count,
                                    struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < count; i++) {
        bool is_there = false;
        code = sql_exists(sql, &is_there, reterr, "SELECT 1 FROM ledger_earlier WHERE epoch = ? LIMIT 1", "i",
                          (int64_t)checkpoints[i].epoch);
        if (!code && !is_there && checkpoints[i].epoch < epoch)
            code = error_set(reterr, ERR_CHANGED, 0,
                             "epoch %llu of the ledger is not there, and a checkpoint was made in it",
                             (unsigned long long)checkpoints[i].epoch);
    }
    return code;
}

enum error_code record_verify(struct sql *sql, uint64_t epoch, const struct ledger_checkpoint *checkpoints,
                              size_t count, struct ledger_head *ret_head, struct error *reterr)
{
    struct sql_rows rows = {0};
    struct ledger_verifier verifier;
    struct ledger_head earlier_head = {0};
    uint64_t earlier = 0;
    enum error_code code = verify_earlier(sql, checkpoints, count, &earlier, &earlier_head, reterr);
    if (!code)
        code = check_end(sql, epoch, earlier, &earlier_head, reterr);
    ledger_verify_begin(&verifier, epoch, checkpoints, count);
    if (!code)
        code =
            sql_select(sql, &rows, reterr, "SELECT sequence, hash, entry FROM ledger ORDER BY sequence", "");
    if (!code)
        code = walk(&rows, &verifier, reterr);
    if (!code)
        code = check_epochs(sql, epoch, checkpoints, count, reterr);
    if (!code)
        *ret_head = verifier.head;
    return code;
}
