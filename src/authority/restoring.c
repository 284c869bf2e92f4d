#include "authority/restoring.h"

#include <errno.h>
#include <stdio.h>

#include "authority/backup.h"
#include "authority/backup_file.h"
#include "authority/erasing.h"
#include "authority/exporting.h"
#include "authority/keyslots.h"
#include "authority/orders.h"
#include "authority/rotation.h"
#include "base/text.h"
#include "message/statement.h"

enum { VAULTS_MAXIMUM = 64, LINE_MAXIMUM = 2 * STATEMENT_MAXIMUM };

static const char BY[] = "the records given to huskd restore";

/* ERR_NOT_FOUND: it was enrolled after the backup. */
static enum error_code find_host(struct restoring *restoring, json_t *entry, struct host *ret_host,
                                 struct error *reterr)
{
    uint8_t id[MESSAGE_HOST_ID_SIZE];
    enum error_code code = json_get_hex(entry, "host", id, sizeof(id), reterr);
    return code ? code : host_find(restoring->clerk, id, ret_host, reterr);
}

static enum error_code erase(struct restoring *restoring, const struct host *host,
                             const struct erasing_vault *vaults, size_t count, struct error *reterr)
{
    if (host->is_erased)
        return OK;
    restoring->erased++;
    return erasing_begin(restoring->clerk, host, vaults ? ERASING_VAULTS : ERASING_ALL, vaults, count, NULL,
                         BY, reterr);
}

/*
 * What each kind of entry does again. Entries of other kinds change nothing that outlives a restore:
 * requests, tickets and tokens of before are void.
 */
typedef enum error_code entry_handler(struct restoring *restoring, json_t *entry, struct error *reterr);

static enum error_code take_erase(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct host host;
    struct erasing_vault vaults[VAULTS_MAXIMUM];
    json_t *array = NULL;
    bool is_final = false;
    enum error_code code = find_host(restoring, entry, &host, reterr);
    if (!code)
        code = json_get_boolean(entry, "final", &is_final, reterr);
    if (code || is_final)
        return code ? code : erase(restoring, &host, NULL, 0, reterr);
    code = json_get_array(entry, "vaults", VAULTS_MAXIMUM, &array, reterr);
    for (size_t i = 0; !code && i < json_array_size(array); i++)
        code = text_parse_hex(json_string_value(json_array_get(array, i)), vaults[i].id, sizeof(vaults[i].id),
                              reterr);
    return code ? code : erase(restoring, &host, vaults, json_array_size(array), reterr);
}

static enum error_code take_unbind(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct host host;
    uint8_t keyslot[KEYRING_KEYSLOT_SIZE];
    enum error_code code = find_host(restoring, entry, &host, reterr);
    if (!code)
        code = json_get_hex(entry, "keyslot", keyslot, sizeof(keyslot), reterr);
    if (code || host.is_erased)
        return code;
    struct keyslot bound;
    code = keyslot_find(restoring->clerk, keyslot, &bound, reterr);
    if (code == ERR_NOT_FOUND && restoring->bound > 0)
        restoring->bound--; /* after the backup */
    if (code)
        return code;
    restoring->erased++;
    return erasing_begin_keyslot(restoring->clerk, &host, keyslot, reterr);
}

static enum error_code set_held(struct restoring *restoring, json_t *entry, enum host_held held,
                                struct error *reterr)
{
    struct host host;
    enum error_code code = find_host(restoring, entry, &host, reterr);
    if (code)
        return code;
    host.held = held;
    return host_update(restoring->clerk, &host, reterr);
}

static enum error_code take_hold(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    return set_held(restoring, entry, HOST_HELD, reterr);
}

static enum error_code take_release(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    return set_held(restoring, entry, HOST_NOT_HELD, reterr);
}

