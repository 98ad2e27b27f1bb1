/* SPDX-License-Identifier: Apache-2.0
 *
 * Records as they are read: each value is checked, as is everything from outside.
 */
#include <limits.h>
#include <string.h>

#include "base/limits.h"
#include "store/store-internal.h"

/* A digest that may be missing. false: something else is there. */
static bool read_optional_digest(sqlite3_stmt *s, int column, struct zp_digest *out, bool *is_there) {
        *is_there = sqlite3_column_type(s, column) != SQLITE_NULL;
        return !*is_there || zp_sql_column_digest(s, column, out);
}

/* The digest and size of a blob, in two columns; size 0: not known. */
static bool read_blob(sqlite3_stmt *s, int column, struct zp_digest *digest, uint64_t *size) {
        bool is_known;
        *size = 0;
        return read_optional_digest(s, column, digest, &is_known) &&
               (!is_known || zp_sql_column_u64(s, column + 1, size));
}

/* ---- devices ---- */

static bool read_device(sqlite3_stmt *s, struct zp_device_record *out) {
        uint64_t frame_size, level;
        *out = (struct zp_device_record){ 0 };
        bool good = zp_sql_column_digest(s, 0, &out->digest) && zp_sql_column_u64(s, 1, &out->index_size) &&
                    zp_sql_column_u64(s, 2, &out->pack_size) &&
                    read_optional_digest(s, 3, &out->pack_digest, &out->has_pack_digest) &&
                    zp_sql_column_u64(s, 4, &out->device_size) && zp_sql_column_u64(s, 5, &frame_size) &&
                    zp_sql_column_u64(s, 6, &level) && frame_size <= UINT32_MAX && level <= INT_MAX;
        if (good) {
                out->frame_size = (uint32_t) frame_size;
                out->level = (int) level;
                out->is_fetched = sqlite3_column_int(s, 7) != 0;
                out->is_complete = sqlite3_column_int(s, 8) != 0;
        }
        return good;
}

int zp_records_get_device(struct zp_store *store, const struct zp_digest *digest, struct zp_device_record *out,
                          struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT digest, index_size, pack_size, pack_digest, device_size, frame_size, level,"
                               " fetched, complete FROM devices WHERE digest = ?",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, digest);
        r = zp_sql_step(store, s, err);
        return r == 1 && !read_device(s, out) ? zp_sql_bad_row(store, "devices", err) : r;
}

/* ---- layers ---- */

static bool read_recipe(sqlite3_stmt *s, int column, char out[ZP_RECIPE_SIZE]) {
        zp_autofree char *text = NULL;
        bool good = zp_sql_column_text(s, column, &text) && strlen(text) < ZP_RECIPE_SIZE;
        if (good)
                strcpy(out, text);
        return good;
}

static bool read_layer(sqlite3_stmt *s, struct zp_layer_record *out) {
        *out = (struct zp_layer_record){ .is_fetched = sqlite3_column_int(s, 8) != 0 };
        return zp_sql_column_digest(s, 0, &out->metadata_digest) && zp_sql_column_u64(s, 1, &out->metadata_size) &&
               read_blob(s, 2, &out->blob_digest, &out->blob_size) && zp_sql_column_digest(s, 4, &out->diff_id) &&
               read_recipe(s, 5, out->recipe) && zp_sql_column_u64(s, 6, &out->tar_size) &&
               zp_sql_column_u64(s, 7, &out->entries);
}

/* Rows of a position, which counts from 0, and a digest or (`others` given) two. */
static int get_list(struct zp_store *store, const char *sql, const struct zp_digest *key, uint16_t max,
                    struct zp_digest *out, struct zp_digest *others, uint16_t *count, const char *table,
                    struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, sql, &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, key);
        for (*count = 0; (r = zp_sql_step(store, s, err)) == 1; ++*count) {
                uint64_t position;
                if (*count == max || !zp_sql_column_u64(s, 0, &position) || position != *count ||
                    !zp_sql_column_digest(s, 1, &out[*count]) ||
                    (others && !zp_sql_column_digest(s, 2, &others[*count])))
                        return zp_sql_bad_row(store, table, err);
        }
        return r;
}

