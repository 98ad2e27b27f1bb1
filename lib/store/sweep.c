/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts right what processes that died have left: directories in tmp/ that nobody owns, layers and images
 * without a record, records without a directory, and contents exchanged under a record that still
 * describes the old one. Runs whenever the store is opened for writing.
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
        const char *all, *one, *replacing, *done;
        int (*drop)(struct zp_store *store, const struct zp_digest *digest, struct zp_moves *moves,
                    struct zp_error *err);
        const char *file; /* whose digest the record has */
};

static int drop_without_directory(struct zp_store *store, const struct kind *kind, struct zp_moves *moves,
                                  struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, kind->all, &s, err);
        if (r < 0)
                return r;
        while ((r = zp_sql_step(store, s, err)) == 1) {
                struct zp_digest digest;
                struct stat st;
                char hex[ZP_SHA256_HEX_SIZE];
                if (!zp_sql_column_digest(s, 0, &digest))
                        return zp_sql_bad_row(store, kind->directory, err);
                if (fstatat(kind->dir_fd, zp_digest_hex(&digest, hex), &st, AT_SYMLINK_NOFOLLOW) == 0 ||
                    errno != ENOENT)
                        continue;
                r = kind->drop(store, &digest, moves, err);
                if (r < 0)
                        return r;
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

/* Does the directory's file have the recorded digest? Anything but a clear yes is no. */
static bool content_fits(struct zp_store *store, const struct kind *kind, const struct zp_digest *digest,
                         const char *file, const struct zp_digest *expected) {
        char hex[ZP_SHA256_HEX_SIZE];
        zp_autoclose int fd = zp_store_open_file(store, kind->dir_fd, zp_digest_hex(digest, hex), file, NULL);
        struct zp_digest actual;
        uint64_t size;
        return fd >= 0 && zp_fingerprint(fd, file, &size, &actual, NULL) == 0 && zp_digest_equal(&actual, expected);
}

/* Columns of `kind->replacing`: the digest, and that of `kind->file`. */
static int settle_replacement(struct zp_store *store, const struct kind *kind, sqlite3_stmt *s, struct zp_moves *moves,
                              struct zp_error *err) {
        struct zp_digest digest, expected, other;
        if (!zp_sql_column_digest(s, 0, &digest) || !zp_sql_column_digest(s, 1, &expected) ||
            !zp_sql_column_digest(s, 2, &other))
                return zp_sql_bad_row(store, kind->directory, err);
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = zp_store_try_lock(store, &digest, &lock, err);
        if (r != 1)
                return r; /* whoever replaces it is alive */
        bool fits = content_fits(store, kind, &digest, kind->file, &expected) &&
                    (kind->drop != zp_records_drop_layer || content_fits(store, kind, &digest, "layer.erofs", &other));
        return fits ? zp_sql_run_digest(store, kind->done, &digest, err) : kind->drop(store, &digest, moves, err);
}

static int settle_replacements(struct zp_store *store, const struct kind *kind, struct zp_moves *moves,
                               struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, kind->replacing, &s, err);
        while (r == 0 && (r = zp_sql_step(store, s, err)) == 1)
                r = settle_replacement(store, kind, s, moves, err);
        return r;
}

static int sweep_kind(struct zp_store *store, const struct kind *kind, struct zp_moves *moves, struct zp_error *err) {
        int r = drop_without_directory(store, kind, moves, err);
        if (r == 0)
                r = settle_replacements(store, kind, moves, err);
        if (r == 0)
                r = move_out_orphans(store, kind, moves, err);
        return r;
}

int zp_store_sweep(struct zp_store *store, struct zp_error *err) {
        const struct kind kinds[] = {
                { "layers", store->layers_fd, "SELECT diff_id FROM layers", "SELECT 1 FROM layers WHERE diff_id = ?",
                  "SELECT diff_id, index_digest, metadata_digest FROM layers WHERE replacing != 0",
                  "UPDATE layers SET replacing = 0 WHERE diff_id = ?", zp_records_drop_layer, "device.idx" },
                { "images", store->images_fd, "SELECT manifest_digest FROM images",
                  "SELECT 1 FROM images WHERE manifest_digest = ?",
                  "SELECT manifest_digest, metadata_digest, metadata_digest FROM images WHERE replacing != 0",
                  "UPDATE images SET replacing = 0 WHERE manifest_digest = ?", zp_records_drop_image,
                  "snapshot.erofs" },
        };
        struct zp_moves moves = { 0 };
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        for (size_t i = 0; r == 0 && i < sizeof kinds / sizeof *kinds; i++)
                r = sweep_kind(store, &kinds[i], &moves, err);
        r = zp_store_end(store, r, &moves, err);
        if (r == 0)
                sweep_tmp(store);
        return r;
}