static enum error_code take_group(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    const char *name = NULL;
    json_t *policy = NULL;
    struct policy_group parsed;
    enum error_code code = json_get_string(entry, "group", &name, reterr);
    if (!code)
        code = json_get_object(entry, "policy", &policy, reterr);
    if (!code)
        code = group_parse(policy, &parsed, reterr);
    return code ? code : group_write(restoring->clerk, name, policy, reterr);
}

/* A group it names has to be there: its entries came before. */
static enum error_code find_group(struct restoring *restoring, json_t *entry, int64_t *ret_id,
                                  struct error *reterr)
{
    const char *name = NULL;
    struct group group = {0};
    enum error_code code = json_get_string(entry, "group", &name, reterr);
    if (!code)
        code = group_find_by_name(restoring->clerk, name, &group, reterr);
    if (!code)
        *ret_id = group.id;
    group_done(&group);
    return code == ERR_NOT_FOUND ? error_set(reterr, ERR_CORRUPT, 0, "it names a group that is not there")
                                 : code;
}

static enum error_code take_removal(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    int64_t id = 0;
    enum error_code code = find_group(restoring, entry, &id, reterr);
    return code ? code : group_remove(restoring->clerk, id, reterr);
}

static enum error_code take_move(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct host host;
    int64_t group = 0;
    enum error_code code = find_host(restoring, entry, &host, reterr);
    if (!code)
        code = find_group(restoring, entry, &group, reterr);
    return code ? code : host_move(restoring->clerk, &host, group, reterr);
}

static enum error_code take_name(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct host host;
    const char *name = NULL;
    enum error_code code = find_host(restoring, entry, &host, reterr);
    if (!code)
        code = json_get_string(entry, "name", &name, reterr);
    return code ? code : host_rename(restoring->clerk, &host, name, reterr);
}

/* Else it would be given again. */
static enum error_code take_cancel(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct host host;
    uint8_t id[STATEMENT_ID_SIZE];
    enum error_code code = find_host(restoring, entry, &host, reterr);
    if (!code)
        code = json_get_hex(entry, "order", id, sizeof(id), reterr);
    return code ? code : order_cancel(restoring->clerk, &host, id, reterr);
}

static enum error_code take_enrolment(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct host host;
    enum error_code code = find_host(restoring, entry, &host, reterr);
    restoring->enrolled += code == ERR_NOT_FOUND;
    return code;
}

/* Its scalar is in no backup: the host gets no answer for it. */
static enum error_code take_bound(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct host host;
    enum error_code code = find_host(restoring, entry, &host, reterr);
    restoring->bound += code == OK && !host.is_erased;
    return code;
}

/* What signs from then on. */
static enum error_code take_descriptor(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct clerk *clerk = restoring->clerk;
    _cleanup_(buffer_done) struct buffer wire = {.maximum = DESCRIPTOR_MAXIMUM};
    struct descriptor descriptor;
    const char *text = NULL;
    enum error_code code = json_get_string(entry, "descriptor", &text, reterr);
    if (!code)
        code = text_append_bytes(&wire, text, reterr);
    if (!code)
        code = descriptor_parse(wire.data ? wire.data : "", wire.length, clerk->face->descriptor.root,
                                &descriptor, reterr);
    if (!code)
        code = rotation_keep_descriptor(clerk, descriptor.sequence, wire.data, wire.length, reterr);
    if (!code)
        memcpy(restoring->signing_key, descriptor.signing_key, SIGN_PUBLIC_SIZE);
    return code;
}

static enum error_code take_backup(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    struct backup_facts facts = {0};
    const char *actor = NULL;
    enum error_code code = json_get_hex(entry, "backup", facts.id, sizeof(facts.id), reterr);
    if (!code)
        code = json_get_hex(entry, "backup_key", facts.backup_key, sizeof(facts.backup_key), reterr);
    if (!code)
        code = json_get_integer(entry, "at", INT64_MIN, INT64_MAX, &facts.made_at_unix_s, reterr);
    if (!code)
        code = json_get_string(entry, "actor", &actor, reterr);
    return code ? code : backup_note(restoring->clerk, &facts, actor, reterr);
}

