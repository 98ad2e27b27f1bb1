/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts right what processes that died have left: directories in tmp/ that nobody owns, devices, layers and
 * images without a record, records without a directory, and snapshots exchanged under a record that still describes
 * the old one. Runs whenever the store is opened for writing.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/fingerprint.h"
#include "store/store-internal.h"

/* A directory that another user owns, or a broken one, stays; it is in nobody's way. */
static void sweep_tmp(struct zp_store *store) {
        zp_autoclosedir DIR *dir = zp_open_listing(store->tmp_fd, ".");
        for (struct dirent *entry; dir && (entry = zp_next_entry(dir));) {
                zp_autoclose int fd =
                        openat(store->tmp_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                bool is_directory = fd >= 0 || (errno != ENOTDIR && errno != ELOOP);
                if (is_directory && (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0))
                        continue;
                zp_remove_tree(store->tmp_fd, entry->d_name, NULL);
        }
}

struct kind {
        const char *directory; /* also the table */
        int dir_fd;
        const char *all, *one;
        int (*drop)(struct zp_store *store, const struct zp_digest *digest, struct zp_moves *moves,
                    struct zp_error *err);
};

static int drop_without_directory(struct zp_store *store, const struct kind *kind, struct zp_moves *moves,
                                  struct zp_error *err) {
        zp_autofree struct zp_digest *digests = NULL;
        size_t count = 0;
        int r = zp_records_get_digests(store, kind->all, NULL, &digests, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
                struct stat st;
                char hex[ZP_SHA256_HEX_SIZE];
                if (fstatat(kind->dir_fd, zp_digest_hex(&digests[i], hex), &st, AT_SYMLINK_NOFOLLOW) < 0 &&
                    errno == ENOENT)
                        r = kind->drop(store, &digests[i], moves, err);
        }
        return r;
}

/* 1: has a record, 0: has none, or not even the name of one. */
static int has_record(struct zp_store *store, const struct kind *kind, const char *name, struct zp_error *err) {
        struct zp_digest digest;
        if (!zp_digest_parse_hex(name, &digest))
                return 0;
        return zp_sql_run_digest(store, kind->one, &digest, err);
}

static int move_out_orphans(struct zp_store *store, const struct kind *kind, struct zp_moves *moves,
                            struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(kind->dir_fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "store '%s': read '%s'", store->path, kind->directory);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                int r = has_record(store, kind, entry->d_name, err);
                if (r < 0)
                        return r;
                /* One that cannot be moved (another user's) stays: no record leads to it. */
                if (r == 0)
                        (void) zp_moves_out(store, moves, kind->dir_fd, entry->d_name, NULL);
        }
        return 0;
}

/* Does the image's file have the recorded digest? Anything but a clear yes is no. */
static bool content_fits(struct zp_store *store, const struct zp_digest *manifest_digest,
                         const struct zp_digest *expected) {
        static const char file[] = "snapshot.erofs";
        zp_autoclose int fd = zp_store_open_image_file(store, manifest_digest, file, NULL);
        struct zp_digest actual;
        uint64_t size;
        return fd >= 0 && zp_fingerprint(fd, file, &size, &actual, NULL) == 0 && zp_digest_equal(&actual, expected);
}

static int settle_replacement(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_moves *moves,
                              struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        struct zp_image_record image = { 0 };
        int r = zp_store_try_lock(store, manifest_digest, &lock, err);
        if (r == 1)
                r = zp_records_get_image(store, manifest_digest, &image, err);
        if (r != 1)
                return r; /* whoever replaces it is alive */
        bool fits = content_fits(store, manifest_digest, &image.metadata_digest);
        zp_image_record_clear(&image);
        return fits ? zp_sql_run_digest(store, "UPDATE images SET replacing = 0 WHERE manifest_digest = ?",
                                        manifest_digest, err)
                    : zp_records_drop_image(store, manifest_digest, moves, err);
}

static int settle_replacements(struct zp_store *store, struct zp_moves *moves, struct zp_error *err) {
        zp_autofree struct zp_digest *digests = NULL;
        size_t count = 0;
        int r = zp_records_get_digests(store, "SELECT manifest_digest FROM images WHERE replacing != 0", NULL, &digests,
                                       &count, err);
        for (size_t i = 0; r == 0 && i < count; i++)
                r = settle_replacement(store, &digests[i], moves, err);
        return r;
}

/* What others name comes first: whoever names a record that has lost its directory goes with it. */
static int sweep(struct zp_store *store, struct zp_moves *moves, struct zp_error *err) {
        const struct kind kinds[] = {
                { "devices", store->devices_fd, "SELECT digest FROM devices", "SELECT 1 FROM devices WHERE digest = ?",
                  zp_records_drop_device },
                { "layers", store->layers_fd, "SELECT metadata_digest FROM layers",
                  "SELECT 1 FROM layers WHERE metadata_digest = ?", zp_records_drop_layer },
                { "images", store->images_fd, "SELECT manifest_digest FROM images",
                  "SELECT 1 FROM images WHERE manifest_digest = ?", zp_records_drop_image },
        };
        const size_t count = sizeof kinds / sizeof *kinds;
        int r = 0;
        for (size_t i = 0; r == 0 && i < count; i++)
                r = drop_without_directory(store, &kinds[i], moves, err);
        if (r == 0)
                r = settle_replacements(store, moves, err);
        for (size_t i = 0; r == 0 && i < count; i++)
                r = move_out_orphans(store, &kinds[i], moves, err);
        return r;
}

int zp_store_sweep(struct zp_store *store, struct zp_error *err) {
        struct zp_moves moves = { 0 };
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        r = zp_store_end(store, sweep(store, &moves, err), &moves, err);
        if (r == 0)
                sweep_tmp(store);
        return r;
}
