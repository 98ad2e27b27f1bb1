/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/mounts/mounts.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "base/buffer.h"
#include "base/condition.h"
#include "base/file.h"
#include "erofs/reader.h"
#include "mount/erofs_mount.h"
#include "snapshotter/control/log.h"
#include "snapshotter/mounts/mounts-internal.h"

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "mounts");
}

static char *point_of(const struct snap_mounts *m, uint64_t id) {
        return zp_format("%s/mounts/%" PRIu64, m->root, id);
}

static int open_directory(const char *root, const char *name, int *fd, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/%s", root, name);
        if (!path)
                return no_memory(err);
        int r = zp_make_directories(path, 0700, err);
        if (r < 0)
                return r;
        *fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *fd < 0 ? zp_error_errno(err, errno, "'%s'", path) : 0;
}

static bool is_mounted(const char *point) {
        struct statfs fs;
        return statfs(point, &fs) == 0 && fs.f_type == EROFS_SUPER_MAGIC_V1;
}

/* Marks a mount that reads plain files only; on what is read-only it means nothing else. */
#define PLAIN_ATTRIBUTE MOUNT_ATTR_NOATIME
#define PLAIN_FLAG ST_NOATIME

static bool is_plain(const char *point) {
        struct statvfs fs;
        return statvfs(point, &fs) == 0 && (fs.f_flag & PLAIN_FLAG);
}

void snap_mounts_detach_served(const char *root) {
        zp_autofree char *mounts = zp_format("%s/mounts", root);
        zp_autoclosedir DIR *dir = mounts ? zp_open_listing(AT_FDCWD, mounts) : NULL;
        for (struct dirent *entry; dir && (entry = zp_next_entry(dir));) {
                zp_autofree char *point = zp_format("%s/%s", mounts, entry->d_name);
                if (!point || !is_mounted(point) || is_plain(point) || zp_unmount(point, true, NULL) < 0)
                        continue;
                snap_log_event(SNAP_LOG_WARN, "detached a mount whose devices are gone", "point", point, NULL);
        }
}

int snap_mounts_open(const char *root, struct zp_store *store, const char *devices, struct snap_mounts **out,
                     struct zp_error *err) {
        zp_auto(snap_mounts_close) struct snap_mounts *m = calloc(1, sizeof *m);
        if (!m)
                return no_memory(err);
        m->mounts_fd = m->bases_fd = -1;
        m->store = store;
        pthread_mutex_init(&m->lock, NULL);
        zp_condition_init(&m->changed);
        m->root = strdup(root);
        m->devices = devices ? strdup(devices) : NULL;
        int r = m->root && !m->devices == !devices ? open_directory(root, "mounts", &m->mounts_fd, err)
                                                   : no_memory(err);
        if (r == 0)
                r = open_directory(root, "bases", &m->bases_fd, err);
        if (r == 0)
                r = zp_pool_new(SNAP_DROPPERS, &m->droppers, err);
        if (r == 0 && devices)
                r = snap_announcer_new(m->devices, &m->announcer, err);
        if (r == 0)
                *out = zp_steal(&m);
        return r;
}

void snap_mounts_close(struct snap_mounts *m) {
        if (!m)
                return;
        snap_announcer_free(m->announcer);
        zp_pool_free(m->droppers);
        zp_cleanup_fd(&m->mounts_fd);
        zp_cleanup_fd(&m->bases_fd);
        pthread_mutex_destroy(&m->lock);
        pthread_cond_destroy(&m->changed);
        free(m->root);
        free(m->devices);
        free(m);
}

static void unmount(const char *point) {
        struct zp_error err = { 0 };
        /* several, when one was mounted over another by a process that did not know of it */
        for (int i = 0; i < 8 && is_mounted(point); i++)
                if (zp_unmount(point, false, &err) < 0 && zp_unmount(point, true, &err) < 0) {
                        snap_log_event(SNAP_LOG_WARN, "cannot unmount", "point", point, "error", err.message, NULL);
                        return;
                }
        if (rmdir(point) < 0 && errno != ENOENT)
                snap_log_event(SNAP_LOG_WARN, "cannot remove a mount point", "point", point, "error",
                               strerrordesc_np(errno), NULL);
}

