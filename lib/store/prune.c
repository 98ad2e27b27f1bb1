/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/store-internal.h"

static int mounted(const struct zp_digest *manifest_digest, const char *point, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_error_set(err, EBUSY, "image %s is mounted at '%s'", zp_digest_text(manifest_digest, text), point);
        if (zp_store_is_daemons_point(point))
                zp_error_hint(err, "the node's daemon has mounted it for containers: remove them, and the image from "
                                   "containerd (ctr images rm, crictl rmi)");
        else
                zp_error_hint(err, "unmount it first: zeropull umount %s", point);
        return -EBUSY;
}

/* By whom is not to be seen. */
static int locked(const struct zp_digest *manifest_digest, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_error_set(err, EBUSY, "image %s is being built, pulled or mounted", zp_digest_text(manifest_digest, text));
        zp_error_hint(err, "run it again when that has finished");
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
        const char *point = r == 0 ? zp_mounts_of_image(&mounts, manifest_digest) : NULL;
        if (r == 0 && !point)
                r = zp_mounts_of_only(store, &mounts, manifest_digest, &point, err);
        if (r == 0)
                r = point ? mounted(manifest_digest, point, err)
                          : zp_records_drop_image(store, manifest_digest, moves, err);
        zp_mounts_clear(&mounts);
        return r;
}

int zp_store_remove_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = zp_store_try_lock(store, manifest_digest, &lock, err);
        if (r == 0)
                return locked(manifest_digest, err);
        if (r == 1)
                r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        struct zp_moves moves = { 0 };
        return zp_store_end(store, remove_image(store, manifest_digest, &moves, err), &moves, err);
}

struct kind {
        const char *table;
        int dir_fd;
        const char *unused; /* digests, and bytes */
        const char *drop;
        const struct zp_mounts *mounts; /* devices that are shown there stay; NULL: no devices */
};

/* `moves` NULL: only counts. */
static int prune_records(struct zp_store *store, const struct kind *kind, struct zp_moves *moves, uint64_t *count,
                         uint64_t *bytes, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, kind->unused, &s, err);
        if (r < 0)
                return r;
        while ((r = zp_sql_step(store, s, err)) == 1) {
                struct zp_digest digest;
                uint64_t size;
                char hex[ZP_SHA256_HEX_SIZE];
                if (!zp_sql_column_digest(s, 0, &digest) || !zp_sql_column_u64(s, 1, &size))
                        return zp_sql_bad_row(store, kind->table, err);
                if (kind->mounts && zp_mounts_show_device(kind->mounts, &digest))
                        continue;
                ++*count;
                *bytes += size;
                r = moves ? zp_sql_run_digest(store, kind->drop, &digest, err) : 0;
                if (r == 0 && moves)
                        r = zp_moves_out(store, moves, kind->dir_fd, zp_digest_hex(&digest, hex), err);
                if (r < 0)
                        return r;
        }
        return r;
}

/* Whether a process has it locked: the one that writes it. */
static bool is_being_written(struct zp_store *store, const char *name) {
        zp_autoclose int fd = openat(store->unpacked_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* 1: the unpacked device of a layer of a mounted image, or (".part") what is there of one; or it grows just now. */
static int unpacked_is_used(struct zp_store *store, const struct zp_mounts *mounts, const char *name,
                            struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        struct zp_digest device;
        if (strlen(name) < ZP_SHA256_HEX_SIZE ||
            (strcmp(name + ZP_SHA256_HEX_SIZE - 1, ".raw") != 0 && strcmp(name + ZP_SHA256_HEX_SIZE - 1, ".part") != 0))
                return 0;
        snprintf(hex, sizeof hex, "%.64s", name);
        if (!zp_digest_parse_hex(hex, &device))
                return 0;
        return is_being_written(store, name) ? 1 : zp_mounts_of_device(store, mounts, &device, err);
}

static int prune_unpacked(struct zp_store *store, const struct zp_mounts *mounts, struct zp_moves *moves,
                          struct zp_prune_result *result, struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(store->unpacked_fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "store '%s': read 'unpacked'", store->path);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                struct stat st;
                const char *name = entry->d_name;
                if (fstatat(store->unpacked_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                int r = unpacked_is_used(store, mounts, name, err);
                if (r == 0 && moves)
                        r = zp_moves_out(store, moves, store->unpacked_fd, name, err);
                else if (r == 1)
                        continue;
                if (r < 0)
                        return r;
                result->unpacked++;
                result->bytes += (uint64_t) st.st_blocks * 512;
        }
        return 0;
}

/* What pulls have left of data and not come back for. Under the lock on all nobody writes one; the next pull of that
 * data begins anew. */
static int prune_partial(struct zp_store *store, bool dry_run, struct zp_prune_result *result, struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(store->devices_fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "store '%s': read 'devices'", store->path);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                zp_autoclose int fd =
                        openat(store->devices_fd, entry->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                struct stat st;
                if (fd < 0 || fstatat(fd, ZP_STORE_PARTIAL, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (!dry_run && unlinkat(fd, ZP_STORE_PARTIAL, 0) < 0)
                        return zp_error_errno(err, errno, "store '%s': remove 'devices/%s/" ZP_STORE_PARTIAL "'",
                                              store->path, entry->d_name);
                result->partial++;
                result->bytes += (uint64_t) st.st_blocks * 512;
        }
        return 0;
}

static int prune(struct zp_store *store, bool dry_run, struct zp_prune_result *result, struct zp_error *err) {
        struct zp_mounts mounts = { 0 };
        const struct kind layers = { "layers", store->layers_fd,
                                     "SELECT metadata_digest, metadata_size FROM layers"
                                     " WHERE metadata_digest NOT IN (SELECT layer FROM image_layers)",
                                     "DELETE FROM layers WHERE metadata_digest = ?", NULL };
        /* the same before and after the layers go */
        const struct kind devices = {
                "devices", store->devices_fd,
                "SELECT digest, index_size + iif(complete, pack_size, 0) FROM devices WHERE digest"
                " NOT IN (SELECT device FROM layer_devices JOIN image_layers USING (layer))",
                "DELETE FROM devices WHERE digest = ?", &mounts
        };
        struct zp_moves moves = { 0 };
        int r = dry_run ? zp_store_begin_read(store, err) : zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        struct zp_moves *real = dry_run ? NULL : &moves;
        r = zp_mounts_read(store, &mounts, err);
        if (r == 0)
                r = prune_partial(store, dry_run, result, err);
        if (r == 0)
                r = prune_records(store, &layers, real, &result->layers, &result->bytes, err);
        if (r == 0)
                r = prune_records(store, &devices, real, &result->devices, &result->bytes, err);
        if (r == 0 && !dry_run)
                r = zp_sql_run(store, "DELETE FROM blobs WHERE diff_id NOT IN (SELECT diff_id FROM conversions)", err);
        if (r == 0)
                r = prune_unpacked(store, &mounts, real, result, err);
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
