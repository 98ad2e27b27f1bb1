/* SPDX-License-Identifier: Apache-2.0 */
#include "erofs/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "erofs/format.h"

/* An inode whose own xattrs would take more than this keeps all of them in the shared area. Kernels before 6.2
 * count the bytes in 16 bits, and an inline link target must lie in the block of its inode. */
#define XATTR_INLINE_MAX 1024u
/* Chunks of up to 2 GiB: kernels compute a chunk's size in an unsigned long. */
#define CHUNK_BITS_MAX 19u

/* ---- xattrs ---- */

static uint32_t xattr_entry_size(const struct zp_xattr *xattr) {
        uint8_t index;
        const char *rest = "";
        zp_erofs_xattr_name(xattr->name, &index, &rest, NULL);
        return (uint32_t) zp_round_up(EROFS_XATTR_ENTRY_SIZE + strlen(rest) + xattr->value_size, 4);
}

static int compare_xattrs(const void *a, const void *b) {
        const struct zp_xattr *x = *(struct zp_xattr *const *) a, *y = *(struct zp_xattr *const *) b;
        int order = strcmp(x->name, y->name);
        if (order)
                return order;
        if (x->value_size != y->value_size)
                return x->value_size < y->value_size ? -1 : 1;
        return memcmp(x->value, y->value, x->value_size);
}

static uint32_t measure_xattrs(const struct zp_inode *inode) {
        if (!inode->xattrs)
                return 0;
        uint32_t size = EROFS_XATTR_HEADER_SIZE;
        for (const struct zp_xattr *x = inode->xattrs; x; x = x->next)
                size += x->scratch != ZP_EROFS_NOT_SHARED ? EROFS_XATTR_ID_SIZE : xattr_entry_size(x);
        return size;
}

/* Marks (scratch 0) what goes into the shared area: what several inodes have, and what is too large to stay
 * with its inode. `all` is sorted. */
static void choose_shared(struct zp_erofs_plan *plan, struct zp_xattr **all, size_t count) {
        for (size_t first = 0, next; first < count; first = next) {
                for (next = first + 1; next < count && compare_xattrs(&all[first], &all[next]) == 0; next++)
                        ;
                for (size_t i = first; i < next; i++)
                        all[i]->scratch = next - first > 1 ? 0 : ZP_EROFS_NOT_SHARED;
        }
        for (uint32_t i = 0; i < plan->count; i++)
                if (measure_xattrs(plan->placed[i].inode) > XATTR_INLINE_MAX)
                        for (struct zp_xattr *x = plan->placed[i].inode->xattrs; x; x = x->next)
                                x->scratch = 0;
}

/* Gives each shared xattr an id: its offset in the shared area / 4. */
static int number_shared(struct zp_erofs_plan *plan, struct zp_xattr **all, size_t count, struct zp_error *err) {
        uint64_t offset = 0;
        for (size_t first = 0, next; first < count; first = next) {
                bool is_shared = all[first]->scratch != ZP_EROFS_NOT_SHARED;
                for (next = first; next < count && compare_xattrs(&all[first], &all[next]) == 0; next++)
                        if (is_shared)
                                all[next]->scratch = (uint32_t) (offset / EROFS_XATTR_ID_SIZE);
                if (!is_shared)
                        continue;
                plan->shared[plan->shared_count++] = all[first];
                offset += xattr_entry_size(all[first]);
                if (offset / EROFS_XATTR_ID_SIZE >= ZP_EROFS_NOT_SHARED)
                        return zp_error_set(err, EFBIG, "xattrs of more than 16 GiB");
        }
        plan->meta_block = plan->xattr_block + zp_round_up(offset, ZP_EROFS_BLOCK) / ZP_EROFS_BLOCK;
        return 0;
}

static int share_xattrs(struct zp_erofs_plan *plan, struct zp_error *err) {
        size_t total = 0;
        for (uint32_t i = 0; i < plan->count; i++)
                for (const struct zp_xattr *x = plan->placed[i].inode->xattrs; x; x = x->next)
                        total++;
        zp_autofree struct zp_xattr **all = malloc((total + 1) * sizeof *all);
        plan->shared = malloc((total + 1) * sizeof *plan->shared);
        if (!all || !plan->shared)
                return zp_error_errno(err, ENOMEM, "xattrs");
        size_t n = 0;
        for (uint32_t i = 0; i < plan->count; i++)
                for (struct zp_xattr *x = plan->placed[i].inode->xattrs; x; x = x->next)
                        all[n++] = x;
        qsort(all, n, sizeof *all, compare_xattrs);
        choose_shared(plan, all, n);
        return number_shared(plan, all, n, err);
}

