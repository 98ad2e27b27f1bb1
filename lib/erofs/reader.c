/* SPDX-License-Identifier: Apache-2.0
 *
 * The EROFS reader. Everything is reached through at(), which refuses what lies outside the image; a nid
 * met twice must be a hard link, a directory met twice is damage. What belongs to one inode is taken through
 * claim(): no byte belongs to two, so crafted overlaps cannot make the work larger than the image. Checking is loading
 * without a tree to put things into.
 */
#include "erofs/reader.h"

#include <inttypes.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "erofs/format.h"

#define BLOCK ((uint64_t) ZP_BLOCK_SIZE)

struct reader {
        const uint8_t *image;
        uint64_t size;
        uint64_t unclaimed; /* bytes that can still belong to an inode */
        struct zp_tree *tree; /* NULL: nothing is kept */
        uint64_t meta_offset, xattr_offset, inodes;
        uint32_t root_nid;
        const struct zp_erofs_device *devices;
        uint16_t device_count;
        uint8_t *seen; /* a bit for each nid */
        uint64_t seen_size, seen_count;
        uint32_t names;
        struct zp_inode **loaded; /* by nid; NULL without a tree */
};

static int damaged(struct zp_error *err, const char *what) {
        return zp_error_set(err, EBADMSG, "damaged EROFS: %s", what);
}

static const uint8_t *at(const struct reader *r, uint64_t offset, uint64_t size) {
        return offset <= r->size && size <= r->size - offset ? r->image + offset : NULL;
}

static const uint8_t *claim(struct reader *r, uint64_t offset, uint64_t size) {
        if (size > r->unclaimed)
                return NULL;
        r->unclaimed -= size;
        return at(r, offset, size);
}

/* ---- superblock and devices ---- */

static bool checksum_is_right(const uint8_t *sb) {
        uint8_t block[ZP_BLOCK_SIZE - EROFS_SUPER_OFFSET];
        memcpy(block, sb, sizeof block);
        zp_put_le32(block + SB_CHECKSUM, 0);
        return crc32_iscsi(block, (int) sizeof block, UINT32_MAX) == zp_get_le32(sb + SB_CHECKSUM);
}

static int read_devices(const struct reader *r, const uint8_t *sb, struct zp_erofs_device **out, uint16_t *count,
                        struct zp_error *err) {
        *out = NULL;
        *count = 0;
        if (!(zp_get_le32(sb + SB_FEATURE_INCOMPAT) & EROFS_INCOMPAT_DEVICES))
                return 0;
        uint16_t n = zp_get_le16(sb + SB_EXTRA_DEVICES);
        const uint8_t *table = at(r, (uint64_t) zp_get_le16(sb + SB_DEVICE_SLOT) * EROFS_DEVICE_SIZE,
                                  (uint64_t) n * EROFS_DEVICE_SIZE);
        if (!table || n > ZP_LIMIT_DEVICES)
                return damaged(err, "device table outside the file");
        zp_autofree struct zp_erofs_device *devices = calloc((size_t) n + 1, sizeof *devices);
        if (!devices)
                return zp_error_errno(err, ENOMEM, "device table");
        for (uint16_t i = 0; i < n; i++, table += EROFS_DEVICE_SIZE) {
                char hex[ZP_SHA256_HEX_SIZE] = { 0 };
                memcpy(hex, table + DEVICE_TAG, EROFS_DEVICE_TAG_SIZE);
                devices[i].blocks = zp_get_le32(table + DEVICE_BLOCKS);
                if (!zp_digest_parse_hex(hex, &devices[i].digest) || devices[i].blocks == 0)
                        return damaged(err, "device slot without a digest or blocks");
        }
        *out = zp_steal(&devices);
        *count = n;
        return 0;
}

