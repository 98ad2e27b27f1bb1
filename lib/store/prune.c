/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/store-internal.h"

static int mounted(const struct zp_digest *manifest_digest, const char *point, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_error_set(err, EBUSY, "image %s is mounted at '%s'", zp_digest_text(manifest_digest, text), point);
        zp_error_hint(err, "unmount it first: zeropull umount %s", point);
        return -EBUSY;
}

static int remove_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_moves *moves,
                        struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        struct zp_mounts mounts = { 0 };
        int r = zp_sql_run_digest(store, "SELECT 1 FROM images WHERE manifest_digest = ?", manifest_digest, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "image %s is not in the store", zp_digest_text(manifest_digest, text));
        if (r == 1)
                r = zp_mounts_read(store, &mounts, err);
        const char *point = zp_mounts_of_image(&mounts, manifest_digest);
        if (r == 0)
                r = point ? mounted(manifest_digest, point, err)
                          : zp_records_drop_image(store, manifest_digest, moves, err);
        zp_mounts_clear(&mounts);
        return r;
}

int zp_store_remove_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        struct zp_moves moves = { 0 };
        return zp_store_end(store, remove_image(store, manifest_digest, &moves, err), &moves, err);
}

/* `moves` NULL: only counts. */
static int prune_layers(struct zp_store *store, struct zp_moves *moves, struct zp_prune_result *result,
                        struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT diff_id, metadata_size, index_size, pack_size FROM layers"
                               " WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)",
                               &s, err);
        if (r < 0)
                return r;
        while ((r = zp_sql_step(store, s, err)) == 1) {
                struct zp_digest diff_id;
                uint64_t metadata_size, index_size, pack_size;
                if (!zp_sql_column_digest(s, 0, &diff_id) || !zp_sql_column_u64(s, 1, &metadata_size) ||
                    !zp_sql_column_u64(s, 2, &index_size) || !zp_sql_column_u64(s, 3, &pack_size))
                        return zp_sql_bad_row(store, "layers", err);
                result->layers++;
                result->bytes += metadata_size + index_size + pack_size;
                r = moves ? zp_sql_run_digest(store, "DELETE FROM layers WHERE diff_id = ?", &diff_id, err) : 0;
                char hex[ZP_SHA256_HEX_SIZE];
                if (r == 0 && moves)
                        r = zp_moves_out(store, moves, store->layers_fd, zp_digest_hex(&diff_id, hex), err);
                if (r < 0)
                        return r;
        }
        return r;
}

/* 1: the unpacked device of a layer of a mounted image. */
static int device_is_used(struct zp_store *store, const struct zp_mounts *mounts, const char *name,
                          struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        struct zp_digest diff_id;
        const char *point;
        if (strlen(name) != ZP_DEVICE_NAME_SIZE - 1 || strcmp(name + ZP_SHA256_HEX_SIZE - 1, ".raw") != 0)
                return 0;
        snprintf(hex, sizeof hex, "%.64s", name);
        if (!zp_digest_parse_hex(hex, &diff_id))
                return 0;
        return zp_mounts_of_layer(store, mounts, &diff_id, &point, err);
}

static int prune_devices(struct zp_store *store, const struct zp_mounts *mounts, struct zp_moves *moves,
                         struct zp_prune_result *result, struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(store->devices_fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "store '%s': read 'devices'", store->path);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                struct stat st;
                const char *name = entry->d_name;
                if (fstatat(store->devices_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                int r = device_is_used(store, mounts, name, err);
                if (r == 0 && moves)
                        r = zp_moves_out(store, moves, store->devices_fd, name, err);
                else if (r == 1)
                        continue;
                if (r < 0)
                        return r;
                result->devices++;
                result->bytes += (uint64_t) st.st_blocks * 512;
        }
        return 0;
}

static int prune(struct zp_store *store, bool dry_run, struct zp_prune_result *result, struct zp_error *err) {
        struct zp_moves moves = { 0 };
        struct zp_mounts mounts = { 0 };
        int r = dry_run ? zp_store_begin_read(store, err) : zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        r = zp_mounts_read(store, &mounts, err);
        if (r == 0)
                r = prune_layers(store, dry_run ? NULL : &moves, result, err);
        if (r == 0)
                r = prune_devices(store, &mounts, dry_run ? NULL : &moves, result, err);
        zp_mounts_clear(&mounts);
        return zp_store_end(store, r, &moves, err);
}

int zp_store_prune(struct zp_store *store, bool dry_run, struct zp_prune_result *result, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        *result = (struct zp_prune_result){ 0 };
        if (dry_run)
                return prune(store, true, result, err);
        /* A build that goes on uses layers that no image names yet. */
        int r = zp_store_try_lock_all(store, &lock, err);
        if (r == 0) {
                zp_error_set(err, EBUSY, "store '%s': a build or a mount is under way", store->path);
                zp_error_hint(err, "run it again when that has finished");
                return -EBUSY;
        }
        if (r == 1)
                r = zp_store_sweep(store, err);
        return r < 0 ? r : prune(store, false, result, err);
}
