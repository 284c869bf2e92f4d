/*
 * The authority's database file: SQLite in WAL mode, synchronous FULL, so that what COMMIT returned for is on
 * disk. Statements are prepared once and kept; values are always bound, never put into the text. For one
 * thread at a time. All functions block on the disk.
 *
 * Values are given by a string of types, then one or two arguments each:
 *     i int64_t    t const char * (NULL: null)    b const void *, size_t (NULL: null)    n (nothing: null)
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct sql;

enum sql_way { SQL_CREATE, SQL_OPEN, SQL_READ_ONLY };

/* path of the file. ERR_NOT_FOUND, ERR_CORRUPT. */
must_check enum error_code sql_open(const char *path, enum sql_way way, struct sql **ret_sql,
                                    struct error *reterr);
void sql_close(struct sql *sql); /* NULL is fine */

/* Several statements without values or results. */
must_check enum error_code sql_script(struct sql *sql, const char *text, struct error *reterr);

/* One statement without results. text must be a literal: its address is what finds the prepared statement. */
must_check enum error_code sql_run(struct sql *sql, struct error *reterr, const char *text, const char *types,
                                   ...);

/* Whether since the last call something failed that the disk or the memory is to blame for, not what was
 * asked. */
bool sql_take_trouble(struct sql *sql);

/* How many rows were changed since it was opened. */
int64_t sql_total_changes(const struct sql *sql);

/* How many rows the last sql_run changed. */
int sql_changes(const struct sql *sql);

/* The INTEGER PRIMARY KEY that the last sql_run inserted. */
int64_t sql_last_insert_id(const struct sql *sql);

/* A statement with results; end it with sql_done before the same text is run again. */
struct sql_rows {
    struct sql *sql;
    void *statement; /* NULL: none */
};
must_check enum error_code sql_select(struct sql *sql, struct sql_rows *ret_rows, struct error *reterr,
                                      const char *text, const char *types, ...);
/* *ret_is_there is false behind the last row. */
must_check enum error_code sql_next(struct sql_rows *rows, bool *ret_is_there, struct error *reterr);
void sql_done(struct sql_rows *rows);

/* Whether a select has a row. *ret_exists is as it was where it fails. */
must_check enum error_code sql_exists(struct sql *sql, bool *ret_exists, struct error *reterr,
                                      const char *text, const char *types, ...);

/* Columns of the current row, from 0. Text and blobs last until the next row. */
bool sql_is_null(const struct sql_rows *rows, int column);
int64_t sql_integer(const struct sql_rows *rows, int column);
const char *sql_text(const struct sql_rows *rows, int column); /* "" for null */
const void *sql_blob(const struct sql_rows *rows, int column, size_t *ret_length);
/* A blob of exactly length bytes; false otherwise, null too. */
bool sql_bytes(const struct sql_rows *rows, int column, void *ret_bytes, size_t length);

must_check enum error_code sql_begin(struct sql *sql, struct error *reterr);
must_check enum error_code sql_commit(struct sql *sql, struct error *reterr);
void sql_roll_back(struct sql *sql);

/* False when it was rolled back, by SQLite itself too. */
bool sql_has_transaction(const struct sql *sql);

/* One piece of a transaction, which can be undone alone. */
must_check enum error_code sql_piece_begin(struct sql *sql, struct error *reterr);
must_check enum error_code sql_piece_keep(struct sql *sql, struct error *reterr);
void sql_piece_undo(struct sql *sql);

/* Copy the database as it stands in sql's transaction to a new file at path: one file, durable when it
 * returns. */
must_check enum error_code sql_copy(struct sql *sql, const char *path, struct error *reterr);

/* Every page looked at, and whole: every index too. ERR_CORRUPT names the first thing that is wrong. */
must_check enum error_code sql_check_quickly(struct sql *sql, struct error *reterr);
must_check enum error_code sql_check_whole(struct sql *sql, struct error *reterr);

/* The version of the schema the file carries (PRAGMA user_version). */
must_check enum error_code sql_get_version(struct sql *sql, int64_t *ret_version, struct error *reterr);
