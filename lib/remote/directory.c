/* SPDX-License-Identifier: Apache-2.0
 *
 * `dir:PATH`: a directory on a disk or a shared file system, laid out as paths.h says.
 *
 * Files are written under a name of their own in tmp/, synced, and then linked to their place, so that a reader never
 * meets a part of one, and on NFS nobody's open file is replaced. Their writers hold a lock (flock) on them; what a
 * crash left there is removed by the next writer. Readers need no more than permission to read.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/limits.h"
#include "oci/source-internal.h"
#include "remote/paths.h"

#define PIECE_SIZE (1u << 20)
#define STALE_ATTEMPTS 3
#define BOOT_ID_SIZE 36
#define UNKNOWN_BOOT_ID "00000000-0000-0000-0000-000000000000"
#define TEMPORARY_NAME_SIZE (BOOT_ID_SIZE + 1 + 16 + 1) /* BOOT-ID.RANDOM */
/* Locks of another machine may not be visible; no writer pauses for so long. */
#define ABANDONED_AFTER_S (24 * 3600)

struct directory {
        int fd;
        char *path;
        const struct zp_cancel *cancel;
        char boot_id[BOOT_ID_SIZE +
                     1]; /* tells this machine's writers, since it was started, from others; "": unknown */
};

static void directory_close(void *state) {
        struct directory *directory = state;
        if (directory->fd >= 0)
                close(directory->fd);
        free(directory->path);
        free(directory);
}
ZP_DEFINE_AUTO(struct directory, directory_close);

static void read_boot_id(char id[BOOT_ID_SIZE + 1]) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        bool known = zp_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 100, &text, &size, NULL) == 0 &&
                     strspn(text, "0123456789abcdef-") == BOOT_ID_SIZE;
        snprintf(id, BOOT_ID_SIZE + 1, "%.*s", BOOT_ID_SIZE, known ? text : "");
}

static int directory_open(const char *rest, const struct zp_source_options *options, void **state, char **name,
                          struct zp_error *err) {
        if (!rest[0])
                return zp_error_set(err, EINVAL, "dir: the path is empty");
        zp_auto(directory_close) struct directory *directory = calloc(1, sizeof *directory);
        if (!directory)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        directory->cancel = options->cancel;
        directory->fd = open(rest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        directory->path = directory->fd < 0 ? NULL : realpath(rest, NULL);
        if (!directory->path) {
                int code = errno;
                zp_error_errno(err, code, "open '%s'", rest);
                if (code == ENOENT)
                        zp_error_hint(err, "mount or make the directory first");
                return -code;
        }
        read_boot_id(directory->boot_id);
        *name = zp_format("dir:%s", directory->path);
        if (!*name)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        *state = zp_steal(&directory);
        return 0;
}

/* Others may write here as well: no name leads out of the directory. Gives the fd or a negative errno. */
static int open_beneath(const struct directory *directory, const char *path, uint64_t flags) {
        struct open_how how = {
                .flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY),
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
        };
        int fd = (int) syscall(SYS_openat2, directory->fd, path, &how, sizeof how);
        return fd < 0 ? -errno : fd;
}

static int failed(const struct directory *directory, int code, const char *what, const char *path,
                  struct zp_error *err) {
        return zp_error_errno(err, code, "%s '%s/%s'", what, directory->path, path);
}

