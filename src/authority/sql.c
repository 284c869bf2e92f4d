#include "authority/sql.h"

#include <sqlite3.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/fault.h"

enum { STATEMENTS_MAXIMUM = 256, BUSY_MS = 10000 };

struct prepared {
    const char *text;
    sqlite3_stmt *statement;
};

struct sql {
    sqlite3 *database;
    struct prepared prepared[STATEMENTS_MAXIMUM];
    size_t prepared_count;
    bool has_trouble;
};

/* What the disk, and not a value, is to blame for; in words for people. */
static const struct {
    int result;
    enum error_code code;
    const char *words, *remedy;
} troubles[] = {
    {SQLITE_FULL, ERR_NO_SPACE, "the disk of the authority is full",
     "make room on it: huskd goes on by itself"},
    {SQLITE_READONLY, ERR_FAILED, "the database cannot be written",
     "see whether its filesystem is read-only, and whose its files are; then start huskd again"},
    {SQLITE_CORRUPT, ERR_CORRUPT, "the database is damaged",
     "stop huskd and look after its disk; a backup is restored by huskd restore"},
    {SQLITE_NOTADB, ERR_CORRUPT, "the database is damaged, or is none",
     "stop huskd and look after its disk; a backup is restored by huskd restore"},
    {SQLITE_IOERR, ERR_FAILED, "the database cannot be read or written",
     "look after the disk of the authority, then start huskd again"},
    {SQLITE_CANTOPEN, ERR_FAILED, "the files of the database cannot be opened",
     "see whose they are, and whether their filesystem can be written; then start huskd again"},
    {SQLITE_NOMEM, ERR_NO_MEMORY, "no memory for the database", ""},
};

static enum error_code failed(struct sql *sql, const char *doing, struct error *reterr)
{
    const int result = sqlite3_extended_errcode(sql->database);
    const char *words = sqlite3_errmsg(sql->database);
    for (size_t i = 0; i < ARRAY_SIZE(troubles); i++) {
        if ((result & 0xff) != troubles[i].result)
            continue;
        sql->has_trouble = true;
        error_set(reterr, troubles[i].code, 0, "%s: %s", troubles[i].words, words);
        error_remedy(reterr, "%s", troubles[i].remedy);
        return troubles[i].code;
    }
    return error_set(reterr, (result & 0xff) == SQLITE_CONSTRAINT ? ERR_EXISTS : ERR_FAILED, 0,
                     "the database: %s: %s", doing, words);
}

bool sql_take_trouble(struct sql *sql)
{
    const bool has_trouble = sql->has_trouble;
    sql->has_trouble = false;
    return has_trouble;
}

/* Pages are kept in memory up to 64 MiB, as many as erasing a group of ten thousand changes. The log is moved
 * into the database after 32 MiB: what was changed often in between is written once. */
