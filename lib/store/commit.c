/* SPDX-License-Identifier: Apache-2.0
 *
 * A staging directory becomes a layer or an image: its files are synced, then, inside one transaction,
 * it is renamed to its place and recorded.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "store/store-internal.h"

#define UNKNOWN_SIZE UINT64_MAX

struct expected_file {
        const char *name;
        uint64_t size;
};

static int sync_file(struct zp_store *store, int dir_fd, const struct expected_file *file, struct zp_error *err) {
        zp_autoclose int fd = openat(dir_fd, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "store '%s': '%s'", store->path, file->name);
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EINVAL, "store '%s': '%s' is not a regular file", store->path, file->name);
        if (file->size != UNKNOWN_SIZE && (uint64_t) st.st_size != file->size)
                return zp_error_set(err, EINVAL, "store '%s': '%s' has %lld bytes, its record says %llu", store->path,
                                    file->name, (long long) st.st_size, (unsigned long long) file->size);
        return zp_sync(fd, file->name, err);
}

static bool is_expected(const struct expected_file *files, size_t count, const char *name) {
        for (size_t i = 0; i < count; i++)
                if (strcmp(files[i].name, name) == 0)
                        return true;
        return false;
}

/* Removes scratch files, so that a layer or image has its own files only. */
static int remove_others(struct zp_store *store, int dir_fd, const struct expected_file *files, size_t count,
                         struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(dir_fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "store '%s': read a directory in 'tmp'", store->path);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                int r = is_expected(files, count, entry->d_name) ? 0 : zp_remove_tree(dir_fd, entry->d_name, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int sync_all(struct zp_staging *staging, struct zp_store *store, const struct expected_file *files, size_t count,
                    struct zp_error *err) {
        int dir_fd = zp_staging_dir_fd(staging);
        if (store->mode != ZP_STORE_WRITE || dir_fd < 0)
                return zp_error_set(err, EINVAL, "store '%s': nothing to commit", store->path);
        int r = remove_others(store, dir_fd, files, count, err);
        for (size_t i = 0; r == 0 && i < count; i++)
                r = sync_file(store, dir_fd, &files[i], err);
        if (r == 0)
                r = zp_sync(dir_fd, "tmp", err);
        return r;
}

/* A transaction of its own that says that the directory's content is about to change. */
static int announce_replacement(struct zp_store *store, const char *sql, const struct zp_digest *digest,
                                struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        return zp_store_end(store, zp_sql_run_digest(store, sql, digest, err), NULL, err);
}

static int out_of_range(struct zp_store *store, struct zp_error *err) {
        return zp_error_set(err, EINVAL, "store '%s': a size in the record is out of range", store->path);
}

static bool layer_in_range(const struct zp_layer_record *l) {
        return l->tar_size <= INT64_MAX && l->entries <= INT64_MAX && l->metadata_size <= INT64_MAX &&
               l->index_size <= INT64_MAX && l->pack_size <= INT64_MAX && l->device_size <= INT64_MAX && l->level >= 0;
}

static bool same_device(const struct zp_layer_record *a, const struct zp_layer_record *b) {
        return zp_digest_equal(&a->metadata_digest, &b->metadata_digest) && a->metadata_size == b->metadata_size &&
               a->device_size == b->device_size;
}

static bool same_layer(const struct zp_layer_record *a, const struct zp_layer_record *b) {
        return same_device(a, b) && zp_digest_equal(&a->index_digest, &b->index_digest) &&
               a->index_size == b->index_size && a->pack_size == b->pack_size;
}

static int put_layer(struct zp_store *store, const struct zp_layer_record *l, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "INSERT INTO layers (diff_id, tar_size, entries, metadata_digest, metadata_size,"
                               " index_digest, index_size, pack_size, device_size, frame_size, level, fetched)"
                               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
                               " ON CONFLICT (diff_id) DO UPDATE SET (tar_size, entries, metadata_digest,"
                               " metadata_size, index_digest, index_size, pack_size, device_size, frame_size, level,"
                               " fetched, replacing) = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0)",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &l->diff_id);
        sqlite3_bind_int64(s, 2, (sqlite3_int64) l->tar_size);
        sqlite3_bind_int64(s, 3, (sqlite3_int64) l->entries);
        zp_sql_bind_digest(s, 4, &l->metadata_digest);
        sqlite3_bind_int64(s, 5, (sqlite3_int64) l->metadata_size);
        zp_sql_bind_digest(s, 6, &l->index_digest);
        sqlite3_bind_int64(s, 7, (sqlite3_int64) l->index_size);
        sqlite3_bind_int64(s, 8, (sqlite3_int64) l->pack_size);
        sqlite3_bind_int64(s, 9, (sqlite3_int64) l->device_size);
        sqlite3_bind_int64(s, 10, l->frame_size);
        sqlite3_bind_int64(s, 11, l->level);
        sqlite3_bind_int(s, 12, l->is_fetched);
        return zp_sql_step(store, s, err);
}

/* Images hold addresses in the devices of their layers. When a layer gets another device, those that were
 * built on the old one would show wrong bytes: they go, and are quickly built again. */
static int make_way_for_device(struct zp_store *store, const struct zp_layer_record *record, struct zp_moves *moves,
                               struct zp_error *err) {
        struct zp_mounts mounts = { 0 };
        const char *point;
        int r = zp_mounts_read(store, &mounts, err);
        if (r == 0)
                r = zp_mounts_of_layer(store, &mounts, &record->diff_id, &point, err);
        if (r == 1) {
                char text[ZP_DIGEST_TEXT_SIZE];
                r = zp_error_set(err, EBUSY, "layer %s: an image on its present form is mounted at '%s'",
                                 zp_digest_text(&record->diff_id, text), point);
                zp_error_hint(err, "unmount it first: zeropull umount %s", point);
        }
        zp_mounts_clear(&mounts);
        return r < 0 ? r : zp_records_drop_images_of(store, &record->diff_id, moves, err);
}

static int install_layer(struct zp_store *store, struct zp_staging *staging, const struct zp_layer_record *record,
                         struct zp_moves *moves, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE], device[ZP_DEVICE_NAME_SIZE];
        struct zp_layer_record old;
        int found = zp_records_get_layer(store, &record->diff_id, &old, err);
        int r = found < 0 ? found : 0;
        if (found == 1 && !same_device(&old, record))
                r = make_way_for_device(store, record, moves, err);
        if (r == 0)
                r = zp_moves_out(store, moves, store->devices_fd, zp_device_name(&record->diff_id, device), err);
        if (r == 0)
                r = zp_moves_in(store, moves, zp_staging_name(staging), store->layers_fd,
                                zp_digest_hex(&record->diff_id, hex), err);
        if (r == 0)
                r = zp_sync(store->layers_fd, "layers", err);
        return r == 0 ? put_layer(store, record, err) : r;
}