int zp_records_get_layer(struct zp_store *store, const struct zp_digest *metadata_digest,
                         const struct zp_digest *diff_id, struct zp_layer_record *out, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT metadata_digest, metadata_size, blob_digest, blob_size, diff_id, recipe,"
                               " tar_size, entries, fetched"
                               " FROM layers JOIN conversions ON layer = metadata_digest WHERE metadata_digest = ?1"
                               " ORDER BY diff_id IS NOT ?2, fetched, recipe LIMIT 1",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, metadata_digest);
        if (diff_id)
                zp_sql_bind_digest(s, 2, diff_id);
        r = zp_sql_step(store, s, err);
        if (r != 1)
                return r;
        if (!read_layer(s, out))
                return zp_sql_bad_row(store, "layers", err);
        r = get_list(store, "SELECT position, device FROM layer_devices WHERE layer = ? ORDER BY position",
                     metadata_digest, ZP_LIMIT_LAYER_DEVICES, out->devices, NULL, &out->device_count, "layer_devices",
                     err);
        return r < 0 ? r : 1;
}

/* ---- images ---- */

void zp_image_record_clear(struct zp_image_record *record) {
        free(record->manifest_media_type);
        free(record->platform);
        free(record->origin);
        free(record->layers);
        free(record->diff_ids);
        for (char **name = record->names; name && *name; name++)
                free(*name);
        free(record->names);
        *record = (struct zp_image_record){ 0 };
}

bool zp_image_record_has_name(const struct zp_image_record *record, const char *name) {
        for (char **known = record->names; known && *known; known++)
                if (strcmp(*known, name) == 0)
                        return true;
        return false;
}

static int get_image_layers(struct zp_store *store, struct zp_image_record *image, struct zp_error *err) {
        image->layers = calloc(ZP_LIMIT_LAYERS, sizeof *image->layers);
        image->diff_ids = calloc(ZP_LIMIT_LAYERS, sizeof *image->diff_ids);
        if (!image->layers || !image->diff_ids)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        return get_list(store, "SELECT position, layer, diff_id FROM image_layers WHERE image = ? ORDER BY position",
                        &image->manifest_digest, ZP_LIMIT_LAYERS, image->layers, image->diff_ids, &image->layer_count,
                        "image_layers", err);
}

static int get_image_names(struct zp_store *store, struct zp_image_record *image, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, "SELECT name FROM names WHERE manifest_digest = ? ORDER BY name", &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &image->manifest_digest);
        image->names = calloc(1, sizeof *image->names);
        if (!image->names)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        for (size_t count = 0; (r = zp_sql_step(store, s, err)) == 1; count++) {
                char **names = reallocarray(image->names, count + 2, sizeof *names);
                if (!names)
                        return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
                image->names = names;
                names[count] = names[count + 1] = NULL;
                if (!zp_sql_column_text(s, 0, &names[count]))
                        return zp_sql_bad_row(store, "names", err);
        }
        return r;
}

static bool read_image(sqlite3_stmt *s, struct zp_image_record *out) {
        out->created_s = sqlite3_column_int64(s, 7);
        out->is_fetched = sqlite3_column_int(s, 8) != 0;
        return zp_sql_column_digest(s, 0, &out->manifest_digest) &&
               zp_sql_column_text(s, 1, &out->manifest_media_type) && zp_sql_column_text(s, 2, &out->platform) &&
               zp_sql_column_digest(s, 3, &out->metadata_digest) && zp_sql_column_u64(s, 4, &out->metadata_size) &&
               zp_sql_column_digest(s, 5, &out->config_digest) && zp_sql_column_u64(s, 6, &out->image_size) &&
               read_blob(s, 9, &out->blob_digest, &out->blob_size) &&
               (sqlite3_column_type(s, 11) == SQLITE_NULL || zp_sql_column_text(s, 11, &out->origin)) &&
               read_optional_digest(s, 12, &out->artifact_digest, &out->has_artifact_digest);
}

static int get_image_row(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_image_record *out,
                         struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT manifest_digest, manifest_media_type, platform, metadata_digest, metadata_size,"
                               " config_digest, image_size, created_s, fetched, blob_digest, blob_size, origin,"
                               " artifact_digest FROM images WHERE manifest_digest = ?",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, manifest_digest);
        r = zp_sql_step(store, s, err);
        return r == 1 && !read_image(s, out) ? zp_sql_bad_row(store, "images", err) : r;
}

int zp_records_get_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_image_record *out,
                         struct zp_error *err) {
        struct zp_image_record image = { 0 };
        int r = get_image_row(store, manifest_digest, &image, err);
        int more = r == 1 ? get_image_layers(store, &image, err) : 0;
        if (r == 1 && more == 0)
                more = get_image_names(store, &image, err);
        if (r == 1 && more == 0) {
                *out = image;
                return 1;
        }
        zp_image_record_clear(&image);
        return r < 0 ? r : more;
}