/* Opens a directory below ours, and makes it and its parents where they are missing. */
static int make_directory(const struct directory *directory, const char *path, int *out, struct zp_error *err) {
        int fd = open_beneath(directory, path, O_RDONLY | O_DIRECTORY);
        if (fd >= 0) {
                *out = fd;
                return 0;
        }
        if (fd != -ENOENT)
                return failed(directory, -fd, "open", path, err);
        const char *slash = strrchr(path, '/');
        zp_autofree char *parent = slash ? strndup(path, (size_t) (slash - path)) : strdup(".");
        if (!parent)
                return zp_error_errno(err, ENOMEM, "make '%s'", path);
        zp_autoclose int parent_fd = -1;
        int r = make_directory(directory, parent, &parent_fd, err);
        if (r < 0)
                return r;
        if (mkdirat(parent_fd, slash ? slash + 1 : path, 0777) < 0 && errno != EEXIST)
                return failed(directory, errno, "make", path, err);
        r = zp_sync(parent_fd, parent, err);
        if (r < 0)
                return r;
        fd = open_beneath(directory, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return failed(directory, -fd, "open", path, err);
        *out = fd;
        return 0;
}

/* A file that is being written. */
struct temporary {
        int dir_fd, fd;
        char name[TEMPORARY_NAME_SIZE];
};

static void temporary_clear(struct temporary *temporary) {
        if (temporary->fd >= 0) {
                unlinkat(temporary->dir_fd, temporary->name, 0);
                close(temporary->fd);
        }
        if (temporary->dir_fd >= 0)
                close(temporary->dir_fd);
}
#define autotemporary __attribute__((cleanup(temporary_clear)))
#define NO_TEMPORARY ((struct temporary){ .dir_fd = -1, .fd = -1 })

static bool is_temporary_name(const char *name) {
        return strlen(name) == TEMPORARY_NAME_SIZE - 1 && name[BOOT_ID_SIZE] == '.' &&
               strspn(name + BOOT_ID_SIZE + 1, "0123456789abcdef") == 16;
}

static bool is_abandoned(const struct directory *directory, int fd, const char *name, time_t now) {
        struct stat st;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return false;
        bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (!locked && errno == EWOULDBLOCK)
                return false;
        if (locked && directory->boot_id[0] && strncmp(name, directory->boot_id, BOOT_ID_SIZE) == 0)
                return true;
        return now - st.st_mtime > ABANDONED_AFTER_S;
}

/* Removes what crashed writers left. `now` is the file server's time. What cannot be removed (another user's) stays. */
static void remove_abandoned(const struct directory *directory, int tmp_fd, time_t now) {
        int list_fd = openat(tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        zp_autoclosedir DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
        if (!dir) {
                if (list_fd >= 0)
                        close(list_fd);
                return;
        }
        for (struct dirent *entry; (entry = readdir(dir));) {
                if (!is_temporary_name(entry->d_name))
                        continue;
                /* NFS gives an exclusive lock only to those who may write. */
                zp_autoclose int fd = openat(tmp_fd, entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
                if (fd >= 0 && is_abandoned(directory, fd, entry->d_name, now))
                        unlinkat(tmp_fd, entry->d_name, 0);
        }
}

/* Makes one file in tmp/ and locks it, unless another writer takes it for abandoned in between: 0. */
static int try_temporary(struct directory *directory, struct temporary *temporary, struct zp_error *err) {
        uint64_t number;
        while (getrandom(&number, sizeof number, 0) != sizeof number)
                ;
        snprintf(temporary->name, sizeof temporary->name, "%s.%016jx",
                 directory->boot_id[0] ? directory->boot_id : UNKNOWN_BOOT_ID, (uintmax_t) number);
        zp_autoclose int fd =
                openat(temporary->dir_fd, temporary->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        struct stat opened, named;
        if (fd < 0)
                return failed(directory, errno, "create a file in", "tmp", err);
        flock(fd, LOCK_EX); /* a file system without locks has only the age to go by */
        if (fstat(fd, &opened) < 0)
                return failed(directory, errno, "create a file in", "tmp", err);
        if (fstatat(temporary->dir_fd, temporary->name, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
            opened.st_ino != named.st_ino)
                return 0;
        temporary->fd = zp_steal_fd(&fd);
        remove_abandoned(directory, temporary->dir_fd, opened.st_mtime);
        return 1;
}

static int temporary_open(struct directory *directory, struct temporary *temporary, struct zp_error *err) {
        int r = make_directory(directory, "tmp", &temporary->dir_fd, err);
        for (int i = 0; r == 0 && i < 10; i++)
                r = try_temporary(directory, temporary, err);
        return r == 0 ? failed(directory, EAGAIN, "create a file in", "tmp", err) : r < 0 ? r : 0;
}

/* 1: a file of this size is there, 0: there is none, or it is damaged. */
static int has_file(const struct directory *directory, const char *path, uint64_t size, struct zp_error *err) {
        zp_autoclose int fd = open_beneath(directory, path, O_PATH);
        struct stat st;
        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return failed(directory, -fd, "open", path, err);
        if (fstat(fd, &st) < 0)
                return failed(directory, errno, "open", path, err);
        return S_ISREG(st.st_mode) && (uint64_t) st.st_size == size;
}

/* Puts the finished file in its place. An equal one that is there already is left as it is. */
static int place(struct directory *directory, struct temporary *temporary, const char *path, uint64_t size,
                 struct zp_error *err) {
        int r = zp_sync(temporary->fd, path, err);
        if (r < 0)
                return r;
        const char *name = strrchr(path, '/') + 1;
        zp_autofree char *parent = strndup(path, (size_t) (name - 1 - path));
        if (!parent)
                return zp_error_errno(err, ENOMEM, "write '%s'", path);
        zp_autoclose int parent_fd = -1;
        r = make_directory(directory, parent, &parent_fd, err);
        if (r < 0)
                return r;
        if (linkat(temporary->dir_fd, temporary->name, parent_fd, name, 0) < 0) {
                /* It is there, or there are no hard links here. A file server that answers late may report what it
                 * has done before as an error: what counts is what is there. */
                r = has_file(directory, path, size, err);
                if (r == 0 && renameat(temporary->dir_fd, temporary->name, parent_fd, name) < 0) {
                        int code = errno;
                        r = has_file(directory, path, size, err);
                        if (r == 0)
                                r = failed(directory, code, "write", path, err);
                }
                if (r < 0)
                        return r;
        }
        return zp_sync(parent_fd, parent, err);
}

static int copy_piece(struct directory *directory, int fd, const struct zp_remote_growing *blob, uint64_t offset,
                      char *piece, size_t size, struct zp_error *err) {
        int r = zp_check_cancel(directory->cancel, err);
        if (r == 0)
                r = blob->read(blob->context, offset, piece, size, err);
        return r < 0 ? r : zp_write_all(fd, piece, size, directory->path, err);
}

/* Copies the blob as it comes, and checks it at its end. */
static int fill(struct directory *directory, int fd, const struct zp_remote_growing *blob, struct zp_digest *digest,
                uint64_t *size, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        struct zp_digest actual;
        zp_autofree char *piece = malloc(PIECE_SIZE);
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        uint64_t done = 0, available = 0;
        int is_complete = 0;
        if (!piece || !hash)
                return zp_error_errno(err, ENOMEM, "write to '%s'", directory->path);
        while (!is_complete || done < available) {
                if (done >= available) {
                        is_complete = blob->wait(blob->context, done, &available, digest, err);
                        if (is_complete < 0)
                                return is_complete;
                        continue;
                }
                size_t n = (size_t) zp_min_u64(PIECE_SIZE, available - done);
                int r = copy_piece(directory, fd, blob, done, piece, n, err);
                if (r < 0)
                        return r;
                zp_sha256_update(hash, piece, n);
                done += n;
        }
        zp_sha256_finish(hash, &actual);
        if (!zp_digest_equal(&actual, digest) || done != available)
                return zp_error_set(err, EBADMSG, "what should be stored as %s has another digest",
                                    zp_digest_text(digest, text));
        *size = done;
        return 0;
}

/* A blob that is complete, as one that grows. */
struct complete {
        const struct zp_digest *digest;
        uint64_t size;
        zp_remote_read read;
        void *context;
};

static int wait_for_nothing(void *context, uint64_t known, uint64_t *available, struct zp_digest *digest,
                            struct zp_error *err) {
        const struct complete *complete = context;
        (void) known, (void) err;
        *available = complete->size;
        *digest = *complete->digest;
        return 1;
}

static int read_complete(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        const struct complete *complete = context;
        return complete->read(complete->context, offset, buffer, size, err);
}

static int store_file(struct directory *directory, const char *path, const struct zp_digest *digest, uint64_t size,
                      zp_remote_read read_piece, void *context, struct zp_error *err) {
        struct complete complete = { .digest = digest, .size = size, .read = read_piece, .context = context };
        const struct zp_remote_growing blob = { .wait = wait_for_nothing, .read = read_complete, .context = &complete };
        struct zp_digest same;
        int r = has_file(directory, path, size, err);
        if (r != 0)
                return r < 0 ? r : 0;
        autotemporary struct temporary temporary = NO_TEMPORARY;
        r = temporary_open(directory, &temporary, err);
        if (r == 0)
                r = fill(directory, temporary.fd, &blob, &same, &size, err);
        if (r == 0)
                r = place(directory, &temporary, path, size, err);
        return r;
}

static int directory_put_stream(void *state, const struct zp_remote_growing *blob, uint64_t *uploaded_bytes,
                                struct zp_error *err) {
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        struct zp_digest digest;
        autotemporary struct temporary temporary = NO_TEMPORARY;
        int r = temporary_open(state, &temporary, err);
        if (r == 0)
                r = fill(state, temporary.fd, blob, &digest, uploaded_bytes, err);
        if (r == 0)
                r = place(state, &temporary, zp_remote_blob_path(&digest, path), *uploaded_bytes, err);
        return r;
}

static int directory_has_blob(void *state, const struct zp_digest *digest, uint64_t size, struct zp_error *err) {
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        return has_file(state, zp_remote_blob_path(digest, path), size, err);
}

static int directory_put_blob(void *state, const struct zp_digest *digest, uint64_t size, const char *mount_from,
                              zp_remote_read read_piece, void *context, uint64_t *uploaded_bytes,
                              struct zp_error *err) {
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        (void) mount_from;
        int r = store_file(state, zp_remote_blob_path(digest, path), digest, size, read_piece, context, err);
        if (uploaded_bytes)
                *uploaded_bytes = r == 0 ? size : 0;
        return r;
}

static int directory_publish(void *state, const struct zp_descriptor *subject, const char *artifact_type,
                             const char *manifest, size_t size, const struct zp_digest *digest, struct zp_error *err) {
        char blob_path[ZP_REMOTE_BLOB_PATH_SIZE], hex[ZP_SHA256_HEX_SIZE];
        zp_autofree char *folder = NULL;
        int r = zp_remote_referrers_path(&subject->digest, artifact_type, &folder, err);
        if (r < 0)
                return r;
        zp_autofree char *path = zp_format("%s/%s", folder, zp_digest_hex(digest, hex));
        if (!path)
                return zp_error_errno(err, ENOMEM, "publish");
        r = store_file(state, zp_remote_blob_path(digest, blob_path), digest, size, zp_memory_read, (void *) manifest,
                       err);
        if (r == 0)
                r = store_file(state, path, digest, size, zp_memory_read, (void *) manifest, err);
        return r;
}

static int list(const struct directory *directory, const char *path, struct zp_remote_entries *entries,
                struct zp_error *err) {
        int fd = open_beneath(directory, path, O_RDONLY | O_DIRECTORY);
        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return failed(directory, -fd, "open", path, err);
        zp_autoclosedir DIR *dir = fdopendir(fd);
        if (!dir) {
                int code = errno;
                close(fd);
                return failed(directory, code, "list", path, err);
        }
        errno = 0;
        for (struct dirent *entry; (entry = readdir(dir)); errno = 0) {
                struct stat st;
                if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                        continue;
                int64_t time_ms = (int64_t) st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
                int r = zp_remote_entries_add(entries, entry->d_name, (uint64_t) st.st_size, time_ms, err);
                if (r < 0)
                        return zp_error_wrap(err, "'%s/%s'", directory->path, path);
        }
        return errno ? failed(directory, errno, "list", path, err) : 0;
}

static int directory_find(void *state, const struct zp_digest *subject, const char *artifact_type,
                          struct zp_remote_artifact **out, size_t *count, struct zp_error *err) {
        zp_autofree char *folder = NULL;
        struct zp_remote_entries entries = { 0 };
        int r = zp_remote_referrers_path(subject, artifact_type, &folder, err);
        if (r == 0)
                r = list(state, folder, &entries, err);
        if (r == 0)
                r = zp_remote_entries_artifacts(&entries, artifact_type, out, count, err);
        zp_remote_entries_clear(&entries);
        return r;
}

static int open_blob(const struct directory *directory, const struct zp_descriptor *blob, const char *path,
                     struct zp_error *err) {
        zp_autoclose int fd = open_beneath(directory, path, O_RDONLY);
        struct stat st;
        if (fd < 0)
                return failed(directory, -fd, "open", path, err);
        if (fstat(fd, &st) < 0)
                return failed(directory, errno, "open", path, err);
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EBADMSG, "'%s/%s' is not a regular file", directory->path, path);
        if ((uint64_t) st.st_size != blob->size)
                return zp_error_set(err, EBADMSG, "'%s/%s' has %ju bytes, not %ju", directory->path, path,
                                    (uintmax_t) st.st_size, (uintmax_t) blob->size);
        return zp_steal_fd(&fd);
}

/* Counts what the sink has got. */
struct reading {
        const struct directory *directory;
        zp_blob_sink sink;
        void *context;
        uint64_t done;
};

static int pass_on(void *context, const void *data, size_t size, struct zp_error *err) {
        struct reading *reading = context;
        int r = zp_check_cancel(reading->directory->cancel, err);
        if (r == 0)
                r = reading->sink(reading->context, data, size, err);
        if (r == 0)
                reading->done += size;
        return r;
}

static int directory_get_blob(void *state, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                              zp_blob_sink sink, void *context, struct zp_error *err) {
        struct reading reading = { .directory = state, .sink = sink, .context = context };
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        uint64_t end;
        zp_remote_blob_path(&blob->digest, path);
        if (zp_add_overflows(offset, length, &end) || end > blob->size)
                return zp_error_set(err, ERANGE, "read '%s': past its end", path);
        for (int attempt = 1;; attempt++) {
                zp_autoclose int fd = open_blob(state, blob, path, err);
                struct zp_extent rest = { fd, offset + reading.done, length - reading.done };
                int r = fd < 0 ? fd : zp_extent_stream(&rest, path, pass_on, &reading, err);
                /* NFS: another machine has put an equal file in its place. */
                if (r != -ESTALE || attempt == STALE_ATTEMPTS)
                        return r;
        }
}

static int directory_get_manifest(void *state, const struct zp_descriptor *manifest, char **out, size_t *size,
                                  struct zp_error *err) {
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        zp_remote_blob_path(&manifest->digest, path);
        zp_autoclose int fd = open_blob(state, manifest, path, err);
        if (fd < 0)
                return fd;
        struct zp_extent extent = { fd, 0, manifest->size };
        int r = zp_extent_read(&extent, path, ZP_LIMIT_JSON_SIZE, out, err);
        if (r == 0)
                *size = (size_t) manifest->size;
        return r;
}

const struct zp_remote_kind zp_remote_directory = {
        .prefix = "dir:",
        .open = directory_open,
        .close = directory_close,
        .has_blob = directory_has_blob,
        .put_blob = directory_put_blob,
        .put_stream = directory_put_stream,
        .get_blob = directory_get_blob,
        .publish = directory_publish,
        .find = directory_find,
        .get_manifest = directory_get_manifest,
};
