/* SPDX-License-Identifier: Apache-2.0
 *
 * Records as they are written and deleted, inside a transaction.
 */
#include <string.h>

#include "base/limits.h"
#include "store/store-internal.h"

static void bind_u64(sqlite3_stmt *s, int parameter, uint64_t value) {
        sqlite3_bind_int64(s, parameter, (sqlite3_int64) value);
}

static void bind_optional_digest(sqlite3_stmt *s, int parameter, const struct zp_digest *digest, bool is_known) {
        if (is_known)
                zp_sql_bind_digest(s, parameter, digest);
}

/* Two parameters, which stay NULL when the size is 0. */
static void bind_blob(sqlite3_stmt *s, int parameter, const struct zp_digest *digest, uint64_t size) {
        bind_optional_digest(s, parameter, digest, size > 0);
        if (size > 0)
                bind_u64(s, parameter + 1, size);
}

/* The index fixes all but the level, of which who builds knows more than who fetches. */
int zp_records_put_device(struct zp_store *store, const struct zp_device_record *d, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "INSERT INTO devices (digest, index_size, pack_size, pack_digest, device_size,"
                               " frame_size, level, fetched, complete) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                               " ON CONFLICT (digest) DO UPDATE SET"
                               " (index_size, pack_size, device_size, frame_size) = (?2, ?3, ?5, ?6),"
                               " pack_digest = coalesce(?4, pack_digest), level = iif(?8, level, ?7),"
                               " fetched = fetched AND ?8, complete = complete OR ?9",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &d->digest);
        bind_u64(s, 2, d->index_size);
        bind_u64(s, 3, d->pack_size);
        bind_optional_digest(s, 4, &d->pack_digest, d->has_pack_digest);
        bind_u64(s, 5, d->device_size);
        sqlite3_bind_int64(s, 6, d->frame_size);
        sqlite3_bind_int64(s, 7, d->level);
        sqlite3_bind_int(s, 8, d->is_fetched);
        sqlite3_bind_int(s, 9, d->is_complete);
        return zp_sql_step(store, s, err);
}

/* 0, or -EAGAIN: a row of that digest must be there. */
static int require(struct zp_store *store, const char *sql, const char *what, const struct zp_digest *digest,
                   struct zp_error *err) {
        int r = zp_sql_run_digest(store, sql, digest, err);
        if (r != 0)
                return r < 0 ? r : 0;
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_error_set(err, EAGAIN, "%s %s is no longer in the store", what, zp_digest_text(digest, text));
        zp_error_hint(err, "run it again");
        return -EAGAIN;
}

/* `other` may be NULL. */
static int put_list_entry(struct zp_store *store, const char *sql, const struct zp_digest *key, uint16_t position,
                          const struct zp_digest *value, const struct zp_digest *other, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, sql, &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, key);
        sqlite3_bind_int(s, 2, position);
        zp_sql_bind_digest(s, 3, value);
        if (other)
                zp_sql_bind_digest(s, 4, other);
        return zp_sql_step(store, s, err);
}

static int put_layer_row(struct zp_store *store, const struct zp_layer_record *l, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(
                store,
                "INSERT INTO layers (metadata_digest, metadata_size, blob_digest, blob_size)"
                " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (metadata_digest) DO UPDATE SET metadata_size = ?2,"
                " blob_digest = coalesce(?3, blob_digest), blob_size = coalesce(?4, blob_size)",
                &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &l->metadata_digest);
        bind_u64(s, 2, l->metadata_size);
        bind_blob(s, 3, &l->blob_digest, l->blob_size);
        return zp_sql_step(store, s, err);
}

/* What others say a tar becomes never takes the place of what was seen here. */
static int put_conversion(struct zp_store *store, const struct zp_layer_record *l, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "INSERT INTO conversions (diff_id, recipe, layer, tar_size, entries, fetched)"
                               " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (diff_id, recipe, layer)"
                               " DO UPDATE SET (tar_size, entries, fetched) = (?4, ?5, ?6) WHERE fetched OR NOT ?6",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &l->diff_id);
        sqlite3_bind_text(s, 2, l->recipe, -1, SQLITE_STATIC);
        zp_sql_bind_digest(s, 3, &l->metadata_digest);
        bind_u64(s, 4, l->tar_size);
        bind_u64(s, 5, l->entries);
        sqlite3_bind_int(s, 6, l->is_fetched);
        return zp_sql_step(store, s, err);
}

