/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree: one arena for everything, one hash table (directory, name) → dentry for all directories.
 */
#include "layer/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/siphash.h"

#define FIRST_BUCKETS 1024u

struct zp_tree {
        struct zp_arena arena;
        struct zp_inode *root;
        uint32_t inode_count;
        uint32_t dentry_count; /* names ever created: bounds memory */
        struct zp_dentry **buckets;
        uint32_t bucket_count; /* a power of two */
        uint32_t hashed;
        struct zp_siphash_key key;
};

struct zp_tree *zp_tree_new(void) {
        struct zp_tree *tree = calloc(1, sizeof *tree);
        if (!tree)
                return NULL;
        tree->key = zp_siphash_process_key();
        tree->bucket_count = FIRST_BUCKETS;
        tree->buckets = calloc(tree->bucket_count, sizeof(struct zp_dentry *));
        if (!tree->buckets || zp_tree_new_inode(tree, S_IFDIR | 0755, &tree->root, NULL) < 0) {
                zp_tree_free(tree);
                return NULL;
        }
        tree->root->is_implied = true;
        return tree;
}

void zp_tree_free(struct zp_tree *tree) {
        if (!tree)
                return;
        zp_arena_clear(&tree->arena);
        free(tree->buckets);
        free(tree);
}

struct zp_inode *zp_tree_root(const struct zp_tree *tree) {
        return tree->root;
}

uint32_t zp_tree_inode_count(const struct zp_tree *tree) {
        return tree->inode_count;
}

void *zp_tree_alloc(struct zp_tree *tree, size_t size) {
        if (size > ZP_LIMIT_LAYER_METADATA || tree->arena.used_bytes + size > ZP_LIMIT_LAYER_METADATA)
                return NULL;
        return zp_arena_alloc(&tree->arena, size);
}

static int out_of_room(struct zp_tree *tree, struct zp_error *err) {
        if (tree->arena.used_bytes > ZP_LIMIT_LAYER_METADATA / 2)
                return zp_error_set(err, E2BIG, "names and attributes take more than %llu MiB",
                                    (unsigned long long) (ZP_LIMIT_LAYER_METADATA >> 20));
        return zp_error_errno(err, ENOMEM, "file tree");
}

int zp_tree_new_inode(struct zp_tree *tree, uint32_t mode, struct zp_inode **out, struct zp_error *err) {
        if (tree->inode_count >= ZP_LIMIT_LAYER_ENTRIES)
                return zp_error_set(err, E2BIG, "more than %u entries", ZP_LIMIT_LAYER_ENTRIES);
        struct zp_inode *inode = zp_tree_alloc(tree, sizeof *inode);
        if (!inode)
                return out_of_room(tree, err);
        inode->mode = mode;
        inode->nlink = S_ISDIR(mode) ? 2 : 0;
        inode->number = tree->inode_count++;
        *out = inode;
        return 0;
}

/* Keyed: an image must not be able to choose names that all fall into one bucket. */
static uint32_t hash_name(const struct zp_tree *tree, const struct zp_inode *dir, const char *name, size_t name_size) {
        struct zp_siphash_key key = tree->key;
        key.words[0] ^= dir->number;
        return (uint32_t) zp_siphash(key, name, name_size);
}

static bool has_name(const struct zp_dentry *dentry, const struct zp_inode *dir, const char *name, size_t name_size) {
        return dentry->parent == dir && dentry->name_size == name_size && memcmp(dentry->name, name, name_size) == 0;
}

static struct zp_dentry **find_slot(const struct zp_tree *tree, const struct zp_inode *dir, const char *name,
                                    size_t name_size) {
        struct zp_dentry **slot = &tree->buckets[hash_name(tree, dir, name, name_size) & (tree->bucket_count - 1)];
        while (*slot && !has_name(*slot, dir, name, name_size))
                slot = &(*slot)->hash_next;
        return slot;
}

struct zp_dentry *zp_tree_lookup(const struct zp_tree *tree, const struct zp_inode *dir, const char *name,
                                 size_t name_size) {
        return *find_slot(tree, dir, name, name_size);
}

static int grow_buckets(struct zp_tree *tree, struct zp_error *err) {
        uint32_t old_count = tree->bucket_count;
        struct zp_dentry **old = tree->buckets;
        struct zp_dentry **fresh = calloc((size_t) old_count * 2, sizeof(struct zp_dentry *));
        if (!fresh)
                return zp_error_errno(err, ENOMEM, "file tree");
        tree->buckets = fresh;
        tree->bucket_count = old_count * 2;
        for (uint32_t i = 0; i < old_count; i++) {
                for (struct zp_dentry *dentry = old[i], *next; dentry; dentry = next) {
                        next = dentry->hash_next;
                        uint32_t bucket = hash_name(tree, dentry->parent, dentry->name, dentry->name_size);
                        dentry->hash_next = fresh[bucket & (tree->bucket_count - 1)];
                        fresh[bucket & (tree->bucket_count - 1)] = dentry;
                }
        }
        free(old);
        return 0;
}

