/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the metastore: schema, reading, labels.
 */
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "snapshotter/control/metastore-internal.h"

#define APPLICATION_ID 0x7a70736e /* "zpsn" */

/* Ids are directory names: AUTOINCREMENT gives none a second time. */
static const struct zp_database_schema schema = {
        .application_id = APPLICATION_ID,
        .version = 1,
        .create = "CREATE TABLE bases ("
                  " id INTEGER PRIMARY KEY AUTOINCREMENT,"
                  " chain_id BLOB NOT NULL UNIQUE CHECK (length(chain_id) = 32),"
                  " manifest_digest BLOB NOT NULL CHECK (length(manifest_digest) = 32),"
                  " reference TEXT NOT NULL, layers INTEGER NOT NULL, of_layers INTEGER NOT NULL"
                  ") STRICT;"
                  "CREATE TABLE images ("
                  " manifest_digest BLOB PRIMARY KEY CHECK (length(manifest_digest) = 32),"
                  " reference TEXT NOT NULL, reason TEXT, updated_ns INTEGER NOT NULL"
                  ") STRICT, WITHOUT ROWID;"
                  "CREATE TABLE snapshots ("
                  " id INTEGER PRIMARY KEY AUTOINCREMENT,"
                  " name TEXT NOT NULL UNIQUE,"
                  " parent INTEGER REFERENCES snapshots,"
                  " kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),"
                  " created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,"
                  " size INTEGER, inodes INTEGER,"
                  " base INTEGER REFERENCES bases"
                  ") STRICT;"
                  "CREATE INDEX snapshots_by_parent ON snapshots (parent);"
                  "CREATE INDEX snapshots_by_base ON snapshots (base);"
                  "CREATE TABLE labels ("
                  " snapshot INTEGER NOT NULL REFERENCES snapshots ON DELETE CASCADE,"
                  " key TEXT NOT NULL, value TEXT NOT NULL,"
                  " PRIMARY KEY (snapshot, key)"
                  ") STRICT, WITHOUT ROWID;",
};

/* `database` is the new metastore's when `result` is 0. */
static int wrap(int result, struct zp_database *database, struct snap_metastore **out, struct zp_error *err) {
        if (result == -EBADMSG)
                zp_error_hint(err,
                              "end the containers that use it, and the daemon; move its root directory away, remove "
                              "containers and images from containerd, and pull again; what containers have "
                              "written is in its 'snapshots'");
        if (result < 0)
                return result;
        struct snap_metastore *store = calloc(1, sizeof *store);
        if (!store) {
                zp_database_close(database);
                return snap_no_memory(err);
        }
        store->database = database;
        *out = store;
        return 0;
}

int snap_metastore_open(const char *path, struct snap_metastore **out, struct zp_error *err) {
        /* SQLite makes it readable for all, and its other files like it; what this cannot make, SQLite tells */
        int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd >= 0)
                close(fd); /* before there is a connection, whose locks would go with it */
        struct zp_database *database = NULL;
        int r = zp_database_open(path, &schema, &database, err);
        return wrap(r, database, out, err);
}

int snap_metastore_open_to_read(const char *path, unsigned patience_ms, struct snap_metastore **out,
                                struct zp_error *err) {
        struct zp_database *database = NULL;
        int r = zp_database_open_to_read(path, &schema, patience_ms, &database, err);
        return wrap(r, database, out, err);
}

void snap_metastore_close(struct snap_metastore *store) {
        if (!store)
                return;
        zp_database_close(store->database);
        free(store);
}

int snap_no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "snapshots");
}

int64_t snap_now_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

int snap_prepare_text(struct snap_metastore *store, const char *sql, const char *text, sqlite3_stmt **out,
                      struct zp_error *err) {
        int r = zp_database_prepare(store->database, sql, out, err);
        if (r == 0)
                sqlite3_bind_text(*out, 1, text, -1, SQLITE_STATIC);
        return r;
}

int snap_prepare_id(struct snap_metastore *store, const char *sql, uint64_t id, sqlite3_stmt **out,
                    struct zp_error *err) {
        int r = zp_database_prepare(store->database, sql, out, err);
        if (r == 0)
                sqlite3_bind_int64(*out, 1, (sqlite3_int64) id);
        return r;
}

const char *snap_copy_text(struct zp_arena *arena, sqlite3_stmt *row, int column) {
        const unsigned char *text = sqlite3_column_text(row, column);
        return text ? zp_arena_copy(arena, text, (size_t) sqlite3_column_bytes(row, column)) : NULL;
}

