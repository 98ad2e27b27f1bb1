/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/fresh-root.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

char *snap_fresh_root(const char *root) {
        zp_autofree char *path = strdup(root);
        struct stat st;
        for (char *end = path; end && *end;) {
                end += strspn(end, "/");
                end += strcspn(end, "/");
                char next = *end;
                *end = '\0';
                if (lstat(path, &st) < 0 && errno == ENOENT)
                        return zp_steal(&path);
                *end = next;
        }
        return NULL;
}

void snap_fresh_root_take_back(const char *root, const char *fresh) {
        static const char *const made[] = { "snapshots", "trash" }, *const files[] = { "lock", "reserve" };
        zp_autoclose int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && faccessat(fd, "metadata.db", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return;
        zp_autoclose int lock = fd >= 0 ? openat(fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0)
                return; /* of another one, whose first start came at the same time */
        for (size_t i = 0; fd >= 0 && i < sizeof made / sizeof *made; i++)
                unlinkat(fd, made[i], AT_REMOVEDIR);
        for (size_t i = 0; fd >= 0 && i < sizeof files / sizeof *files; i++)
                unlinkat(fd, files[i], 0);
        zp_autofree char *path = strdup(root);
        for (char *end; path && strlen(path) >= strlen(fresh) && rmdir(path) == 0; *end = '\0')
                if (!(end = strrchr(path, '/')) || end == path)
                        return;
}
