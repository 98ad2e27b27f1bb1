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
#include "pack/index.h"

/* An index: its header and an entry of 40 bytes a frame. */
#define INDEX_MAX (64 + (size_t) ZP_LIMIT_PACK_FRAMES * 40)
/* No file has it. */
#define UNKNOWN_SIZE UINT64_MAX

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
static int open_trusted(const char *preload, const char *hex, uint64_t *size) {
        zp_autoclose int fd = open_file(preload, "unpacked", hex, ".raw");
        struct stat st;
        bool is_trusted = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
                          !(st.st_mode & (S_IWGRP | S_IWOTH));
        *size = is_trusted ? (uint64_t) st.st_size : 0;
        return is_trusted ? zp_steal_fd(&fd) : -1;
}

/* 0 also when it is not there; then files->index is NULL. */
static int read_index(struct snap_files *files, const char *store, const char *hex, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/devices/%s/device.idx", store, hex);
        struct zp_pack_index index;
        if (!path)
                return zp_error_errno(err, ENOMEM, "device '%s'", hex);
        int r = zp_read_file(AT_FDCWD, path, INDEX_MAX, &files->index, &files->index_size, err);
        if (r < 0)
                return r == -ENOENT || r == -ENOTDIR ? 0 : r;
        if (zp_pack_index_parse(files->index, files->index_size, NULL, hex, &index, NULL) == 0)
                files->device_size = index.device_size;
        return 0;
}

/* ---- in preloads ---- */

struct file_look {
        struct snap_look look;   /* first: what is asked and freed */
        struct snap_files files; /* what this one has of what others lack */
        char hex[ZP_SHA256_HEX_SIZE];
        bool has_index, has_raw, has_pack; /* others have it */
        bool is_raw_odd;                   /* it has one of another size */
        int result;
        struct zp_error err;
};

/* What was not copied to its end reads short, and who has a file system on it takes that for zeros. It is closed here:
 * that can hang as well. One whose index is not known yet is passed over. */
static void find_unpacked(struct file_look *wanted, const char *preload) {
        struct snap_files *files = &wanted->files;
        uint64_t size;
        zp_autoclose int fd = open_trusted(preload, wanted->hex, &size);
        wanted->is_raw_odd = fd >= 0 && files->device_size != UNKNOWN_SIZE && size != files->device_size;
        if (fd >= 0 && size == files->device_size)
                files->raw_fd = zp_steal_fd(&fd);
}

static void look_for_files(struct snap_look *look, const char *path) {
        struct file_look *wanted = (struct file_look *) look;
        struct snap_files *files = &wanted->files;
        wanted->result = wanted->has_index ? 0 : read_index(files, path, wanted->hex, &wanted->err);
        if (wanted->result < 0)
                return;
        if (!wanted->has_raw)
                find_unpacked(wanted, path);
        if (!wanted->has_pack)
                files->pack_fd = open_file(path, "devices", wanted->hex, "/device.zst");
}

static void free_file_look(struct snap_look *look) {
        struct file_look *files = (struct file_look *) look;
        snap_files_clear(&files->files);
        free(files);
}

/* The first place that has something has the say: the others were not asked for it. */
static void take_from(struct snap_files *files, struct snap_files *found, const char *preload,
                      struct zp_pool *readers) {
        if (found->index) {
                files->index = zp_steal(&found->index);
                files->index_size = found->index_size;
                files->device_size = found->device_size;
        }
        if (found->raw_fd >= 0) {
                files->raw_fd = zp_steal_fd(&found->raw_fd);
                files->raw_readers = readers;
        }
        if (found->pack_fd >= 0) {
                files->pack_fd = zp_steal_fd(&found->pack_fd);
                files->is_pack_at_hand = true;
                files->pack_readers = readers;
                files->pack_store = preload;
        }
}

static void tell_of_odd_size(const struct snap_data *data, const char *hex, size_t number) {
        zp_autofree char *line =
                zp_format("device %s: preload '%s': the unpacked file is not of its size, and is passed over", hex,
                          snap_preloads_path(data->preloads, number));
        if (line)
                snap_data_notice(data, line);
}

