/* The tables of the authority's database. What each column means stands beside it in schema.c. */
#pragma once
#include "authority/sql.h"

#define SCHEMA_VERSION 1
#define SCHEMA_APPLICATION "1752527723" /* "husk" */

/* Make the tables in an empty database, inside the caller's transaction. */
must_check enum error_code schema_create(struct sql *sql, struct error *reterr);

/* ERR_TOO_NEW; ERR_CORRUPT when the file is no database of huskd. */
must_check enum error_code schema_check(struct sql *sql, struct error *reterr);