int zp_records_put_layer(struct zp_store *store, const struct zp_layer_record *l, struct zp_error *err) {
        int r = put_layer_row(store, l, err);
        if (r == 0)
                r = put_conversion(store, l, err);
        if (r == 0)
                r = zp_sql_run_digest(store, "DELETE FROM layer_devices WHERE layer = ?", &l->metadata_digest, err);
        for (uint16_t i = 0; r == 0 && i < l->device_count; i++) {
                r = require(store, "SELECT 1 FROM devices WHERE digest = ?", "device", &l->devices[i], err);
                if (r == 0)
                        r = put_list_entry(store,
                                           "INSERT INTO layer_devices (layer, position, device) VALUES (?, ?, ?)",
                                           &l->metadata_digest, i, &l->devices[i], NULL, err);
        }
        return r;
}

static int put_image_row(struct zp_store *store, const struct zp_image_record *i, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "INSERT INTO images (manifest_digest, manifest_media_type, platform, metadata_digest,"
                               " metadata_size, config_digest, image_size, created_s, fetched, blob_digest, blob_size,"
                               " origin, artifact_digest)"
                               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
                               " ON CONFLICT (manifest_digest) DO UPDATE SET (manifest_media_type, platform,"
                               " metadata_digest, metadata_size, config_digest, image_size, created_s, fetched,"
                               " blob_digest, blob_size, origin, artifact_digest, replacing)"
                               " = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0)",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &i->manifest_digest);
        sqlite3_bind_text(s, 2, i->manifest_media_type, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 3, i->platform, -1, SQLITE_STATIC);
        zp_sql_bind_digest(s, 4, &i->metadata_digest);
        bind_u64(s, 5, i->metadata_size);
        zp_sql_bind_digest(s, 6, &i->config_digest);
        bind_u64(s, 7, i->image_size);
        sqlite3_bind_int64(s, 8, i->created_s);
        sqlite3_bind_int(s, 9, i->is_fetched);
        bind_blob(s, 10, &i->blob_digest, i->blob_size);
        sqlite3_bind_text(s, 12, i->origin, -1, SQLITE_STATIC); /* NULL is NULL */
        bind_optional_digest(s, 13, &i->artifact_digest, i->has_artifact_digest);
        return zp_sql_step(store, s, err);
}

int zp_records_put_image(struct zp_store *store, const struct zp_image_record *image, struct zp_error *err) {
        int r = put_image_row(store, image, err);
        if (r == 0)
                r = zp_sql_run_digest(store, "DELETE FROM image_layers WHERE image = ?", &image->manifest_digest, err);
        for (uint16_t i = 0; r == 0 && i < image->layer_count; i++) {
                r = require(store, "SELECT 1 FROM layers WHERE metadata_digest = ?", "layer", &image->layers[i], err);
                if (r == 0)
                        r = put_list_entry(store,
                                           "INSERT INTO image_layers (image, position, layer, diff_id)"
                                           " VALUES (?, ?, ?, ?)",
                                           &image->manifest_digest, i, &image->layers[i], &image->diff_ids[i], err);
        }
        for (char **name = image->names; r == 0 && name && *name; name++)
                r = zp_records_put_name(store, *name, &image->manifest_digest, err);
        return r;
}

/* ---- how they travel ---- */

/* Parameters: blob digest, blob size, then the digests that must fit (`other` may be NULL). */
static int note(struct zp_store *store, const char *sql, const struct zp_digest *blob, uint64_t size,
                const struct zp_digest *key, const struct zp_digest *other, struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        r = zp_sql_prepare(store, sql, &s, err);
        if (r == 0) {
                zp_sql_bind_digest(s, 1, blob);
                bind_u64(s, 2, size);
                zp_sql_bind_digest(s, 3, key);
                if (other)
                        zp_sql_bind_digest(s, 4, other);
                r = zp_sql_step(store, s, err);
                zp_sqlite_release(zp_steal(&s)); /* before the transaction ends */
        }
        return zp_store_end(store, r, NULL, err);
}

int zp_store_note_pack(struct zp_store *store, const struct zp_digest *device, const struct zp_digest *pack_digest,
                       struct zp_error *err) {
        return note(store,
                    "UPDATE devices SET pack_digest = ?1 WHERE digest = ?3"
                    " AND (complete != 0 OR fetched != 0 OR pack_digest IS NOT NULL)",
                    pack_digest, 0, device, NULL, err);
}