void snap_base_drop(struct snap_mounts *m, uint64_t id) {
        zp_autofree char *point = point_of(m, id);
        if (!point)
                return; /* the next start sweeps */
        unmount(point);
        snap_base_remove(m, id);
}

/* ---- mounting ---- */

struct devices {
        int *fds;
        unsigned count, plain; /* so many are plain files */
        bool has_missing;
        struct zp_digest missing; /* one that is none */
};

static void close_devices(struct devices *devices) {
        for (unsigned i = 0; i < devices->count; i++)
                close(devices->fds[i]);
        free(devices->fds);
}

static int read_table(int fd, struct zp_erofs_device **table, uint16_t *count, struct zp_error *err) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "metadata");
        void *data = st.st_size > 0 ? mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
        if (data == MAP_FAILED)
                return zp_error_errno(err, st.st_size > 0 ? errno : EBADMSG, "metadata");
        int r = zp_erofs_read_devices(data, (size_t) st.st_size, table, count, err);
        munmap(data, (size_t) st.st_size);
        return r;
}

static int open_device(struct snap_mounts *m, const struct zp_digest *device, bool must_be_plain, struct devices *out,
                       struct zp_error *err) {
        int fd = snap_plain_device(m, device, err);
        if (fd >= 0)
                out->plain++;
        if (fd == -ENOENT) {
                out->missing = *device;
                out->has_missing = true;
        }
        if (fd == -ENOENT && !must_be_plain)
                fd = snap_served_device(m, device, err);
        if (fd >= 0)
                out->fds[out->count++] = fd;
        return fd < 0 ? fd : 0;
}

static int open_devices(struct snap_mounts *m, int meta_fd, bool must_be_plain, struct devices *out,
                        struct zp_error *err) {
        zp_autofree struct zp_erofs_device *table = NULL;
        uint16_t count = 0;
        int r = read_table(meta_fd, &table, &count, err);
        if (r < 0)
                return r;
        out->fds = calloc((size_t) count + 1, sizeof *out->fds);
        if (!out->fds)
                return no_memory(err);
        for (uint16_t i = 0; i < count && r == 0; i++)
                r = open_device(m, &table[i].digest, must_be_plain, out, err);
        return r;
}

/* `replaces`: what is mounted there, by plain files only; -ENOENT: they are not all there. */
static int try_mount(struct snap_mounts *m, const struct snap_base *base, const char *point, bool replaces,
                     const struct zp_cancel *cancel, struct zp_error *err) {
        zp_autofree char *source = NULL;
        struct devices devices = { 0 };
        zp_autoclose int meta_fd = snap_base_metadata(m, base, cancel, &source, err);
        if (meta_fd < 0)
                return meta_fd;
        int r = open_devices(m, meta_fd, replaces, &devices, err);
        if (devices.has_missing)
                snap_note_missing(m, base->id, meta_fd, &devices.missing);
        unsigned attributes = devices.plain == devices.count ? PLAIN_ATTRIBUTE : 0;
        if (r == 0)
                r = (replaces ? zp_erofs_replace : zp_erofs_mount)(meta_fd, devices.fds, devices.count, source, point,
                                                                   attributes, err);
        close_devices(&devices);
        return r;
}

/* What was merged once names the devices that the image's layers had then: fetched again, or of another image that
 * begins with the same layers, it may have others, and nobody has those. */
static int mount_devices(struct snap_mounts *m, const struct snap_base *base, const char *point,
                         const struct zp_cancel *cancel, struct zp_error *err) {
        int r = try_mount(m, base, point, false, cancel, err);
        if (r != -ENODEV || !snap_base_remove(m, base->id))
                return r;
        if (err)
                zp_error_clear(err);
        return try_mount(m, base, point, false, cancel, err);
}