/* ---- directories ---- */

struct zp_erofs_dir zp_erofs_dir_begin(const struct zp_erofs_placed *p) {
        return (struct zp_erofs_dir){ .self = p->inode, .parent = p->parent, .child = p->inode->first_child };
}

bool zp_erofs_dir_next(struct zp_erofs_dir *it, struct zp_erofs_dir_entry *out) {
        if (it->dots < 2) {
                const char *name = it->dots == 0 ? "." : "..";
                if (!it->child || strcmp(name, it->child->name) < 0) {
                        *out = (struct zp_erofs_dir_entry){ name, (uint16_t) strlen(name),
                                                            it->dots == 0 ? it->self : it->parent };
                        it->dots++;
                        return true;
                }
        }
        if (!it->child)
                return false;
        *out = (struct zp_erofs_dir_entry){ it->child->name, it->child->name_size, it->child->inode };
        it->child = it->child->next;
        return true;
}

static uint64_t measure_directory(const struct zp_erofs_placed *p) {
        uint64_t full = 0, used = 0;
        struct zp_erofs_dir_entry entry;
        for (struct zp_erofs_dir it = zp_erofs_dir_begin(p); zp_erofs_dir_next(&it, &entry);) {
                uint32_t need = EROFS_DIRENT_SIZE + entry.name_size;
                if (used + need > ZP_EROFS_BLOCK) {
                        full += ZP_EROFS_BLOCK;
                        used = 0;
                }
                used += need;
        }
        return full + used;
}

/* ---- inodes ---- */

/* The largest chunk such that every run of blocks begins on one. */
static uint8_t choose_chunk_bits(const struct zp_inode *inode) {
        uint64_t blocks = zp_erofs_file_blocks(inode), boundary = 0;
        uint8_t bits = 0;
        while (bits < CHUNK_BITS_MAX && (UINT64_C(1) << bits) < blocks)
                bits++;
        for (uint32_t i = 0; i + 1 < inode->extent_count; i++) {
                boundary += inode->extents[i].blocks;
                uint8_t trailing = (uint8_t) __builtin_ctzll(boundary);
                if (trailing < bits)
                        bits = trailing;
        }
        return bits;
}

/* A tail is inline when it fits into one block together with its inode: kernels want that of link targets, and
 * reading the inode then brings the tail along. */
static void choose_layout(struct zp_erofs_placed *p) {
        const struct zp_inode *inode = p->inode;
        p->xattr_size = measure_xattrs(inode);
        if (S_ISDIR(inode->mode))
                p->size = measure_directory(p);
        else if (S_ISREG(inode->mode) || S_ISLNK(inode->mode))
                p->size = inode->size;
        if (S_ISREG(inode->mode) && inode->extent_count > 0) {
                p->layout = EROFS_LAYOUT_CHUNK;
                p->chunk_bits = choose_chunk_bits(inode);
                return;
        }
        uint64_t tail = S_ISDIR(inode->mode) ? p->size % ZP_EROFS_BLOCK : p->size;
        if (tail > 0 && EROFS_INODE_SIZE + p->xattr_size + tail <= ZP_EROFS_BLOCK) {
                p->layout = EROFS_LAYOUT_INLINE;
                p->tail_size = (uint16_t) tail;
        }
}

static uint64_t chunk_index_bytes(const struct zp_erofs_placed *p) {
        uint64_t blocks = zp_erofs_file_blocks(p->inode);
        return ((blocks + (UINT64_C(1) << p->chunk_bits) - 1) >> p->chunk_bits) * EROFS_CHUNK_INDEX_SIZE;
}

/* Puts one inode at the first place from `cursor` on that the format allows. */
static uint64_t place(struct zp_erofs_placed *p, uint64_t cursor) {
        uint64_t body = EROFS_INODE_SIZE + p->xattr_size;
        uint64_t undivided = p->tail_size > 0 ? body + p->tail_size : EROFS_INODE_SIZE;
        uint64_t offset = zp_round_up(cursor, EROFS_SLOT_SIZE);
        if (offset % ZP_EROFS_BLOCK + undivided > ZP_EROFS_BLOCK)
                offset = zp_round_up(offset, ZP_EROFS_BLOCK);
        p->offset = offset;
        if (p->layout == EROFS_LAYOUT_CHUNK)
                return zp_round_up(offset + body, EROFS_CHUNK_INDEX_SIZE) + chunk_index_bytes(p);
        return offset + body + p->tail_size;
}