static int read_superblock(struct reader *r, const uint8_t **out, struct zp_error *err) {
        const uint8_t *sb = at(r, EROFS_SUPER_OFFSET, ZP_BLOCK_SIZE - EROFS_SUPER_OFFSET);
        if (!sb || zp_get_le32(sb + SB_MAGIC) != EROFS_MAGIC)
                return zp_error_set(err, EBADMSG, "not an EROFS file system");
        if (zp_get_le32(sb + SB_FEATURE_INCOMPAT) & ~(EROFS_INCOMPAT_CHUNKED | EROFS_INCOMPAT_DEVICES) ||
            sb[SB_BLOCK_BITS] != ZP_BLOCK_BITS || sb[SB_DIR_BLOCK_BITS] != 0 || sb[SB_EXTENSION_SLOTS] != 0)
                return zp_error_set(err, ENOTSUP, "EROFS with features that snapshots do not use");
        if (!(zp_get_le32(sb + SB_FEATURE_COMPAT) & EROFS_COMPAT_CHECKSUM) || !checksum_is_right(sb))
                return damaged(err, "superblock checksum differs");
        r->meta_offset = zp_get_le32(sb + SB_META_BLOCK) * BLOCK;
        r->xattr_offset = zp_get_le32(sb + SB_XATTR_BLOCK) * BLOCK;
        r->root_nid = zp_get_le16(sb + SB_ROOT_NID);
        r->inodes = zp_get_le64(sb + SB_INODES);
        /* every inode takes its size in the file, so a false count is found here */
        if (r->inodes > r->size / EROFS_INODE_SIZE || r->inodes > ZP_LIMIT_LAYER_ENTRIES)
                return damaged(err, "more inodes than the file has room for");
        if (r->meta_offset >= r->size)
                return damaged(err, "inodes outside the file");
        *out = sb;
        return 0;
}

/* ---- inodes ---- */

static bool is_value(const uint8_t *value, size_t size, const char *text) {
        return size == strlen(text) && memcmp(value, text, size) == 0;
}

static int read_implied(struct zp_inode *inode, const uint8_t *value, size_t size, struct zp_error *err) {
        inode->is_implied = is_value(value, size, ZP_IMPLIED_ALWAYS);
        inode->inherits_xattrs = is_value(value, size, ZP_IMPLIED_FIRST);
        if (!S_ISDIR(inode->mode) || (!inode->is_implied && !inode->inherits_xattrs))
                return damaged(err, "malformed mark of an implied directory");
        return 0;
}

static int read_xattr_entry(struct reader *r, struct zp_inode *inode, uint64_t offset, uint64_t *next,
                            struct zp_error *err) {
        static const struct zp_erofs_xattr_prefix prefixes[] = ZP_EROFS_XATTR_PREFIXES;
        const uint8_t *entry = at(r, offset, EROFS_XATTR_ENTRY_SIZE);
        if (!entry)
                return damaged(err, "xattr outside the file");
        uint8_t name_size = entry[XATTR_NAME_SIZE];
        uint16_t value_size = zp_get_le16(entry + XATTR_VALUE_SIZE);
        const uint8_t *name = at(r, offset + EROFS_XATTR_ENTRY_SIZE, (uint64_t) name_size + value_size);
        const char *prefix = NULL;
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
                if (prefixes[i].index == entry[XATTR_INDEX])
                        prefix = prefixes[i].prefix;
        if (!name || !prefix || memchr(name, 0, name_size))
                return damaged(err, "malformed xattr");
        char full[300];
        snprintf(full, sizeof full, "%s%.*s", prefix, (int) name_size, (const char *) name);
        *next = offset + zp_round_up(EROFS_XATTR_ENTRY_SIZE + (uint64_t) name_size + value_size, 4);
        if (strcmp(full, ZP_XATTR_OPAQUE) == 0) {
                inode->is_opaque = S_ISDIR(inode->mode);
                return 0;
        }
        if (strcmp(full, ZP_XATTR_IMPLIED) == 0)
                return read_implied(inode, name + name_size, value_size, err);
        return r->tree ? zp_tree_borrow_xattr(r->tree, inode, full, name + name_size, value_size, err) : 0;
}