/* From the answer for an image's last layer. */
void snap_mounts_expect(struct snap_mounts *m, const struct snap_base *base) {
        if (base->layers == base->of && m->announcer)
                snap_announcer_expect(m->announcer, &base->manifest_digest);
}

/* Under the image's lock nobody removes it, or its devices, before the mount is to be seen. */
static int mount_base(struct snap_mounts *m, const struct snap_base *base, const char *point,
                      const struct zp_cancel *cancel, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        if (mkdir(point, 0700) < 0 && errno != EEXIST)
                return zp_error_errno(err, errno, "create '%s'", point);
        int r = zp_store_lock(m->store, &base->manifest_digest, cancel, NULL, NULL, &lock, err);
        if (r == 0)
                r = mount_devices(m, base, point, cancel, err);
        if (r == 0 && base->layers == base->of && m->announcer)
                snap_announcer_start(m->announcer, &base->manifest_digest);
        if (r == 0)
                snap_log_event(SNAP_LOG_INFO, "mounted", "image", base->reference, "point", point, NULL);
        return r;
}

/* Once all devices of a mounted base are complete, the next container reads them without the data plane. Those that
 * run go on with the mount they have. */
static void use_plain_files(struct snap_mounts *m, const struct snap_base *base, const char *point,
                            const struct zp_cancel *cancel) {
        struct zp_error err = { 0 };
        pthread_mutex_lock(&m->lock);
        bool keeps_devices = m->keeps_devices;
        pthread_mutex_unlock(&m->lock);
        int r = keeps_devices || snap_misses_device(m, base) ? -ENOENT : try_mount(m, base, point, true, cancel, &err);
        if (r == 0) {
                snap_log_event(SNAP_LOG_INFO, "mounted its plain files", "image", base->reference, "point", point,
                               NULL);
        } else if (r != -ENOENT && r != -ECANCELED) {
                pthread_mutex_lock(&m->lock);
                m->keeps_devices |= r == -EINVAL; /* else the next may have more luck */
                pthread_mutex_unlock(&m->lock);
                snap_log_event(SNAP_LOG_WARN, "complete devices stay with the data plane until they are mounted anew",
                               "image", base->reference, "error", err.message, NULL);
        }
}

bool snap_mounts_has(struct snap_mounts *m, uint64_t base_id) {
        zp_autofree char *point = point_of(m, base_id);
        return point && is_mounted(point);
}

int snap_mounts_ensure(struct snap_mounts *m, const struct snap_base *base, const struct zp_cancel *cancel,
                       struct stat *root_directory, struct zp_error *err) {
        zp_autofree char *point = point_of(m, base->id);
        if (!point)
                return no_memory(err);
        struct snap_base_use *use = snap_use_begin(m, base->id, err);
        if (!use)
                return -ENOMEM;
        int r = 0;
        if (!is_mounted(point))
                r = mount_base(m, base, point, cancel, err);
        else if (!is_plain(point))
                use_plain_files(m, base, point, cancel);
        if (r == 0 && root_directory && stat(point, root_directory) < 0)
                r = zp_error_errno(err, errno, "'%s'", point);
        snap_use_end(m, use);
        return r < 0 ? zp_error_wrap(err, "mount %s", base->reference) : 0;
}

/* ---- the way out ---- */

static int sweep_directory(struct snap_mounts *m, int fd, struct snap_metastore *metastore, struct zp_error *err) {
        zp_autoclosedir DIR *dir = zp_open_listing(fd, ".");
        if (!dir)
                return zp_error_errno(err, errno, "root directory '%s'", m->root);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                uint64_t id = strtoull(entry->d_name, NULL, 10);
                int r = id ? snap_metastore_has_base(metastore, id, err) : 1;
                if (r < 0)
                        return r;
                if (r == 0)
                        snap_mounts_drop(m, id);
        }
        return 0;
}

int snap_mounts_sweep(struct snap_mounts *m, struct snap_metastore *metastore, struct zp_error *err) {
        int r = sweep_directory(m, m->mounts_fd, metastore, err);
        return r < 0 ? r : sweep_directory(m, m->bases_fd, metastore, err);
}
