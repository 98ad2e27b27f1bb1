/* SPDX-License-Identifier: Apache-2.0
 *
 * A staging directory is locked (flock) by its owner; sweepers remove those that are not. Between its
 * mkdir and its lock a sweeper may take it: then the owner, who looks once it has the lock, tries again.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/limits.h"
#include "store/store-internal.h"

#define ATTEMPTS 100

struct zp_staging {
        struct zp_store *store;
        int dir_fd;
        char name[ZP_TMP_NAME_SIZE];
        atomic_bool is_synced; /* no file was made or written since; several threads may fill it */
};

bool zp_staging_is_synced(const struct zp_staging *staging) {
        return atomic_load(&staging->is_synced);
}

void zp_tmp_name(char name[ZP_TMP_NAME_SIZE]) {
        uint8_t random[(ZP_TMP_NAME_SIZE - 1) / 2];
        while (getrandom(random, sizeof random, 0) != (ssize_t) sizeof random)
                ;
        for (size_t i = 0; i < sizeof random; i++)
                snprintf(name + 2 * i, 3, "%02x", random[i]);
}

int zp_staging_dir_fd(const struct zp_staging *staging) {
        return staging->dir_fd;
}

const char *zp_staging_name(const struct zp_staging *staging) {
        return staging->name;
}

struct zp_store *zp_staging_store(const struct zp_staging *staging) {
        return staging->store;
}

char *zp_staging_path(const struct zp_staging *staging) {
        return zp_format("%s/tmp/%s", staging->store->path, staging->name);
}

void zp_staging_let_go(struct zp_staging *staging) {
        close(staging->dir_fd);
        staging->dir_fd = -1;
        staging->name[0] = '\0';
}

/* 1: ours, 0: a sweeper was faster. */
static int claim(struct zp_staging *staging, struct zp_error *err) {
        struct zp_store *store = staging->store;
        zp_autoclose int fd = openat(store->tmp_fd, staging->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : zp_store_failed(store, "open a directory in 'tmp'", err);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? 0 : zp_store_failed(store, "lock a directory in 'tmp'", err);
        struct stat opened, named;
        if (fstat(fd, &opened) < 0)
                return zp_store_failed(store, "read a directory in 'tmp'", err);
        if (fstatat(store->tmp_fd, staging->name, &named, AT_SYMLINK_NOFOLLOW) < 0 || opened.st_ino != named.st_ino)
                return 0;
        staging->dir_fd = zp_steal_fd(&fd);
        return 1;
}

int zp_staging_new(struct zp_store *store, struct zp_staging **out, struct zp_error *err) {
        if (store->mode != ZP_STORE_WRITE)
                return zp_error_set(err, EROFS, "store '%s': opened for reading only", store->path);
        zp_autofree struct zp_staging *staging = calloc(1, sizeof *staging);
        if (!staging)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        staging->store = store;
        staging->dir_fd = -1;
        for (int i = 0; i < ATTEMPTS; i++) {
                zp_tmp_name(staging->name);
                if (mkdirat(store->tmp_fd, staging->name, 0755) < 0)
                        return zp_store_failed(store, "create a directory in 'tmp'", err);
                int r = claim(staging, err);
                if (r < 0) {
                        unlinkat(store->tmp_fd, staging->name, AT_REMOVEDIR);
                        return r;
                }
                if (r == 1) {
                        *out = zp_steal(&staging);
                        return 0;
                }
        }
        return zp_error_set(err, EAGAIN, "store '%s': new directories in 'tmp' vanish at once", store->path);
}

static int begin_to_write(int fd, const char *name, struct zp_error *err) {
        (void) name, (void) err;
        (void) sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        return 0;
}

static int for_each_file(struct zp_staging *staging, int (*call)(int fd, const char *name, struct zp_error *err),
                         struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(staging->dir_fd, ".");
        if (!dir)
                return zp_store_failed(staging->store, "read a directory in 'tmp'", err);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                zp_autoclose int fd = openat(staging->dir_fd, entry->d_name,
                                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
                int r = fd < 0 ? zp_store_failed(staging->store, entry->d_name, err) : call(fd, entry->d_name, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What is on its way for all of them needs one commit of the file system's journal, not one each. */
int zp_staging_sync(struct zp_staging *staging, struct zp_error *err) {
        atomic_store(&staging->is_synced, true);
        int r = for_each_file(staging, begin_to_write, err);
        if (r == 0)
                r = for_each_file(staging, zp_sync, err);
        return r < 0 ? r : zp_sync(staging->dir_fd, "tmp", err);
}

void zp_staging_free(struct zp_staging *staging) {
        if (!staging)
                return;
        /* What cannot be removed is left to the next sweep. */
        if (staging->name[0])
                zp_remove_tree(staging->store->tmp_fd, staging->name, NULL);
        if (staging->dir_fd >= 0)
                close(staging->dir_fd);
        free(staging);
}

int zp_staging_create(struct zp_staging *staging, const char *file, struct zp_error *err) {
        if (strchr(file, '/') || file[0] == '.' || !file[0])
                return zp_error_set(err, EINVAL, "store: no file may be called '%s'", file);
        atomic_store(&staging->is_synced, false);
        int fd = openat(staging->dir_fd, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd >= 0)
                return fd;
        return zp_store_failed(staging->store, file, err);
}

int zp_staging_write(struct zp_staging *staging, const char *file, const void *data, size_t size,
                     struct zp_error *err) {
        zp_autoclose int fd = zp_staging_create(staging, file, err);
        int r = fd < 0 ? fd : zp_write_all(fd, data, size, file, err);
        /* another thread's sync may have come between */
        atomic_store(&staging->is_synced, false);
        return r;
}
