/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/data/data-internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/limits.h"

/* An index: its header and an entry of 40 bytes a frame. */
#define INDEX_MAX (64 + (size_t) ZP_LIMIT_PACK_FRAMES * 40)

uint64_t snap_device_id(const struct zp_digest *device) {
        uint64_t id = 0;
        for (int i = 0; i < 8; i++)
                id = id << 8 | device->bytes[i];
        return id;
}

static int open_file(const char *store, const char *directory, const char *hex, const char *file) {
        zp_autofree char *path = zp_format("%s/%s/%s%s", store, directory, hex, file);
        int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
        return fd;
}

/* An unpacked device cannot be compared with its index, which covers what is packed: it is as good as who may write it.
 */
static int open_trusted(const char *preload, const char *hex) {
        zp_autoclose int fd = open_file(preload, "unpacked", hex, ".raw");
        struct stat st;
        bool is_trusted = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
                          !(st.st_mode & (S_IWGRP | S_IWOTH));
        return is_trusted ? zp_steal_fd(&fd) : -1;
}

/* 0 also when it is not there; then files->index is NULL. */
static int read_index(struct snap_files *files, const char *store, const char *hex, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/devices/%s/device.idx", store, hex);
        if (!path)
                return zp_error_errno(err, ENOMEM, "device '%s'", hex);
        int r = zp_read_file(AT_FDCWD, path, INDEX_MAX, &files->index, &files->index_size, err);
        return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

/* The first place that has something has the say. */
static int look_into(struct snap_files *files, const char *store, const char *hex, bool is_preload,
                     struct zp_error *err) {
        if (!files->index) {
                int r = read_index(files, store, hex, err);
                if (r < 0)
                        return r;
        }
        if (files->raw_fd < 0 && is_preload)
                files->raw_fd = open_trusted(store, hex);
        if (files->pack_fd < 0) {
                files->pack_fd = open_file(store, "devices", hex, "/device.zst");
                files->is_pack_at_hand = files->pack_fd >= 0 && is_preload;
        }
        return 0;
}

int snap_files_find(const struct snap_data_options *options, const struct zp_digest *device, struct snap_files *out,
                    struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        struct snap_files files = { .raw_fd = -1, .pack_fd = -1 };
        zp_digest_hex(device, hex);
        int r = look_into(&files, options->store, hex, false, err);
        for (const char *const *preload = options->preloads; r == 0 && preload && *preload; preload++)
                r = look_into(&files, *preload, hex, true, err);
        if (r == 0 && !files.index)
                r = zp_error_set(err, ENOENT, "device '%s': it is in no store", hex);
        if (r < 0) {
                snap_files_clear(&files);
                return r;
        }
        *out = files;
        return 0;
}

void snap_files_clear(struct snap_files *files) {
        free(files->index);
        if (files->raw_fd >= 0)
                close(files->raw_fd);
        if (files->pack_fd >= 0)
                close(files->pack_fd);
        *files = (struct snap_files){ .raw_fd = -1, .pack_fd = -1 };
}

/* 1: found one; -EEXIST: a second one. */
static int resolve_in(const char *store, uint64_t id, bool is_found, struct zp_digest *out) {
        zp_autofree char *path = zp_format("%s/devices", store);
        zp_autoclosedir DIR *directory = path ? zp_open_listing(AT_FDCWD, path) : NULL;
        for (struct dirent *entry; directory && (entry = zp_next_entry(directory));) {
                struct zp_digest digest;
                if (!zp_digest_parse_hex(entry->d_name, &digest) || snap_device_id(&digest) != id)
                        continue;
                if (is_found && !zp_digest_equal(&digest, out))
                        return -EEXIST;
                is_found = true;
                *out = digest;
        }
        return is_found;
}

int snap_files_resolve(const struct snap_data_options *options, uint64_t id, struct zp_digest *out,
                       struct zp_error *err) {
        int r = resolve_in(options->store, id, false, out);
        for (const char *const *preload = options->preloads; r >= 0 && preload && *preload; preload++)
                r = resolve_in(*preload, id, r, out);
        if (r > 0)
                return 0;
        return zp_error_set(err, r < 0 ? EEXIST : ENOENT, "device %016llx…: %s", (unsigned long long) id,
                            r < 0 ? "two digests begin so" : "it is in no store");
}