static const char settings[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
    "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 8192;"
    "PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;";

enum error_code sql_open(const char *path, enum sql_way way, struct sql **ret_sql, struct error *reterr)
{
    static const int flags[] = {
        [SQL_CREATE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
        [SQL_OPEN] = SQLITE_OPEN_READWRITE,
        [SQL_READ_ONLY] = SQLITE_OPEN_READONLY,
    };
    struct sql *sql = calloc(1, sizeof(*sql));
    if (!sql)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = OK;
    if (sqlite3_open_v2(path, &sql->database, flags[way] | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                        NULL) != SQLITE_OK)
        code = error_set(reterr, way == SQL_CREATE ? ERR_FAILED : ERR_NOT_FOUND, 0, "cannot open %s: %s",
                         path, sql->database ? sqlite3_errmsg(sql->database) : "out of memory");
    if (!code) {
        sqlite3_busy_timeout(sql->database, BUSY_MS);
        code = way == SQL_READ_ONLY ? OK : sql_script(sql, settings, reterr);
    }
    if (code)
        sql_close(sql);
    else
        *ret_sql = sql;
    return code;
}

void sql_close(struct sql *sql)
{
    if (!sql)
        return;
    for (size_t i = 0; i < sql->prepared_count; i++)
        sqlite3_finalize(sql->prepared[i].statement);
    sqlite3_close(sql->database);
    free(sql);
}

enum error_code sql_script(struct sql *sql, const char *text, struct error *reterr)
{
    return sqlite3_exec(sql->database, text, NULL, NULL, NULL) == SQLITE_OK ? OK
                                                                            : failed(sql, "a script", reterr);
}

static enum error_code prepare(struct sql *sql, const char *text, sqlite3_stmt **ret_statement,
                               struct error *reterr)
{
    for (size_t i = 0; i < sql->prepared_count; i++)
        if (sql->prepared[i].text == text) {
            *ret_statement = sql->prepared[i].statement;
            return OK;
        }
    if (sql->prepared_count == STATEMENTS_MAXIMUM)
        return error_set(reterr, ERR_FAILED, 0, "the database: too many statements");
    if (sqlite3_prepare_v3(sql->database, text, -1, SQLITE_PREPARE_PERSISTENT, ret_statement, NULL) !=
        SQLITE_OK)
        return failed(sql, text, reterr);
    sql->prepared[sql->prepared_count++] = (struct prepared){.text = text, .statement = *ret_statement};
    return OK;
}

/* kept: SQLITE_STATIC where the values last until the bindings are cleared, else SQLITE_TRANSIENT. */
static int bind_all(sqlite3_stmt *statement, const char *types, sqlite3_destructor_type kept,
                    va_list arguments)
{
    int result = SQLITE_OK;
    for (int at = 0; result == SQLITE_OK && types[at]; at++) {
        if (types[at] == 'i') {
            result = sqlite3_bind_int64(statement, at + 1, va_arg(arguments, int64_t));
        } else if (types[at] == 't') {
            result = sqlite3_bind_text(statement, at + 1, va_arg(arguments, const char *), -1, kept);
        } else if (types[at] == 'b') {
            const void *bytes = va_arg(arguments, const void *);
            size_t length = va_arg(arguments, size_t);
            result = sqlite3_bind_blob64(statement, at + 1, bytes, length, kept);
        } else {
            result = sqlite3_bind_null(statement, at + 1);
        }
    }
    return result;
}

enum error_code sql_run(struct sql *sql, struct error *reterr, const char *text, const char *types, ...)
{
    sqlite3_stmt *statement = NULL;
    enum error_code code = prepare(sql, text, &statement, reterr);
    if (code)
        return code;
    va_list arguments;
    va_start(arguments, types);
    int result = bind_all(statement, types, SQLITE_STATIC, arguments);
    va_end(arguments);
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result != SQLITE_DONE && result != SQLITE_ROW)
        code = failed(sql, text, reterr);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return code;
}

int64_t sql_total_changes(const struct sql *sql)
{
    return sqlite3_total_changes(sql->database);
}

int sql_changes(const struct sql *sql)
{
    return sqlite3_changes(sql->database);
}

int64_t sql_last_insert_id(const struct sql *sql)
{
    return sqlite3_last_insert_rowid(sql->database);
}

static enum error_code select_with(struct sql *sql, struct sql_rows *ret_rows, struct error *reterr,
                                   const char *text, const char *types, va_list arguments)
{
    sqlite3_stmt *statement = NULL;
    enum error_code code = prepare(sql, text, &statement, reterr);
    if (code)
        return code;
    if (bind_all(statement, types, SQLITE_TRANSIENT, arguments) != SQLITE_OK)
        return failed(sql, text, reterr);
    *ret_rows = (struct sql_rows){.sql = sql, .statement = statement};
    return OK;
}

enum error_code sql_select(struct sql *sql, struct sql_rows *ret_rows, struct error *reterr, const char *text,
                           const char *types, ...)
{
    va_list arguments;
    va_start(arguments, types);
    enum error_code code = select_with(sql, ret_rows, reterr, text, types, arguments);
    va_end(arguments);
    return code;
}

enum error_code sql_exists(struct sql *sql, bool *ret_exists, struct error *reterr, const char *text,
                           const char *types, ...)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    va_list arguments;
    va_start(arguments, types);
    enum error_code code = select_with(sql, &rows, reterr, text, types, arguments);
    va_end(arguments);
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    sql_done(&rows);
    if (!code)
        *ret_exists = is_there;
    return code;
}

