/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull cat`.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "cli/path.h"
#include "cli/view.h"

#define PIECE_SIZE (4u << 20)

struct reading {
        const struct cli_call *call;
        struct zp_store *store;
        const struct zp_loaded *tree;
        struct zp_open_pack pack; /* of the device `device` */
        uint16_t device;
        uint8_t *piece;
};

static int write_out(const void *data, size_t size, struct zp_error *err) {
        return fwrite(data, 1, size, stdout) == size ? 0 : zp_error_errno(err, errno, "write to standard output");
}

static int select_device(struct reading *r, uint16_t device, struct zp_error *err) {
        if (r->pack.pack && r->device == device)
                return 0;
        zp_open_pack_close(&r->pack);
        r->device = device;
        return device < r->tree->device_count
                       ? cli_open_pack(r->store, &r->tree->devices[device].digest, &r->pack, err)
                       : zp_error_set(err, EBADMSG, "snapshot.erofs: a file on a device that is not there");
}

static int write_extent(struct reading *reading, const struct zp_extent *extent, uint64_t *left, struct zp_error *err) {
        uint64_t size = zp_min_u64(*left, extent->blocks * ZP_BLOCK_SIZE);
        bool is_hole = extent->block == ZP_HOLE;
        int r = is_hole ? 0 : select_device(reading, extent->device, err);
        if (is_hole)
                memset(reading->piece, 0, PIECE_SIZE);
        for (uint64_t at = 0; at < size && r == 0;) {
                size_t part = (size_t) zp_min_u64(PIECE_SIZE, size - at);
                r = zp_check_cancel(reading->call->cancel, err);
                if (r == 0 && !is_hole)
                        r = zp_pack_read(reading->pack.pack, extent->block * ZP_BLOCK_SIZE + at, reading->piece, part,
                                         err);
                if (r == 0)
                        r = write_out(reading->piece, part, err);
                at += part;
        }
        *left -= size;
        return r;
}

static int write_file(struct reading *reading, const struct zp_inode *inode, struct zp_error *err) {
        if (inode->data)
                return write_out(inode->data, inode->size, err);
        uint64_t left = inode->size;
        for (uint32_t i = 0; i < inode->extent_count; i++) {
                int r = write_extent(reading, &inode->extents[i], &left, err);
                if (r < 0)
                        return r;
        }
        return left ? zp_error_set(err, EBADMSG, "snapshot.erofs: a file ends before its size") : 0;
}

static int cat(struct reading *reading, struct zp_error *err) {
        const char *path = reading->call->arguments[1];
        zp_autofree char *resolved = NULL;
        struct zp_inode *inode = NULL;
        int r = cli_find_path(reading->tree->tree, path, false, &inode, &resolved, err);
        if (r < 0)
                return r;
        if (S_ISDIR(inode->mode))
                return zp_error_errno(err, EISDIR, "'%s' in the image", path);
        if (!S_ISREG(inode->mode))
                return zp_error_set(err, EINVAL, "'%s' in the image: not a regular file", path);
        reading->piece = malloc(PIECE_SIZE);
        if (!reading->piece)
                return zp_error_errno(err, ENOMEM, "'%s'", path);
        r = write_file(reading, inode, err);
        zp_open_pack_close(&reading->pack);
        free(reading->piece);
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_image_record image = { 0 };
        zp_autoloaded struct zp_loaded tree = { 0 };
        if (!*call->arguments[1])
                return cli_usage_error(call, err, "cat: PATH is empty");
        int r = cli_open_image(call, ZP_STORE_READ, call->arguments[0], &store, &image, err);
        if (r == 0)
                r = zp_snapshot_load(store, &image, &tree, err);
        if (r == 0) {
                struct reading reading = { .call = call, .store = store, .tree = &tree };
                r = cli_hint_complete(cat(&reading, err), call->arguments[0], err);
        }
        zp_image_record_clear(&image);
        return r;
}

const struct cli_command cli_cat = {
        .name = "cat",
        .arguments = "IMAGE PATH",
        .summary = "Write a file of an image to standard output",
        .example = "zeropull cat registry.example/web:3 /etc/os-release",
        .arguments_min = 2,
        .arguments_max = 2,
        .run = run,
};
