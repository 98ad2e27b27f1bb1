/* SPDX-License-Identifier: Apache-2.0
 *
 * The EROFS writer: one pass lays everything out (plan.c), one writes it front to back.
 *
 *   block 0      superblock, device table (may take further blocks)
 *   then         shared xattrs
 *   then         inodes in slots of 32 bytes, each followed by its xattrs and inline data or chunk indexes
 *   then         directory blocks and long link targets
 *
 * A directory's children lie next to each other, so that listing it touches few blocks.
 */
#include "erofs/writer.h"

#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "erofs/format.h"
#include "erofs/plan.h"

#define OUTPUT_BUFFER (256u * 1024u)

struct writer {
        struct zp_erofs_plan plan;
        int fd;
        const char *name;
        uint8_t *buffer;
        size_t buffered;
        uint64_t position; /* of the next byte to be put */
        struct zp_sha256 *hash;
};

static uint8_t file_type(uint32_t mode) {
        switch (mode & S_IFMT) {
        case S_IFREG:
                return 1;
        case S_IFDIR:
                return 2;
        case S_IFCHR:
                return 3;
        case S_IFBLK:
                return 4;
        case S_IFIFO:
                return 5;
        case S_IFSOCK:
                return 6;
        default:
                return 7; /* symbolic link */
        }
}

static int flush(struct writer *w, struct zp_error *err) {
        zp_sha256_update(w->hash, w->buffer, w->buffered);
        int r = zp_pwrite_all(w->fd, w->buffer, w->buffered, w->position - w->buffered, w->name, err);
        w->buffered = 0;
        return r;
}