enum error_code sql_next(struct sql_rows *rows, bool *ret_is_there, struct error *reterr)
{
    const int result = sqlite3_step(rows->statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        return failed(rows->sql, "reading", reterr);
    *ret_is_there = result == SQLITE_ROW;
    return OK;
}

void sql_done(struct sql_rows *rows)
{
    if (!rows->statement)
        return;
    sqlite3_reset(rows->statement);
    sqlite3_clear_bindings(rows->statement);
    rows->statement = NULL;
}

bool sql_is_null(const struct sql_rows *rows, int column)
{
    return sqlite3_column_type(rows->statement, column) == SQLITE_NULL;
}

int64_t sql_integer(const struct sql_rows *rows, int column)
{
    return sqlite3_column_int64(rows->statement, column);
}

const char *sql_text(const struct sql_rows *rows, int column)
{
    const unsigned char *text = sqlite3_column_text(rows->statement, column);
    return text ? (const char *)text : "";
}

const void *sql_blob(const struct sql_rows *rows, int column, size_t *ret_length)
{
    const void *bytes = sqlite3_column_blob(rows->statement, column);
    *ret_length = (size_t)sqlite3_column_bytes(rows->statement, column);
    return bytes;
}

bool sql_bytes(const struct sql_rows *rows, int column, void *ret_bytes, size_t length)
{
    size_t there;
    const void *bytes = sql_blob(rows, column, &there);
    if (!bytes || there != length)
        return false;
    memcpy(ret_bytes, bytes, length);
    return true;
}

enum error_code sql_begin(struct sql *sql, struct error *reterr)
{
    return sql_run(sql, reterr, "BEGIN IMMEDIATE", "");
}

enum error_code sql_commit(struct sql *sql, struct error *reterr)
{
    const int injected = fault("authority.commit");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "the database: cannot commit");
    return sql_run(sql, reterr, "COMMIT", "");
}

bool sql_has_transaction(const struct sql *sql)
{
    return !sqlite3_get_autocommit(sql->database);
}

void sql_roll_back(struct sql *sql)
{
    if (!sqlite3_get_autocommit(sql->database) && sql_run(sql, NULL, "ROLLBACK", "") != OK)
        return; /* SQLite has rolled back by itself */
}

enum error_code sql_piece_begin(struct sql *sql, struct error *reterr)
{
    return sql_run(sql, reterr, "SAVEPOINT piece", "");
}

enum error_code sql_piece_keep(struct sql *sql, struct error *reterr)
{
    return sql_run(sql, reterr, "RELEASE piece", "");
}

void sql_piece_undo(struct sql *sql)
{
    if (sql_run(sql, NULL, "ROLLBACK TO piece", "") == OK && sql_run(sql, NULL, "RELEASE piece", "") == OK)
        return;
    /* A transaction that cannot be undone in part is not committed either: sql_commit fails then. */
    sql_roll_back(sql);
}

enum error_code sql_copy(struct sql *sql, const char *path, struct error *reterr)
{
    sqlite3 *copy = NULL;
    enum error_code code = OK;
    int result = sqlite3_open_v2(
        path, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
        NULL);
    sqlite3_backup *backup =
        result == SQLITE_OK ? sqlite3_backup_init(copy, "main", sql->database, "main") : NULL;
    if (backup) {
        result = sqlite3_backup_step(backup, -1);
        const int finished = sqlite3_backup_finish(backup);
        result = result == SQLITE_DONE ? finished : result;
    } else if (result == SQLITE_OK) {
        result = sqlite3_errcode(copy);
    }
    if (result != SQLITE_OK)
        code = error_set(reterr, (result & 0xff) == SQLITE_FULL ? ERR_NO_SPACE : ERR_FAILED, 0,
                         "cannot copy the database: %s", sqlite3_errstr(result));
    sqlite3_close(copy);
    return code;
}

/* Ends rows. */
static enum error_code take_check(struct sql_rows *rows, struct error *reterr)
{
    bool is_there = false;
    enum error_code code = sql_next(rows, &is_there, reterr);
    if (!code && (!is_there || strcmp(sql_text(rows, 0), "ok") != 0)) {
        code = error_set(reterr, ERR_CORRUPT, 0, "the database is damaged: %s", sql_text(rows, 0));
        error_remedy(reterr, "look after its disk; a backup is restored by huskd restore");
    }
    sql_done(rows);
    return code;
}

enum error_code sql_check_quickly(struct sql *sql, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code = sql_select(sql, &rows, reterr, "PRAGMA quick_check(1)", "");
    return code ? code : take_check(&rows, reterr);
}

enum error_code sql_check_whole(struct sql *sql, struct error *reterr)
{
    struct sql_rows rows = {0};
    enum error_code code = sql_select(sql, &rows, reterr, "PRAGMA integrity_check(1)", "");
    return code ? code : take_check(&rows, reterr);
}

enum error_code sql_get_version(struct sql *sql, int64_t *ret_version, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(sql, &rows, reterr, "PRAGMA user_version", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code)
        *ret_version = is_there ? sql_integer(&rows, 0) : 0;
    sql_done(&rows);
    return code;
}