static int read_xattrs(struct reader *r, struct zp_inode *inode, uint64_t offset, uint64_t size, struct zp_error *err) {
        const uint8_t *header = claim(r, offset, size);
        if (!header || size < EROFS_XATTR_HEADER_SIZE ||
            header[EROFS_XATTR_SHARED_COUNT] * 4u > size - EROFS_XATTR_HEADER_SIZE)
                return damaged(err, "xattrs outside the file");
        uint64_t cursor = offset + EROFS_XATTR_HEADER_SIZE, next;
        for (unsigned i = 0; i < header[EROFS_XATTR_SHARED_COUNT]; i++, cursor += 4) {
                uint64_t shared = r->xattr_offset + zp_get_le32(r->image + cursor) * UINT64_C(4);
                int e = read_xattr_entry(r, inode, shared, &next, err);
                if (e < 0)
                        return e;
        }
        for (; cursor < offset + size; cursor = next) {
                int e = read_xattr_entry(r, inode, cursor, &next, err);
                if (e < 0)
                        return e;
                if (next > offset + size)
                        return damaged(err, "xattr passes the end of its inode");
        }
        return 0;
}

/* The run of blocks that one chunk index describes. */
static int read_chunk(const struct reader *r, const uint8_t *index, uint64_t blocks, struct zp_extent *out,
                      struct zp_error *err) {
        uint32_t block = zp_get_le32(index + CHUNK_BLOCK);
        uint16_t device = zp_get_le16(index + CHUNK_DEVICE);
        if (block == EROFS_NULL_BLOCK) {
                *out = (struct zp_extent){ .block = ZP_HOLE, .blocks = blocks };
                return 0;
        }
        if (device == 0)
                return zp_error_set(err, ENOTSUP,
                                    "EROFS with absolute addresses: a flat disk does not tell its layers");
        if (device > r->device_count || block + blocks > r->devices[device - 1].blocks)
                return damaged(err, "file data outside its device");
        *out = (struct zp_extent){ .block = block, .blocks = blocks, .device = (uint16_t) (device - 1) };
        return 0;
}

static bool extent_continues(const struct zp_extent *before, const struct zp_extent *after) {
        if (before->block == ZP_HOLE || after->block == ZP_HOLE)
                return before->block == after->block;
        return before->device == after->device && before->block + before->blocks == after->block;
}

/* Joins the chunks into extents; counts them only when `extents` is NULL. */
static int join_chunks(const struct reader *r, const uint8_t *index, uint32_t bits, uint64_t blocks,
                       struct zp_extent *extents, uint32_t *count, struct zp_error *err) {
        struct zp_extent last = { 0 }, next = { 0 };
        *count = 0;
        for (uint64_t done = 0; done < blocks; done += UINT64_C(1) << bits, index += EROFS_CHUNK_INDEX_SIZE) {
                int e = read_chunk(r, index, zp_min_u64(UINT64_C(1) << bits, blocks - done), &next, err);
                if (e < 0)
                        return e;
                if (*count > 0 && extent_continues(&last, &next)) {
                        last.blocks += next.blocks;
                } else {
                        last = next;
                        ++*count;
                }
                if (extents)
                        extents[*count - 1] = last;
        }
        return 0;
}

static int read_chunks(struct reader *r, struct zp_inode *inode, uint64_t offset, uint32_t format,
                       struct zp_error *err) {
        uint32_t bits = format & EROFS_CHUNK_BITS_MASK;
        uint64_t blocks = zp_round_up(inode->size, BLOCK) / BLOCK;
        uint64_t count = (blocks + (UINT64_C(1) << bits) - 1) >> bits;
        if ((format & UINT16_MAX) != (EROFS_CHUNK_INDEXES | bits))
                return zp_error_set(err, ENOTSUP, "EROFS chunk format that snapshots do not use");
        const uint8_t *index = claim(r, zp_round_up(offset, EROFS_CHUNK_INDEX_SIZE), count * EROFS_CHUNK_INDEX_SIZE);
        if (!index || count == 0)
                return damaged(err, "chunk indexes outside the file");
        int e = join_chunks(r, index, bits, blocks, NULL, &inode->extent_count, err);
        if (e < 0 || !r->tree)
                return e;
        inode->extents = zp_tree_alloc(r->tree, (size_t) inode->extent_count * sizeof *inode->extents);
        if (!inode->extents)
                return zp_error_errno(err, ENOMEM, "a file of %u extents", inode->extent_count);
        return join_chunks(r, index, bits, blocks, inode->extents, &inode->extent_count, err);
}

