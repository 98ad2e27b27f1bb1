/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the metastore share. All of it is for inside a transaction.
 */
#ifndef SNAP_METASTORE_INTERNAL_H
#define SNAP_METASTORE_INTERNAL_H

#include "base/database.h"
#include "snapshotter/control/metastore.h"

struct snap_metastore {
        struct zp_database *database;
};

int snap_no_memory(struct zp_error *err);
int64_t snap_now_ns(void);

/* Prepares a statement and binds its first parameter. */
int snap_prepare_text(struct snap_metastore *store, const char *sql, const char *text, sqlite3_stmt **out,
                      struct zp_error *err);
int snap_prepare_id(struct snap_metastore *store, const char *sql, uint64_t id, sqlite3_stmt **out,
                    struct zp_error *err);

#define SNAP_INFO_COLUMNS                                                                              \
        "s.id, s.name, coalesce(p.name, ''), s.kind, s.created_ns, s.updated_ns, coalesce(s.size, 0)," \
        " coalesce(s.inodes, 0) FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent "
/* Reads a row of SNAP_INFO_COLUMNS, without labels. `usage` may be NULL. */
int snap_read_info(struct snap_metastore *store, struct zp_arena *arena, sqlite3_stmt *row, struct snap_info *info,
                   struct snap_usage *usage, struct zp_error *err);

/* -ENOENT: no snapshot of that name. */
int snap_find(struct snap_metastore *store, struct zp_arena *arena, const char *name, struct snap_info *info,
              struct snap_usage *usage, struct zp_error *err);
int snap_read_labels(struct snap_metastore *store, struct zp_arena *arena, uint64_t id, struct snap_labels *out,
                     struct zp_error *err);
/* Adds; a label whose value is empty is removed. */
int snap_write_labels(struct snap_metastore *store, uint64_t id, const struct snap_labels *labels,
                      struct zp_error *err);
int snap_delete_labels(struct snap_metastore *store, uint64_t id, struct zp_error *err);
/* The ids below a snapshot. */
int snap_read_parents(struct snap_metastore *store, struct zp_arena *arena, struct snap_chain *chain,
                      struct zp_error *err);

#endif