static enum error_code take_backup_key(struct restoring *restoring, json_t *entry, struct error *reterr)
{
    uint8_t key[HPKE_KEY_SIZE];
    enum error_code code = json_get_hex(entry, "backup_key", key, sizeof(key), reterr);
    return code ? code
                : sql_run(restoring->clerk->sql, reterr, "UPDATE moving SET backup_key = ?", "b", key,
                          sizeof(key));
}

static const struct {
    const char *kind;
    entry_handler *handler;
} kinds[] = {
    {"erase-begun", take_erase},     {"keyslot-unbound", take_unbind},
    {"host-held", take_hold},        {"host-released", take_release},
    {"group", take_group},           {"host-enrolled", take_enrolment},
    {"backup-made", take_backup},    {"backup-key", take_backup_key},
    {"host-moved", take_move},       {"host-renamed", take_name},
    {"group-removed", take_removal}, {"order-cancelled", take_cancel},
    {"keyslot-bound", take_bound},
};

static enum error_code find_kind(const char *bytes, size_t length, json_t **ret_entry, const char **ret_kind,
                                 struct error *reterr)
{
    enum error_code code = json_parse_object(bytes, length, "an entry", ret_entry, reterr);
    return code ? code : json_get_string(*ret_entry, "kind", ret_kind, reterr);
}

static enum error_code keep_entry(void *context, const struct ledger_head *head, const char *bytes,
                                  size_t length, struct error *reterr)
{
    struct restoring *restoring = context;
    _cleanup_(json_freep) json_t *entry = NULL;
    const char *kind = NULL;
    enum error_code code = sql_run(
        restoring->clerk->sql, reterr,
        "INSERT INTO ledger_earlier(epoch, sequence, hash, entry) VALUES(?, ?, ?, ?)", "iibb",
        (int64_t)restoring->epoch, (int64_t)head->sequence, head->hash, sizeof(head->hash), bytes, length);
    if (!code)
        code = find_kind(bytes, length, &entry, &kind, reterr);
    if (!code && !strcmp(kind, "descriptor"))
        code = take_descriptor(restoring, entry, reterr);
    return code ? error_prefix(reterr, "entry %llu", (unsigned long long)head->sequence) : OK;
}

static enum error_code apply_entry(struct restoring *restoring, const char *bytes, size_t length,
                                   struct error *reterr)
{
    _cleanup_(json_freep) json_t *entry = NULL;
    const char *kind = NULL;
    enum error_code code = find_kind(bytes, length, &entry, &kind, reterr);
    for (size_t i = 0; !code && i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kind, kinds[i].kind) != 0)
            continue;
        code = kinds[i].handler(restoring, entry, reterr);
        if (code == ERR_NOT_FOUND)
            code = OK; /* of a host that is not in the backup */
    }
    return code;
}

enum error_code restoring_apply_entries(struct restoring *restoring, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(restoring->clerk->sql, &rows, reterr,
                                      "SELECT entry, sequence FROM ledger_earlier WHERE epoch = ? AND "
                                      "sequence > ? ORDER BY sequence",
                                      "ii", (int64_t)restoring->epoch, (int64_t)restoring->backup_entries);
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        size_t length;
        const void *bytes = sql_blob(&rows, 0, &length);
        code = apply_entry(restoring, bytes, length, reterr);
        if (code)
            error_prefix(reterr, "entry %lld", (long long)sql_integer(&rows, 1));
    }
    sql_done(&rows);
    return code;
}

static enum error_code take_export(struct restoring *restoring, int fd, struct error *reterr)
{
    struct export *export = NULL;
    enum error_code code = export_open(fd, &export, reterr);
    if (!code && restoring->is_complete)
        code = error_set(reterr, ERR_USAGE, 0, "one export of the ledger is enough: give the newest");
    if (!code)
        code = export_read(export, restoring->epoch, &restoring->head, keep_entry, restoring, reterr);
    if (!code)
        code = export_check_end(export, restoring->signing_key, restoring->epoch, &restoring->head, reterr);
    restoring->is_complete |= !code;
    export_close(export);
    return code;
}

