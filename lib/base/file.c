/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static int write_failed(int code, const char *name, struct zp_error *err) {
        if (code == EFBIG) {
                /* a limit of this process or file system, not one of ours on what comes from outside */
                zp_error_set(err, EDQUOT, "write '%s': the file becomes larger than is allowed here", name);
                zp_error_hint(err, "'ulimit -f' shows the limit of this shell");
                return -EDQUOT;
        }
        zp_error_errno(err, code, "write '%s'", name);
        if (code == ENOSPC || code == EDQUOT)
                zp_error_hint(err, "free some space on that file system and run the command again");
        return -code;
}

int zp_write_all(int fd, const void *data, size_t size, const char *name, struct zp_error *err) {
        const char *next = data;
        while (size > 0) {
                ssize_t n = write(fd, next, size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return write_failed(errno, name, err);
                next += n;
                size -= (size_t) n;
        }
        return 0;
}

int zp_pwrite_all(int fd, const void *data, size_t size, uint64_t offset, const char *name, struct zp_error *err) {
        const char *next = data;
        while (size > 0) {
                ssize_t n = pwrite(fd, next, size, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return write_failed(errno, name, err);
                next += n;
                size -= (size_t) n;
                offset += (uint64_t) n;
        }
        return 0;
}

int zp_pread_all(int fd, void *data, size_t size, uint64_t offset, const char *name, struct zp_error *err) {
        char *next = data;
        while (size > 0) {
                ssize_t n = pread(fd, next, size, (off_t) offset);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return zp_error_errno(err, errno, "read '%s'", name);
                if (n == 0)
                        return zp_error_set(err, ENODATA, "read '%s': the file ends %zu bytes early", name, size);
                next += n;
                size -= (size_t) n;
                offset += (uint64_t) n;
        }
        return 0;
}

int zp_read_file(int dir_fd, const char *path, size_t limit, char **out, size_t *size, struct zp_error *err) {
        zp_autoclose int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return zp_error_errno(err, errno, "open '%s'", path);
        size_t capacity = 4096, used = 0;
        zp_autofree char *buffer = NULL;
        for (;;) {
                char *grown = realloc(buffer, capacity + 1);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "read '%s'", path);
                buffer = grown;
                ssize_t n = read(fd, buffer + used, capacity - used);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return zp_error_errno(err, errno, "read '%s'", path);
                if (n == 0)
                        break;
                used += (size_t) n;
                if (used > limit)
                        return zp_error_set(err, EFBIG, "read '%s': larger than %zu bytes", path, limit);
                if (used == capacity)
                        capacity *= 2;
        }
        buffer[used] = '\0';
        *out = zp_steal(&buffer);
        if (size)
                *size = used;
        return 0;
}

int zp_sync(int fd, const char *name, struct zp_error *err) {
        while (fsync(fd) < 0)
                if (errno != EINTR)
                        return write_failed(errno, name, err);
        return 0;
}

static int sync_parent(int dir_fd, const char *path, struct zp_error *err) {
        const char *slash = strrchr(path, '/');
        zp_autofree char *parent = slash ? strndup(path, slash == path ? 1 : (size_t) (slash - path)) : strdup(".");
        if (!parent)
                return zp_error_errno(err, ENOMEM, "sync '%s'", path);
        zp_autoclose int fd = openat(dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return zp_error_errno(err, errno, "open '%s'", parent);
        return zp_sync(fd, parent, err);
}

int zp_replace_file(int dir_fd, const char *path, const void *data, size_t size, mode_t mode, struct zp_error *err) {
        zp_autofree char *temporary = NULL;
        if (asprintf(&temporary, "%s.%d.new", path, getpid()) < 0) {
                temporary = NULL;
                return zp_error_errno(err, ENOMEM, "write '%s'", path);
        }
        zp_autoclose int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return zp_error_errno(err, errno, "create '%s'", temporary);
        int r = zp_write_all(fd, data, size, path, err);
        if (r == 0)
                r = zp_sync(fd, path, err);
        if (r == 0 && renameat(dir_fd, temporary, dir_fd, path) < 0)
                r = zp_error_errno(err, errno, "rename '%s' to '%s'", temporary, path);
        if (r < 0) {
                unlinkat(dir_fd, temporary, 0);
                return r;
        }
        return sync_parent(dir_fd, path, err);
}

int zp_make_directories(const char *path, mode_t mode, struct zp_error *err) {
        zp_autofree char *copy = strdup(path);
        if (!copy)
                return zp_error_errno(err, ENOMEM, "create directory '%s'", path);
        for (char *p = copy + 1; *copy && *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                if (mkdir(copy, 0755) < 0 && errno != EEXIST)
                        return zp_error_errno(err, errno, "create directory '%s'", copy);
                *p = '/';
        }
        struct stat st;
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
                return zp_error_errno(err, errno, "create directory '%s'", copy);
        if (stat(copy, &st) < 0)
                return zp_error_errno(err, errno, "create directory '%s'", copy);
        if (!S_ISDIR(st.st_mode))
                return zp_error_errno(err, ENOTDIR, "create directory '%s'", copy);
        return 0;
}

DIR *zp_open_listing(int dir_fd, const char *path) {
        int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir && fd >= 0) {
                int code = errno;
                close(fd);
                errno = code;
        }
        return dir;
}

struct dirent *zp_next_entry(DIR *dir) {
        struct dirent *entry;
        do
                entry = readdir(dir);
        while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
        return entry;
}

int zp_remove_tree(int dir_fd, const char *name, struct zp_error *err) {
        if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return zp_error_errno(err, errno, "remove '%s'", name);
        zp_autoclosedir DIR *dir = zp_open_listing(dir_fd, name);
        if (!dir)
                return errno == ENOENT ? 0 : zp_error_errno(err, errno, "remove '%s'", name);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                int r = zp_remove_tree(dirfd(dir), entry->d_name, err);
                if (r < 0)
                        return r;
        }
        if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                return zp_error_errno(err, errno, "remove '%s'", name);
        return 0;
}
