/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <string.h>

#include "base/limits.h"
#include "store/store-internal.h"

#define LAYER_COLUMNS                                                                                       \
        "diff_id, tar_size, entries, metadata_digest, metadata_size, index_digest, index_size, pack_size, " \
        "device_size, frame_size, level, fetched"

static bool read_layer(sqlite3_stmt *s, struct zp_layer_record *out) {
        uint64_t frame_size, level;
        bool good = zp_sql_column_digest(s, 0, &out->diff_id) && zp_sql_column_u64(s, 1, &out->tar_size) &&
                    zp_sql_column_u64(s, 2, &out->entries) && zp_sql_column_digest(s, 3, &out->metadata_digest) &&
                    zp_sql_column_u64(s, 4, &out->metadata_size) && zp_sql_column_digest(s, 5, &out->index_digest) &&
                    zp_sql_column_u64(s, 6, &out->index_size) && zp_sql_column_u64(s, 7, &out->pack_size) &&
                    zp_sql_column_u64(s, 8, &out->device_size) && zp_sql_column_u64(s, 9, &frame_size) &&
                    zp_sql_column_u64(s, 10, &level) && frame_size <= UINT32_MAX && level <= INT_MAX;
        if (good) {
                out->frame_size = (uint32_t) frame_size;
                out->level = (int) level;
                out->is_fetched = sqlite3_column_int(s, 11) != 0;
        }
        return good;
}

int zp_records_get_layer(struct zp_store *store, const struct zp_digest *diff_id, struct zp_layer_record *out,
                         struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, "SELECT " LAYER_COLUMNS " FROM layers WHERE diff_id = ?", &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, diff_id);
        r = zp_sql_step(store, s, err);
        if (r == 1 && !read_layer(s, out))
                return zp_sql_bad_row(store, "layers", err);
        return r;
}

void zp_image_record_clear(struct zp_image_record *record) {
        free(record->manifest_media_type);
        free(record->platform);
        free(record->diff_ids);
        for (char **name = record->names; name && *name; name++)
                free(*name);
        free(record->names);
        *record = (struct zp_image_record){ 0 };
}

static int get_image_layers(struct zp_store *store, struct zp_image_record *image, struct zp_error *err) {
        image->diff_ids = calloc(ZP_LIMIT_LAYERS, sizeof *image->diff_ids);
        if (!image->diff_ids)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT position, diff_id FROM image_layers WHERE manifest_digest = ? ORDER BY position",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &image->manifest_digest);
        while ((r = zp_sql_step(store, s, err)) == 1) {
                uint16_t i = image->layer_count;
                uint64_t position;
                if (i == ZP_LIMIT_LAYERS || !zp_sql_column_u64(s, 0, &position) || position != i ||
                    !zp_sql_column_digest(s, 1, &image->diff_ids[i]))
                        return zp_sql_bad_row(store, "image_layers", err);
                image->layer_count++;
        }
        return r;
}

static int get_image_names(struct zp_store *store, struct zp_image_record *image, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
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

static int get_image_row(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_image_record *out,
                         struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT manifest_digest, manifest_media_type, platform, metadata_digest, metadata_size,"
                               " config_digest, image_size, created_s, fetched FROM images WHERE manifest_digest = ?",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, manifest_digest);
        r = zp_sql_step(store, s, err);
        if (r != 1)
                return r;
        out->created_s = sqlite3_column_int64(s, 7);
        out->is_fetched = sqlite3_column_int(s, 8) != 0;
        bool good = zp_sql_column_digest(s, 0, &out->manifest_digest) &&
                    zp_sql_column_text(s, 1, &out->manifest_media_type) && zp_sql_column_text(s, 2, &out->platform) &&
                    zp_sql_column_digest(s, 3, &out->metadata_digest) && zp_sql_column_u64(s, 4, &out->metadata_size) &&
                    zp_sql_column_digest(s, 5, &out->config_digest) && zp_sql_column_u64(s, 6, &out->image_size);
        return good ? 1 : zp_sql_bad_row(store, "images", err);
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

int zp_store_find_layer(struct zp_store *store, const struct zp_digest *diff_id, struct zp_layer_record *out,
                        struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, zp_records_get_layer(store, diff_id, out, err), NULL, err);
}

int zp_store_find_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_image_record *out,
                        struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, zp_records_get_image(store, manifest_digest, out, err), NULL, err);
}

/* The first column of all rows. */
static int get_digests(struct zp_store *store, const char *sql, const struct zp_digest *parameter,
                       struct zp_digest **out, size_t *count, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
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
                        return zp_sql_bad_row(store, "images", err);
        }
        *out = zp_steal(&digests);
        *count = used;
        return r;
}

static int list_images(struct zp_store *store, struct zp_image_record **out, size_t *count, struct zp_error *err) {
        zp_autofree struct zp_digest *digests = NULL;
        size_t total = 0, done = 0;
        int r = get_digests(store, "SELECT manifest_digest FROM images ORDER BY created_s DESC, manifest_digest", NULL,
                            &digests, &total, err);
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
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        zp_autofree struct zp_layer_record *layers = NULL;
        size_t used = 0, capacity = 0;
        int r = zp_sql_prepare(store, "SELECT " LAYER_COLUMNS " FROM layers ORDER BY diff_id", &s, err);
        if (r < 0)
                return r;
        while ((r = zp_sql_step(store, s, err)) == 1) {
                if (used == capacity) {
                        capacity = capacity ? capacity * 2 : 16;
                        struct zp_layer_record *grown = reallocarray(layers, capacity, sizeof *grown);
                        if (!grown)
                                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
                        layers = grown;
                }
                if (!read_layer(s, &layers[used++]))
                        return zp_sql_bad_row(store, "layers", err);
        }
        *out = zp_steal(&layers);
        *count = used;
        return r;
}

int zp_store_list_layers(struct zp_store *store, struct zp_layer_record **out, size_t *count, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, list_layers(store, out, count, err), NULL, err);
}

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
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
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

int zp_records_drop_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_moves *moves,
                          struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        int r = zp_sql_run_digest(store, "DELETE FROM images WHERE manifest_digest = ?", manifest_digest, err);
        return r < 0 ? r : zp_moves_out(store, moves, store->images_fd, zp_digest_hex(manifest_digest, hex), err);
}

int zp_records_drop_images_of(struct zp_store *store, const struct zp_digest *diff_id, struct zp_moves *moves,
                              struct zp_error *err) {
        zp_autofree struct zp_digest *images = NULL;
        size_t count = 0;
        int r = get_digests(store, "SELECT DISTINCT manifest_digest FROM image_layers WHERE diff_id = ?", diff_id,
                            &images, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++)
                r = zp_records_drop_image(store, &images[i], moves, err);
        return r;
}

int zp_records_drop_layer(struct zp_store *store, const struct zp_digest *diff_id, struct zp_moves *moves,
                          struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE], device[ZP_DEVICE_NAME_SIZE];
        int r = zp_records_drop_images_of(store, diff_id, moves, err);
        if (r == 0)
                r = zp_sql_run_digest(store, "DELETE FROM layers WHERE diff_id = ?", diff_id, err);
        if (r == 0)
                r = zp_moves_out(store, moves, store->devices_fd, zp_device_name(diff_id, device), err);
        return r < 0 ? r : zp_moves_out(store, moves, store->layers_fd, zp_digest_hex(diff_id, hex), err);
}
