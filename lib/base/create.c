/* SPDX-License-Identifier: Apache-2.0 */
#include "base/create.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

static int open_parent(const char *path, struct zp_error *err) {
        const char *slash = strrchr(path, '/');
        zp_autofree char *parent = slash ? strndup(path, slash == path ? 1 : (size_t) (slash - path)) : strdup(".");
        if (!parent)
                return zp_error_errno(err, ENOMEM, "create '%s'", path);
        int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? zp_error_errno(err, errno, "open '%s'", parent) : fd;
}

static int write_temporary(const char *temporary, const void *data, size_t size, mode_t mode, struct zp_error *err) {
        zp_autoclose int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0)
                return zp_error_errno(err, errno, "create '%s'", temporary);
        int r = zp_write_all(fd, data, size, temporary, err);
        if (r == 0)
                r = zp_sync(fd, temporary, err);
        if (r < 0)
                unlink(temporary);
        return r;
}

int zp_create_file(const char *path, const void *data, size_t size, mode_t mode, struct zp_error *err) {
        zp_autofree char *temporary = zp_format("%s.%d.new", path, getpid());
        if (!temporary)
                return zp_error_errno(err, ENOMEM, "create '%s'", path);
        zp_autoclose int parent = open_parent(path, err);
        if (parent < 0)
                return parent;
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return zp_error_errno(err, EEXIST, "create '%s'", path);
        int r = write_temporary(temporary, data, size, mode, err);
        if (r < 0)
                return r;
        /* unlike rename(2), fails when somebody was faster */
        if (link(temporary, path) < 0)
                r = zp_error_errno(err, errno, "create '%s'", path);
        unlink(temporary);
        return r < 0 ? r : zp_sync(parent, path, err);
}
