/* SPDX-License-Identifier: Apache-2.0
 *
 * The metastore's transactions.
 */
#include "snapshotter/control/metastore.h"

#include <string.h>

#include "snapshotter/control/metastore-internal.h"

void snap_metastore_settle(struct snap_metastore *store) {
        zp_database_settle(store->database);
}

int snap_metastore_keep_room(struct snap_metastore *store, struct zp_error *err) {
        return zp_database_keep_room(store->database, err);
}

int snap_metastore_get(struct snap_metastore *store, struct zp_arena *arena, const char *name, struct snap_info *info,
                       struct snap_usage *usage, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        if (r < 0)
                return r;
        r = snap_find(store, arena, name, info, usage, err);
        if (r == 0)
                r = snap_read_labels(store, arena, info->id, &info->labels, err);
        return zp_database_end(store->database, r, err);
}

static int read_chain(struct snap_metastore *store, struct zp_arena *arena, const char *name, struct snap_chain *out,
                      struct zp_error *err) {
        int r = snap_find(store, arena, name, &out->info, NULL, err);
        if (r == 0 && out->info.kind == SNAP_COMMITTED)
                r = zp_error_set(err, EBUSY, "snapshot '%.400s' is committed: it has no mounts of its own", name);
        if (r == 0)
                r = snap_read_labels(store, arena, out->info.id, &out->info.labels, err);
        return r < 0 ? r : snap_read_parents(store, arena, out, err);
}

int snap_metastore_get_chain(struct snap_metastore *store, struct zp_arena *arena, const char *name,
                             struct snap_chain *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        if (r < 0)
                return r;
        return zp_database_end(store->database, read_chain(store, arena, name, out, err), err);
}

static int find_base(struct snap_metastore *store, struct zp_arena *arena, const char *name, struct snap_base *out,
                     struct zp_error *err) {
        struct snap_chain chain;
        uint64_t own;
        int r = snap_find(store, arena, name, &chain.info, NULL, err);
        if (r == -ENOENT) {
                if (err)
                        zp_error_clear(err);
                return 0;
        }
        if (r == 0)
                r = snap_base_of(store, chain.info.id, &own, err);
        if (r == 0 && own)
                return snap_read_base(store, arena, own, out, err);
        if (r == 0)
                r = snap_read_parents(store, arena, &chain, err);
        if (r == 0)
                *out = chain.base;
        return r;
}

int snap_metastore_get_base(struct snap_metastore *store, struct zp_arena *arena, const char *name,
                            struct snap_base *out, struct zp_error *err) {
        *out = (struct snap_base){ 0 };
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, find_base(store, arena, name, out, err), err);
}

/* ---- create ---- */

int snap_find_parent(struct snap_metastore *store, struct zp_arena *arena, const char *name, int code_uncommitted,
                     uint64_t *id, struct zp_error *err) {
        struct snap_info parent;
        *id = 0;
        if (name[0] == '\0')
                return 0;
        int r = snap_find(store, arena, name, &parent, NULL, err);
        if (r < 0)
                return zp_error_wrap(err, "parent");
        if (parent.kind != SNAP_COMMITTED)
                return zp_error_set(err, code_uncommitted, "parent '%.400s' is not committed", name);
        *id = parent.id;
        return 0;
}

static int insert(struct snap_metastore *store, const struct snap_create *create, uint64_t parent,
                  struct snap_info *info, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = snap_prepare_text(store,
                                  "INSERT INTO snapshots (name, parent, kind, created_ns, updated_ns)"
                                  " VALUES (?1, nullif(?2, 0), ?3, ?4, ?4)",
                                  create->name, &statement, err);
        if (r < 0)
                return r;
        info->created_ns = info->updated_ns = snap_now_ns();
        sqlite3_bind_int64(statement, 2, (sqlite3_int64) parent);
        sqlite3_bind_int(statement, 3, create->kind);
        sqlite3_bind_int64(statement, 4, info->created_ns);
        r = zp_database_step(store->database, statement, err);
        if (r == -EEXIST)
                return zp_error_set(err, EEXIST, "snapshot '%.400s' already exists", create->name);
        info->id = (uint64_t) zp_database_last_id(store->database);
        return r;
}

static int create_snapshot(struct snap_metastore *store, struct zp_arena *arena, const struct snap_create *create,
                           struct snap_chain *chain, struct zp_error *err) {
        uint64_t parent;
        int r = snap_find_parent(store, arena, create->parent, EINVAL, &parent, err);
        if (r == 0)
                r = insert(store, create, parent, &chain->info, err);
        if (r == 0)
                r = snap_write_labels(store, chain->info.id, &create->labels, err);
        if (r == 0)
                r = snap_read_parents(store, arena, chain, err);
        return r < 0 ? r : create->make(create->context, chain, err);
}

