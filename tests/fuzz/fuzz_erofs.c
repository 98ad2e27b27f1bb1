/* SPDX-License-Identifier: Apache-2.0
 *
 * zp_erofs_load on arbitrary bytes, whose superblock checksum is put right first. zp_erofs_check must say the same of
 * them. What loads must also be written again in both layouts and load with the same shape, and be merged with itself and
 * as layer over layer.
 */
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "erofs/format.h"
#include "erofs/reader.h"
#include "layer/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix_checksum(uint8_t *image, size_t size) {
        if (size < ZP_BLOCK_SIZE)
                return;
        uint8_t *sb = image + EROFS_SUPER_OFFSET;
        zp_put_le32(sb + SB_FEATURE_COMPAT, zp_get_le32(sb + SB_FEATURE_COMPAT) | EROFS_COMPAT_CHECKSUM);
        zp_put_le32(sb + SB_CHECKSUM, 0);
        zp_put_le32(sb + SB_CHECKSUM, crc32_iscsi(sb, (int) (ZP_BLOCK_SIZE - EROFS_SUPER_OFFSET), UINT32_MAX));
}

static void require(bool claim) {
        if (!claim)
                abort();
}

/* Entries below a directory, weighed by what they are. */
static uint64_t shape(const struct zp_inode *dir) {
        uint64_t sum = dir->mode + dir->is_opaque * 3u + dir->is_implied * 5u + dir->inherits_xattrs * 7u;
        for (const struct zp_xattr *x = dir->xattrs; x; x = x->next)
                sum = sum * 31 + x->value_size;
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                const struct zp_inode *inode = child->inode;
                sum += child->name_size * 7u + (S_ISDIR(inode->mode) ? shape(inode) : inode->size + inode->nlink);
                for (uint32_t i = 0; i < inode->extent_count; i++)
                        sum += inode->extents[i].blocks * 11 + inode->extents[i].device;
        }
        return sum;
}

static void write_and_load(struct zp_tree *tree, const struct zp_erofs_device *devices, uint16_t count, bool is_layer,
                           enum zp_erofs_layout layout) {
        static struct zp_error err;
        struct zp_erofs_options options = {
                .layout = layout, .devices = devices, .device_count = count, .is_layer = is_layer
        };
        struct zp_erofs_result result;
        int fd = memfd_create("erofs", MFD_CLOEXEC);
        require(fd >= 0);
        if (zp_erofs_write(tree, &options, fd, "again", &result, &err) == 0 && layout == ZP_EROFS_DEVICE_TABLE) {
                size_t size = (size_t) result.blocks * ZP_BLOCK_SIZE;
                uint8_t *image = malloc(size);
                zp_auto(zp_tree_free) struct zp_tree *again = NULL;
                require(image && zp_pread_all(fd, image, size, 0, "again", &err) == 0);
                require(zp_erofs_load(image, size, &again, NULL, NULL, &err) == 0);
                require(!is_layer || shape(zp_tree_root(tree)) == shape(zp_tree_root(again)));
                free(image);
        }
        close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct zp_error err;
        uint8_t *image = malloc(size + 1), *second = malloc(size + 1);
        zp_auto(zp_tree_free) struct zp_tree *tree = NULL;
        zp_auto(zp_tree_free) struct zp_tree *other = NULL;
        zp_auto(zp_tree_free) struct zp_tree *merged = NULL;
        zp_autofree struct zp_erofs_device *devices = NULL;
        uint16_t count = 0;
        require(image && second);
        memcpy(image, data, size);
        fix_checksum(image, size);
        memcpy(second, image, size);
        int loaded = zp_erofs_load(image, size, &tree, &devices, &count, &err);
        require(zp_erofs_check(image, size, NULL, NULL, NULL) == loaded);
        if (loaded == 0) {
                require(zp_erofs_load(second, size, &other, NULL, NULL, &err) == 0);
                write_and_load(tree, devices, count, true, ZP_EROFS_DEVICE_TABLE);
                write_and_load(tree, devices, count, true, ZP_EROFS_FLAT);
                struct zp_tree *layers[] = { tree, other, tree };
                if (zp_tree_merge(layers, NULL, 3, &merged, &err) == 0) {
                        write_and_load(merged, devices, count, false, ZP_EROFS_DEVICE_TABLE);
                        write_and_load(merged, devices, count, false, ZP_EROFS_FLAT);
                }
        } else {
                require(err.code > 0 && err.message[0]);
        }
        free(image);
        free(second);
        return 0;
}
