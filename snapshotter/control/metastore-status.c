/* SPDX-License-Identifier: Apache-2.0
 *
 * The metastore's answers to people: how many there are of what, what became of images, what shows what.
 */
#include "snapshotter/control/metastore-internal.h"

static int count(struct snap_metastore *store, struct snap_counts *out, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *row = NULL;
        *out = (struct snap_counts){ 0 };
        int r = zp_database_prepare(store->database, "SELECT kind, count(*), count(base) FROM snapshots GROUP BY kind",
                                    &row, err);
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1) {
                int kind = sqlite3_column_int(row, 0);
                if (kind < SNAP_VIEW || kind > SNAP_COMMITTED)
                        return zp_database_bad_row(store->database, "snapshots", err);
                out->snapshots[kind] = (uint64_t) sqlite3_column_int64(row, 1);
                out->accelerated += (uint64_t) sqlite3_column_int64(row, 2);
                r = 0;
        }
        return r;
}

int snap_metastore_count(struct snap_metastore *store, struct snap_counts *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, count(store, out, err), err);
}
