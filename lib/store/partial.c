/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices whose data comes after their index.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/store-internal.h"

#define PARTIAL ZP_STORE_PARTIAL

/* The device's directory. */
static int open_directory(struct zp_store *store, const struct zp_digest *device, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        if (store->mode != ZP_STORE_WRITE)
                return zp_error_set(err, EROFS, "store '%s': opened for reading only", store->path);
        int fd = openat(store->devices_fd, zp_digest_hex(device, hex), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? zp_error_errno(err, errno, "store '%s': 'devices/%s'", store->path, hex) : fd;
}

int zp_store_open_partial(struct zp_store *store, const struct zp_digest *device, struct zp_error *err) {
        zp_autoclose int dir_fd = open_directory(store, device, err);
        if (dir_fd < 0)
                return dir_fd;
        zp_autoclose int fd =
                openat(dir_fd, PARTIAL, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return zp_store_failed(store, PARTIAL, err);
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EBADMSG, "store '%s': '" PARTIAL "' is not a regular file", store->path);
        return zp_steal_fd(&fd);
}

static int record_complete(struct zp_store *store, const struct zp_digest *device, const struct zp_digest *pack_digest,
                           struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, "UPDATE devices SET complete = 1, pack_digest = ?2 WHERE digest = ?1", &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, device);
        zp_sql_bind_digest(s, 2, pack_digest);
        return zp_sql_step(store, s, err);
}

/* A file that is there under a record that does not say so is of no harm, so the rename is not taken back. */
static int complete(struct zp_store *store, const struct zp_digest *device, const struct zp_digest *pack_digest,
                    int dir_fd, struct zp_error *err) {
        struct zp_device_record record;
        struct stat st;
        int r = zp_records_get_device(store, device, &record, err);
        if (r <= 0)
                return r < 0 ? r : zp_error_set(err, ENOENT, "it is no longer in the store");
        if (record.is_complete && fstatat(dir_fd, "device.zst", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            (uint64_t) st.st_size == record.pack_size) /* a build has made it meanwhile: its own directory is here */
                return unlinkat(dir_fd, PARTIAL, 0) < 0 ? zp_store_failed(store, PARTIAL, err) : 0;
        if (fstatat(dir_fd, PARTIAL, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return zp_store_failed(store, PARTIAL, err);
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size != record.pack_size)
                return zp_error_set(err, EINVAL, "store '%s': '" PARTIAL "' has another size than recorded",
                                    store->path);
        if (renameat(dir_fd, PARTIAL, dir_fd, "device.zst") < 0)
                return zp_store_failed(store, "device.zst", err);
        r = zp_sync(dir_fd, "devices", err);
        return r < 0 ? r : record_complete(store, device, pack_digest, err);
}

int zp_store_complete_device(struct zp_store *store, const struct zp_digest *device,
                             const struct zp_digest *pack_digest, struct zp_error *err) {
        zp_autoclose int dir_fd = open_directory(store, device, err);
        zp_autoclose int fd = dir_fd < 0 ? dir_fd : zp_store_open_partial(store, device, err);
        int r = fd < 0 ? fd : zp_sync(fd, PARTIAL, err);
        if (r == 0)
                r = zp_store_begin_write(store, err);
        return r < 0 ? r : zp_store_end(store, complete(store, device, pack_digest, dir_fd, err), NULL, err);
}

/* 1: device.zst is that file; pack_fd negative: there is none. */
static int is_that_pack(struct zp_store *store, int dir_fd, int pack_fd, struct zp_error *err) {
        struct stat here, that;
        bool is_here = fstatat(dir_fd, "device.zst", &here, AT_SYMLINK_NOFOLLOW) == 0;
        if ((!is_here && errno != ENOENT) || (pack_fd >= 0 && fstat(pack_fd, &that) < 0))
                return zp_store_failed(store, "device.zst", err);
        if (!is_here || pack_fd < 0)
                return !is_here && pack_fd < 0;
        return here.st_dev == that.st_dev && here.st_ino == that.st_ino;
}

static int set_aside(struct zp_store *store, const char *sql, const struct zp_digest *device, int pack_fd,
                     struct zp_error *err) {
        zp_autoclose int dir_fd = open_directory(store, device, err);
        int r = dir_fd < 0 ? dir_fd : is_that_pack(store, dir_fd, pack_fd, err);
        if (r <= 0)
                return r;
        r = zp_sql_run_digest(store, sql, device, err);
        if (r == 0 && renameat(dir_fd, "device.zst", dir_fd, PARTIAL) < 0 && errno != ENOENT)
                r = zp_store_failed(store, "device.zst", err);
        return r < 0 ? r : zp_sync(dir_fd, "devices", err);
}

/* A crash in between leaves a file that the record does not say is right, or a record without its file: either is
 * fetched, or made, again. */
static int set_aside_by(struct zp_store *store, const char *sql, const struct zp_digest *device, int pack_fd,
                        struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        return r < 0 ? r : zp_store_end(store, set_aside(store, sql, device, pack_fd, err), NULL, err);
}

int zp_store_set_pack_aside(struct zp_store *store, const struct zp_digest *device, int pack_fd, struct zp_error *err) {
        return set_aside_by(store, "UPDATE devices SET complete = 0 WHERE digest = ?", device, pack_fd, err);
}

int zp_store_give_pack_up(struct zp_store *store, const struct zp_digest *device, int pack_fd, struct zp_error *err) {
        return set_aside_by(store, "UPDATE devices SET complete = 0, pack_digest = NULL WHERE digest = ?", device,
                            pack_fd, err);
}
