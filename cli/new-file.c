/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/new-file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"

/* ---- where ---- */

/* The real path of a file that is not there, in a directory that is. malloc'ed; NULL: errno says why. */
static char *real_path_of_new(const char *path) {
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        if (!*name) {
                errno = EISDIR;
                return NULL;
        }
        zp_autofree char *parent = slash ? strndup(path, (size_t) (slash - path + 1)) : strdup(".");
        zp_autofree char *real = parent ? realpath(parent, NULL) : NULL;
        char *out = NULL;
        if (!real)
                return NULL;
        return asprintf(&out, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name) < 0 ? NULL : out;
}

static int resolve(struct cli_new_file *file, const char *path, struct zp_error *err) {
        struct stat st;
        if (stat(path, &st) == 0) {
                file->is_device = S_ISBLK(st.st_mode);
                file->replaces = S_ISREG(st.st_mode);
                if (!file->is_device && !file->replaces)
                        return zp_error_set(err, EEXIST, "'%s' is neither a regular file nor a block device", path);
                file->mode = st.st_mode & 0777;
                file->path = realpath(path, NULL);
        } else if (errno != ENOENT) {
                return zp_error_errno(err, errno, "'%s'", path);
        } else if (lstat(path, &st) == 0) {
                return zp_error_set(err, EEXIST, "'%s' is a symbolic link to nothing", path);
        } else {
                mode_t mask = umask(0);
                umask(mask);
                file->mode = 0666 & ~mask;
                file->path = real_path_of_new(path);
        }
        if (!file->path)
                return zp_error_errno(err, errno, "create '%s'", path);
        file->name = strrchr(file->path, '/') + 1;
        return 0;
}

int cli_new_file_find(struct cli_new_file *file, const char *path, const char *kept_out, struct zp_error *err) {
        *file = (struct cli_new_file){ .dir_fd = -1, .fd = -1 };
        int r = resolve(file, path, err);
        size_t size = kept_out ? strlen(kept_out) : 0;
        if (r < 0)
                return r;
        if (size > 0 && strncmp(file->path, kept_out, size) == 0 && file->path[size] == '/')
                return zp_error_set(err, EINVAL, "'%s' is in the store '%s'", path, kept_out);
        if (file->is_device)
                return 0;
        zp_autofree char *directory = strndup(file->path, (size_t) (file->name - file->path));
        if (!directory)
                return zp_error_errno(err, ENOMEM, "create '%s'", path);
        file->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return file->dir_fd < 0 ? zp_error_errno(err, errno, "create '%s'", path) : 0;
}

/* ---- its temporary name ---- */

/* Of the same target always the same, so that the next attempt finds it. */
static void choose_temporary(struct cli_new_file *file) {
        struct zp_digest digest;
        char hex[ZP_SHA256_HEX_SIZE];
        zp_digest_of(file->name, strlen(file->name), &digest);
        snprintf(file->temporary, sizeof file->temporary, ".zeropull-export-%.16s", zp_digest_hex(&digest, hex));
}

/* Removes what a process that died has left under the temporary name; who lives holds a lock on it. */
static int remove_stale(const struct cli_new_file *file, struct zp_error *err) {
        zp_autoclose int fd =
                openat(file->dir_fd, file->temporary, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
                return zp_error_set(err, EBUSY, "'%s': another process is writing it", file->path);
        if (unlinkat(file->dir_fd, file->temporary, 0) < 0 && errno != ENOENT)
                return zp_error_errno(err, errno, "remove '%s', which was left beside '%s'", file->temporary,
                                      file->path);
        return 0;
}

static bool has_no_tmpfile(int code) {
        return code == EOPNOTSUPP || code == EISDIR || code == ENOENT || code == EINVAL;
}

int cli_new_file_create(struct cli_new_file *file, struct zp_error *err) {
        choose_temporary(file);
        int r = remove_stale(file, err);
        if (r < 0)
                return r;
        file->fd = openat(file->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (file->fd < 0 && has_no_tmpfile(errno)) {
                file->fd =
                        openat(file->dir_fd, file->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
                file->has_temporary = file->fd >= 0;
        }
        /* file systems without locks lose only that others see whether we live */
        if (file->fd >= 0 && flock(file->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
                return zp_error_set(err, EBUSY, "'%s': another process is writing it", file->path);
        if (file->fd < 0 || fchmod(file->fd, file->mode) < 0)
                return zp_error_errno(err, errno, "create '%s'", file->path);
        return 0;
}

/* ---- its own ---- */

/* Links a file that has no name. 1: the name is taken. */
static int link_as(struct cli_new_file *file, const char *name, struct zp_error *err) {
        char self[32];
        snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
        if (linkat(AT_FDCWD, self, file->dir_fd, name, AT_SYMLINK_FOLLOW) == 0)
                return 0;
        return errno == EEXIST ? 1 : zp_error_errno(err, errno, "create '%s'", file->path);
}

/* A name cannot be linked over one that is there: through the temporary one. */
static int give_temporary(struct cli_new_file *file, struct zp_error *err) {
        int r = remove_stale(file, err);
        if (r == 0)
                r = link_as(file, file->temporary, err);
        if (r == 1)
                return zp_error_set(err, EBUSY, "'%s': another process is writing it", file->path);
        file->has_temporary = r == 0;
        return r;
}

int cli_new_file_publish(struct cli_new_file *file, struct zp_error *err) {
        int r = zp_sync(file->fd, file->path, err);
        bool is_named = false;
        if (r == 0 && !file->has_temporary && !file->replaces) {
                r = link_as(file, file->name, err);
                is_named = r == 0;
        }
        if (r >= 0 && !is_named && !file->has_temporary)
                r = give_temporary(file, err);
        if (r < 0)
                return r;
        if (!is_named) {
                if (renameat(file->dir_fd, file->temporary, file->dir_fd, file->name) < 0)
                        return zp_error_errno(err, errno, "rename to '%s'", file->path);
                file->has_temporary = false;
        }
        return zp_sync(file->dir_fd, file->path, err);
}

void cli_new_file_clear(struct cli_new_file *file) {
        if (file->has_temporary)
                unlinkat(file->dir_fd, file->temporary, 0);
        if (file->fd >= 0)
                close(file->fd);
        if (file->dir_fd >= 0)
                close(file->dir_fd);
        free(file->path);
}