int zp_store_note_layer_blob(struct zp_store *store, const struct zp_digest *metadata_digest,
                             const struct zp_digest *blob_digest, uint64_t blob_size, struct zp_error *err) {
        return note(store, "UPDATE layers SET (blob_digest, blob_size) = (?1, ?2) WHERE metadata_digest = ?3",
                    blob_digest, blob_size, metadata_digest, NULL, err);
}

int zp_store_note_image_blob(struct zp_store *store, const struct zp_digest *manifest_digest,
                             const struct zp_digest *metadata_digest, const struct zp_digest *blob_digest,
                             uint64_t blob_size, struct zp_error *err) {
        return note(store,
                    "UPDATE images SET (blob_digest, blob_size) = (?1, ?2)"
                    " WHERE manifest_digest = ?3 AND metadata_digest = ?4",
                    blob_digest, blob_size, manifest_digest, metadata_digest, err);
}

/* ---- names ---- */

static bool name_is_good(const char *name) {
        for (const char *c = name; *c; c++)
                if ((unsigned char) *c < 0x20 || *c == 0x7f)
                        return false;
        return *name && strlen(name) <= 2 * ZP_LIMIT_PATH;
}

int zp_records_put_name(struct zp_store *store, const char *name, const struct zp_digest *manifest_digest,
                        struct zp_error *err) {
        if (!name_is_good(name))
                return zp_error_set(err, EINVAL, "image name '%.200s': empty, too long, or with control characters",
                                    name);
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "INSERT INTO names (name, manifest_digest) VALUES (?1, ?2)"
                               " ON CONFLICT (name) DO UPDATE SET manifest_digest = ?2",
                               &s, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
        zp_sql_bind_digest(s, 2, manifest_digest);
        return zp_sql_step(store, s, err);
}

static int add_name(struct zp_store *store, const char *name, const struct zp_digest *manifest_digest,
                    struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_sql_run_digest(store, "SELECT 1 FROM images WHERE manifest_digest = ?", manifest_digest, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "image %s is not in the store", zp_digest_text(manifest_digest, text));
        return r < 0 ? r : zp_records_put_name(store, name, manifest_digest, err);
}

int zp_store_add_name(struct zp_store *store, const char *name, const struct zp_digest *manifest_digest,
                      struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        return r < 0 ? r : zp_store_end(store, add_name(store, name, manifest_digest, err), NULL, err);
}

/* ---- deleting ---- */

typedef int (*drop_function)(struct zp_store *store, const struct zp_digest *digest, struct zp_moves *moves,
                             struct zp_error *err);

/* Drops all that a query with one parameter finds. */
static int drop_each(struct zp_store *store, const char *sql, const struct zp_digest *parameter, drop_function drop,
                     struct zp_moves *moves, struct zp_error *err) {
        zp_autofree struct zp_digest *digests = NULL;
        size_t count = 0;
        int r = zp_records_get_digests(store, sql, parameter, &digests, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++)
                r = drop(store, &digests[i], moves, err);
        return r;
}

int zp_records_drop_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_moves *moves,
                          struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        int r = zp_sql_run_digest(store, "DELETE FROM images WHERE manifest_digest = ?", manifest_digest, err);
        return r < 0 ? r : zp_moves_out(store, moves, store->images_fd, zp_digest_hex(manifest_digest, hex), err);
}

int zp_records_drop_layer(struct zp_store *store, const struct zp_digest *metadata_digest, struct zp_moves *moves,
                          struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        int r = drop_each(store, "SELECT DISTINCT image FROM image_layers WHERE layer = ?", metadata_digest,
                          zp_records_drop_image, moves, err);
        if (r == 0)
                r = zp_sql_run_digest(store, "DELETE FROM layers WHERE metadata_digest = ?", metadata_digest, err);
        return r < 0 ? r : zp_moves_out(store, moves, store->layers_fd, zp_digest_hex(metadata_digest, hex), err);
}

int zp_records_drop_device(struct zp_store *store, const struct zp_digest *digest, struct zp_moves *moves,
                           struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        int r = drop_each(store, "SELECT DISTINCT layer FROM layer_devices WHERE device = ?", digest,
                          zp_records_drop_layer, moves, err);
        if (r == 0)
                r = zp_sql_run_digest(store, "DELETE FROM devices WHERE digest = ?", digest, err);
        return r < 0 ? r : zp_moves_out(store, moves, store->devices_fd, zp_digest_hex(digest, hex), err);
}