/* `body` is what follows the inode and its xattrs. */
static int read_content(struct reader *r, struct zp_inode *inode, const uint8_t *raw, uint64_t body,
                        struct zp_error *err) {
        unsigned layout = zp_get_le16(raw + INODE_FORMAT) >> 1;
        uint32_t value = zp_get_le32(raw + INODE_UNION);
        if (S_ISREG(inode->mode) && layout == EROFS_LAYOUT_CHUNK)
                return read_chunks(r, inode, body, value, err);
        if (layout != EROFS_LAYOUT_PLAIN && layout != EROFS_LAYOUT_INLINE)
                return zp_error_set(err, ENOTSUP, "EROFS data layout %u, which snapshots do not use", layout);
        if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) {
                inode->rdev_major = (value & 0xfff00) >> 8;
                inode->rdev_minor = (value & 0xff) | (value >> 12 & 0xfff00);
        }
        if ((S_ISREG(inode->mode) || S_ISLNK(inode->mode)) && inode->size > 0) {
                uint64_t offset = layout == EROFS_LAYOUT_INLINE ? body : value * BLOCK;
                if (inode->size > BLOCK || !(inode->data = claim(r, offset, inode->size)))
                        return damaged(err, "inline data outside the file");
        }
        if (S_ISLNK(inode->mode) &&
            (inode->size == 0 || inode->size > ZP_LIMIT_SYMLINK || memchr(inode->data, 0, (size_t) inode->size)))
                return damaged(err, "malformed link target");
        return 0;
}

static bool is_known_type(uint32_t mode) {
        return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) ||
               S_ISSOCK(mode);
}

static int read_inode(struct reader *r, struct zp_inode *inode, uint64_t offset, const uint8_t *raw,
                      struct zp_error *err) {
        inode->uid = zp_get_le32(raw + INODE_UID);
        inode->gid = zp_get_le32(raw + INODE_GID);
        inode->mtime_s = (int64_t) zp_get_le64(raw + INODE_MTIME);
        inode->mtime_ns = zp_get_le32(raw + INODE_MTIME_NS);
        uint64_t size = zp_get_le64(raw + INODE_SIZE);
        if (S_ISREG(inode->mode) || S_ISLNK(inode->mode))
                inode->size = size;
        if (inode->mtime_ns >= 1000000000 || inode->size > ZP_LIMIT_FILE_SIZE)
                return damaged(err, "impossible time or size");
        uint16_t xattr_count = zp_get_le16(raw + INODE_XATTR_COUNT);
        uint64_t xattr_size = xattr_count ? EROFS_XATTR_HEADER_SIZE + (xattr_count - 1u) * 4u : 0;
        int e = xattr_size ? read_xattrs(r, inode, offset + EROFS_INODE_SIZE, xattr_size, err) : 0;
        return e < 0 ? e : read_content(r, inode, raw, offset + EROFS_INODE_SIZE + xattr_size, err);
}

/* ---- directories ---- */

static int read_directory(struct reader *r, struct zp_inode *dir, uint64_t nid, struct zp_error *err);

static bool is_seen(const struct reader *r, uint64_t nid) {
        return r->seen[nid / 8] >> nid % 8 & 1;
}

static void see(struct reader *r, uint64_t nid, struct zp_inode *inode) {
        r->seen[nid / 8] |= (uint8_t) (1u << nid % 8);
        r->seen_count++;
        if (r->loaded)
                r->loaded[nid] = inode;
}

/* What a tree would refuse, too. */
static int count_name(struct reader *r, const struct zp_inode *dir, uint32_t mode, struct zp_error *err) {
        if (S_ISDIR(mode) && dir->depth >= ZP_LIMIT_DEPTH)
                return zp_error_errno(err, ENAMETOOLONG, "more than %u directories in each other", ZP_LIMIT_DEPTH);
        if (++r->names > ZP_LIMIT_LAYER_ENTRIES)
                return zp_error_set(err, E2BIG, "more than %u names", ZP_LIMIT_LAYER_ENTRIES);
        return 0;
}

/* Gives the inode of that nid, which *inode becomes when it is new, a name in the tree. */
static int link_inode(struct reader *r, struct zp_inode *dir, const char *name, size_t name_size, uint64_t nid,
                      uint32_t mode, struct zp_inode **inode, struct zp_error *err) {
        int e = 0;
        if (is_seen(r, nid))
                *inode = r->loaded[nid];
        else
                e = zp_tree_new_inode(r->tree, mode, inode, err);
        return e < 0 ? e : zp_tree_link(r->tree, dir, name, name_size, *inode, err);
}

