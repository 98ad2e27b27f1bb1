/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees for tests: add("a/b/c", mode) makes what is missing on the way; list() tells a tree in one string.
 */
#ifndef ZP_TEST_TREE_FIXTURE_H
#define ZP_TEST_TREE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "layer/tree.h"

static inline struct zp_inode *new_inode(struct zp_tree *tree, uint32_t mode) {
        struct zp_inode *inode;
        assert_int_equal(zp_tree_new_inode(tree, mode, &inode, NULL), 0);
        return inode;
}

/* The inode at a path without a leading '/'; directories on the way are made, and are not implied. */
static inline struct zp_inode *add(struct zp_tree *tree, const char *path, uint32_t mode) {
        struct zp_inode *dir = zp_tree_root(tree);
        for (;;) {
                size_t part = strcspn(path, "/");
                struct zp_dentry *dentry = zp_tree_lookup(tree, dir, path, part);
                if (!dentry) {
                        struct zp_inode *fresh = new_inode(tree, path[part] ? S_IFDIR | 0755 : mode);
                        assert_int_equal(zp_tree_link(tree, dir, path, part, fresh, NULL), 0);
                        dentry = zp_tree_lookup(tree, dir, path, part);
                }
                if (!path[part])
                        return dentry->inode;
                dir = dentry->inode;
                path += part + 1;
        }
}

static inline struct zp_inode *add_link(struct zp_tree *tree, const char *path, const char *target) {
        struct zp_inode *inode = add(tree, path, S_IFLNK | 0777);
        char *copy = zp_tree_alloc(tree, strlen(target) + 1);
        inode->data = (const uint8_t *) strcpy(copy, target);
        inode->size = strlen(target);
        return inode;
}

static inline void list_into(const struct zp_inode *dir, struct zp_buffer *out) {
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                assert_true(child->parent == dir);
                assert_true(!child->next || child->next->previous == child);
                assert_true(child->next || dir->last_child == child);
                zp_buffer_text(out, out->size && out->data[out->size - 1] != '(' ? " " : "");
                zp_buffer_text(out, child->name);
                if (S_ISDIR(child->inode->mode)) {
                        zp_buffer_text(out, "(");
                        list_into(child->inode, out);
                        zp_buffer_text(out, ")");
                }
        }
}

/* "a dir(b c)" in the order of the lists. */
static inline void assert_tree(const struct zp_tree *tree, const char *expected) {
        zp_autobuffer struct zp_buffer text = { 0 };
        zp_buffer_text(&text, "");
        list_into(zp_tree_root(tree), &text);
        assert_string_equal(text.data ? text.data : "", expected);
}

#endif