static int put(struct writer *w, const void *data, uint64_t size, struct zp_error *err) {
        const uint8_t *next = data; /* NULL: zeros */
        while (size > 0) {
                size_t part = (size_t) zp_min_u64(size, OUTPUT_BUFFER - w->buffered);
                if (next) {
                        memcpy(w->buffer + w->buffered, next, part);
                        next += part;
                } else {
                        memset(w->buffer + w->buffered, 0, part);
                }
                w->buffered += part;
                w->position += part;
                size -= part;
                int r = w->buffered == OUTPUT_BUFFER ? flush(w, err) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int pad_to(struct writer *w, uint64_t offset, struct zp_error *err) {
        return put(w, NULL, offset - w->position, err);
}

static int put_xattr_entry(struct writer *w, const struct zp_xattr *xattr, struct zp_error *err) {
        uint8_t index = 0;
        const char *rest = "";
        int r = zp_erofs_xattr_name(xattr->name, &index, &rest, err);
        if (r < 0)
                return r;
        uint8_t header[EROFS_XATTR_ENTRY_SIZE];
        header[XATTR_NAME_SIZE] = (uint8_t) strlen(rest);
        header[XATTR_INDEX] = index;
        zp_put_le16(header + XATTR_VALUE_SIZE, (uint16_t) xattr->value_size);
        if ((r = put(w, header, sizeof header, err)) < 0 || (r = put(w, rest, strlen(rest), err)) < 0 ||
            (r = put(w, xattr->value, xattr->value_size, err)) < 0)
                return r;
        return pad_to(w, zp_round_up(w->position, 4), err);
}

static int put_inode_xattrs(struct writer *w, const struct zp_erofs_placed *p, struct zp_error *err) {
        if (p->xattr_size == 0)
                return 0;
        uint8_t header[EROFS_XATTR_HEADER_SIZE] = { 0 };
        for (const struct zp_xattr *x = p->inode->xattrs; x; x = x->next)
                header[EROFS_XATTR_SHARED_COUNT] += x->scratch != ZP_EROFS_NOT_SHARED;
        int r = put(w, header, sizeof header, err);
        for (const struct zp_xattr *x = p->inode->xattrs; r == 0 && x; x = x->next) {
                uint8_t id[4];
                zp_put_le32(id, x->scratch);
                if (x->scratch != ZP_EROFS_NOT_SHARED)
                        r = put(w, id, sizeof id, err);
        }
        for (const struct zp_xattr *x = p->inode->xattrs; r == 0 && x; x = x->next)
                if (x->scratch == ZP_EROFS_NOT_SHARED)
                        r = put_xattr_entry(w, x, err);
        return r;
}

static uint64_t nid_of(const struct writer *w, const struct zp_inode *inode) {
        return (w->plan.placed[inode->scratch].offset - w->plan.meta_block * ZP_EROFS_BLOCK) / EROFS_SLOT_SIZE;
}

/* Fills `block` with the directory entries that fit from the iterator on; returns the bytes used. */
static uint32_t fill_dir_block(const struct writer *w, struct zp_erofs_dir *it, uint8_t block[ZP_BLOCK_SIZE]) {
        struct zp_erofs_dir ahead = *it;
        struct zp_erofs_dir_entry entry;
        uint32_t used = 0, count = 0;
        while (zp_erofs_dir_next(&ahead, &entry) && used + EROFS_DIRENT_SIZE + entry.name_size <= ZP_EROFS_BLOCK) {
                used += EROFS_DIRENT_SIZE + entry.name_size;
                count++;
        }
        uint32_t name_offset = count * EROFS_DIRENT_SIZE;
        for (uint32_t i = 0; i < count; i++) {
                zp_erofs_dir_next(it, &entry);
                uint8_t *dirent = block + i * EROFS_DIRENT_SIZE;
                zp_put_le64(dirent + DIRENT_NID, nid_of(w, entry.inode));
                zp_put_le16(dirent + DIRENT_NAME_OFFSET, (uint16_t) name_offset);
                dirent[DIRENT_TYPE] = file_type(entry.inode->mode);
                dirent[DIRENT_TYPE + 1] = 0;
                memcpy(block + name_offset, entry.name, entry.name_size);
                name_offset += entry.name_size;
        }
        return used;
}

/* Writes either the last block (the inline tail) or those before it. */
static int put_directory(struct writer *w, const struct zp_erofs_placed *p, bool tail, struct zp_error *err) {
        uint8_t block[ZP_BLOCK_SIZE];
        uint64_t plain_blocks = zp_erofs_data_blocks(p);
        struct zp_erofs_dir it = zp_erofs_dir_begin(p);
        int r = 0;
        for (uint64_t i = 0; r == 0 && i * ZP_EROFS_BLOCK < p->size; i++) {
                uint32_t used = fill_dir_block(w, &it, block);
                if (i >= plain_blocks && tail)
                        r = put(w, block, used, err);
                else if (i < plain_blocks && !tail && (r = put(w, block, used, err)) == 0)
                        r = pad_to(w, zp_round_up(w->position, ZP_EROFS_BLOCK), err);
        }
        return r;
}

static void encode_chunk(const struct writer *w, const struct zp_extent *extent, uint64_t within, uint8_t out[8]) {
        memset(out, 0, 8);
        if (extent->block == ZP_HOLE) {
                zp_put_le32(out + CHUNK_BLOCK, EROFS_NULL_BLOCK);
                return;
        }
        uint64_t block = extent->block + within;
        if (w->plan.options->layout == ZP_EROFS_DEVICE_TABLE) {
                zp_put_le16(out + CHUNK_DEVICE, extent->device + 1);
        } else {
                block += w->plan.total_blocks;
                for (uint16_t i = 0; i < extent->device; i++)
                        block += w->plan.options->devices[i].blocks;
        }
        zp_put_le32(out + CHUNK_BLOCK, (uint32_t) block);
}

static int put_chunks(struct writer *w, const struct zp_erofs_placed *p, struct zp_error *err) {
        int r = pad_to(w, zp_round_up(w->position, EROFS_CHUNK_INDEX_SIZE), err);
        for (uint32_t i = 0; r == 0 && i < p->inode->extent_count; i++) {
                const struct zp_extent *extent = &p->inode->extents[i];
                for (uint64_t within = 0; r == 0 && within < extent->blocks; within += UINT64_C(1) << p->chunk_bits) {
                        uint8_t index[EROFS_CHUNK_INDEX_SIZE];
                        encode_chunk(w, extent, within, index);
                        r = put(w, index, sizeof index, err);
                }
        }
        return r;
}

static uint32_t encode_device_number(const struct zp_inode *inode) {
        return (inode->rdev_minor & 0xff) | inode->rdev_major << 8 | (inode->rdev_minor & ~0xffu) << 12;
}

static uint32_t inode_union(const struct zp_erofs_placed *p) {
        if (p->layout == EROFS_LAYOUT_CHUNK)
                return EROFS_CHUNK_INDEXES | p->chunk_bits;
        if (S_ISCHR(p->inode->mode) || S_ISBLK(p->inode->mode))
                return encode_device_number(p->inode);
        return zp_erofs_data_blocks(p) > 0 ? (uint32_t) p->data_block : 0;
}

static int put_inode(struct writer *w, const struct zp_erofs_placed *p, struct zp_error *err) {
        const struct zp_inode *inode = p->inode;
        uint8_t raw[EROFS_INODE_SIZE] = { 0 };
        zp_put_le16(raw + INODE_FORMAT, (uint16_t) (EROFS_FORMAT_EXTENDED | p->layout << 1));
        if (p->xattr_size > 0)
                zp_put_le16(raw + INODE_XATTR_COUNT, (uint16_t) ((p->xattr_size - EROFS_XATTR_HEADER_SIZE) / 4 + 1));
        zp_put_le16(raw + INODE_MODE, (uint16_t) inode->mode);
        zp_put_le64(raw + INODE_SIZE, p->size);
        zp_put_le32(raw + INODE_UNION, inode_union(p));
        zp_put_le32(raw + INODE_NUMBER, (uint32_t) inode->scratch + 1);
        zp_put_le32(raw + INODE_UID, inode->uid);
        zp_put_le32(raw + INODE_GID, inode->gid);
        zp_put_le64(raw + INODE_MTIME, (uint64_t) inode->mtime_s);
        zp_put_le32(raw + INODE_MTIME_NS, inode->mtime_ns);
        zp_put_le32(raw + INODE_NLINK, inode->nlink);

        int r = pad_to(w, p->offset, err);
        if (r < 0 || (r = put(w, raw, sizeof raw, err)) < 0 || (r = put_inode_xattrs(w, p, err)) < 0)
                return r;
        if (p->layout == EROFS_LAYOUT_CHUNK)
                return put_chunks(w, p, err);
        if (p->layout != EROFS_LAYOUT_INLINE)
                return 0;
        return S_ISDIR(inode->mode) ? put_directory(w, p, true, err) : put(w, inode->data, p->tail_size, err);
}

static int put_data(struct writer *w, const struct zp_erofs_placed *p, struct zp_error *err) {
        if (zp_erofs_data_blocks(p) == 0)
                return 0;
        if (S_ISDIR(p->inode->mode))
                return put_directory(w, p, false, err);
        int r = put(w, p->inode->data, p->size, err);
        return r < 0 ? r : pad_to(w, zp_round_up(w->position, ZP_EROFS_BLOCK), err);
}

/* The superblock and device table, written last: the UUID is taken from the digest of all the rest. */
static int put_front(struct writer *w, struct zp_error *err) {
        const struct zp_erofs_options *o = w->plan.options;
        bool has_table = o->layout == ZP_EROFS_DEVICE_TABLE && o->device_count > 0;
        size_t size = (size_t) (w->plan.xattr_block * ZP_EROFS_BLOCK);
        zp_autofree uint8_t *front = calloc(1, size);
        if (!front)
                return zp_error_errno(err, ENOMEM, "superblock");
        uint64_t disk_blocks = w->plan.total_blocks;
        for (uint16_t i = 0; i < o->device_count; i++) {
                uint8_t *slot = front + EROFS_DEVICE_TABLE_OFFSET + (size_t) i * EROFS_DEVICE_SIZE;
                char hex[ZP_SHA256_HEX_SIZE];
                if (has_table) {
                        memcpy(slot + DEVICE_TAG, zp_digest_hex(&o->devices[i].digest, hex), EROFS_DEVICE_TAG_SIZE);
                        zp_put_le32(slot + DEVICE_BLOCKS, (uint32_t) o->devices[i].blocks);
                        zp_put_le32(slot + DEVICE_MAPPED_BLOCK, (uint32_t) disk_blocks);
                }
                disk_blocks += o->devices[i].blocks;
        }
        uint8_t *sb = front + EROFS_SUPER_OFFSET;
        zp_put_le32(sb + SB_MAGIC, EROFS_MAGIC);
        zp_put_le32(sb + SB_FEATURE_COMPAT, EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME);
        sb[SB_BLOCK_BITS] = ZP_BLOCK_BITS;
        zp_put_le16(sb + SB_ROOT_NID, (uint16_t) nid_of(w, zp_tree_root(w->plan.tree)));
        zp_put_le64(sb + SB_INODES, w->plan.count);
        zp_put_le32(sb + SB_BLOCKS, (uint32_t) (o->layout == ZP_EROFS_FLAT ? disk_blocks : w->plan.total_blocks));
        zp_put_le32(sb + SB_META_BLOCK, (uint32_t) w->plan.meta_block);
        zp_put_le32(sb + SB_XATTR_BLOCK, (uint32_t) w->plan.xattr_block);
        zp_put_le32(sb + SB_FEATURE_INCOMPAT, EROFS_INCOMPAT_CHUNKED | (has_table ? EROFS_INCOMPAT_DEVICES : 0));
        if (has_table) {
                zp_put_le16(sb + SB_EXTRA_DEVICES, o->device_count);
                zp_put_le16(sb + SB_DEVICE_SLOT, EROFS_DEVICE_TABLE_OFFSET / EROFS_DEVICE_SIZE);
        }
        struct zp_digest digest;
        zp_sha256_update(w->hash, front, size);
        zp_sha256_finish(w->hash, &digest);
        memcpy(sb + SB_UUID, digest.bytes, 16);
        sb[SB_UUID + 6] = (uint8_t) ((sb[SB_UUID + 6] & 0x0f) | 0x80); /* RFC 9562: version 8, custom */
        sb[SB_UUID + 8] = (uint8_t) ((sb[SB_UUID + 8] & 0x3f) | 0x80);
        zp_put_le32(sb + SB_CHECKSUM, crc32_iscsi(sb, (int) (ZP_BLOCK_SIZE - EROFS_SUPER_OFFSET), UINT32_MAX));
        return zp_pwrite_all(w->fd, front, size, 0, w->name, err);
}

static int write_all(struct writer *w, struct zp_error *err) {
        w->position = w->plan.xattr_block * ZP_EROFS_BLOCK;
        int r = 0;
        for (uint32_t i = 0; r == 0 && i < w->plan.shared_count; i++)
                r = put_xattr_entry(w, w->plan.shared[i], err);
        for (uint32_t i = 0; r == 0 && i < w->plan.count; i++)
                r = put_inode(w, &w->plan.placed[i], err);
        if (r == 0)
                r = pad_to(w, w->plan.data_block * ZP_EROFS_BLOCK, err);
        for (uint32_t i = 0; r == 0 && i < w->plan.count; i++)
                r = put_data(w, &w->plan.placed[i], err);
        if (r == 0)
                r = flush(w, err);
        return r < 0 ? r : put_front(w, err);
}

/* A layer's own facts become attributes while it is written (see format.h). */
static int mark_layer(struct zp_tree *tree, struct zp_inode *dir, struct zp_error *err) {
        int r = dir->is_opaque ? zp_tree_set_xattr(tree, dir, ZP_XATTR_OPAQUE, "y", 1, err) : 0;
        if (r == 0 && (dir->is_implied || dir->inherits_xattrs)) {
                const char *value = dir->is_implied ? ZP_IMPLIED_ALWAYS : ZP_IMPLIED_FIRST;
                r = zp_tree_set_xattr(tree, dir, ZP_XATTR_IMPLIED, value, (uint32_t) strlen(value), err);
        }
        for (struct zp_dentry *child = dir->first_child; r == 0 && child; child = child->next)
                if (S_ISDIR(child->inode->mode))
                        r = mark_layer(tree, child->inode, err);
        return r;
}

static void unmark_layer(struct zp_inode *dir) {
        for (struct zp_xattr **x = &dir->xattrs; *x;) {
                if (strcmp((*x)->name, ZP_XATTR_OPAQUE) == 0 || strcmp((*x)->name, ZP_XATTR_IMPLIED) == 0)
                        *x = (*x)->next;
                else
                        x = &(*x)->next;
        }
        for (struct zp_dentry *child = dir->first_child; child; child = child->next)
                if (S_ISDIR(child->inode->mode))
                        unmark_layer(child->inode);
}

int zp_erofs_write(struct zp_tree *tree, const struct zp_erofs_options *options, int fd, const char *name,
                   struct zp_erofs_result *result, struct zp_error *err) {
        struct writer w = { .fd = fd, .name = name, .buffer = malloc(OUTPUT_BUFFER), .hash = zp_sha256_new() };
        int r = w.buffer && w.hash ? 0 : zp_error_errno(err, ENOMEM, "file system");
        if (r == 0 && options->is_layer)
                r = mark_layer(tree, zp_tree_root(tree), err);
        if (r == 0)
                r = zp_erofs_plan_make(tree, options, &w.plan, err);
        /* what fails from there on names the file itself */
        r = r < 0 ? zp_error_wrap(err, "write '%s'", name) : write_all(&w, err);
        if (r == 0)
                *result = (struct zp_erofs_result){ .blocks = w.plan.total_blocks, .inodes = w.plan.count };
        if (options->is_layer)
                unmark_layer(zp_tree_root(tree));
        zp_erofs_plan_clear(&w.plan);
        free(w.buffer);
        zp_sha256_free(w.hash);
        return r;
}
