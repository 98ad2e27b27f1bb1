/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share: the store itself, transactions, SQL in a few words, and moves of
 * directories that a failed transaction takes back.
 */
#ifndef ZP_STORE_STORE_INTERNAL_H
#define ZP_STORE_STORE_INTERNAL_H

#include <pthread.h>

#include "base/sqlite.h"
#include "mount/table.h"
#include "store/store.h"

#define ZP_STORE_DATABASE "zeropull.db"
/* Transactions take milliseconds; who has to wait this long waits for a stopped process or a dead disk. */
#define ZP_STORE_BUSY_TIMEOUT_MS 15000

/* Data of a device that is on its way, beside its index. */
#define ZP_STORE_PARTIAL "device.part"

/* Directories moved while a transaction is open. Zeroed is empty. */
struct zp_moves {
        struct zp_move *items;
        size_t count;
        bool owns_new; /* no staging handle is left for what was moved in: an undo removes it */
};

struct zp_store {
        char *path;              /* absolute, without symbolic links */
        enum zp_store_mode mode; /* ZP_STORE_READ or ZP_STORE_WRITE */
        bool may_create;
        int dir_fd, devices_fd, layers_fd, images_fd, unpacked_fd, tmp_fd;
        pthread_mutex_t mutex; /* held from zp_store_begin_… to zp_store_end; recursive, for batches */
        /* guarded by mutex */
        sqlite3 *db;
        bool is_in_batch, has_batch_failed;
        struct zp_moves batch_moves;
};

/* Fills `err` with "store 'path': what: " and the text for errno, with a hint when space is short. */
int zp_store_failed(struct zp_store *store, const char *what, struct zp_error *err);

/* After EACCES or EPERM: a hint when the store is another user's. */
void zp_store_hint_owner(const char *path, struct zp_error *err);

/* schema.c: opens the database and brings a new one to the current schema. */
int zp_store_open_database(struct zp_store *store, struct zp_error *err);

/* sql.c */
/* Fills `err` with what SQLite has to say about `result`, and returns the negative errno that fits. */
int zp_sql_failed(struct zp_store *store, int result, struct zp_error *err);
int zp_sql_prepare(struct zp_store *store, const char *sql, sqlite3_stmt **out, struct zp_error *err);
/* 1: a row, 0: no more rows, negative: error. */
int zp_sql_step(struct zp_store *store, sqlite3_stmt *statement, struct zp_error *err);
/* Runs statements that give no rows. */
int zp_sql_run(struct zp_store *store, const char *sql, struct zp_error *err);
/* Runs a statement whose only parameter is a digest. 1: it gave a row, 0: none. */
int zp_sql_run_digest(struct zp_store *store, const char *sql, const struct zp_digest *digest, struct zp_error *err);
/* The digest must outlive the statement's use. */
void zp_sql_bind_digest(sqlite3_stmt *statement, int parameter, const struct zp_digest *digest);
/* The values of a row are checked like everything from outside; false: not such a value. */
bool zp_sql_column_digest(sqlite3_stmt *statement, int column, struct zp_digest *out);
bool zp_sql_column_u64(sqlite3_stmt *statement, int column, uint64_t *out);
/* malloc'ed. false also when out of memory. */
bool zp_sql_column_text(sqlite3_stmt *statement, int column, char **out);
/* A row that no zeropull wrote: -EBADMSG. */
int zp_sql_bad_row(struct zp_store *store, const char *table, struct zp_error *err);

/* moves.c */
/* Moves dir_fd/name out of the way, into tmp/. Nothing there: success. */
int zp_moves_out(struct zp_store *store, struct zp_moves *moves, int dir_fd, const char *name, struct zp_error *err);
/* Moves tmp/tmp_name to dir_fd/name; what is there takes its place in tmp/. */
int zp_moves_in(struct zp_store *store, struct zp_moves *moves, const char *tmp_name, int dir_fd, const char *name,
                struct zp_error *err);
/* Adds `from`, which is empty then, behind what `moves` has. Out of memory: both are as before. */
int zp_moves_join(struct zp_store *store, struct zp_moves *moves, struct zp_moves *from, struct zp_error *err);
/* Takes all back, last first. */
void zp_moves_undo(struct zp_store *store, struct zp_moves *moves);
/* Removes what was moved into tmp/ (nothing, after an undo) and frees. */
void zp_moves_finish(struct zp_store *store, struct zp_moves *moves);

/* transaction.c. A transaction has the store for itself among the threads of the process; a writing one
 * is also the only one among processes. Short: nothing that waits for anything else may be inside. */
int zp_store_begin_read(struct zp_store *store, struct zp_error *err);
int zp_store_begin_write(struct zp_store *store, struct zp_error *err);
/* Commits when `result` is ≥ 0, else, or when that fails, takes back the moves (may be NULL) and rolls
 * back. Returns `result` or the failure. Inside a batch it is the batch's end that commits, and what fails here makes
 * all of the batch fail. */
int zp_store_end(struct zp_store *store, int result, struct zp_moves *moves, struct zp_error *err);