/* 1: what is there has another content than what will be. */
static int layer_changes(struct zp_store *store, const struct zp_layer_record *record, struct zp_error *err) {
        struct zp_layer_record old;
        int r = zp_store_find_layer(store, &record->diff_id, &old, err);
        return r == 1 ? !same_layer(&old, record) : r;
}

int zp_staging_commit_layer(struct zp_staging *staging, const struct zp_layer_record *record, struct zp_error *err) {
        struct zp_store *store = zp_staging_store(staging);
        if (!layer_in_range(record))
                return out_of_range(store, err);
        const struct expected_file files[] = { { "layer.erofs", record->metadata_size },
                                               { "device.zst", record->pack_size },
                                               { "device.idx", record->index_size } };
        int r = sync_all(staging, store, files, sizeof files / sizeof *files, err);
        if (r < 0)
                return r;
        r = layer_changes(store, record, err);
        if (r == 1)
                r = announce_replacement(store, "UPDATE layers SET replacing = 1 WHERE diff_id = ?", &record->diff_id,
                                         err);
        if (r == 0)
                r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        struct zp_moves moves = { 0 };
        r = install_layer(store, staging, record, &moves, err);
        r = zp_store_end(store, r, &moves, err);
        if (r == 0)
                zp_staging_let_go(staging);
        return r;
}

