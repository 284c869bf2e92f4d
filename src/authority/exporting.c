#include "authority/exporting.h"

#include <errno.h>
#include <stdio.h>

#include "authority/operations.h"
#include "authority/record.h"
#include "base/file.h"
#include "base/text.h"

enum { EXPORT_VERSION = 1, HEAD_MAXIMUM = 8192 };

/* What is written when the transaction is over. */
struct exported {
    struct sql *snapshot;
    struct buffer head; /* the first line */
    int64_t from, to;
};

static void exported_free(void *context)
{
    struct exported *exported = context;
    sql_close(exported->snapshot);
    buffer_done(&exported->head);
    free(exported);
}

static enum error_code write_export(void *context, const struct authority_actor *actor, struct error *reterr)
{
    struct exported *exported = context;
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        file_write_all(actor->files[0], exported->head.data, exported->head.length, reterr);
    if (!code)
        code = sql_select(exported->snapshot, &rows, reterr,
                          "SELECT entry FROM ledger WHERE sequence BETWEEN ? AND ? ORDER BY sequence", "ii",
                          exported->from, exported->to);
    _cleanup_(buffer_done) struct buffer lines = {0};
    while (!code && !(code = sql_next(&rows, &is_there, reterr)) && is_there) {
        size_t length;
        const void *bytes = sql_blob(&rows, 0, &length);
        code = buffer_append(&lines, bytes, length, reterr);
        if (!code)
            code = buffer_append(&lines, "\n", 1, reterr);
        if (!code && lines.length > LEDGER_ENTRY_MAXIMUM) {
            code = file_write_all(actor->files[0], lines.data, lines.length, reterr);
            lines.length = 0;
        }
    }
    sql_done(&rows);
    if (!code && lines.length > 0)
        code = file_write_all(actor->files[0], lines.data, lines.length, reterr);
    return code ? error_prefix(reterr, "the export is not written") : OK;
}

/* Where the ledger stands after the last commit, and that signed. */
static enum error_code begin(struct clerk *clerk, int64_t from, struct exported *exported,
                             struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {0};
    struct ledger_checkpoint checkpoint = {.epoch = clerk->epoch, .at_unix_s = clerk->now_unix_s};
    enum error_code code = sql_open(clerk->database_path, SQL_READ_ONLY, &exported->snapshot, reterr);
    if (!code)
        code = sql_run(exported->snapshot, reterr, "BEGIN", "");
    if (!code)
        code = record_get_head(exported->snapshot, clerk->epoch, &checkpoint.head, reterr);
    if (!code)
        code = ledger_checkpoint_sign(&checkpoint, clerk->keyring->signing_key, &wire, reterr);
    if (code)
        return code;
    exported->from = from > 0 ? from : 1;
    exported->to = (int64_t)checkpoint.head.sequence;
    _cleanup_(json_freep) json_t *head = json_pack(
        "{s:i, s:I, s:o, s:I, s:I, s:o}", "version", EXPORT_VERSION, "epoch", (json_int_t)clerk->epoch,
        "root", json_hex(clerk->face->descriptor.root, SIGN_PUBLIC_SIZE), "from", (json_int_t)exported->from,
        "to", (json_int_t)exported->to, "checkpoint", json_hex(wire.data, wire.length));
    if (!head)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    code = json_format(head, &exported->head, reterr);
    return code ? code : buffer_append(&exported->head, "\n", 1, reterr);
}