/* Any of the signing keys this authority has had: the statement is about what it was. */
static enum error_code check_statement(struct clerk *clerk, const void *wire, size_t length,
                                       const uint8_t *host, struct erased *ret_erased, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false, is_found = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, "SELECT signed FROM descriptors ORDER BY sequence DESC", "");
    while (!code && !is_found && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        struct descriptor descriptor;
        size_t size;
        const void *bytes = sql_blob(&rows, 0, &size);
        is_found = !descriptor_parse(bytes, size, clerk->face->descriptor.root, &descriptor, NULL) &&
                   !erased_parse(wire, length, descriptor.signing_key, host, ret_erased, NULL);
    }
    sql_done(&rows);
    return code || is_found ? code
                            : error_set(reterr, ERR_CORRUPT, 0,
                                        "no signing key this backup knows of has signed it; an export of the "
                                        "ledger brings later ones");
}

static enum error_code take_statement(struct restoring *restoring, const char *hex, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = STATEMENT_MAXIMUM};
    _cleanup_(json_freep) json_t *object = NULL;
    _cleanup_(erased_done) struct erased erased = {0};
    uint8_t id[MESSAGE_HOST_ID_SIZE];
    struct host host;
    enum error_code code = text_append_bytes(&wire, hex, reterr);
    if (!code && wire.length <= SIGN_SIGNATURE_SIZE)
        code = error_set(reterr, ERR_CORRUPT, 0, "it is too short");
    if (!code)
        code = json_parse_object(wire.data + SIGN_SIGNATURE_SIZE, wire.length - SIGN_SIGNATURE_SIZE,
                                 "the statement", &object, reterr);
    if (!code)
        code = json_get_hex(object, "host", id, sizeof(id), reterr);
    if (!code)
        code = check_statement(restoring->clerk, wire.data, wire.length, id, &erased, reterr);
    if (code)
        return code;
    code = host_find(restoring->clerk, id, &host, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    struct erasing_vault vault;
    memcpy(vault.id, erased.vault, sizeof(vault.id));
    return erase(restoring, &host, erased.is_host ? NULL : &vault, erased.is_host ? 0 : 1, reterr);
}

static enum error_code take_statements(struct restoring *restoring, FILE *file, struct error *reterr)
{
    _cleanup_(freep) char *line = NULL;
    size_t size = 0, number = 0;
    ssize_t length;
    while ((length = getline(&line, &size, file)) > 0) {
        number++;
        line[strcspn(line, "\r\n")] = '\0';
        if (!*line)
            continue;
        enum error_code code = length > LINE_MAXIMUM ? error_set(reterr, ERR_CORRUPT, 0, "it is too long")
                                                     : take_statement(restoring, line, reterr);
        if (code)
            return error_prefix(reterr, "line %zu", number);
    }
    return OK;
}

static enum error_code is_export(int fd, bool *ret_is, struct error *reterr)
{
    char first = '\0';
    if (pread(fd, &first, 1, 0) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read it");
    *ret_is = first == '{';
    return OK;
}

enum error_code restoring_keep_export(struct restoring *restoring, int fd, struct error *reterr)
{
    bool is = false;
    enum error_code code = is_export(fd, &is, reterr);
    return code || !is ? code : take_export(restoring, fd, reterr);
}

enum error_code restoring_apply_statements(struct restoring *restoring, int fd, struct error *reterr)
{
    bool is = false;
    enum error_code code = is_export(fd, &is, reterr);
    if (code || is)
        return code;
    const int own_fd = dup(fd);
    FILE *file = own_fd >= 0 ? fdopen(own_fd, "r") : NULL;
    if (!file) {
        if (own_fd >= 0)
            close(own_fd);
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    code = take_statements(restoring, file, reterr);
    fclose(file);
    return code;
}