int snap_metastore_create(struct snap_metastore *store, struct zp_arena *arena, const struct snap_create *create,
                          struct snap_chain *chain, struct zp_error *err) {
        *chain = (struct snap_chain){ .info = { .name = create->name,
                                                .parent = create->parent,
                                                .kind = create->kind,
                                                .labels = create->labels } };
        int r = zp_database_begin(store->database, true, err);
        if (r < 0)
                return r;
        return zp_database_end_or(store->database, create_snapshot(store, arena, create, chain, err), create->take_back,
                                  create->context, err);
}

/* ---- commit ---- */

static int has_name(struct snap_metastore *store, const char *name, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_text(store, "SELECT 1 FROM snapshots WHERE name = ?1", name, &row, err);
        return r < 0 ? r : zp_database_step(store->database, row, err);
}

static int check_commit(struct snap_metastore *store, const struct snap_commit *commit, const struct snap_info *info,
                        struct zp_error *err) {
        int r = has_name(store, commit->name, err);
        if (r == 1)
                return zp_error_set(err, EEXIST, "committed snapshot '%.400s' already exists", commit->name);
        if (r < 0)
                return r;
        if (info->kind != SNAP_ACTIVE)
                return zp_error_set(err, EBUSY, "snapshot '%.400s' is not active", commit->key);
        if (info->id != commit->id)
                return zp_error_set(err, ENOENT, "snapshot '%.400s' was removed meanwhile", commit->key);
        if (commit->parent[0] && info->parent[0] && strcmp(commit->parent, info->parent) != 0)
                return zp_error_set(err, EINVAL, "snapshot '%.300s' has the parent '%.300s': it cannot get another",
                                    commit->key, info->parent);
        return 0;
}

