/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/content.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "builder/dedup.h"

/* Files up to this size are looked up before anything is written; larger ones are written as they come and
 * taken back when they turn out to be known. */
#define GATHER_MAX (256u * 1024u)

struct zp_content {
        struct zp_pack_writer *pack;
        struct zp_dedup *dedup;
        uint8_t *gathered; /* GATHER_MAX bytes */
        /* extents of the file being written */
        struct zp_extent *extents;
        uint32_t extent_count, extent_room;
};

int zp_content_new(struct zp_pack_writer *pack, struct zp_content **out, struct zp_error *err) {
        zp_auto(zp_content_free) struct zp_content *content = calloc(1, sizeof *content);
        if (!content || !(content->gathered = malloc(GATHER_MAX)))
                return zp_error_errno(err, ENOMEM, "layer content");
        content->pack = pack;
        int r = zp_dedup_new(&content->dedup, err);
        if (r < 0)
                return r;
        *out = zp_steal(&content);
        return 0;
}

void zp_content_free(struct zp_content *content) {
        if (!content)
                return;
        zp_dedup_free(content->dedup);
        free(content->gathered);
        free(content->extents);
        free(content);
}

/* ---- extents ---- */

static int add_extent(struct zp_content *c, uint64_t block, uint64_t blocks, struct zp_error *err) {
        struct zp_extent *last = c->extent_count ? &c->extents[c->extent_count - 1] : NULL;
        if (last && (block == ZP_HOLE ? last->block == ZP_HOLE
                                      : last->block != ZP_HOLE && last->block + last->blocks == block)) {
                last->blocks += blocks;
                return 0;
        }
        if (c->extent_count == c->extent_room) {
                uint32_t room = c->extent_room ? c->extent_room * 2 : 16;
                struct zp_extent *grown = realloc(c->extents, room * sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "extents");
                c->extents = grown;
                c->extent_room = room;
        }
        c->extents[c->extent_count++] = (struct zp_extent){ .block = block, .blocks = blocks };
        return 0;
}

static int too_large(struct zp_error *err) {
        return zp_error_set(err, E2BIG, "the layer's metadata is too large");
}

/* A content that is there already: its extents, which nobody changes, are shared like the content. */
static int share_extents(struct zp_inode *inode, const struct zp_inode *known) {
        inode->extents = known->extents;
        inode->extent_count = known->extent_count;
        return 0;
}

static int keep_extents(struct zp_tree *tree, struct zp_inode *inode, const struct zp_extent *extents, uint32_t count,
                        struct zp_error *err) {
        inode->extents = zp_tree_alloc(tree, count * sizeof *extents);
        if (!inode->extents)
                return too_large(err);
        memcpy(inode->extents, extents, count * sizeof *extents);
        inode->extent_count = count;
        return 0;
}

/* ---- small files ---- */

/* The whole content of a file of at most GATHER_MAX bytes: where it lies in the input, or gathered. */
static int gather(struct zp_content *c, struct zp_tar *tar, uint64_t size, const uint8_t **out, struct zp_error *err) {
        uint64_t have = 0, piece_size = 0;
        const uint8_t *piece = NULL;
        for (int r; have < size;) {
                if ((r = zp_tar_data(tar, &piece, &piece_size, err)) <= 0)
                        return r < 0 ? r : zp_error_set(err, EBADMSG, "its data ends early");
                if (have == 0 && piece && piece_size == size) {
                        *out = piece;
                        return 0;
                }
                if (piece)
                        memcpy(c->gathered + have, piece, (size_t) piece_size);
                else
                        memset(c->gathered + have, 0, (size_t) piece_size);
                have += piece_size;
        }
        *out = c->gathered;
        return 0;
}

static int store_inline(struct zp_tree *tree, struct zp_inode *inode, const uint8_t *data, struct zp_error *err) {
        uint8_t *copy = zp_tree_alloc(tree, (size_t) inode->size);
        if (!copy)
                return too_large(err);
        memcpy(copy, data, (size_t) inode->size);
        inode->data = copy;
        return 0;
}

static int append_padded(struct zp_content *c, const uint8_t *data, uint64_t size, struct zp_error *err) {
        int r = zp_pack_writer_append(c->pack, data, (size_t) size, err);
        uint64_t end = zp_pack_writer_offset(c->pack);
        return r < 0 ? r : zp_pack_writer_append_zeros(c->pack, zp_round_up(end, ZP_BLOCK_SIZE) - end, err);
}