uint32_t zp_erofs_data_blocks(const struct zp_erofs_placed *p) {
        if (p->layout == EROFS_LAYOUT_CHUNK)
                return 0;
        uint64_t size = p->layout == EROFS_LAYOUT_INLINE ? p->size - p->tail_size : p->size;
        return (uint32_t) (zp_round_up(size, ZP_EROFS_BLOCK) / ZP_EROFS_BLOCK);
}

static void number_inode(struct zp_erofs_plan *plan, struct zp_inode *inode, struct zp_inode *parent) {
        inode->scratch = plan->count;
        plan->placed[plan->count++] = (struct zp_erofs_placed){ .inode = inode, .parent = parent };
}

/* Numbers a directory's children, then goes down. A hard link was numbered where it was met first. */
static void number_children(struct zp_erofs_plan *plan, struct zp_inode *dir) {
        for (struct zp_dentry *child = dir->first_child; child; child = child->next)
                if (child->inode->scratch == UINT64_MAX)
                        number_inode(plan, child->inode, dir);
        for (struct zp_dentry *child = dir->first_child; child; child = child->next)
                if (S_ISDIR(child->inode->mode))
                        number_children(plan, child->inode);
}

static void forget_numbers(struct zp_inode *inode) {
        inode->scratch = UINT64_MAX;
        for (struct zp_dentry *child = inode->first_child; child; child = child->next)
                forget_numbers(child->inode);
}

static int place_all(struct zp_erofs_plan *plan, struct zp_error *err) {
        /* not in the first slot: an inode number of 0 means "none" to many programs */
        uint64_t cursor = plan->meta_block * ZP_EROFS_BLOCK + EROFS_SLOT_SIZE;
        for (uint32_t i = 0; i < plan->count; i++) {
                choose_layout(&plan->placed[i]);
                cursor = place(&plan->placed[i], cursor);
        }
        plan->data_block = plan->total_blocks = zp_round_up(cursor, ZP_EROFS_BLOCK) / ZP_EROFS_BLOCK;
        for (uint32_t i = 0; i < plan->count; i++) {
                plan->placed[i].data_block = plan->total_blocks;
                plan->total_blocks += zp_erofs_data_blocks(&plan->placed[i]);
        }
        uint64_t disk = plan->total_blocks;
        for (uint16_t i = 0; i < plan->options->device_count; i++)
                disk += plan->options->devices[i].blocks;
        if (disk >= UINT32_MAX)
                return zp_error_set(err, EFBIG, "the disk would have %" PRIu64 " blocks; EROFS stops at 16 TiB", disk);
        return 0;
}

int zp_erofs_plan_make(struct zp_tree *tree, const struct zp_erofs_options *options, struct zp_erofs_plan *out,
                       struct zp_error *err) {
        struct zp_inode *root = zp_tree_root(tree);
        *out = (struct zp_erofs_plan){ .tree = tree, .options = options };
        out->placed = malloc(zp_tree_inode_count(tree) * sizeof *out->placed);
        if (!out->placed)
                return zp_error_errno(err, ENOMEM, "file system of %u inodes", zp_tree_inode_count(tree));
        int r = zp_tree_sort(tree, err);
        if (r < 0)
                return r;
        forget_numbers(root);
        number_inode(out, root, root);
        number_children(out, root);
        if ((r = zp_erofs_check_tree(out, err)) < 0)
                return r;
        uint64_t table =
                options->layout == ZP_EROFS_DEVICE_TABLE ? (uint64_t) options->device_count * EROFS_DEVICE_SIZE : 0;
        out->xattr_block = zp_round_up(EROFS_DEVICE_TABLE_OFFSET + table, ZP_EROFS_BLOCK) / ZP_EROFS_BLOCK;
        r = share_xattrs(out, err);
        return r < 0 ? r : place_all(out, err);
}

void zp_erofs_plan_clear(struct zp_erofs_plan *plan) {
        free(plan->placed);
        free(plan->shared);
}