static int read_entry(struct reader *r, struct zp_inode *dir, const char *name, size_t name_size, uint64_t nid,
                      struct zp_error *err) {
        uint64_t offset = r->meta_offset + nid * EROFS_SLOT_SIZE;
        const uint8_t *raw = nid < r->seen_size ? at(r, offset, EROFS_INODE_SIZE) : NULL;
        if (!raw || !(zp_get_le16(raw + INODE_FORMAT) & EROFS_FORMAT_EXTENDED))
                return damaged(err, "no inode where a name points");
        uint32_t mode = zp_get_le16(raw + INODE_MODE);
        bool is_new = !is_seen(r, nid);
        if (!is_known_type(mode) || (!is_new && S_ISDIR(mode)))
                return damaged(err, "an unknown file type, or a directory with two names");
        if (is_new && (r->seen_count >= r->inodes || !claim(r, offset, EROFS_INODE_SIZE)))
                return damaged(err, "more inodes than the superblock says");
        struct zp_inode unkept = { .mode = mode, .depth = (uint16_t) (dir->depth + 1) }, *inode = &unkept;
        int e = count_name(r, dir, mode, err);
        if (e == 0 && r->tree)
                e = link_inode(r, dir, name, name_size, nid, mode, &inode, err);
        if (e == 0 && is_new) {
                see(r, nid, inode);
                e = read_inode(r, inode, offset, raw, err);
                if (e == 0 && S_ISDIR(mode))
                        e = read_directory(r, inode, nid, err);
        }
        if (e == 0 && !S_ISDIR(mode))
                inode->nlink = zp_get_le32(raw + INODE_NLINK);
        return e;
}

/* A directory's last name so far. */
struct last_name {
        const char *text;
        size_t size;
};

/* In order, as the kernel looks them up, no name is there twice. */
static bool follows(struct last_name *last, const char *name, size_t size) {
        int order = last->text ? memcmp(name, last->text, size < last->size ? size : last->size) : 1;
        bool is_larger = order > 0 || (order == 0 && size > last->size);
        *last = (struct last_name){ name, size };
        return is_larger;
}

static int read_dir_block(struct reader *r, struct zp_inode *dir, const uint8_t *block, uint32_t size,
                          struct last_name *last, struct zp_error *err) {
        uint32_t first_name = size >= EROFS_DIRENT_SIZE ? zp_get_le16(block + DIRENT_NAME_OFFSET) : 0;
        uint32_t count = first_name / EROFS_DIRENT_SIZE;
        if (count == 0 || first_name % EROFS_DIRENT_SIZE || first_name > size)
                return damaged(err, "malformed directory block");
        for (uint32_t i = 0; i < count; i++) {
                const uint8_t *dirent = block + i * EROFS_DIRENT_SIZE;
                uint32_t start = zp_get_le16(dirent + DIRENT_NAME_OFFSET);
                uint32_t end = i + 1 < count ? zp_get_le16(dirent + EROFS_DIRENT_SIZE + DIRENT_NAME_OFFSET) : size;
                if (start < first_name || start >= end || end > size)
                        return damaged(err, "malformed directory entry");
                const char *name = (const char *) block + start;
                size_t name_size = strnlen(name, end - start);
                if (name_size == 0 || name_size > ZP_LIMIT_NAME || memchr(name, '/', name_size))
                        return damaged(err, "malformed file name");
                if (!follows(last, name, name_size))
                        return damaged(err, "names out of order");
                if ((name_size == 1 && name[0] == '.') || (name_size == 2 && name[0] == '.' && name[1] == '.'))
                        continue;
                int e = read_entry(r, dir, name, name_size, zp_get_le64(dirent + DIRENT_NID), err);
                if (e < 0)
                        return e;
        }
        return 0;
}