static int store_small(struct zp_content *c, struct zp_tree *tree, struct zp_inode *inode, const uint8_t *data,
                       struct zp_error *err) {
        struct zp_content_key key;
        zp_dedup_hash_begin(c->dedup);
        zp_dedup_hash_update(c->dedup, data, (size_t) inode->size);
        zp_dedup_hash_end(c->dedup, inode->size, &key);
        const struct zp_inode *known = zp_dedup_find(c->dedup, &key);
        if (known)
                return share_extents(inode, known);

        struct zp_extent extent = { .block = zp_pack_writer_offset(c->pack) / ZP_BLOCK_SIZE,
                                    .blocks = zp_round_up(inode->size, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE };
        int r = append_padded(c, data, inode->size, err);
        if (r == 0)
                r = keep_extents(tree, inode, &extent, 1, err);
        return r < 0 ? r : zp_dedup_add(c->dedup, &key, inode, err);
}

/* ---- large files ---- */

/* One piece of ZP_HOLE_SIZE of the file while it comes in. Zeros are held back until something else
 * shows that the piece is not a hole. */
struct hole_piece {
        uint64_t first_block; /* where it will lie if it is written */
        uint64_t seen;        /* bytes so far */
        bool is_written;
};

static int piece_update(struct zp_content *c, struct hole_piece *piece, const uint8_t *data, uint64_t size,
                        struct zp_error *err) {
        if (!piece->is_written) {
                if (!data || zp_is_zero(data, (size_t) size)) {
                        piece->seen += size;
                        return 0;
                }
                piece->is_written = true;
                int r = zp_pack_writer_append_zeros(c->pack, piece->seen, err);
                if (r < 0)
                        return r;
        }
        piece->seen += size;
        return data ? zp_pack_writer_append(c->pack, data, (size_t) size, err)
                    : zp_pack_writer_append_zeros(c->pack, size, err);
}

static int piece_end(struct zp_content *c, struct hole_piece *piece, struct zp_error *err) {
        uint64_t blocks = zp_round_up(piece->seen, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE;
        int r = 0;
        if (piece->seen > 0)
                r = add_extent(c, piece->is_written ? piece->first_block : ZP_HOLE, blocks, err);
        if (r == 0 && piece->is_written)
                r = zp_pack_writer_append_zeros(c->pack, blocks * ZP_BLOCK_SIZE - piece->seen, err);
        *piece = (struct hole_piece){ .first_block = zp_pack_writer_offset(c->pack) / ZP_BLOCK_SIZE };
        return r;
}

static void hash_piece(struct zp_content *c, const uint8_t *data, uint64_t size) {
        static const uint8_t zeros[16384];
        if (data) {
                zp_dedup_hash_update(c->dedup, data, (size_t) size);
                return;
        }
        for (uint64_t done = 0; done < size; done += sizeof zeros)
                zp_dedup_hash_update(c->dedup, zeros, (size_t) zp_min_u64(sizeof zeros, size - done));
}

static int stream_content(struct zp_content *c, struct zp_tar *tar, uint64_t size, struct zp_error *err) {
        struct hole_piece piece = { .first_block = zp_pack_writer_offset(c->pack) / ZP_BLOCK_SIZE };
        const uint8_t *data = NULL;
        uint64_t have = 0, data_size = 0;
        for (int r; have < size; have += data_size) {
                if ((r = zp_tar_data(tar, &data, &data_size, err)) <= 0)
                        return r < 0 ? r : zp_error_set(err, EBADMSG, "its data ends early");
                hash_piece(c, data, data_size);
                for (uint64_t done = 0, part; done < data_size; done += part) {
                        part = zp_min_u64(data_size - done, ZP_HOLE_SIZE - piece.seen);
                        r = piece_update(c, &piece, data ? data + done : NULL, part, err);
                        if (r == 0 && piece.seen == ZP_HOLE_SIZE)
                                r = piece_end(c, &piece, err);
                        if (r < 0)
                                return r;
                }
        }
        return piece_end(c, &piece, err);
}

static int store_large(struct zp_content *c, struct zp_tar *tar, struct zp_tree *tree, struct zp_inode *inode,
                       struct zp_error *err) {
        bool may_be_known = zp_dedup_knows_size(c->dedup, inode->size);
        c->extent_count = 0;
        int r = may_be_known ? zp_pack_writer_mark(c->pack, err) : 0;
        zp_dedup_hash_begin(c->dedup);
        if (r < 0 || (r = stream_content(c, tar, inode->size, err)) < 0)
                return r;
        struct zp_content_key key;
        zp_dedup_hash_end(c->dedup, inode->size, &key);
        const struct zp_inode *known = zp_dedup_find(c->dedup, &key);
        if (known) {
                r = zp_pack_writer_rollback(c->pack, err);
                return r < 0 ? r : share_extents(inode, known);
        }
        r = keep_extents(tree, inode, c->extents, c->extent_count, err);
        return r < 0 ? r : zp_dedup_add(c->dedup, &key, inode, err);
}

int zp_content_store(void *context, struct zp_tar *tar, struct zp_tree *tree, struct zp_inode *inode,
                     struct zp_error *err) {
        struct zp_content *c = context;
        if (inode->size > GATHER_MAX)
                return store_large(c, tar, tree, inode, err);
        const uint8_t *data = NULL;
        int r = gather(c, tar, inode->size, &data, err);
        if (r < 0)
                return r;
        return inode->size <= ZP_INLINE_FILE_MAX ? store_inline(tree, inode, data, err)
                                                 : store_small(c, tree, inode, data, err);
}