int snap_read_info(struct snap_metastore *store, struct zp_arena *arena, sqlite3_stmt *row, struct snap_info *info,
                   struct snap_usage *usage, struct zp_error *err) {
        int kind = sqlite3_column_int(row, 3);
        *info = (struct snap_info){
                .id = (uint64_t) sqlite3_column_int64(row, 0),
                .name = snap_copy_text(arena, row, 1),
                .parent = snap_copy_text(arena, row, 2),
                .kind = (enum snap_kind) kind,
                .created_ns = sqlite3_column_int64(row, 4),
                .updated_ns = sqlite3_column_int64(row, 5),
        };
        if (kind < SNAP_VIEW || kind > SNAP_COMMITTED)
                return zp_database_bad_row(store->database, "snapshots", err);
        if (!info->name || !info->parent)
                return snap_no_memory(err);
        if (usage)
                *usage = (struct snap_usage){ (uint64_t) sqlite3_column_int64(row, 6),
                                              (uint64_t) sqlite3_column_int64(row, 7) };
        return 0;
}

int snap_find(struct snap_metastore *store, struct zp_arena *arena, const char *name, struct snap_info *info,
              struct snap_usage *usage, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_text(store, "SELECT " SNAP_INFO_COLUMNS "WHERE s.name = ?1", name, &row, err);
        if (r == 0)
                r = zp_database_step(store->database, row, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "snapshot '%.400s' does not exist", name);
        return r < 0 ? r : snap_read_info(store, arena, row, info, usage, err);
}

/* ---- labels ---- */

int snap_read_labels(struct snap_metastore *store, struct zp_arena *arena, uint64_t id, struct snap_labels *out,
                     struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        size_t room = 0;
        int r = snap_prepare_id(store,
                                "SELECT key, value, count(*) OVER () FROM labels WHERE snapshot = ?1 ORDER BY key", id,
                                &row, err);
        *out = (struct snap_labels){ 0 };
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1) {
                if (!out->items) {
                        room = (size_t) sqlite3_column_int64(row, 2);
                        out->items = zp_arena_alloc(arena, room * sizeof *out->items);
                }
                if (!out->items || out->count == room)
                        return snap_no_memory(err);
                struct snap_label label = { snap_copy_text(arena, row, 0), snap_copy_text(arena, row, 1) };
                if (!label.key || !label.value)
                        return snap_no_memory(err);
                out->items[out->count++] = label;
                r = 0;
        }
        return r;
}

static int write_label(struct snap_metastore *store, uint64_t id, const struct snap_label *label,
                       struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        bool is_empty = label->value[0] == '\0';
        int r = snap_prepare_id(store,
                                is_empty ? "DELETE FROM labels WHERE snapshot = ?1 AND key = ?2"
                                         : "INSERT OR REPLACE INTO labels (snapshot, key, value) VALUES (?1, ?2, ?3)",
                                id, &statement, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(statement, 2, label->key, -1, SQLITE_STATIC);
        if (!is_empty)
                sqlite3_bind_text(statement, 3, label->value, -1, SQLITE_STATIC);
        return zp_database_step(store->database, statement, err);
}

int snap_write_labels(struct snap_metastore *store, uint64_t id, const struct snap_labels *labels,
                      struct zp_error *err) {
        int r = 0;
        for (size_t i = 0; i < labels->count && r == 0; i++)
                r = write_label(store, id, &labels->items[i], err);
        return r;
}

int snap_delete_labels(struct snap_metastore *store, uint64_t id, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = snap_prepare_id(store, "DELETE FROM labels WHERE snapshot = ?1", id, &statement, err);
        return r < 0 ? r : zp_database_step(store->database, statement, err);
}

/* ---- chains ---- */

int snap_read_parents(struct snap_metastore *store, struct zp_arena *arena, struct snap_chain *chain,
                      struct zp_error *err) {
        static const char sql[] = "WITH RECURSIVE chain (id, base, depth) AS ("
                                  " SELECT p.id, p.base, 1 FROM snapshots s JOIN snapshots p ON p.id = s.parent"
                                  " WHERE s.id = ?1"
                                  " UNION ALL SELECT p.id, p.base, depth + 1 FROM chain"
                                  " JOIN snapshots s ON s.id = chain.id JOIN snapshots p ON p.id = s.parent"
                                  " WHERE chain.base IS NULL)"
                                  "SELECT id, coalesce(base, 0), count(*) OVER () FROM chain ORDER BY depth";
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        size_t room = 0;
        int r = snap_prepare_id(store, sql, chain->info.id, &row, err);
        chain->parents = NULL;
        chain->parent_count = 0;
        chain->base = (struct snap_base){ 0 };
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1) {
                uint64_t base = (uint64_t) sqlite3_column_int64(row, 1);
                if (!chain->parents) {
                        room = (size_t) sqlite3_column_int64(row, 2);
                        chain->parents = zp_arena_alloc(arena, room * sizeof *chain->parents);
                }
                if (!chain->parents || chain->parent_count == room)
                        return snap_no_memory(err);
                if (base)
                        return snap_read_base(store, arena, base, &chain->base, err);
                chain->parents[chain->parent_count++] = (uint64_t) sqlite3_column_int64(row, 0);
                r = 0;
        }
        return r;
}
