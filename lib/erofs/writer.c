/* SPDX-License-Identifier: Apache-2.0
 *
 * The EROFS writer: one pass lays everything out, one writes it front to back.
 *
 *   block 0      superblock, device table (may take further blocks)
 *   then         shared xattrs
 *   then         inodes in slots of 32 bytes, each followed by its xattrs and inline data or chunk indexes
 *   then         directory blocks and long link targets
 *
 * A directory's children lie next to each other, so that listing it touches few blocks.
 */
#include "erofs/writer.h"

#include <inttypes.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/limits.h"
#include "erofs/format.h"

#define BLOCK ((uint64_t) ZP_BLOCK_SIZE)
#define OUTPUT_BUFFER (256u * 1024u)
/* An inode whose own xattrs would take more than this keeps all of them in the shared area. Kernels before 6.2
 * count the bytes in 16 bits, and an inline link target must lie in the block of its inode. */
#define XATTR_INLINE_MAX 1024u
#define NOT_SHARED UINT32_MAX
/* Chunks of up to 2 GiB: kernels compute a chunk's size in an unsigned long. */
#define CHUNK_BITS_MAX 19u
/* What the kernel's 32-bit encoding of a device number holds. */
#define DEVICE_MAJOR_MAX 0xfffu
#define DEVICE_MINOR_MAX 0xfffffu

/* What the layout pass decides for one inode; placed[inode->scratch] is its own. */
struct placed {
        struct zp_inode *inode;
        struct zp_inode *parent; /* of a directory, for ".." */
        uint64_t offset;         /* in the file */
        uint64_t data_block;     /* first data block, for layouts that have some */
        uint64_t size;           /* i_size */
        uint32_t xattr_size;     /* bytes behind the inode */
        uint16_t tail_size;      /* inline bytes */
        uint8_t layout;
        uint8_t chunk_bits;
};

struct writer {
        struct zp_tree *tree;
        const struct zp_erofs_options *options;
        struct placed *placed;
        uint32_t count;

        struct zp_xattr **shared; /* one of each, in the order of their ids */
        uint32_t shared_count;
        uint64_t xattr_block, meta_block, data_block, total_blocks;

        /* output */
        int fd;
        const char *name;
        uint8_t *buffer;
        size_t buffered;
        uint64_t position; /* of the next byte to be put */
        struct zp_sha256 *hash;
};

/* ---- xattrs ---- */

static const struct zp_erofs_xattr_prefix prefixes[] = ZP_EROFS_XATTR_PREFIXES;

static int split_xattr_name(const char *name, uint8_t *index, const char **rest, struct zp_error *err) {
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
                size_t length = strlen(prefixes[i].prefix);
                bool is_namespace = prefixes[i].prefix[length - 1] == '.';
                if (is_namespace ? strncmp(name, prefixes[i].prefix, length) == 0
                                 : strcmp(name, prefixes[i].prefix) == 0) {
                        *index = prefixes[i].index;
                        *rest = name + length;
                        if (is_namespace && !**rest)
                                break;
                        return 0;
                }
        }
        return zp_error_set(err, ENOTSUP, "xattr '%s': EROFS has no such namespace", name);
}

