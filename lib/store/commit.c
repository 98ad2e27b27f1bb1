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
        bool is_optional;
};

static int sync_file(struct zp_staging *staging, const struct expected_file *file, struct zp_error *err) {
        const struct zp_store *store = zp_staging_store(staging);
        int dir_fd = zp_staging_dir_fd(staging);
        zp_autoclose int fd = openat(dir_fd, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 && errno == ENOENT && file->is_optional)
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "store '%s': '%s'", store->path, file->name);
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EINVAL, "store '%s': '%s' is not a regular file", store->path, file->name);
        if (file->size != UNKNOWN_SIZE && (uint64_t) st.st_size != file->size)
                return zp_error_set(err, EINVAL, "store '%s': '%s' has %lld bytes, its record says %llu", store->path,
                                    file->name, (long long) st.st_size, (unsigned long long) file->size);
        return zp_staging_is_synced(staging) ? 0 : zp_sync(fd, file->name, err);
}

static bool is_expected(const struct expected_file *files, size_t count, const char *name) {
        for (size_t i = 0; i < count; i++)
                if (strcmp(files[i].name, name) == 0)
                        return true;
        return false;
}

/* Removes scratch files, so that a device, layer or image has its own files only. */
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
                r = sync_file(staging, &files[i], err);
        if (r == 0 && !zp_staging_is_synced(staging))
                r = zp_sync(dir_fd, "tmp", err);
        return r;
}

static int out_of_range(struct zp_store *store, struct zp_error *err) {
        return zp_error_set(err, EINVAL, "store '%s': a size in the record is out of range", store->path);
}

/* Where a staging directory goes, and the record that belongs to it. */
struct place {
        int dir_fd;
        const char *directory;
        const struct zp_digest *name;
        /* 0, or 1: what is there stays */
        int (*put)(struct zp_store *store, const void *record, struct zp_error *err);
        const void *record;
};

static int install(struct zp_store *store, struct zp_staging *staging, const struct place *place,
                   struct zp_moves *moves, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        int r = place->put(store, place->record, err);
        if (r == 0)
                r = zp_moves_in(store, moves, zp_staging_name(staging), place->dir_fd, zp_digest_hex(place->name, hex),
                                err);
        return r == 0 && !store->is_in_batch ? zp_sync(place->dir_fd, place->directory, err) : r;
}

/* The files have been synced. 1: what is there stays. */
static int commit(struct zp_staging *staging, const struct place *place, struct zp_error *err) {
        struct zp_store *store = zp_staging_store(staging);
        struct zp_moves moves = { 0 };
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        r = install(store, staging, place, &moves, err);
        r = zp_store_end(store, r, &moves, err);
        if (r == 0)
                zp_staging_let_go(staging);
        return r;
}

/* ---- devices ---- */

static int put_device(struct zp_store *store, const void *record, struct zp_error *err) {
        const struct zp_device_record *device = record;
        struct zp_device_record known;
        int found = zp_records_get_device(store, &device->digest, &known, err);
        if (found < 0)
                return found;
        int r = zp_records_put_device(store, device, err);
        return r == 0 && found == 1 && !device->is_complete ? 1 : r;
}

/* Beside the data that is there, or comes: the same index, but perhaps that one was damaged; the map if there is none.
 */
static int put_beside(struct zp_staging *staging, struct zp_store *store, const struct zp_digest *device,
                      struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        int from = zp_staging_dir_fd(staging);
        zp_digest_hex(device, hex);
        zp_autoclose int dir_fd = openat(store->devices_fd, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir_fd < 0 || renameat(from, "device.idx", dir_fd, "device.idx") < 0)
                return zp_store_failed(store, "device.idx", err);
        if (renameat2(from, "device.map", dir_fd, "device.map", RENAME_NOREPLACE) < 0 && errno != ENOENT &&
            errno != EEXIST)
                return zp_store_failed(store, "device.map", err);
        return zp_sync(dir_fd, "devices", err);
}

