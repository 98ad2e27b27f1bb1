/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding and listing records.
 */
#include <string.h>

#include "store/store-internal.h"

int zp_store_find_device(struct zp_store *store, const struct zp_digest *digest, struct zp_device_record *out,
                         struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, zp_records_get_device(store, digest, out, err), NULL, err);
}

int zp_store_find_layer(struct zp_store *store, const struct zp_digest *metadata_digest,
                        const struct zp_digest *diff_id, struct zp_layer_record *out, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r
                     : zp_store_end(store, zp_records_get_layer(store, metadata_digest, diff_id, out, err), NULL, err);
}

int zp_store_find_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_image_record *out,
                        struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, zp_records_get_image(store, manifest_digest, out, err), NULL, err);
}

/* As zp_device_is_lost() says. */
#define LOST_DEVICE_OF                                                \
        "SELECT 1 FROM layer_devices JOIN devices ON digest = device" \
        " WHERE complete = 0 AND fetched = 0 AND pack_digest IS NULL AND layer = "

int zp_store_layer_is_lost(struct zp_store *store, const struct zp_digest *metadata_digest, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r
                     : zp_store_end(store, zp_sql_run_digest(store, LOST_DEVICE_OF "? LIMIT 1", metadata_digest, err),
                                    NULL, err);
}

/* The first of a layer's devices is its own, unless all of its data lies in devices of its base: those are in its
 * recipe, and need not be here, nor be packed like this. */
static int find_built_layer(struct zp_store *store, const struct zp_digest *diff_id, const char *recipe,
                            uint32_t frame_size, int level, struct zp_layer_record *out, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        struct zp_digest found;
        int r = zp_sql_prepare(store,
                               "SELECT c.layer FROM conversions AS c"
                               " LEFT JOIN layer_devices AS d ON d.layer = c.layer AND d.position = 0"
                               " LEFT JOIN devices AS v ON v.digest = d.device"
                               " WHERE c.diff_id = ? AND c.recipe = ? AND c.fetched = 0"
                               " AND (v.digest IS NULL OR instr(c.recipe, lower(hex(v.digest))) > 0 OR (v.frame_size = "
                               "? AND v.level = ? AND v.complete != 0)) AND NOT EXISTS (" LOST_DEVICE_OF "c.layer)"
                               " ORDER BY c.layer",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, diff_id);
        sqlite3_bind_text(s, 2, recipe, -1, SQLITE_STATIC);
        sqlite3_bind_int64(s, 3, frame_size);
        sqlite3_bind_int(s, 4, level);
        r = zp_sql_step(store, s, err);
        if (r != 1)
                return r;
        return zp_sql_column_digest(s, 0, &found) ? zp_records_get_layer(store, &found, diff_id, out, err)
                                                  : zp_sql_bad_row(store, "conversions", err);
}

int zp_store_find_built_layer(struct zp_store *store, const struct zp_digest *diff_id, const char *recipe,
                              uint32_t frame_size, int level, struct zp_layer_record *out, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r
                     : zp_store_end(store, find_built_layer(store, diff_id, recipe, frame_size, level, out, err), NULL,
                                    err);
}

int zp_records_get_digests(struct zp_store *store, const char *sql, const struct zp_digest *parameter,
                           struct zp_digest **out, size_t *count, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        zp_autofree struct zp_digest *digests = NULL;
        size_t used = 0, capacity = 0;
        int r = zp_sql_prepare(store, sql, &s, err);
        if (r < 0)
                return r;
        if (parameter)
                zp_sql_bind_digest(s, 1, parameter);
        while ((r = zp_sql_step(store, s, err)) == 1) {
                if (used == capacity) {
                        capacity = capacity ? capacity * 2 : 16;
                        struct zp_digest *grown = reallocarray(digests, capacity, sizeof *grown);
                        if (!grown)
                                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
                        digests = grown;
                }
                if (!zp_sql_column_digest(s, 0, &digests[used++]))
                        return zp_sql_bad_row(store, "a digest", err);
        }
        *out = zp_steal(&digests);
        *count = used;
        return r;
}

static int list_images(struct zp_store *store, struct zp_image_record **out, size_t *count, struct zp_error *err) {
        zp_autofree struct zp_digest *digests = NULL;
        size_t total = 0, done = 0;
        int r = zp_records_get_digests(store,
                                       "SELECT manifest_digest FROM images ORDER BY created_s DESC, manifest_digest",
                                       NULL, &digests, &total, err);
        if (r < 0)
                return r;
        struct zp_image_record *images = calloc(total + 1, sizeof *images);
        if (!images)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        while (r >= 0 && done < total)
                if ((r = zp_records_get_image(store, &digests[done], &images[done], err)) >= 0)
                        done++;
        if (r >= 0) {
                *out = images;
                *count = total;
                return 0;
        }
        while (done-- > 0)
                zp_image_record_clear(&images[done]);
        free(images);
        return r;
}

int zp_store_list_images(struct zp_store *store, struct zp_image_record **out, size_t *count, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, list_images(store, out, count, err), NULL, err);
}

static int list_layers(struct zp_store *store, struct zp_layer_record **out, size_t *count, struct zp_error *err) {
        zp_autofree struct zp_digest *digests = NULL;
        size_t total = 0;
        int r = zp_records_get_digests(store, "SELECT metadata_digest FROM layers ORDER BY metadata_digest", NULL,
                                       &digests, &total, err);
        if (r < 0)
                return r;
        zp_autofree struct zp_layer_record *layers = calloc(total + 1, sizeof *layers);
        if (!layers)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        for (size_t i = 0; r >= 0 && i < total; i++)
                r = zp_records_get_layer(store, &digests[i], NULL, &layers[i], err);
        if (r < 0)
                return r;
        *out = zp_steal(&layers);
        *count = total;
        return 0;
}

int zp_store_list_layers(struct zp_store *store, struct zp_layer_record **out, size_t *count, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, list_layers(store, out, count, err), NULL, err);
}

static int list_devices(struct zp_store *store, const char *sql, const struct zp_digest *image,
                        struct zp_device_record **out, size_t *count, struct zp_error *err) {
        zp_autofree struct zp_digest *digests = NULL;
        size_t total = 0;
        int r = zp_records_get_digests(store, sql, image, &digests, &total, err);
        if (r < 0)
                return r;
        zp_autofree struct zp_device_record *devices = calloc(total + 1, sizeof *devices);
        if (!devices)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        for (size_t i = 0; r >= 0 && i < total; i++)
                r = zp_records_get_device(store, &digests[i], &devices[i], err);
        if (r < 0)
                return r;
        *out = zp_steal(&devices);
        *count = total;
        return 0;
}

int zp_store_list_devices(struct zp_store *store, struct zp_device_record **out, size_t *count, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r
                     : zp_store_end(
                               store,
                               list_devices(store, "SELECT digest FROM devices ORDER BY digest", NULL, out, count, err),
                               NULL, err);
}

int zp_store_list_devices_of(struct zp_store *store, const struct zp_digest *manifest_digest,
                             struct zp_device_record **out, size_t *count, struct zp_error *err) {
        static const char sql[] = "SELECT device FROM image_layers JOIN layer_devices USING (layer) WHERE image = ?"
                                  " GROUP BY device ORDER BY min(image_layers.position), min(layer_devices.position)";
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, list_devices(store, sql, manifest_digest, out, count, err), NULL, err);
}
