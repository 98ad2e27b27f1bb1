/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull export`: the flat disk, snapshot metadata and its devices end to end.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/pool.h"
#include "cli/new-file.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/view.h"
#include "snapshot/snapshot.h"

enum { OPTION_COMPAT };

static const struct cli_option options[] = {
        [OPTION_COMPAT] = { "compat", 0, NULL, "for kernels from 5.15 on; without it, from 6.4 on" },
        { 0 },
};

/* The parts of the disk. */
struct disk {
        char *metadata;
        uint64_t metadata_size, size;
        struct zp_erofs_device *devices;
        uint16_t device_count;
};

static void clear_disk(struct disk *disk) {
        free(disk->metadata);
        free(disk->devices);
}

/* The metadata as the store has it: its device table knows its place on the disk. */
static int take_stored(struct zp_store *store, const struct zp_image_record *image, struct disk *disk,
                       struct zp_error *err) {
        zp_autoloaded struct zp_loaded tree = { 0 };
        int r = zp_snapshot_load(store, image, &tree, err);
        if (r == 0) {
                disk->devices = zp_steal(&tree.devices);
                disk->device_count = tree.device_count;
                disk->metadata_size = tree.size;
                zp_tree_free(zp_steal(&tree.tree)); /* points into the data */
                disk->metadata = zp_steal(&tree.data);
        }
        return r;
}

/* The metadata written anew, with absolute addresses. */
static int write_flat(const struct cli_call *call, struct zp_store *store, const struct zp_image_record *image,
                      struct disk *disk, struct zp_error *err) {
        zp_autoclose int fd = memfd_create("snapshot.erofs", MFD_CLOEXEC);
        if (fd < 0)
                return zp_error_errno(err, errno, "make snapshot.erofs");
        struct zp_snapshot_layers layers = { store, image->layers, image->diff_ids, image->layer_count, call->cancel };
        struct zp_erofs_result written;
        int r = zp_snapshot_write(&layers, ZP_EROFS_FLAT, fd, "snapshot.erofs", &disk->devices, &disk->device_count,
                                  &written, err);
        if (r < 0)
                return r;
        disk->metadata_size = written.blocks * ZP_BLOCK_SIZE;
        disk->metadata = malloc((size_t) disk->metadata_size);
        return disk->metadata ? zp_pread_all(fd, disk->metadata, (size_t) disk->metadata_size, 0, "snapshot.erofs", err)
                              : zp_error_errno(err, ENOMEM, "make snapshot.erofs");
}

static int measure(struct disk *disk, struct zp_error *err) {
        disk->size = disk->metadata_size;
        for (uint16_t i = 0; i < disk->device_count; i++) {
                uint64_t bytes;
                if (zp_mul_overflows(disk->devices[i].blocks, (uint64_t) ZP_BLOCK_SIZE, &bytes) ||
                    zp_add_overflows(disk->size, bytes, &disk->size) || disk->size > INT64_MAX)
                        return zp_error_set(err, EBADMSG, "snapshot.erofs: impossible device sizes");
        }
        return 0;
}

static void on_progress(void *context, uint64_t bytes) {
        progress_advance(context, 0, bytes);
}

static int extract_device(struct zp_store *store, const struct zp_erofs_device *device, int out_fd, const char *name,
                          uint64_t offset, struct zp_pool *pool, struct progress *progress,
                          const struct zp_cancel *cancel, struct zp_error *err) {
        struct zp_open_pack pack;
        int r = cli_open_pack(store, &device->digest, &pack, err);
        if (r == 0 && zp_pack_device_size(pack.pack) != device->blocks * ZP_BLOCK_SIZE)
                r = zp_error_set(err, EBADMSG, "snapshot.erofs: a device has another size than its record");
        if (r == 0)
                r = zp_pack_extract(pack.pack, out_fd, name, offset, pool, cancel, on_progress, progress, err);
        zp_open_pack_close(&pack);
        return r;
}

/* Fills `out_fd`, whose first disk->size bytes are zeros. */
static int write_disk(const struct cli_call *call, struct zp_store *store, const struct disk *disk, int out_fd,
                      const char *name, struct zp_error *err) {
        zp_auto(zp_pool_free) struct zp_pool *pool = NULL;
        int r = zp_pool_new(zp_usable_cpus(), &pool, err);
        if (r < 0)
                return r;
        zp_auto(progress_free) struct progress *progress = progress_new(call->quiet);
        progress_begin(progress, 0, "disk", "writing", disk->size);
        r = zp_pwrite_all(out_fd, disk->metadata, (size_t) disk->metadata_size, 0, name, err);
        on_progress(progress, disk->metadata_size);
        uint64_t offset = disk->metadata_size;
        for (uint16_t i = 0; i < disk->device_count && r == 0; i++) {
                r = extract_device(store, &disk->devices[i], out_fd, name, offset, pool, progress, call->cancel, err);
                offset += disk->devices[i].blocks * ZP_BLOCK_SIZE;
        }
        if (r == 0)
                r = zp_sync(out_fd, name, err);
        if (r == 0)
                progress_end(progress, 0, "written");
        return r;
}

static int write_to_device(const struct cli_call *call, struct zp_store *store, const struct disk *disk,
                           const char *path, struct zp_error *err) {
        /* O_EXCL: not while it is mounted */
        zp_autoclose int fd = open(path, O_WRONLY | O_EXCL | O_CLOEXEC);
        uint64_t room = 0;
        if (fd < 0 || ioctl(fd, BLKGETSIZE64, &room) < 0)
                return zp_error_errno(err, errno, "'%s'", path);
        if (room < disk->size) {
                zp_error_set(err, ENOSPC, "'%s' has %llu bytes; the disk takes %llu", path, (unsigned long long) room,
                             (unsigned long long) disk->size);
                zp_error_hint(err, "name a larger device, or a file");
                return -ENOSPC;
        }
        uint64_t range[2] = { 0, disk->size };
        if (ioctl(fd, BLKZEROOUT, range) < 0)
                return zp_error_errno(err, errno, "write zeros to '%s'", path);
        return write_disk(call, store, disk, fd, path, err);
}

static int write_to_file(const struct cli_call *call, struct zp_store *store, const struct disk *disk,
                         struct cli_new_file *file, struct zp_error *err) {
        int r = cli_new_file_create(file, err);
        if (r == 0 && ftruncate(file->fd, (off_t) disk->size) < 0)
                r = zp_error_errno(err, errno, "write '%s'", file->path);
        if (r == 0)
                r = write_disk(call, store, disk, file->fd, file->path, err);
        return r == 0 ? cli_new_file_publish(file, err) : r;
}

static int print_result(const struct cli_call *call, const struct zp_image_record *image, const struct disk *disk,
                        struct zp_error *err) {
        const char *path = call->arguments[1];
        if (!call->json)
                return 0;
        return cli_print_json(json_pack("{s:o, s:o, s:I, s:I}", "digest", cli_json_digest(&image->manifest_digest),
                                        "file", cli_json_text(path, strlen(path)), "size", (json_int_t) disk->size,
                                        "metadataSize", (json_int_t) disk->metadata_size),
                              err);
}

static int export(const struct cli_call *call, struct zp_store *store, const struct zp_image_record *image,
                  struct cli_new_file *file, struct zp_error *err) {
        struct disk disk = { 0 };
        int r = cli_flag(call, OPTION_COMPAT) ? write_flat(call, store, image, &disk, err)
                                              : take_stored(store, image, &disk, err);
        if (r == 0)
                r = measure(&disk, err);
        if (r == 0)
                r = file->is_device ? write_to_device(call, store, &disk, file->path, err)
                                    : write_to_file(call, store, &disk, file, err);
        if (r == 0)
                r = print_result(call, image, &disk, err);
        clear_disk(&disk);
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_image_record image = { 0 };
        struct cli_new_file file = { .dir_fd = -1, .fd = -1 };
        const char *path = call->arguments[1];
        if (!*path)
                return cli_usage_error(call, err, "export: FILE is empty");
        if (strcmp(path, "-") == 0)
                return cli_usage_error(call, err, "export: a disk with holes cannot go to a pipe; name a file");
        int r = cli_open_image(call, ZP_STORE_READ, call->arguments[0], &store, &image, err);
        if (r == 0)
                r = cli_file_failed(call, cli_new_file_find(&file, path, zp_store_path(store), err));
        if (r == 0)
                r = cli_hint_complete(export(call, store, &image, &file, err), call->arguments[0], err);
        cli_new_file_clear(&file);
        zp_image_record_clear(&image);
        return r;
}

const struct cli_command cli_export = {
        .name = "export",
        .arguments = "IMAGE FILE",
        .summary = "Write an image as a disk that EROFS mounts and a VM boots from",
        .example = "zeropull export registry.example/web:3 web.img && mount -o loop web.img /mnt",
        .options = options,
        .arguments_min = 2,
        .arguments_max = 2,
        .run = run,
};