static int put_image_row(struct zp_store *store, const struct zp_image_record *i, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "INSERT INTO images (manifest_digest, manifest_media_type, platform, metadata_digest,"
                               " metadata_size, config_digest, image_size, created_s, fetched)"
                               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                               " ON CONFLICT (manifest_digest) DO UPDATE SET (manifest_media_type, platform,"
                               " metadata_digest, metadata_size, config_digest, image_size, created_s, fetched,"
                               " replacing) = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &i->manifest_digest);
        sqlite3_bind_text(s, 2, i->manifest_media_type, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 3, i->platform, -1, SQLITE_STATIC);
        zp_sql_bind_digest(s, 4, &i->metadata_digest);
        sqlite3_bind_int64(s, 5, (sqlite3_int64) i->metadata_size);
        zp_sql_bind_digest(s, 6, &i->config_digest);
        sqlite3_bind_int64(s, 7, (sqlite3_int64) i->image_size);
        sqlite3_bind_int64(s, 8, i->created_s);
        sqlite3_bind_int(s, 9, i->is_fetched);
        return zp_sql_step(store, s, err);
}

static int put_image_layer(struct zp_store *store, const struct zp_image_record *image, uint16_t position,
                           struct zp_error *err) {
        const struct zp_digest *diff_id = &image->diff_ids[position];
        int r = zp_sql_run_digest(store, "SELECT 1 FROM layers WHERE diff_id = ?", diff_id, err);
        if (r < 0)
                return r;
        if (r == 0) {
                char text[ZP_DIGEST_TEXT_SIZE];
                zp_error_set(err, EAGAIN, "layer %s is no longer in the store", zp_digest_text(diff_id, text));
                zp_error_hint(err, "run the build again");
                return -EAGAIN;
        }
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        r = zp_sql_prepare(store, "INSERT INTO image_layers (manifest_digest, position, diff_id) VALUES (?, ?, ?)", &s,
                           err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, &image->manifest_digest);
        sqlite3_bind_int(s, 2, position);
        zp_sql_bind_digest(s, 3, diff_id);
        return zp_sql_step(store, s, err);
}

static int put_image(struct zp_store *store, const struct zp_image_record *image, struct zp_error *err) {
        int r = put_image_row(store, image, err);
        if (r == 0)
                r = zp_sql_run_digest(store, "DELETE FROM image_layers WHERE manifest_digest = ?",
                                      &image->manifest_digest, err);
        for (uint16_t i = 0; r == 0 && i < image->layer_count; i++)
                r = put_image_layer(store, image, i, err);
        for (char **name = image->names; r == 0 && name && *name; name++)
                r = zp_records_put_name(store, *name, &image->manifest_digest, err);
        return r;
}

static int install_image(struct zp_store *store, struct zp_staging *staging, const struct zp_image_record *record,
                         struct zp_moves *moves, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        int r = put_image(store, record, err);
        if (r == 0)
                r = zp_moves_in(store, moves, zp_staging_name(staging), store->images_fd,
                                zp_digest_hex(&record->manifest_digest, hex), err);
        return r == 0 ? zp_sync(store->images_fd, "images", err) : r;
}

static int image_changes(struct zp_store *store, const struct zp_image_record *record, struct zp_error *err) {
        struct zp_image_record old = { 0 };
        int r = zp_store_find_image(store, &record->manifest_digest, &old, err);
        if (r == 1)
                r = !zp_digest_equal(&old.metadata_digest, &record->metadata_digest);
        zp_image_record_clear(&old);
        return r;
}

int zp_staging_commit_image(struct zp_staging *staging, const struct zp_image_record *record, struct zp_error *err) {
        struct zp_store *store = zp_staging_store(staging);
        if (record->metadata_size > INT64_MAX || record->image_size > INT64_MAX)
                return out_of_range(store, err);
        if (!record->manifest_media_type || !record->platform || record->layer_count > ZP_LIMIT_LAYERS)
                return zp_error_set(err, EINVAL, "store '%s': an incomplete image record", store->path);
        const struct expected_file files[] = { { "snapshot.erofs", record->metadata_size },
                                               { "manifest.json", UNKNOWN_SIZE },
                                               { "config.json", UNKNOWN_SIZE } };
        int r = sync_all(staging, store, files, sizeof files / sizeof *files, err);
        if (r == 0)
                r = image_changes(store, record, err);
        if (r == 1)
                r = announce_replacement(store, "UPDATE images SET replacing = 1 WHERE manifest_digest = ?",
                                         &record->manifest_digest, err);
        if (r == 0)
                r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        struct zp_moves moves = { 0 };
        r = install_image(store, staging, record, &moves, err);
        r = zp_store_end(store, r, &moves, err);
        if (r == 0)
                zp_staging_let_go(staging);
        return r;
}