static int look_into_preload(const struct snap_data *data, struct snap_files *files, size_t number, const char *hex,
                             struct zp_error *err) {
        struct snap_preloads *preloads = data->preloads;
        struct file_look *look = calloc(1, sizeof *look);
        if (!look)
                return zp_error_errno(err, ENOMEM, "device '%s'", hex);
        look->look = (struct snap_look){ .work = look_for_files, .free = free_file_look };
        look->files = (struct snap_files){ .raw_fd = -1, .pack_fd = -1, .device_size = files->device_size };
        look->has_index = files->index != NULL;
        look->has_raw = files->raw_fd >= 0;
        look->has_pack = files->pack_fd >= 0;
        strcpy(look->hex, hex);
        int r = snap_preloads_ask(preloads, number, &look->look, err);
        if (r == -ETIMEDOUT)
                files->is_partial = true;
        if (r < 0)
                return r == -ETIMEDOUT ? 0 : r;
        struct zp_pool *readers = NULL;
        r = look->result;
        if (r < 0 && err)
                *err = look->err;
        if (r == 0 && (look->files.raw_fd >= 0 || look->files.pack_fd >= 0))
                r = snap_preloads_readers(preloads, number, &readers, err);
        if (r == 0)
                take_from(files, &look->files, snap_preloads_path(preloads, number), readers);
        if (r == 0 && look->is_raw_odd)
                tell_of_odd_size(data, hex, number);
        snap_look_free(&look->look);
        return r;
}

/* ---- */

int snap_files_find(const struct snap_data *data, const struct zp_digest *device, struct snap_files *out,
                    struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        struct snap_files files = {
                .raw_fd = -1, .pack_fd = -1, .device_size = UNKNOWN_SIZE, .pack_store = data->options->store
        };
        zp_digest_hex(device, hex);
        int r = read_index(&files, data->options->store, hex, err);
        if (r == 0)
                files.pack_fd = open_file(data->options->store, "devices", hex, "/device.zst");
        for (size_t i = 0; r == 0 && i < snap_preloads_count(data->preloads); i++)
                r = look_into_preload(data, &files, i, hex, err);
        if (r == 0 && !files.index)
                r = files.is_partial ? zp_error_set(err, ETIMEDOUT, "device '%s': a preload does not answer", hex)
                                     : zp_error_set(err, ENOENT, "device '%s': it is in no store", hex);
        if (r < 0) {
                snap_files_clear(&files);
                return r;
        }
        if (err)
                zp_error_clear(err);
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

struct id_look {
        struct snap_look look; /* first: what is asked and freed */
        uint64_t id;
        bool is_found; /* elsewhere */
        struct zp_digest digest;
        int result;
};

static void look_for_id(struct snap_look *look, const char *path) {
        struct id_look *id = (struct id_look *) look;
        id->result = resolve_in(path, id->id, id->is_found, &id->digest);
}

static void free_id_look(struct snap_look *look) {
        free(look);
}

/* As resolve_in(); also -ETIMEDOUT. */
static int resolve_in_preload(struct snap_preloads *preloads, size_t number, uint64_t id, bool is_found,
                              struct zp_digest *out, struct zp_error *err) {
        struct id_look *look = calloc(1, sizeof *look);
        if (!look)
                return zp_error_errno(err, ENOMEM, "device");
        *look = (struct id_look){ { .work = look_for_id, .free = free_id_look }, id, is_found, *out, 0 };
        int r = snap_preloads_ask(preloads, number, &look->look, err);
        if (r < 0)
                return r;
        r = look->result;
        *out = look->digest;
        snap_look_free(&look->look);
        return r;
}

int snap_files_resolve(const struct snap_data *data, uint64_t id, struct zp_digest *out, struct zp_error *err) {
        int found = resolve_in(data->options->store, id, false, out), late = 0;
        for (size_t i = 0; found >= 0 && i < snap_preloads_count(data->preloads); i++) {
                int r = resolve_in_preload(data->preloads, i, id, found > 0, out, err);
                if (r == -ENOMEM || r == -EAGAIN)
                        return r;
                if (r == -ETIMEDOUT)
                        late = r;
                else
                        found = r;
        }
        if (found > 0 && err)
                zp_error_clear(err);
        if (found != 0)
                return found > 0 ? 0
                                 : zp_error_set(err, EEXIST, "device %016llx…: two digests begin so",
                                                (unsigned long long) id);
        return late ? late : zp_error_set(err, ENOENT, "device %016llx…: it is in no store", (unsigned long long) id);
}