static int write_commit(struct snap_metastore *store, const struct snap_commit *commit, uint64_t parent,
                        struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = snap_prepare_id(store,
                                "UPDATE snapshots SET name = ?2, kind = ?3, created_ns = ?4, updated_ns = ?4,"
                                " size = ?5, inodes = ?6, parent = coalesce(parent, nullif(?7, 0)) WHERE id = ?1",
                                commit->id, &statement, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(statement, 2, commit->name, -1, SQLITE_STATIC);
        sqlite3_bind_int(statement, 3, SNAP_COMMITTED);
        sqlite3_bind_int64(statement, 4, snap_now_ns());
        sqlite3_bind_int64(statement, 5, (sqlite3_int64) commit->usage.size);
        sqlite3_bind_int64(statement, 6, (sqlite3_int64) commit->usage.inodes);
        sqlite3_bind_int64(statement, 7, (sqlite3_int64) parent);
        r = zp_database_step(store->database, statement, err);
        if (r == 0)
                r = snap_delete_labels(store, commit->id, err);
        return r < 0 ? r : snap_write_labels(store, commit->id, &commit->labels, err);
}

static int commit_snapshot(struct snap_metastore *store, struct zp_arena *arena, const struct snap_commit *commit,
                           struct zp_error *err) {
        struct snap_info info;
        uint64_t parent = 0;
        int r = snap_find(store, arena, commit->key, &info, NULL, err);
        if (r == 0)
                r = check_commit(store, commit, &info, err);
        if (r == 0 && !info.parent[0])
                r = snap_find_parent(store, arena, commit->parent, EBUSY, &parent, err);
        return r < 0 ? r : write_commit(store, commit, parent, err);
}

int snap_metastore_commit(struct snap_metastore *store, const struct snap_commit *commit, struct zp_error *err) {
        struct zp_arena arena = { 0 };
        int r = zp_database_begin(store->database, true, err);
        if (r < 0)
                return r;
        r = zp_database_end(store->database, commit_snapshot(store, &arena, commit, err), err);
        zp_arena_clear(&arena);
        return r;
}

/* ---- remove ---- */

static int has_row(struct snap_metastore *store, const char *sql, uint64_t id, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_id(store, sql, id, &row, err);
        return r < 0 ? r : zp_database_step(store->database, row, err);
}

static int has_children(struct snap_metastore *store, uint64_t id, struct zp_error *err) {
        return has_row(store, "SELECT 1 FROM snapshots WHERE parent = ?1", id, err);
}

static int delete_snapshot(struct snap_metastore *store, uint64_t id, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = snap_prepare_id(store, "DELETE FROM snapshots WHERE id = ?1", id, &statement, err);
        return r < 0 ? r : zp_database_step(store->database, statement, err);
}

static int remove_snapshot(struct snap_metastore *store, struct zp_arena *arena, const char *name, uint64_t *id,
                           uint64_t *base_id, struct zp_error *err) {
        struct snap_info info;
        uint64_t base = 0;
        *base_id = 0;
        int r = snap_find(store, arena, name, &info, NULL, err);
        if (r == 0)
                r = has_children(store, info.id, err);
        if (r == 1)
                return zp_error_set(err, EBUSY, "cannot remove snapshot '%.400s': others are based on it", name);
        if (r == 0)
                r = snap_base_of(store, info.id, &base, err);
        if (r == 0)
                r = delete_snapshot(store, info.id, err);
        if (r == 0 && base)
                r = snap_drop_unused_base(store, base, err);
        if (r == 1)
                *base_id = base;
        *id = info.id;
        return r < 0 ? r : 0;
}

int snap_metastore_remove(struct snap_metastore *store, const char *name, uint64_t *id, uint64_t *base_id,
                          struct zp_error *err) {
        struct zp_arena arena = { 0 };
        int r = zp_database_begin(store->database, true, err);
        if (r < 0)
                return r;
        r = zp_database_end(store->database, remove_snapshot(store, &arena, name, id, base_id, err), err);
        zp_arena_clear(&arena);
        return r;
}

/* ---- update ---- */

static int touch(struct snap_metastore *store, struct snap_info *info, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = snap_prepare_id(store, "UPDATE snapshots SET updated_ns = ?2 WHERE id = ?1", info->id, &statement, err);
        if (r < 0)
                return r;
        info->updated_ns = snap_now_ns();
        sqlite3_bind_int64(statement, 2, info->updated_ns);
        return zp_database_step(store->database, statement, err);
}

static int update_labels(struct snap_metastore *store, uint64_t id, const struct snap_update *update,
                         struct zp_error *err) {
        if (!update->keys) {
                int r = snap_delete_labels(store, id, err);
                return r < 0 ? r : snap_write_labels(store, id, &update->labels, err);
        }
        int r = 0;
        for (size_t i = 0; i < update->key_count && r == 0; i++) {
                const char *value = snap_label_get(&update->labels, update->keys[i]);
                struct snap_label label = { update->keys[i], value ? value : "" };
                r = snap_write_labels(store, id, &(struct snap_labels){ &label, 1 }, err);
        }
        return r;
}

static int update_snapshot(struct snap_metastore *store, struct zp_arena *arena, const struct snap_update *update,
                           struct snap_info *info, struct zp_error *err) {
        int r = snap_find(store, arena, update->name, info, NULL, err);
        if (r == 0)
                r = update_labels(store, info->id, update, err);
        if (r == 0)
                r = touch(store, info, err);
        return r < 0 ? r : snap_read_labels(store, arena, info->id, &info->labels, err);
}

int snap_metastore_update(struct snap_metastore *store, struct zp_arena *arena, const struct snap_update *update,
                          struct snap_info *info, struct zp_error *err) {
        int r = zp_database_begin(store->database, true, err);
        if (r < 0)
                return r;
        return zp_database_end(store->database, update_snapshot(store, arena, update, info, err), err);
}

/* ---- list ---- */

static int list(struct snap_metastore *store, struct zp_arena *arena, uint64_t after, size_t max, struct snap_info *out,
                struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int count = 0;
        int r = snap_prepare_id(store, "SELECT " SNAP_INFO_COLUMNS "WHERE s.id > ?1 ORDER BY s.id LIMIT ?2", after,
                                &row, err);
        if (r == 0)
                sqlite3_bind_int64(row, 2, (sqlite3_int64) max);
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1) {
                r = snap_read_info(store, arena, row, &out[count], NULL, err);
                if (r == 0)
                        r = snap_read_labels(store, arena, out[count].id, &out[count].labels, err);
                count++;
        }
        return r < 0 ? r : count;
}

int snap_metastore_list(struct snap_metastore *store, struct zp_arena *arena, uint64_t after, size_t max,
                        struct snap_info *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        if (r < 0)
                return r;
        return zp_database_end(store->database, list(store, arena, after, max, out, err), err);
}

static int ask_for_row(struct snap_metastore *store, const char *sql, uint64_t id, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, has_row(store, sql, id, err), err);
}

int snap_metastore_has_id(struct snap_metastore *store, uint64_t id, struct zp_error *err) {
        return ask_for_row(store, "SELECT 1 FROM snapshots WHERE id = ?1", id, err);
}

int snap_metastore_has_base(struct snap_metastore *store, uint64_t id, struct zp_error *err) {
        return ask_for_row(store, "SELECT 1 FROM bases WHERE id = ?1", id, err);
}
