/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/directories.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/trash.h"
#include "snapshotter/control/walk.h"

/* Upper and work directory are in the options of a mount, one page in all, beside the lower directories. */
#define ROOT_PATH_MAX 1000
#define ID_SIZE 21

struct snap_directories {
        char *root;
        int root_fd, snapshots_fd, lock_fd;
        struct snap_trash *trash;
};

static char *id_text(uint64_t id, char text[ID_SIZE]) {
        snprintf(text, ID_SIZE, "%" PRIu64, id);
        return text;
}

/* ---- opening ---- */

int snap_directories_check_path(const char *path, struct zp_error *err) {
        if (strcmp(path, "/") == 0)
                return zp_error_set(err, EINVAL, "root directory '/': it is the root of all; name one for this alone");
        if (strlen(path) > ROOT_PATH_MAX)
                return zp_error_set(err, EINVAL, "root directory '%.100s…': a path of more than %d bytes", path,
                                    ROOT_PATH_MAX);
        /* they separate the options of an overlay, or its directories, or are escapes there */
        if (strpbrk(path, ",:\\\""))
                return zp_error_set(err, EINVAL, "root directory '%s': overlayfs takes no path with , : \\ or \"",
                                    path);
        return 0;
}

static int resolve_root(struct snap_directories *d, const char *root, struct zp_error *err) {
        int r = zp_make_directories(root, 0700, err);
        if (r < 0)
                return r;
        d->root = realpath(root, NULL);
        if (!d->root)
                return zp_error_errno(err, errno, "root directory '%s'", root);
        r = snap_directories_check_path(d->root, err);
        if (r < 0)
                return r;
        d->root_fd = open(d->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return d->root_fd < 0 ? zp_error_errno(err, errno, "root directory '%s'", d->root) : 0;
}

static int take_lock(struct snap_directories *d, struct zp_error *err) {
        d->lock_fd = openat(d->root_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (d->lock_fd < 0)
                return zp_error_errno(err, errno, "root directory '%s': open 'lock'", d->root);
        if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        if (errno != EWOULDBLOCK)
                return zp_error_errno(err, errno, "root directory '%s': lock", d->root);
        return zp_error_set(err, EBUSY, "root directory '%s': another zeropull-snapshotter uses it", d->root);
}

static int open_directory(struct snap_directories *d, const char *name, int *fd, struct zp_error *err) {
        if (mkdirat(d->root_fd, name, 0700) < 0 && errno != EEXIST)
                return zp_error_errno(err, errno, "root directory '%s': create '%s'", d->root, name);
        *fd = openat(d->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *fd < 0 ? zp_error_errno(err, errno, "root directory '%s': open '%s'", d->root, name) : 0;
}

/* overlayfs wants readdir to tell what is a directory (xfs made with ftype=0 does not). */
static int check_entry_types(struct snap_directories *d, struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(d->root_fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "root directory '%s'", d->root);
        for (struct dirent *entry; (entry = zp_next_entry(dir));)
                if (entry->d_type == DT_UNKNOWN) {
                        zp_error_set(err, ENOTSUP,
                                     "root directory '%s': its file system does not tell the types of entries, "
                                     "which overlayfs needs",
                                     d->root);
                        zp_error_hint(err, "an xfs has to be made with ftype=1");
                        return -ENOTSUP;
                }
        return 0;
}

int snap_directories_open(const char *root, struct snap_directories **out, struct zp_error *err) {
        zp_auto(snap_directories_close) struct snap_directories *d = calloc(1, sizeof *d);
        if (!d)
                return zp_error_errno(err, ENOMEM, "root directory '%s'", root);
        d->root_fd = d->snapshots_fd = d->lock_fd = -1;
        int trash_fd = -1;
        int r = resolve_root(d, root, err);
        if (r == 0)
                r = take_lock(d, err);
        if (r == 0)
                r = open_directory(d, "snapshots", &d->snapshots_fd, err);
        if (r == 0)
                r = open_directory(d, "trash", &trash_fd, err);
        if (r == 0)
                r = snap_trash_new(trash_fd, &d->trash, err);
        if (r == 0)
                r = check_entry_types(d, err);
        if (r == 0)
                *out = zp_steal(&d);
        return r;
}

void snap_directories_close(struct snap_directories *d) {
        if (!d)
                return;
        snap_trash_free(d->trash);
        int fds[] = { d->root_fd, d->snapshots_fd, d->lock_fd };
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        free(d->root);
        free(d);
}

const char *snap_directories_root(const struct snap_directories *d) {
        return d->root;
}

/* ---- one snapshot's ---- */

static int make_in(int fd, enum snap_kind kind, struct snap_owner owner) {
        if (mkdirat(fd, "fs", 0755) < 0)
                return -errno;
        /* whatever the umask is */
        if (fchmodat(fd, "fs", 0755, 0) < 0 || fchownat(fd, "fs", owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (kind == SNAP_ACTIVE && mkdirat(fd, "work", 0711) < 0)
                return -errno;
        return 0;
}

int snap_directories_make(struct snap_directories *d, uint64_t id, enum snap_kind kind, struct snap_owner owner,
                          struct zp_error *err) {
        char name[ID_SIZE];
        id_text(id, name);
        int r = mkdirat(d->snapshots_fd, name, 0700) < 0 ? -errno : 0;
        if (r == -EEXIST) { /* of a snapshot that failed, and whose number was given again */
                snap_directories_discard(d, id);
                r = mkdirat(d->snapshots_fd, name, 0700) < 0 ? -errno : 0;
        }
        if (r < 0)
                return zp_error_errno(err, -r, "create 'snapshots/%s'", name);
        zp_autoclose int fd = openat(d->snapshots_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = fd < 0 ? -errno : make_in(fd, kind, owner);
        if (r < 0) {
                snap_directories_discard(d, id);
                return zp_error_errno(err, -r, "create 'snapshots/%s'", name);
        }
        return 0;
}

static char *fs_path(uint64_t id, char path[ID_SIZE + 3]) {
        snprintf(path, ID_SIZE + 3, "%" PRIu64 "/fs", id);
        return path;
}

int snap_directories_owner(struct snap_directories *d, uint64_t id, struct snap_owner *out, struct zp_error *err) {
        char path[ID_SIZE + 3];
        struct stat st;
        if (fstatat(d->snapshots_fd, fs_path(id, path), &st, AT_SYMLINK_NOFOLLOW) < 0)
                return zp_error_errno(err, errno, "'snapshots/%s'", path);
        *out = (struct snap_owner){ st.st_uid, st.st_gid };
        return 0;
}

int snap_directories_usage(struct snap_directories *d, uint64_t id, const struct zp_cancel *cancel,
                           struct snap_usage *out, struct zp_error *err) {
        char path[ID_SIZE + 3];
        return snap_disk_usage(d->snapshots_fd, fs_path(id, path), cancel, out, err);
}

/* ---- the way out ---- */

void snap_directories_discard(struct snap_directories *d, uint64_t id) {
        char name[ID_SIZE];
        struct zp_error err = { 0 };
        if (snap_trash_take(d->trash, d->snapshots_fd, id_text(id, name), &err) < 0)
                snap_log_event(SNAP_LOG_WARN, "cannot discard a snapshot's directory", "id", name, "error", err.message,
                               NULL);
}

/* A name that is an id as this program writes it. */
static bool parse_id(const char *name, uint64_t *id) {
        char text[ID_SIZE];
        errno = 0;
        *id = strtoull(name, NULL, 10);
        return errno == 0 && strcmp(id_text(*id, text), name) == 0;
}

int snap_directories_sweep(struct snap_directories *d, struct snap_metastore *store, struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(d->snapshots_fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "root directory '%s': list 'snapshots'", d->root);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                uint64_t id;
                if (!parse_id(entry->d_name, &id))
                        continue; /* not ours */
                int r = snap_metastore_has_id(store, id, err);
                if (r < 0)
                        return r;
                if (r == 0) {
                        snap_log_event(SNAP_LOG_INFO, "discarding a directory without a snapshot", "id", entry->d_name,
                                       NULL);
                        snap_directories_discard(d, id);
                }
        }
        return 0;
}

int snap_directories_expect_database(const char *root, struct zp_error *err) {
        zp_autofree char *database = zp_format("%s/metadata.db", root);
        zp_autofree char *snapshots = zp_format("%s/snapshots", root);
        struct stat st;
        uint64_t id;
        if (!database || !snapshots)
                return zp_error_errno(err, ENOMEM, "root directory '%s'", root);
        bool is_there = lstat(database, &st) == 0;
        if (is_there ? !S_ISREG(st.st_mode) || st.st_size > 0 : errno != ENOENT)
                return 0; /* whoever opens it finds out */
        zp_autoclosedir DIR *dir = zp_open_listing(AT_FDCWD, snapshots);
        for (struct dirent *entry; dir && (entry = zp_next_entry(dir));)
                if (parse_id(entry->d_name, &id)) {
                        zp_error_set(err, EBADMSG, "'%s' is %s, and '%s' has snapshots", database,
                                     is_there ? "empty" : "not there", snapshots);
                        zp_error_hint(err, "put it back; to begin anew without what containers wrote, move the whole "
                                           "root directory away");
                        return -EBADMSG;
                }
        return 0;
}

int snap_directories_drain(struct snap_directories *d, const struct zp_cancel *cancel, struct zp_error *err) {
        return snap_trash_drain(d->trash, cancel, err);
}
