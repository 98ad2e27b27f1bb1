/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/store-internal.h"

char *zp_store_default_path(void) {
        if (geteuid() == 0)
                return strdup("/var/lib/zeropull");
        const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
        char *path = NULL;
        if (data && data[0] == '/')
                return asprintf(&path, "%s/zeropull", data) < 0 ? NULL : path;
        struct passwd entry, *found = NULL;
        char buffer[4096];
        if ((!home || home[0] != '/') && getpwuid_r(geteuid(), &entry, buffer, sizeof buffer, &found) == 0 && found)
                home = found->pw_dir;
        return asprintf(&path, "%s/.local/share/zeropull", home && home[0] == '/' ? home : "") < 0 ? NULL : path;
}

void zp_store_set_patience(struct zp_store *store, unsigned patience_ms) {
        pthread_mutex_lock(&store->mutex);
        sqlite3_busy_timeout(store->db, (int) patience_ms);
        pthread_mutex_unlock(&store->mutex);
}

const char *zp_store_path(const struct zp_store *store) {
        return store->path;
}

void zp_store_hint_owner(const char *path, struct zp_error *err) {
        struct stat st;
        struct passwd entry, *found = NULL;
        char buffer[4096];
        if (stat(path, &st) == 0 && st.st_uid != geteuid() &&
            getpwuid_r(st.st_uid, &entry, buffer, sizeof buffer, &found) == 0)
                zp_error_hint(err, "the store belongs to %s: run this as that user; or --store names another directory",
                              found ? found->pw_name : "another user");
        else
                zp_error_hint(err, "--store names another directory");
}

int zp_store_failed(struct zp_store *store, const char *what, struct zp_error *err) {
        int code = errno;
        zp_error_errno(err, code, "store '%s': %s", store->path, what);
        if (code == EACCES || code == EPERM)
                zp_store_hint_owner(store->path, err);
        if (code == ENOSPC || code == EDQUOT)
                zp_error_hint(err, "free some space on that file system and run the command again");
        return -code;
}

static int open_failed(int code, const char *path, struct zp_error *err) {
        zp_error_errno(err, code, "store '%s'", path);
        if (code == EACCES || code == EPERM)
                zp_store_hint_owner(path, err);
        return -code;
}

static int no_store(const char *path, struct zp_error *err) {
        zp_error_set(err, ENOENT, "no store at '%s'", path);
        zp_error_hint(err, "'zeropull build' makes one; --store names another");
        return -ENOENT;
}

/* The store removes what it does not know from its tmp/, so it must be sure that the directory is its own:
 * one that has the database, or an empty one. */
