/* SPDX-License-Identifier: Apache-2.0
 *
 * What is mounted. The record says which image a directory shows; whether it still does, only the kernel
 * knows.
 */
#include <stdlib.h>
#include <string.h>

#include "store/store-internal.h"

static int find_mounted(struct zp_store *store, const struct zp_mount_table *table, const char *sql,
                        const struct zp_digest *digest, char **directory, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, sql, &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, digest);
        while ((r = zp_sql_step(store, s, err)) == 1) {
                zp_autofree char *found = NULL;
                if (!zp_sql_column_text(s, 0, &found))
                        return zp_sql_bad_row(store, "mounts", err);
                if (zp_mount_table_find(table, found)) {
                        *directory = zp_steal(&found);
                        return 1;
                }
        }
        return r;
}

int zp_mounts_of_image(struct zp_store *store, const struct zp_mount_table *table,
                       const struct zp_digest *manifest_digest, char **directory, struct zp_error *err) {
        return find_mounted(store, table, "SELECT directory FROM mounts WHERE manifest_digest = ?", manifest_digest,
                            directory, err);
}

int zp_mounts_of_layer(struct zp_store *store, const struct zp_mount_table *table, const struct zp_digest *diff_id,
                       char **directory, struct zp_error *err) {
        return find_mounted(store, table,
                            "SELECT directory FROM mounts JOIN image_layers USING (manifest_digest) WHERE diff_id = ?",
                            diff_id, directory, err);
}

static int delete_mount(struct zp_store *store, const char *directory, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, "DELETE FROM mounts WHERE directory = ?", &s, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(s, 1, directory, -1, SQLITE_STATIC);
        return zp_sql_step(store, s, err);
}

int zp_mounts_forget_gone(struct zp_store *store, const struct zp_mount_table *table, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, "SELECT directory FROM mounts", &s, err);
        if (r < 0)
                return r;
        while ((r = zp_sql_step(store, s, err)) == 1) {
                zp_autofree char *directory = NULL;
                if (!zp_sql_column_text(s, 0, &directory))
                        return zp_sql_bad_row(store, "mounts", err);
                if (zp_mount_table_find(table, directory))
                        continue;
                r = delete_mount(store, directory, err);
                if (r < 0)
                        return r;
        }
        return r;
}

static int put_mount(struct zp_store *store, const struct zp_digest *manifest_digest, const char *directory,
                     struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_sql_run_digest(store, "SELECT 1 FROM images WHERE manifest_digest = ?", manifest_digest, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "image %s is not in the store", zp_digest_text(manifest_digest, text));
        if (r < 0)
                return r;
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        r = zp_sql_prepare(store,
                           "INSERT INTO mounts (directory, manifest_digest) VALUES (?1, ?2)"
                           " ON CONFLICT (directory) DO UPDATE SET manifest_digest = ?2",
                           &s, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(s, 1, directory, -1, SQLITE_STATIC);
        zp_sql_bind_digest(s, 2, manifest_digest);
        return zp_sql_step(store, s, err);
}

/* As the kernel writes it; a directory that cannot be reached keeps the caller's form. */
static char *canonical(const char *directory) {
        char *path = realpath(directory, NULL);
        return path ? path : strdup(directory);
}

int zp_store_record_mount(struct zp_store *store, const struct zp_digest *manifest_digest, const char *directory,
                          struct zp_error *err) {
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = NULL;
        zp_autofree char *path = canonical(directory);
        if (!path)
                return zp_error_errno(err, ENOMEM, "mount '%s'", directory);
        int r = zp_mount_table_read(&table, err);
        if (r < 0)
                return r;
        if (!zp_mount_table_find(table, path))
                return zp_error_set(err, EINVAL, "'%s' is not a mount point", path);
        r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        r = zp_mounts_forget_gone(store, table, err);
        if (r == 0)
                r = put_mount(store, manifest_digest, path, err);
        return zp_store_end(store, r, NULL, err);
}

int zp_store_forget_mount(struct zp_store *store, const char *directory, struct zp_error *err) {
        zp_autofree char *path = canonical(directory);
        if (!path)
                return zp_error_errno(err, ENOMEM, "unmount '%s'", directory);
        int r = zp_store_begin_write(store, err);
        return r < 0 ? r : zp_store_end(store, delete_mount(store, path, err), NULL, err);
}
