/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "snapshot/snapshot.h"
#include "snapshotter/mounts/mounts-internal.h"

char *snap_base_file(uint64_t id, char name[SNAP_BASE_FILE_SIZE]) {
        snprintf(name, SNAP_BASE_FILE_SIZE, "%" PRIu64 ".erofs", id);
        return name;
}

/* Where it is written before it is whole. */
static char *unfinished(const char *file, char name[SNAP_BASE_FILE_SIZE + 4]) {
        snprintf(name, SNAP_BASE_FILE_SIZE + 4, "%s.new", file);
        return name;
}

bool snap_base_remove(struct snap_mounts *mounts, uint64_t id) {
        char file[SNAP_BASE_FILE_SIZE], temporary[SNAP_BASE_FILE_SIZE + 4];
        bool was_there = unlinkat(mounts->bases_fd, snap_base_file(id, file), 0) == 0;
        unlinkat(mounts->bases_fd, unfinished(file, temporary), 0);
        return was_there;
}

static int merge_into(struct snap_mounts *mounts, const struct zp_image_record *image, uint16_t count, const char *file,
                      const struct zp_cancel *cancel, struct zp_error *err) {
        char temporary[SNAP_BASE_FILE_SIZE + 4];
        struct zp_erofs_result result;
        struct zp_snapshot_layers layers = { .store = mounts->store,
                                             .names = image->layers,
                                             .diff_ids = image->diff_ids,
                                             .count = count,
                                             .cancel = cancel };
        unfinished(file, temporary);
        zp_autoclose int fd =
                openat(mounts->bases_fd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return zp_error_errno(err, errno, "create '%s'", temporary);
        int r = zp_snapshot_write(&layers, ZP_EROFS_DEVICE_TABLE, fd, file, NULL, NULL, &result, err);
        if (r == 0)
                r = zp_sync(fd, file, err);
        if (r == 0 && renameat(mounts->bases_fd, temporary, mounts->bases_fd, file) < 0)
                r = zp_error_errno(err, errno, "rename '%s'", temporary);
        if (r < 0)
                unlinkat(mounts->bases_fd, temporary, 0);
        return r;
}

/* What was merged for a base, or -errno. */
static int open_merged(struct snap_mounts *mounts, uint64_t id) {
        char file[SNAP_BASE_FILE_SIZE];
        int fd = openat(mounts->bases_fd, snap_base_file(id, file), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* Like the snapshot of an image that ends with this layer: layers are merged by path, whoever is above. */
static int first_layers(struct snap_mounts *mounts, const struct snap_base *base, const struct zp_image_record *image,
                        const struct zp_cancel *cancel, char **source, struct zp_error *err) {
        char file[SNAP_BASE_FILE_SIZE];
        snap_base_file(base->id, file);
        *source = zp_format("%s/bases/%s", mounts->root, file);
        if (!*source)
                return zp_error_errno(err, ENOMEM, "mount");
        int fd = open_merged(mounts, base->id);
        if (fd == -ENOENT) {
                int r = merge_into(mounts, image, base->layers, file, cancel, err);
                if (r < 0)
                        return r;
                fd = open_merged(mounts, base->id);
        }
        return fd < 0 ? zp_error_errno(err, -fd, "open 'bases/%s'", file) : fd;
}

int snap_base_metadata_there(struct snap_mounts *mounts, const struct snap_base *base) {
        return base->layers == base->of
                       ? zp_store_open_image_file(mounts->store, &base->manifest_digest, "snapshot.erofs", NULL)
                       : open_merged(mounts, base->id);
}

int snap_base_metadata(struct snap_mounts *mounts, const struct snap_base *base, const struct zp_cancel *cancel,
                       char **source, struct zp_error *err) {
        struct zp_image_record image = { 0 };
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_store_find_image(mounts->store, &base->manifest_digest, &image, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "the store has no snapshot of the image %s",
                                    zp_digest_text(&base->manifest_digest, text));
        if (r < 0)
                return r;
        if (base->layers > image.layer_count) {
                r = zp_error_set(err, EBADMSG, "the image %s has %u layers, not %u",
                                 zp_digest_text(&base->manifest_digest, text), image.layer_count, base->layers);
        } else if (base->layers < image.layer_count) {
                r = first_layers(mounts, base, &image, cancel, source, err);
        } else {
                *source = zp_store_mount_source(mounts->store, &base->manifest_digest);
                r = *source ? zp_store_open_image_file(mounts->store, &base->manifest_digest, "snapshot.erofs", err)
                            : zp_error_errno(err, ENOMEM, "mount");
        }
        zp_image_record_clear(&image);
        return r;
}
