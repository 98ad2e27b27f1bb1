/* SPDX-License-Identifier: Apache-2.0
 *
 * What the EROFS tests share: building trees in one line each, and writing one to memory.
 */
#ifndef ZP_TEST_EROFS_FIXTURE_H
#define ZP_TEST_EROFS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "erofs/format.h"
#include "erofs/reader.h"

static const struct zp_erofs_device test_devices[2] = { { .digest = { { 0x11 } }, .blocks = 1000 },
                                                        { .digest = { { 0x22 } }, .blocks = 2000000 } };

struct image {
        uint8_t *bytes;
        size_t size;
};

static inline struct zp_inode *add(struct zp_tree *tree, struct zp_inode *dir, const char *name, uint32_t mode) {
        struct zp_inode *inode;
        assert_int_equal(zp_tree_new_inode(tree, mode, &inode, NULL), 0);
        assert_int_equal(zp_tree_link(tree, dir, name, strlen(name), inode, NULL), 0);
        return inode;
}

static inline void set_data(struct zp_tree *tree, struct zp_inode *inode, char fill, size_t size) {
        uint8_t *data = zp_tree_alloc(tree, size + 1);
        memset(data, fill, size);
        inode->data = data;
        inode->size = size;
}

static inline void set_extents(struct zp_tree *tree, struct zp_inode *inode, uint64_t size, uint32_t count,
                               const struct zp_extent *extents) {
        inode->size = size;
        inode->extent_count = count;
        inode->extents = zp_tree_alloc(tree, count * sizeof *extents);
        memcpy(inode->extents, extents, count * sizeof *extents);
}

static inline int try_write(struct zp_tree *tree, enum zp_erofs_layout layout, bool is_layer, struct image *out,
                            struct zp_error *err) {
        struct zp_erofs_options options = {
                .layout = layout, .devices = test_devices, .device_count = 2, .is_layer = is_layer
        };
        struct zp_erofs_result result;
        zp_autoclose int fd = memfd_create("test", MFD_CLOEXEC);
        assert_true(fd >= 0);
        int r = zp_erofs_write(tree, &options, fd, "test", &result, err);
        if (r < 0)
                return r;
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, result.blocks * ZP_BLOCK_SIZE);
        out->size = (size_t) st.st_size;
        out->bytes = malloc(out->size);
        assert_int_equal(zp_pread_all(fd, out->bytes, out->size, 0, "test", NULL), 0);
        return 0;
}

static inline struct image write_image(struct zp_tree *tree, enum zp_erofs_layout layout, bool is_layer) {
        struct image image;
        struct zp_error err = { 0 };
        if (try_write(tree, layout, is_layer, &image, &err) < 0)
                fail_msg("%s", err.message);
        return image;
}

static inline struct zp_tree *load(const struct image *image) {
        struct zp_tree *tree = NULL;
        struct zp_error err = { 0 };
        if (zp_erofs_load(image->bytes, image->size, &tree, NULL, NULL, &err) < 0 ||
            zp_erofs_check(image->bytes, image->size, NULL, NULL, &err) < 0)
                fail_msg("%s", err.message);
        return tree;
}

static inline struct zp_inode *find(struct zp_tree *tree, struct zp_inode *dir, const char *name) {
        struct zp_dentry *dentry = zp_tree_lookup(tree, dir, name, strlen(name));
        if (!dentry)
                fail_msg("no '%s'", name);
        return dentry->inode;
}

static inline void assert_same_inode(const struct zp_inode *a, const struct zp_inode *b) {
        assert_int_equal(a->mode, b->mode);
        assert_int_equal(a->uid, b->uid);
        assert_int_equal(a->gid, b->gid);
        assert_int_equal(a->nlink, b->nlink);
        assert_int_equal(a->mtime_s, b->mtime_s);
        assert_int_equal(a->mtime_ns, b->mtime_ns);
        assert_int_equal(a->rdev_major, b->rdev_major);
        assert_int_equal(a->rdev_minor, b->rdev_minor);
        assert_int_equal(a->size, b->size);
        assert_int_equal(a->is_opaque, b->is_opaque);
        assert_int_equal(a->is_implied, b->is_implied);
        assert_int_equal(a->inherits_xattrs, b->inherits_xattrs);
        const struct zp_xattr *x = a->xattrs, *y = b->xattrs;
        for (; x && y; x = x->next, y = y->next) {
                assert_string_equal(x->name, y->name);
                assert_int_equal(x->value_size, y->value_size);
                assert_memory_equal(x->value, y->value, x->value_size);
        }
        assert_true(!x && !y);
        assert_int_equal(a->extent_count, b->extent_count);
        for (uint32_t i = 0; i < a->extent_count; i++) {
                assert_int_equal(a->extents[i].block, b->extents[i].block);
                assert_int_equal(a->extents[i].blocks, b->extents[i].blocks);
                if (a->extents[i].block != ZP_HOLE)
                        assert_int_equal(a->extents[i].device, b->extents[i].device);
        }
        if (a->extent_count == 0 && !S_ISDIR(a->mode) && a->size > 0)
                assert_memory_equal(a->data, b->data, a->size);
}

static inline void assert_same_tree(const struct zp_inode *a, const struct zp_inode *b) {
        assert_same_inode(a, b);
        if (!S_ISDIR(a->mode))
                return;
        assert_int_equal(a->child_count, b->child_count);
        const struct zp_dentry *x = a->first_child, *y = b->first_child;
        for (; x; x = x->next, y = y->next) {
                assert_string_equal(x->name, y->name);
                assert_same_tree(x->inode, y->inode);
        }
}

#endif