int zp_tree_link(struct zp_tree *tree, struct zp_inode *dir, const char *name, size_t name_size, struct zp_inode *inode,
                 struct zp_error *err) {
        if (name_size == 0 || name_size > ZP_LIMIT_NAME)
                return zp_error_errno(err, ENAMETOOLONG, "a name of %zu bytes", name_size);
        if (S_ISDIR(inode->mode) && dir->depth >= ZP_LIMIT_DEPTH)
                return zp_error_errno(err, ENAMETOOLONG, "more than %u directories in each other", ZP_LIMIT_DEPTH);
        if (tree->dentry_count >= ZP_LIMIT_LAYER_ENTRIES)
                return zp_error_set(err, E2BIG, "more than %u names", ZP_LIMIT_LAYER_ENTRIES);
        if (tree->hashed >= tree->bucket_count) {
                int r = grow_buckets(tree, err);
                if (r < 0)
                        return r;
        }
        struct zp_dentry **slot = find_slot(tree, dir, name, name_size);
        if (*slot)
                return zp_error_errno(err, EEXIST, "name '%.*s'", (int) name_size, name);
        struct zp_dentry *dentry = zp_tree_alloc(tree, sizeof *dentry);
        char *copy = zp_tree_alloc(tree, name_size + 1);
        if (!dentry || !copy)
                return out_of_room(tree, err);
        memcpy(copy, name, name_size);
        dentry->name = copy;
        dentry->name_size = (uint16_t) name_size;
        dentry->inode = inode;
        dentry->parent = dir;

        *slot = dentry;
        tree->hashed++;
        tree->dentry_count++;

        dentry->previous = dir->last_child;
        *(dir->last_child ? &dir->last_child->next : &dir->first_child) = dentry;
        dir->last_child = dentry;
        dir->child_count++;
        if (S_ISDIR(inode->mode)) {
                dir->nlink++;
                inode->depth = dir->depth + 1;
        } else {
                inode->nlink++;
        }
        return 0;
}

void zp_tree_unlink(struct zp_tree *tree, struct zp_dentry *dentry) {
        struct zp_inode *dir = dentry->parent, *inode = dentry->inode;
        if (S_ISDIR(inode->mode)) {
                while (inode->first_child)
                        zp_tree_unlink(tree, inode->first_child);
                dir->nlink--;
        } else {
                inode->nlink--;
        }
        struct zp_dentry **slot = find_slot(tree, dir, dentry->name, dentry->name_size);
        *slot = dentry->hash_next;
        tree->hashed--;
        *(dentry->previous ? &dentry->previous->next : &dir->first_child) = dentry->next;
        *(dentry->next ? &dentry->next->previous : &dir->last_child) = dentry->previous;
        dir->child_count--;
}

int zp_tree_set_xattr(struct zp_tree *tree, struct zp_inode *inode, const char *name, const void *value,
                      uint32_t value_size, struct zp_error *err) {
        uint8_t *copy = zp_tree_alloc(tree, (size_t) value_size + 1);
        if (!copy)
                return out_of_room(tree, err);
        if (value_size > 0)
                memcpy(copy, value, value_size);
        return zp_tree_borrow_xattr(tree, inode, name, copy, value_size, err);
}

int zp_tree_borrow_xattr(struct zp_tree *tree, struct zp_inode *inode, const char *name, const void *value,
                         uint32_t value_size, struct zp_error *err) {
        struct zp_xattr **slot = &inode->xattrs;
        while (*slot && strcmp((*slot)->name, name) < 0)
                slot = &(*slot)->next;
        if (!*slot || strcmp((*slot)->name, name) != 0) {
                struct zp_xattr *fresh = zp_tree_alloc(tree, sizeof *fresh);
                char *name_copy = zp_tree_alloc(tree, strlen(name) + 1);
                if (!fresh || !name_copy)
                        return out_of_room(tree, err);
                fresh->name = strcpy(name_copy, name);
                fresh->next = *slot;
                *slot = fresh;
        }
        (*slot)->value = value;
        (*slot)->value_size = value_size;
        return 0;
}

const struct zp_xattr *zp_inode_find_xattr(const struct zp_inode *inode, const char *name) {
        const struct zp_xattr *xattr = inode->xattrs;
        while (xattr && strcmp(xattr->name, name) != 0)
                xattr = xattr->next;
        return xattr;
}

static int compare_names(const void *a, const void *b) {
        const struct zp_dentry *x = *(struct zp_dentry *const *) a, *y = *(struct zp_dentry *const *) b;
        size_t common = x->name_size < y->name_size ? x->name_size : y->name_size;
        int order = memcmp(x->name, y->name, common);
        return order ? order : (int) x->name_size - (int) y->name_size;
}

int zp_tree_sorted_children(const struct zp_inode *dir, struct zp_dentry ***out, struct zp_error *err) {
        struct zp_dentry **children = malloc(((size_t) dir->child_count + 1) * sizeof *children);
        if (!children)
                return zp_error_errno(err, ENOMEM, "directory of %u entries", dir->child_count);
        size_t n = 0;
        for (struct zp_dentry *child = dir->first_child; child; child = child->next)
                children[n++] = child;
        qsort(children, n, sizeof *children, compare_names);
        *out = children;
        return 0;
}

static int sort_directory(struct zp_inode *dir, struct zp_error *err) {
        zp_autofree struct zp_dentry **children = NULL;
        int r = zp_tree_sorted_children(dir, &children, err);
        if (r < 0)
                return r;
        struct zp_dentry *previous = NULL;
        dir->first_child = NULL;
        for (uint32_t i = 0; i < dir->child_count; i++) {
                struct zp_dentry *child = children[i];
                child->previous = previous;
                child->next = NULL;
                *(previous ? &previous->next : &dir->first_child) = child;
                previous = child;
        }
        dir->last_child = previous;
        for (struct zp_dentry *child = dir->first_child; r == 0 && child; child = child->next)
                if (S_ISDIR(child->inode->mode))
                        r = sort_directory(child->inode, err);
        return r;
}

int zp_tree_sort(struct zp_tree *tree, struct zp_error *err) {
        return sort_directory(tree->root, err);
}

bool zp_inode_is_whiteout(const struct zp_inode *inode) {
        return S_ISCHR(inode->mode) && inode->rdev_major == 0 && inode->rdev_minor == 0;
}
