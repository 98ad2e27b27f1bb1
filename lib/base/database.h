/* SPDX-License-Identifier: Apache-2.0
 *
 * A daemon's own SQLite database: opened for one process, with a write-ahead log, every commit durable but where the
 * contrary is asked for; transactions and statements with errors that name it.
 */
#ifndef ZP_BASE_DATABASE_H
#define ZP_BASE_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/sqlite.h"

struct zp_database;

/* How long one waits for others that have it, mostly. */
#define ZP_DATABASE_PATIENCE_MS 10000

struct zp_database_schema {
        uint32_t application_id; /* tells this kind of database from all others */
        int version;             /* ≥ 1; of a database that `create` makes */
        const char *create;      /* statements */
};

/* Opens the database, and makes it when it is not there. -EBADMSG: damaged, of another application, or of another
 * version, or something else than a file. */
int zp_database_open(const char *path, const struct zp_database_schema *schema, struct zp_database **out,
                     struct zp_error *err);
/* One that another process may have open, for reading alone, in `patience_ms`. -ENOENT: it is not there. Else as above.
 */
int zp_database_open_to_read(const char *path, const struct zp_database_schema *schema, unsigned patience_ms,
                             struct zp_database **out, struct zp_error *err);
void zp_database_close(struct zp_database *database);
ZP_DEFINE_AUTO(struct zp_database, zp_database_close);

/* A transaction has the database for itself among the threads of the process; between begin and end nothing else may
 * be waited for. `end` commits when `result` is ≥ 0, else rolls back; returns `result`, or the commit's failure. */
int zp_database_begin(struct zp_database *database, bool writes, struct zp_error *err);
int zp_database_end(struct zp_database *database, int result, struct zp_error *err);
/* As `end`; when nothing is committed, `take_back` is called before another transaction can begin. */
int zp_database_end_or(struct zp_database *database, int result, void (*take_back)(void *context), void *context,
                       struct zp_error *err);
/* Begins one that writes what may as well be lost: a failure of power takes it back unless another has ended since.
 * Nobody waits for the disk. */
int zp_database_begin_losable(struct zp_database *database, struct zp_error *err);

/* Brings what was committed to its place, as far as that works, so that the write-ahead log is begun anew: for a disk
 * on which there is no room for it to grow. Outside of transactions. */
void zp_database_settle(struct zp_database *database);
/* Takes a quarter of a MiB for the log and for pages to come, so that small changes work on a disk that others fill
 * later; after zp_database_settle() at the latest. */
int zp_database_keep_room(struct zp_database *database, struct zp_error *err);

/* The rest is for inside a transaction. */
int zp_database_prepare(struct zp_database *database, const char *sql, sqlite3_stmt **out, struct zp_error *err);
/* 1: a row, 0: no more rows. -EEXIST: a UNIQUE or PRIMARY KEY constraint does not allow it. */
int zp_database_step(struct zp_database *database, sqlite3_stmt *statement, struct zp_error *err);
/* The rowid of the last INSERT. */
int64_t zp_database_last_id(struct zp_database *database);
/* A row that this program did not write: -EBADMSG. */
int zp_database_bad_row(struct zp_database *database, const char *table, struct zp_error *err);

#endif