int zp_staging_commit_device(struct zp_staging *staging, const struct zp_device_record *record, struct zp_error *err) {
        struct zp_store *store = zp_staging_store(staging);
        const struct place place = { store->devices_fd, "devices", &record->digest, put_device, record };
        if (record->index_size > INT64_MAX || record->pack_size > INT64_MAX || record->device_size > INT64_MAX ||
            record->device_size == 0 || record->level < 0)
                return out_of_range(store, err);
        const struct expected_file files[] = { { "device.idx", record->index_size, false },
                                               { "device.map", UNKNOWN_SIZE, true },
                                               { "device.zst", record->pack_size, false } };
        size_t count = sizeof files / sizeof *files - !record->is_complete;
        int r = sync_all(staging, store, files, count, err);
        if (r == 0)
                r = commit(staging, &place, err);
        return r == 1 ? put_beside(staging, store, &record->digest, err) : r;
}

/* ---- layers ---- */

static int put_layer(struct zp_store *store, const void *record, struct zp_error *err) {
        return zp_records_put_layer(store, record, err);
}

int zp_staging_commit_layer(struct zp_staging *staging, const struct zp_layer_record *record, struct zp_error *err) {
        struct zp_store *store = zp_staging_store(staging);
        const struct place place = { store->layers_fd, "layers", &record->metadata_digest, put_layer, record };
        if (record->tar_size > INT64_MAX || record->entries > INT64_MAX || record->metadata_size > INT64_MAX ||
            record->blob_size > INT64_MAX || record->device_count > ZP_LIMIT_LAYER_DEVICES)
                return out_of_range(store, err);
        const struct expected_file file = { "layer.erofs", record->metadata_size, false };
        int r = sync_all(staging, store, &file, 1, err);
        return r < 0 ? r : commit(staging, &place, err);
}

/* ---- images ---- */

static int put_image(struct zp_store *store, const void *record, struct zp_error *err) {
        return zp_records_put_image(store, record, err);
}

static int image_changes(struct zp_store *store, const struct zp_image_record *record, struct zp_error *err) {
        struct zp_image_record old = { 0 };
        int r = zp_store_find_image(store, &record->manifest_digest, &old, err);
        if (r == 1)
                r = !zp_digest_equal(&old.metadata_digest, &record->metadata_digest);
        zp_image_record_clear(&old);
        return r;
}

/* A transaction of its own that says that the directory's content is about to change. */
static int announce_replacement(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        /* the mark must be on the disk before the exchange */
        r = store->is_in_batch
                    ? zp_error_set(err, EINVAL, "store '%s': an image cannot be replaced in a batch", store->path)
                    : 0;
        if (r == 0)
                r = zp_sql_run_digest(store, "UPDATE images SET replacing = 1 WHERE manifest_digest = ?",
                                      manifest_digest, err);
        return zp_store_end(store, r, NULL, err);
}

int zp_staging_commit_image(struct zp_staging *staging, const struct zp_image_record *record, struct zp_error *err) {
        struct zp_store *store = zp_staging_store(staging);
        const struct place place = { store->images_fd, "images", &record->manifest_digest, put_image, record };
        if (record->metadata_size > INT64_MAX || record->image_size > INT64_MAX || record->blob_size > INT64_MAX)
                return out_of_range(store, err);
        if (!record->manifest_media_type || !record->platform || record->layer_count > ZP_LIMIT_LAYERS)
                return zp_error_set(err, EINVAL, "store '%s': an incomplete image record", store->path);
        const struct expected_file files[] = { { "snapshot.erofs", record->metadata_size, false },
                                               { "manifest.json", UNKNOWN_SIZE, false },
                                               { "config.json", UNKNOWN_SIZE, false },
                                               { "prefetch.json", UNKNOWN_SIZE, true },
                                               { "profile", UNKNOWN_SIZE, true } };
        int r = sync_all(staging, store, files, sizeof files / sizeof *files, err);
        if (r == 0)
                r = image_changes(store, record, err);
        if (r == 1)
                r = announce_replacement(store, &record->manifest_digest, err);
        return r < 0 ? r : commit(staging, &place, err);
}