static int check_ours(struct zp_store *store, struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(store->dir_fd, ".");
        if (!dir)
                return open_failed(errno, store->path, err);
        bool empty = true;
        for (struct dirent *entry; (entry = zp_next_entry(dir));)
                empty &= strcmp(entry->d_name, "lost+found") == 0;
        /* Looked for after the listing: a process that creates the same store creates this first. */
        struct stat st;
        if (fstatat(store->dir_fd, ZP_STORE_DATABASE, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return S_ISREG(st.st_mode) ? 0
                                           : zp_error_set(err, EBADMSG, "store '%s': %s is not a regular file",
                                                          store->path, ZP_STORE_DATABASE);
        if (errno != ENOENT)
                return open_failed(errno, store->path, err);
        if (!store->may_create)
                return no_store(store->path, err);
        if (empty)
                return 0;
        zp_error_set(err, ENOTEMPTY, "'%s' is not a store, and not empty", store->path);
        zp_error_hint(err, "choose an empty or new directory for the store");
        return -ENOTEMPTY;
}

static int open_directory(struct zp_store *store, const char *path, struct zp_error *err) {
        if (store->may_create) {
                struct stat st;
                int r = stat(path, &st) < 0 ? zp_make_directories(path, 0700, err) : 0;
                if (r < 0)
                        return zp_error_wrap(err, "store '%s'", path);
        }
        store->path = realpath(path, NULL);
        if (!store->path)
                return errno == ENOENT ? no_store(path, err) : open_failed(errno, path, err);
        store->dir_fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->dir_fd < 0)
                return open_failed(errno, path, err);
        return check_ours(store, err);
}

static int open_subdirectory(struct zp_store *store, const char *name, int *out, struct zp_error *err) {
        if (store->mode == ZP_STORE_WRITE && mkdirat(store->dir_fd, name, 0755) < 0 && errno != EEXIST)
                return zp_store_failed(store, name, err);
        *out = openat(store->dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *out < 0 ? zp_store_failed(store, name, err) : 0;
}

static int create_lock_file(struct zp_store *store, struct zp_error *err) {
        if (store->mode == ZP_STORE_READ)
                return 0;
        zp_autoclose int fd = openat(store->dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
        return fd < 0 ? zp_store_failed(store, "lock", err) : 0;
}

static int open_all(struct zp_store *store, const char *path, struct zp_error *err) {
        int r = open_directory(store, path, err);
        if (r == 0)
                r = zp_store_open_database(store, err);
        if (r == 0)
                r = open_subdirectory(store, "devices", &store->devices_fd, err);
        if (r == 0)
                r = open_subdirectory(store, "layers", &store->layers_fd, err);
        if (r == 0)
                r = open_subdirectory(store, "images", &store->images_fd, err);
        if (r == 0)
                r = open_subdirectory(store, "unpacked", &store->unpacked_fd, err);
        if (r == 0)
                r = open_subdirectory(store, "tmp", &store->tmp_fd, err);
        if (r == 0)
                r = create_lock_file(store, err);
        if (r == 0 && store->mode == ZP_STORE_WRITE)
                r = zp_store_sweep(store, err);
        return r;
}

int zp_store_open(const char *path, enum zp_store_mode mode, struct zp_store **out, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = calloc(1, sizeof *store);
        if (!store)
                return zp_error_errno(err, ENOMEM, "store '%s'", path);
        store->mode = mode == ZP_STORE_READ ? ZP_STORE_READ : ZP_STORE_WRITE;
        store->may_create = mode == ZP_STORE_CREATE;
        store->dir_fd = store->devices_fd = store->layers_fd = store->images_fd = store->unpacked_fd = store->tmp_fd =
                -1;
        pthread_mutexattr_t recursive;
        pthread_mutexattr_init(&recursive);
        pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(&store->mutex, &recursive);
        pthread_mutexattr_destroy(&recursive);
        int r = open_all(store, path, err);
        if (r < 0)
                return r;
        *out = zp_steal(&store);
        return 0;
}

void zp_store_close(struct zp_store *store) {
        if (!store)
                return;
        zp_sqlite_close(store->db);
        const int fds[] = { store->dir_fd,    store->devices_fd,  store->layers_fd,
                            store->images_fd, store->unpacked_fd, store->tmp_fd };
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        pthread_mutex_destroy(&store->mutex);
        free(store->path);
        free(store);
}

int zp_store_open_file(struct zp_store *store, int dir_fd, const char *directory, const char *file,
                       struct zp_error *err) {
        zp_autoclose int parent = openat(dir_fd, directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (parent < 0)
                return zp_error_errno(err, errno, "store '%s': '%s'", store->path, directory);
        /* O_NONBLOCK: a FIFO must not hold us up. */
        zp_autoclose int fd = openat(parent, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "store '%s': '%s/%s'", store->path, directory, file);
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EBADMSG, "store '%s': '%s/%s' is not a regular file", store->path, directory,
                                    file);
        return zp_steal_fd(&fd);
}

static int open_file_of(struct zp_store *store, int dir_fd, const struct zp_digest *digest, const char *file,
                        struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        if (strchr(file, '/') || file[0] == '.')
                return zp_error_set(err, EINVAL, "store '%s': no file is called '%s'", store->path, file);
        return zp_store_open_file(store, dir_fd, zp_digest_hex(digest, hex), file, err);
}

int zp_store_open_device_file(struct zp_store *store, const struct zp_digest *device, const char *file,
                              struct zp_error *err) {
        return open_file_of(store, store->devices_fd, device, file, err);
}

int zp_store_open_layer_file(struct zp_store *store, const struct zp_digest *metadata_digest, const char *file,
                             struct zp_error *err) {
        return open_file_of(store, store->layers_fd, metadata_digest, file, err);
}

int zp_store_open_image_file(struct zp_store *store, const struct zp_digest *manifest_digest, const char *file,
                             struct zp_error *err) {
        return open_file_of(store, store->images_fd, manifest_digest, file, err);
}