static int read_directory(struct reader *r, struct zp_inode *dir, uint64_t nid, struct zp_error *err) {
        uint64_t offset = r->meta_offset + nid * EROFS_SLOT_SIZE;
        const uint8_t *raw = r->image + offset; /* checked by whoever found the inode */
        uint16_t xattr_count = zp_get_le16(raw + INODE_XATTR_COUNT);
        uint64_t body =
                offset + EROFS_INODE_SIZE + (xattr_count ? EROFS_XATTR_HEADER_SIZE + (xattr_count - 1u) * 4u : 0);
        uint64_t size = zp_get_le64(raw + INODE_SIZE), start = zp_get_le32(raw + INODE_UNION) * BLOCK;
        bool is_inline = zp_get_le16(raw + INODE_FORMAT) >> 1 == EROFS_LAYOUT_INLINE;
        struct last_name last = { 0 };
        if (size > r->size)
                return damaged(err, "a directory larger than the file");
        for (uint64_t done = 0; done < size; done += BLOCK) {
                uint32_t part = (uint32_t) zp_min_u64(BLOCK, size - done);
                bool is_tail = is_inline && size - done < BLOCK;
                const uint8_t *block = claim(r, is_tail ? body : start + done, part);
                if (!block)
                        return damaged(err, "a directory block outside the file");
                int e = read_dir_block(r, dir, block, part, &last, err);
                if (e < 0)
                        return e;
        }
        return 0;
}

static int read_root(struct reader *r, struct zp_error *err) {
        struct zp_inode unkept = { 0 }, *root = r->tree ? zp_tree_root(r->tree) : &unkept;
        uint64_t offset = r->meta_offset + (uint64_t) r->root_nid * EROFS_SLOT_SIZE;
        const uint8_t *raw = r->root_nid < r->seen_size ? claim(r, offset, EROFS_INODE_SIZE) : NULL;
        if (!raw || !S_ISDIR(zp_get_le16(raw + INODE_MODE)) ||
            !(zp_get_le16(raw + INODE_FORMAT) & EROFS_FORMAT_EXTENDED))
                return damaged(err, "no root directory");
        see(r, r->root_nid, root);
        root->mode = zp_get_le16(raw + INODE_MODE);
        root->is_implied = false;
        int e = read_inode(r, root, offset, raw, err);
        return e < 0 ? e : read_directory(r, root, r->root_nid, err);
}

/* All of it into `tree`, which may be NULL. */
static int read_all(const void *image, size_t size, struct zp_tree *tree, struct zp_erofs_device **devices,
                    uint16_t *device_count, struct zp_error *err) {
        struct reader r = { .image = image, .size = size, .unclaimed = size, .tree = tree };
        zp_autofree struct zp_erofs_device *table = NULL;
        const uint8_t *sb = NULL;
        int e = read_superblock(&r, &sb, err);
        if (e < 0 || (e = read_devices(&r, sb, &table, &r.device_count, err)) < 0)
                return e;
        r.devices = table;
        r.seen_size = (size - r.meta_offset) / EROFS_SLOT_SIZE;
        zp_autofree uint8_t *seen = calloc(r.seen_size / 8 + 1, 1);
        zp_autofree struct zp_inode **loaded = tree ? calloc(r.seen_size + 1, sizeof *loaded) : NULL;
        if (!seen || (tree && !loaded))
                return zp_error_errno(err, ENOMEM, "file tree");
        r.seen = seen;
        r.loaded = loaded;
        e = read_root(&r, err);
        if (e == 0 && devices) {
                *devices = zp_steal(&table);
                *device_count = r.device_count;
        }
        return e;
}

int zp_erofs_load(const void *image, size_t size, struct zp_tree **out, struct zp_erofs_device **devices,
                  uint16_t *device_count, struct zp_error *err) {
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        if (!tree)
                return zp_error_errno(err, ENOMEM, "file tree");
        int e = read_all(image, size, tree, devices, device_count, err);
        if (e == 0)
                *out = zp_steal(&tree);
        return e;
}

int zp_erofs_check(const void *image, size_t size, struct zp_erofs_device **devices, uint16_t *device_count,
                   struct zp_error *err) {
        return read_all(image, size, NULL, devices, device_count, err);
}

int zp_erofs_read_devices(const void *image, size_t size, struct zp_erofs_device **devices, uint16_t *device_count,
                          struct zp_error *err) {
        struct reader r = { .image = image, .size = size, .unclaimed = size };
        const uint8_t *sb = NULL;
        int e = read_superblock(&r, &sb, err);
        return e < 0 ? e : read_devices(&r, sb, devices, device_count, err);
}