/* records.c, list.c: inside a transaction. */
int zp_records_get_device(struct zp_store *store, const struct zp_digest *digest, struct zp_device_record *out,
                          struct zp_error *err);
int zp_records_get_layer(struct zp_store *store, const struct zp_digest *metadata_digest,
                         const struct zp_digest *diff_id, struct zp_layer_record *out, struct zp_error *err);
int zp_records_get_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_image_record *out,
                         struct zp_error *err);
/* The first column of all rows; `parameter` may be NULL. *out malloc'ed. */
int zp_records_get_digests(struct zp_store *store, const char *sql, const struct zp_digest *parameter,
                           struct zp_digest **out, size_t *count, struct zp_error *err);

/* write.c: inside a transaction. Recording the same again keeps what zp_staging_commit_… promises. */
int zp_records_put_device(struct zp_store *store, const struct zp_device_record *record, struct zp_error *err);
int zp_records_put_layer(struct zp_store *store, const struct zp_layer_record *record, struct zp_error *err);
int zp_records_put_image(struct zp_store *store, const struct zp_image_record *record, struct zp_error *err);
/* Delete a record, with those that name it, and move the directories out of the way. */
int zp_records_drop_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_moves *moves,
                          struct zp_error *err);
int zp_records_drop_layer(struct zp_store *store, const struct zp_digest *metadata_digest, struct zp_moves *moves,
                          struct zp_error *err);
int zp_records_drop_device(struct zp_store *store, const struct zp_digest *digest, struct zp_moves *moves,
                           struct zp_error *err);
int zp_records_put_name(struct zp_store *store, const char *name, const struct zp_digest *manifest_digest,
                        struct zp_error *err);

/* lock.c */
/* Without waiting. 1: locked, 0: another has it. */
int zp_store_try_lock(struct zp_store *store, const struct zp_digest *key, struct zp_store_lock **out,
                      struct zp_error *err);
/* The lock that nobody can have while anybody holds one on a digest, and the other way round. */
int zp_store_try_lock_all(struct zp_store *store, struct zp_store_lock **out, struct zp_error *err);

/* staging.c */
#define ZP_TMP_NAME_SIZE 33
/* A name for tmp/ that nobody else will think of. */
void zp_tmp_name(char name[ZP_TMP_NAME_SIZE]);
int zp_staging_dir_fd(const struct zp_staging *staging);
const char *zp_staging_name(const struct zp_staging *staging);
bool zp_staging_is_synced(const struct zp_staging *staging);
struct zp_store *zp_staging_store(const struct zp_staging *staging);
/* It has become a device, layer or image: no longer the handle's to remove. */
void zp_staging_let_go(struct zp_staging *staging);

/* sweep.c: what processes that died have left. */
int zp_store_sweep(struct zp_store *store, struct zp_error *err);

/* mounts.c, shown.c: which images of the store are mounted, and which devices besides. Zeroed is empty. */
struct zp_shown {
        struct zp_digest digest; /* an image's manifest's, or a device's */
        const char *point;
};
struct zp_mounts {
        struct zp_shown *items;
        size_t count;
        struct zp_shown *devices; /* of mounts that are not of images of the store */
        size_t device_count;
        struct zp_mount_table *table; /* the points are in it */
};
/* Inside a transaction: whoever mounts confirms with one of his own. To be cleared in any case. */
int zp_mounts_read(struct zp_store *store, struct zp_mounts *out, struct zp_error *err);
/* From a table that stays the caller's. */
int zp_mounts_select(struct zp_store *store, const struct zp_mount_table *table, struct zp_mounts *out,
                     struct zp_error *err);
void zp_mounts_clear(struct zp_mounts *mounts);
/* Where; NULL: nowhere. */
const char *zp_mounts_of_image(const struct zp_mounts *mounts, const struct zp_digest *manifest_digest);
/* 1: the device, or an image with it, is mounted, 0: none is. */
int zp_mounts_of_device(struct zp_store *store, const struct zp_mounts *mounts, const struct zp_digest *device,
                        struct zp_error *err);

/* Of a mount that is no image's of the store: adds the devices of the EROFS in `file`, if it is one of ours, but for
 * those that `store`, another one whose image it is (NULL: none), has itself. */
int zp_mounts_add_devices(struct zp_mounts *mounts, const char *file, const char *store, const char *point,
                          struct zp_error *err);
bool zp_mounts_show_device(const struct zp_mounts *mounts, const struct zp_digest *device);
/* *point: where a device is mounted that no other image of the store has; NULL: nowhere. */
int zp_mounts_of_only(struct zp_store *store, const struct zp_mounts *mounts, const struct zp_digest *manifest_digest,
                      const char **point, struct zp_error *err);

/* "<hex>.raw" */
#define ZP_UNPACKED_NAME_SIZE (ZP_SHA256_HEX_SIZE + 4)
char *zp_unpacked_name(const struct zp_digest *device, char name[ZP_UNPACKED_NAME_SIZE]);

/* Opens a regular file for reading, following no symbolic link. `name` has no '/'. */
int zp_store_open_file(struct zp_store *store, int dir_fd, const char *directory, const char *file,
                       struct zp_error *err);

#endif