enum error_code operation_ledger_export(struct clerk *clerk, struct job *job, struct error *reterr)
{
    int64_t from = 1;
    struct exported *exported = calloc(1, sizeof(*exported));
    if (!exported)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = operation_check_files(job, 1, reterr);
    if (!code)
        code = argument_integer(job, "from", 1, INT64_MAX, &from, reterr);
    if (!code)
        code = begin(clerk, from, exported, reterr);
    if (!code) {
        job->result = json_pack("{s:I, s:I, s:I}", "epoch", (json_int_t)clerk->epoch, "from",
                                (json_int_t)exported->from, "to", (json_int_t)exported->to);
        code = job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    if (code)
        exported_free(exported);
    else
        job->later = (struct job_later){write_export, exported_free, exported};
    return code;
}

struct export
{
    FILE *file;
    char *line; /* getline's */
    size_t line_size;
    int64_t epoch, from, to;
    struct buffer checkpoint; /* as signed */
};

void export_close(struct export *export)
{
    if (!export)
        return;
    if (export->file)
        fclose(export->file);
    free(export->line);
    buffer_done(&export->checkpoint);
    free(export);
}

/* The next line without its end; false where there is none, or none that is whole. */
static bool read_line(struct export *export, size_t *ret_length)
{
    const ssize_t length = getline(&export->line, &export->line_size, export->file);
    if (length <= 1 || length > EXPORT_LINE_MAXIMUM || export->line[length - 1] != '\n')
        return false;
    export->line[length - 1] = '\0';
    *ret_length = (size_t)length - 1;
    return true;
}

static enum error_code read_head(struct export *export, struct error *reterr)
{
    _cleanup_(json_freep) json_t *head = NULL;
    const char *checkpoint = NULL;
    size_t length = 0;
    if (!read_line(export, &length) || length > HEAD_MAXIMUM)
        return error_set(reterr, ERR_CORRUPT, 0, "it has no first line");
    enum error_code code = json_parse_object(export->line, length, "the first line", &head, reterr);
    if (!code)
        code = json_check_version(head, EXPORT_VERSION, "the export", reterr);
    if (!code)
        code = json_get_integer(head, "epoch", 1, INT64_MAX, &export->epoch, reterr);
    if (!code)
        code = json_get_integer(head, "from", 1, INT64_MAX, &export->from, reterr);
    if (!code)
        code = json_get_integer(head, "to", 0, INT64_MAX, &export->to, reterr);
    if (!code)
        code = json_get_string(head, "checkpoint", &checkpoint, reterr);
    return code ? code : text_append_bytes(&export->checkpoint, checkpoint, reterr);
}

enum error_code export_open(int fd, struct export **ret_export, struct error *reterr)
{
    struct export *export = calloc(1, sizeof(*export));
    const int own_fd = dup(fd);
    if (export)
        export->file = own_fd >= 0 ? fdopen(own_fd, "r") : NULL;
    enum error_code code = OK;
    if (!export || !export->file) {
        if (own_fd >= 0)
            close(own_fd);
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    if (!code)
        code = read_head(export, reterr);
    if (code)
        export_close(export);
    else
        *ret_export = export;
    return code;
}

enum error_code export_read(struct export *export, uint64_t epoch, struct ledger_head *head,
                            export_each *each, void *context, struct error *reterr)
{
    struct ledger_head at = *head;
    size_t length = 0;
    enum error_code code = OK;
    if ((uint64_t) export->epoch != epoch) {
        error_set(reterr, ERR_CORRUPT, 0,
                  "this export of the ledger is of epoch %lld, and the backup of epoch %llu: a restore lies "
                  "between them",
                  (long long)export->epoch, (unsigned long long)epoch);
        return error_remedy(reterr, "give an export and a backup of the same authority between two restores, "
                                    "or no export: then every host is on hold");
    }
    if ((uint64_t) export->from > head->sequence + 1)
        return error_set(reterr, ERR_CORRUPT, 0,
                         "it begins with entry %lld, and the backup ends with entry %llu: what is between is "
                         "missing",
                         (long long)export->from, (unsigned long long)head->sequence);
    if ((uint64_t) export->to < head->sequence) {
        error_set(
            reterr, ERR_CORRUPT, 0,
            "this export of the ledger is older than the backup: it ends with entry %lld, the backup with "
            "entry %llu",
            (long long)export->to, (unsigned long long)head->sequence);
        return error_remedy(reterr, "give one that was made after the backup, or none: then every host is on "
                                    "hold");
    }
    for (int64_t sequence = export->from; !code && sequence <= export->to; sequence++) {
        if (!read_line(export, &length))
            return error_set(reterr, ERR_CORRUPT, 0, "entry %lld is not there", (long long)sequence);
        if ((uint64_t)sequence <= head->sequence)
            continue; /* the backup has it, and what follows hangs on it */
        code = ledger_append(&at, export->line, length, &at, reterr);
        if (!code)
            code = each(context, &at, export->line, length, reterr);
    }
    if (!code)
        *head = at;
    return code;
}

enum error_code export_check_end(const struct export *export, const uint8_t signing_key[SIGN_PUBLIC_SIZE],
                                 uint64_t epoch, const struct ledger_head *head, struct error *reterr)
{
    struct ledger_checkpoint checkpoint;
    enum error_code code = ledger_checkpoint_parse(export->checkpoint.data, export->checkpoint.length,
                                                   signing_key, &checkpoint, reterr);
    if (code)
        return error_prefix(reterr, "its checkpoint is not signed by the authority");
    return checkpoint.epoch == epoch && checkpoint.head.sequence == head->sequence &&
                   memcmp(checkpoint.head.hash, head->hash, sizeof(head->hash)) == 0
               ? OK
               : error_set(
                     reterr, ERR_CHANGED, 0,
                     "its entries are not those its authority signed, or do not go on from the backup's");
}
