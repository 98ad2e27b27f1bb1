/* SPDX-License-Identifier: Apache-2.0
 *
 * SQLite in a few words: statements with their values on one line, and errors as values.
 */
#ifndef HOOK_SQL_H
#define HOOK_SQL_H

#include <sqlite3.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

ZP_DEFINE_AUTO(sqlite3_stmt, sqlite3_finalize);
#define hook_autostmt zp_auto(sqlite3_finalize)

/* Fills `err` with what SQLite says, and returns the negative errno that fits: ENOSPC when the disk is full. */
int hook_sql_failed(sqlite3 *db, int result, struct zp_error *err);
/* Runs statements without values or rows. */
int hook_sql_exec(sqlite3 *db, const char *sql, struct zp_error *err);
/* `types` has a letter for each value behind it: 's' const char * (NULL: NULL), 'i' int64_t, 'f' double. Texts must
 * live as long as the statement. */
int hook_sql_prepare(sqlite3 *db, sqlite3_stmt **out, struct zp_error *err, const char *sql, const char *types, ...);
/* Runs one statement to its end. Returns how many rows changed, or a negative errno. */
int hook_sql_run(sqlite3 *db, struct zp_error *err, const char *sql, const char *types, ...);
/* 1: a row, 0: no more. */
int hook_sql_step(sqlite3_stmt *statement, struct zp_error *err);
/* The first column of the first row; 0 without one. */
int hook_sql_number(sqlite3 *db, int64_t *out, struct zp_error *err, const char *sql, const char *types, ...);

/* "" for NULL; valid until the next step. */
const char *hook_sql_text(sqlite3_stmt *statement, int column);
/* Cut to fit. */
void hook_sql_copy(sqlite3_stmt *statement, int column, char *out, size_t size);

#endif