static uint32_t xattr_entry_size(const struct zp_xattr *xattr) {
        uint8_t index;
        const char *rest = "";
        split_xattr_name(xattr->name, &index, &rest, NULL);
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

static int check_xattrs(const struct zp_inode *inode, struct zp_error *err) {
        uint32_t count = 0;
        for (const struct zp_xattr *xattr = inode->xattrs; xattr; xattr = xattr->next) {
                uint8_t index;
                const char *rest;
                int r = split_xattr_name(xattr->name, &index, &rest, err);
                if (r < 0)
                        return r;
                if (strlen(rest) > UINT8_MAX || xattr->value_size > ZP_LIMIT_XATTR_VALUE)
                        return zp_error_set(err, ENOTSUP, "xattr '%s': too large for EROFS", xattr->name);
                if (++count > ZP_LIMIT_XATTRS_PER_FILE)
                        return zp_error_set(err, ENOTSUP, "more than %d xattrs", ZP_LIMIT_XATTRS_PER_FILE);
        }
        return 0;
}

static uint32_t measure_xattrs(const struct zp_inode *inode) {
        if (!inode->xattrs)
                return 0;
        uint32_t size = EROFS_XATTR_HEADER_SIZE;
        for (const struct zp_xattr *x = inode->xattrs; x; x = x->next)
                size += x->scratch != NOT_SHARED ? EROFS_XATTR_ID_SIZE : xattr_entry_size(x);
        return size;
}

/* Marks (scratch 0) what goes into the shared area: what several inodes have, and what is too large to stay
 * with its inode. `all` is sorted. */
static void choose_shared(struct writer *w, struct zp_xattr **all, size_t count) {
        for (size_t first = 0, next; first < count; first = next) {
                for (next = first + 1; next < count && compare_xattrs(&all[first], &all[next]) == 0; next++)
                        ;
                for (size_t i = first; i < next; i++)
                        all[i]->scratch = next - first > 1 ? 0 : NOT_SHARED;
        }
        for (uint32_t i = 0; i < w->count; i++)
                if (measure_xattrs(w->placed[i].inode) > XATTR_INLINE_MAX)
                        for (struct zp_xattr *x = w->placed[i].inode->xattrs; x; x = x->next)
                                x->scratch = 0;
}

/* Gives each shared xattr an id: its offset in the shared area / 4. */
static int number_shared(struct writer *w, struct zp_xattr **all, size_t count, struct zp_error *err) {
        uint64_t offset = 0;
        for (size_t first = 0, next; first < count; first = next) {
                bool is_shared = all[first]->scratch != NOT_SHARED;
                for (next = first; next < count && compare_xattrs(&all[first], &all[next]) == 0; next++)
                        if (is_shared)
                                all[next]->scratch = (uint32_t) (offset / EROFS_XATTR_ID_SIZE);
                if (!is_shared)
                        continue;
                w->shared[w->shared_count++] = all[first];
                offset += xattr_entry_size(all[first]);
                if (offset / EROFS_XATTR_ID_SIZE >= NOT_SHARED)
                        return zp_error_set(err, EFBIG, "xattrs of more than 16 GiB");
        }
        w->meta_block = w->xattr_block + zp_round_up(offset, BLOCK) / BLOCK;
        return 0;
}

static int share_xattrs(struct writer *w, struct zp_error *err) {
        size_t total = 0;
        for (uint32_t i = 0; i < w->count; i++)
                for (const struct zp_xattr *x = w->placed[i].inode->xattrs; x; x = x->next)
                        total++;
        zp_autofree struct zp_xattr **all = malloc((total + 1) * sizeof *all);
        w->shared = malloc((total + 1) * sizeof *w->shared);
        if (!all || !w->shared)
                return zp_error_errno(err, ENOMEM, "xattrs");
        size_t n = 0;
        for (uint32_t i = 0; i < w->count; i++)
                for (struct zp_xattr *x = w->placed[i].inode->xattrs; x; x = x->next)
                        all[n++] = x;
        qsort(all, n, sizeof *all, compare_xattrs);
        choose_shared(w, all, n);
        return number_shared(w, all, n, err);
}

/* ---- directories ---- */

struct dir_entry {
        const char *name;
        uint16_t name_size;
        const struct zp_inode *inode;
};

/* Gives a directory's entries in the order of their names, "." and ".." among them. */
struct dir_iterator {
        const struct zp_inode *self, *parent;
        const struct zp_dentry *child;
        int dots; /* of the two, how many are done */
};

static struct dir_iterator iterate(const struct placed *p) {
        return (struct dir_iterator){ .self = p->inode, .parent = p->parent, .child = p->inode->first_child };
}

static bool next_entry(struct dir_iterator *it, struct dir_entry *out) {
        if (it->dots < 2) {
                const char *name = it->dots == 0 ? "." : "..";
                if (!it->child || strcmp(name, it->child->name) < 0) {
                        *out = (struct dir_entry){ name, (uint16_t) strlen(name),
                                                   it->dots == 0 ? it->self : it->parent };
                        it->dots++;
                        return true;
                }
        }
        if (!it->child)
                return false;
        *out = (struct dir_entry){ it->child->name, it->child->name_size, it->child->inode };
        it->child = it->child->next;
        return true;
}

static uint64_t measure_directory(const struct placed *p) {
        uint64_t full = 0, used = 0;
        struct dir_entry entry;
        for (struct dir_iterator it = iterate(p); next_entry(&it, &entry);) {
                uint32_t need = EROFS_DIRENT_SIZE + entry.name_size;
                if (used + need > BLOCK) {
                        full += BLOCK;
                        used = 0;
                }
                used += need;
        }
        return full + used;
}

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

/* ---- layout ---- */

static uint64_t file_blocks(const struct zp_inode *inode) {
        return zp_round_up(inode->size, BLOCK) / BLOCK;
}

/* The largest chunk such that every run of blocks begins on one. */
static uint8_t choose_chunk_bits(const struct zp_inode *inode) {
        uint64_t blocks = file_blocks(inode), boundary = 0;
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

static int check_extents(const struct writer *w, const struct zp_inode *inode, struct zp_error *err) {
        uint64_t blocks = 0;
        for (uint32_t i = 0; i < inode->extent_count; i++) {
                const struct zp_extent *e = &inode->extents[i];
                uint64_t end;
                if (e->blocks == 0 || e->blocks > file_blocks(inode) ||
                    (e->block != ZP_HOLE &&
                     (e->device >= w->options->device_count || zp_add_overflows(e->block, e->blocks, &end) ||
                      end > w->options->devices[e->device].blocks)))
                        return zp_error_set(err, EINVAL, "an extent lies outside its device");
                blocks += e->blocks;
        }
        if (blocks != file_blocks(inode))
                return zp_error_set(err, EINVAL, "extents of %" PRIu64 " blocks for %" PRIu64 " bytes", blocks,
                                    inode->size);
        return 0;
}

static int check_inode(const struct writer *w, const struct zp_inode *inode, struct zp_error *err) {
        int r = check_xattrs(inode, err);
        if (r < 0)
                return r;
        if (S_ISLNK(inode->mode) && (!inode->data || inode->size == 0 || inode->size > ZP_LIMIT_SYMLINK))
                return zp_error_set(err, EINVAL, "a link target of %" PRIu64 " bytes", inode->size);
        if (inode->rdev_major > DEVICE_MAJOR_MAX || inode->rdev_minor > DEVICE_MINOR_MAX)
                return zp_error_set(err, ENOTSUP, "device %u:%u: Linux has no such numbers", inode->rdev_major,
                                    inode->rdev_minor);
        if (!S_ISREG(inode->mode))
                return 0;
        if (inode->size > ZP_LIMIT_FILE_SIZE)
                return zp_error_set(err, EFBIG, "a file of %" PRIu64 " bytes", inode->size);
        if (!inode->data || inode->extent_count > 0)
                return check_extents(w, inode, err);
        return inode->size > BLOCK
                       ? zp_error_set(err, EINVAL, "%" PRIu64 " bytes are too many to be inline", inode->size)
                       : 0;
}

/* A tail is inline when it fits into one block together with its inode: kernels want that of link targets, and
 * reading the inode then brings the tail along. */
static void choose_layout(struct placed *p) {
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
        uint64_t tail = S_ISDIR(inode->mode) ? p->size % BLOCK : p->size;
        if (tail > 0 && EROFS_INODE_SIZE + p->xattr_size + tail <= BLOCK) {
                p->layout = EROFS_LAYOUT_INLINE;
                p->tail_size = (uint16_t) tail;
        }
}

static uint64_t chunk_index_bytes(const struct placed *p) {
        uint64_t blocks = file_blocks(p->inode);
        return ((blocks + (UINT64_C(1) << p->chunk_bits) - 1) >> p->chunk_bits) * EROFS_CHUNK_INDEX_SIZE;
}

/* Puts one inode at the first place from `cursor` on that the format allows. */
static uint64_t place(struct placed *p, uint64_t cursor) {
        uint64_t body = EROFS_INODE_SIZE + p->xattr_size;
        uint64_t undivided = p->tail_size > 0 ? body + p->tail_size : EROFS_INODE_SIZE;
        uint64_t offset = zp_round_up(cursor, EROFS_SLOT_SIZE);
        if (offset % BLOCK + undivided > BLOCK)
                offset = zp_round_up(offset, BLOCK);
        p->offset = offset;
        if (p->layout == EROFS_LAYOUT_CHUNK)
                return zp_round_up(offset + body, EROFS_CHUNK_INDEX_SIZE) + chunk_index_bytes(p);
        return offset + body + p->tail_size;
}

static uint32_t data_blocks(const struct placed *p) {
        if (p->layout == EROFS_LAYOUT_CHUNK)
                return 0;
        uint64_t size = p->layout == EROFS_LAYOUT_INLINE ? p->size - p->tail_size : p->size;
        return (uint32_t) (zp_round_up(size, BLOCK) / BLOCK);
}

static void number_inode(struct writer *w, struct zp_inode *inode, struct zp_inode *parent) {
        inode->scratch = w->count;
        w->placed[w->count++] = (struct placed){ .inode = inode, .parent = parent };
}

/* Numbers a directory's children, then goes down. A hard link was numbered where it was met first. */
static void number_children(struct writer *w, struct zp_inode *dir) {
        for (struct zp_dentry *child = dir->first_child; child; child = child->next)
                if (child->inode->scratch == UINT64_MAX)
                        number_inode(w, child->inode, dir);
        for (struct zp_dentry *child = dir->first_child; child; child = child->next)
                if (S_ISDIR(child->inode->mode))
                        number_children(w, child->inode);
}

static void forget_numbers(struct zp_inode *inode) {
        inode->scratch = UINT64_MAX;
        for (struct zp_dentry *child = inode->first_child; child; child = child->next)
                forget_numbers(child->inode);
}

static int lay_out(struct writer *w, struct zp_error *err) {
        uint64_t cursor =
                w->meta_block * BLOCK + EROFS_SLOT_SIZE; /* an inode number of 0 means "none" to many programs */
        for (uint32_t i = 0; i < w->count; i++) {
                choose_layout(&w->placed[i]);
                cursor = place(&w->placed[i], cursor);
        }
        w->data_block = w->total_blocks = zp_round_up(cursor, BLOCK) / BLOCK;
        for (uint32_t i = 0; i < w->count; i++) {
                w->placed[i].data_block = w->total_blocks;
                w->total_blocks += data_blocks(&w->placed[i]);
        }
        uint64_t disk = w->total_blocks;
        for (uint16_t i = 0; i < w->options->device_count; i++)
                disk += w->options->devices[i].blocks;
        if (disk >= UINT32_MAX)
                return zp_error_set(err, EFBIG, "the disk would have %" PRIu64 " blocks; EROFS stops at 16 TiB", disk);
        return 0;
}

/* ---- output ---- */

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
        int r = split_xattr_name(xattr->name, &index, &rest, err);
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

static int put_inode_xattrs(struct writer *w, const struct placed *p, struct zp_error *err) {
        if (p->xattr_size == 0)
                return 0;
        uint8_t header[EROFS_XATTR_HEADER_SIZE] = { 0 };
        for (const struct zp_xattr *x = p->inode->xattrs; x; x = x->next)
                header[EROFS_XATTR_SHARED_COUNT] += x->scratch != NOT_SHARED;
        int r = put(w, header, sizeof header, err);
        for (const struct zp_xattr *x = p->inode->xattrs; r == 0 && x; x = x->next) {
                uint8_t id[4];
                zp_put_le32(id, x->scratch);
                if (x->scratch != NOT_SHARED)
                        r = put(w, id, sizeof id, err);
        }
        for (const struct zp_xattr *x = p->inode->xattrs; r == 0 && x; x = x->next)
                if (x->scratch == NOT_SHARED)
                        r = put_xattr_entry(w, x, err);
        return r;
}

static uint64_t nid_of(const struct writer *w, const struct zp_inode *inode) {
        return (w->placed[inode->scratch].offset - w->meta_block * BLOCK) / EROFS_SLOT_SIZE;
}

/* Fills `block` with the directory entries that fit from the iterator on; returns the bytes used. */
static uint32_t fill_dir_block(const struct writer *w, struct dir_iterator *it, uint8_t block[ZP_BLOCK_SIZE]) {
        struct dir_iterator ahead = *it;
        struct dir_entry entry;
        uint32_t used = 0, count = 0;
        while (next_entry(&ahead, &entry) && used + EROFS_DIRENT_SIZE + entry.name_size <= BLOCK) {
                used += EROFS_DIRENT_SIZE + entry.name_size;
                count++;
        }
        uint32_t name_offset = count * EROFS_DIRENT_SIZE;
        for (uint32_t i = 0; i < count; i++) {
                next_entry(it, &entry);
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
static int put_directory(struct writer *w, const struct placed *p, bool tail, struct zp_error *err) {
        uint8_t block[ZP_BLOCK_SIZE];
        uint64_t plain_blocks = data_blocks(p);
        struct dir_iterator it = iterate(p);
        int r = 0;
        for (uint64_t i = 0; r == 0 && i * BLOCK < p->size; i++) {
                uint32_t used = fill_dir_block(w, &it, block);
                if (i >= plain_blocks && tail)
                        r = put(w, block, used, err);
                else if (i < plain_blocks && !tail && (r = put(w, block, used, err)) == 0)
                        r = pad_to(w, zp_round_up(w->position, BLOCK), err);
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
        if (w->options->layout == ZP_EROFS_DEVICE_TABLE) {
                zp_put_le16(out + CHUNK_DEVICE, extent->device + 1);
        } else {
                block += w->total_blocks;
                for (uint16_t i = 0; i < extent->device; i++)
                        block += w->options->devices[i].blocks;
        }
        zp_put_le32(out + CHUNK_BLOCK, (uint32_t) block);
}

static int put_chunks(struct writer *w, const struct placed *p, struct zp_error *err) {
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

static uint32_t inode_union(const struct placed *p) {
        if (p->layout == EROFS_LAYOUT_CHUNK)
                return EROFS_CHUNK_INDEXES | p->chunk_bits;
        if (S_ISCHR(p->inode->mode) || S_ISBLK(p->inode->mode))
                return encode_device_number(p->inode);
        return data_blocks(p) > 0 ? (uint32_t) p->data_block : 0;
}

static int put_inode(struct writer *w, const struct placed *p, struct zp_error *err) {
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

static int put_data(struct writer *w, const struct placed *p, struct zp_error *err) {
        if (data_blocks(p) == 0)
                return 0;
        if (S_ISDIR(p->inode->mode))
                return put_directory(w, p, false, err);
        int r = put(w, p->inode->data, p->size, err);
        return r < 0 ? r : pad_to(w, zp_round_up(w->position, BLOCK), err);
}

/* The superblock and device table, written last: the UUID is taken from the digest of all the rest. */
static int put_front(struct writer *w, struct zp_error *err) {
        const struct zp_erofs_options *o = w->options;
        bool has_table = o->layout == ZP_EROFS_DEVICE_TABLE && o->device_count > 0;
        size_t size = (size_t) (w->xattr_block * BLOCK);
        zp_autofree uint8_t *front = calloc(1, size);
        if (!front)
                return zp_error_errno(err, ENOMEM, "superblock");
        uint64_t disk_blocks = w->total_blocks;
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
        zp_put_le16(sb + SB_ROOT_NID, (uint16_t) nid_of(w, zp_tree_root(w->tree)));
        zp_put_le64(sb + SB_INODES, w->count);
        zp_put_le32(sb + SB_BLOCKS, (uint32_t) (o->layout == ZP_EROFS_FLAT ? disk_blocks : w->total_blocks));
        zp_put_le32(sb + SB_META_BLOCK, (uint32_t) w->meta_block);
        zp_put_le32(sb + SB_XATTR_BLOCK, (uint32_t) w->xattr_block);
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
        w->position = w->xattr_block * BLOCK;
        int r = 0;
        for (uint32_t i = 0; r == 0 && i < w->shared_count; i++)
                r = put_xattr_entry(w, w->shared[i], err);
        for (uint32_t i = 0; r == 0 && i < w->count; i++)
                r = put_inode(w, &w->placed[i], err);
        if (r == 0)
                r = pad_to(w, w->data_block * BLOCK, err);
        for (uint32_t i = 0; r == 0 && i < w->count; i++)
                r = put_data(w, &w->placed[i], err);
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

/* Builds in `path` the first name under which `inode` is found below `dir`. */
static bool find_path(const struct zp_inode *dir, const struct zp_inode *inode, char *path, size_t used, size_t size) {
        if (dir == inode)
                return true;
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                bool is_dir = S_ISDIR(child->inode->mode);
                if (!is_dir && child->inode != inode)
                        continue;
                size_t next = used;
                if (size - used > 2) { /* what is longer than the message is cut off */
                        size_t length = zp_min_u64(child->name_size, size - used - 2);
                        path[used] = '/';
                        memcpy(path + used + 1, child->name, length);
                        next = used + 1 + length;
                        path[next] = '\0';
                }
                if (!is_dir || find_path(child->inode, inode, path, next, size))
                        return true;
        }
        return false;
}

static int check_tree(struct writer *w, struct zp_error *err) {
        for (uint16_t i = 0; i < w->options->device_count; i++)
                if (w->options->devices[i].blocks == 0 || w->options->devices[i].blocks > UINT32_MAX)
                        return zp_error_set(err, EINVAL, "device %u has %" PRIu64 " blocks", i + 1u,
                                            w->options->devices[i].blocks);
        for (uint32_t i = 0; i < w->count; i++) {
                if (check_inode(w, w->placed[i].inode, err) < 0) {
                        char path[ZP_ERROR_MESSAGE_MAX / 2] = "/";
                        find_path(zp_tree_root(w->tree), w->placed[i].inode, path, 0, sizeof path);
                        return zp_error_wrap(err, "'%s'", path);
                }
        }
        return 0;
}

static int prepare(struct writer *w, struct zp_error *err) {
        w->placed = malloc(zp_tree_inode_count(w->tree) * sizeof *w->placed);
        w->buffer = malloc(OUTPUT_BUFFER);
        w->hash = zp_sha256_new();
        if (!w->placed || !w->buffer || !w->hash)
                return zp_error_errno(err, ENOMEM, "file system of %u inodes", zp_tree_inode_count(w->tree));
        struct zp_inode *root = zp_tree_root(w->tree);
        int r = zp_tree_sort(w->tree, err);
        if (r < 0)
                return r;
        forget_numbers(root);
        number_inode(w, root, root);
        number_children(w, root);
        if ((r = check_tree(w, err)) < 0)
                return r;
        uint64_t table = w->options->layout == ZP_EROFS_DEVICE_TABLE
                                 ? (uint64_t) w->options->device_count * EROFS_DEVICE_SIZE
                                 : 0;
        w->xattr_block = zp_round_up(EROFS_DEVICE_TABLE_OFFSET + table, BLOCK) / BLOCK;
        return share_xattrs(w, err);
}

int zp_erofs_write(struct zp_tree *tree, const struct zp_erofs_options *options, int fd, const char *name,
                   struct zp_erofs_result *result, struct zp_error *err) {
        struct writer w = { .tree = tree, .options = options, .fd = fd, .name = name };
        int r = options->is_layer ? mark_layer(tree, zp_tree_root(tree), err) : 0;
        if (r == 0)
                r = prepare(&w, err);
        if (r == 0)
                r = lay_out(&w, err);
        if (r == 0)
                r = write_all(&w, err);
        if (r == 0)
                *result = (struct zp_erofs_result){ .blocks = w.total_blocks, .inodes = w.count };
        if (options->is_layer)
                unmark_layer(zp_tree_root(tree));
        free(w.placed);
        free(w.buffer);
        free(w.shared);
        zp_sha256_free(w.hash);
        return r < 0 ? zp_error_wrap(err, "write '%s'", name) : 0;
}
