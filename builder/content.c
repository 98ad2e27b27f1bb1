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
        struct zp_placing *placing;
        struct zp_dedup *dedup;
        uint8_t *gathered; /* GATHER_MAX bytes */
        uint8_t *window;   /* of a large file that is placed in windows */
        uint64_t window_room;
};

int zp_content_new(struct zp_pack_writer *pack, struct zp_placing *placing, struct zp_content **out,
                   struct zp_error *err) {
        zp_auto(zp_content_free) struct zp_content *content = calloc(1, sizeof *content);
        if (!content || !(content->gathered = malloc(GATHER_MAX)))
                return zp_error_errno(err, ENOMEM, "layer content");
        content->pack = pack;
        content->placing = placing;
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
        free(content->window);
        free(content);
}

/* A content that is there already: its extents, which are changed for all at once if ever, are shared like the
 * content. */
static int share_extents(struct zp_inode *inode, const struct zp_inode *known) {
        inode->extents = known->extents;
        inode->extent_count = known->extent_count;
        return 0;
}

static uint64_t blocks_of(uint64_t size) {
        return zp_round_up(size, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE;
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
                return zp_error_set(err, E2BIG, "the layer's metadata is too large");
        memcpy(copy, data, (size_t) inode->size);
        inode->data = copy;
        return 0;
}

static int place_small(struct zp_content *c, const char *path, const uint8_t *data, uint64_t size,
                       struct zp_error *err) {
        uint64_t window = zp_placing_begin(c->placing, path, size, true);
        int r = 0;
        if (window == 0 || window >= size)
                return zp_placing_window(c->placing, data, size, err);
        for (uint64_t at = 0, part; at < size && r == 0; at += part) {
                part = zp_min_u64(window, size - at);
                r = zp_is_zero(data + at, (size_t) part) ? zp_placing_own(c->placing, ZP_HOLE, blocks_of(part), err)
                                                         : zp_placing_window(c->placing, data + at, part, err);
        }
        return r;
}

static int store_small(struct zp_content *c, const char *path, struct zp_tree *tree, struct zp_inode *inode,
                       const uint8_t *data, struct zp_error *err) {
        struct zp_content_key key;
        zp_dedup_hash_begin(c->dedup);
        zp_dedup_hash_update(c->dedup, data, (size_t) inode->size);
        zp_dedup_hash_end(c->dedup, inode->size, &key);
        const struct zp_inode *known = zp_dedup_find(c->dedup, &key);
        if (known)
                return share_extents(inode, known);

        int r = place_small(c, path, data, inode->size, err);
        if (r == 0)
                r = zp_placing_keep(c->placing, tree, inode, err);
        return r < 0 ? r : zp_dedup_add(c->dedup, &key, inode, err);
}

/* ---- large files ---- */

/* One piece of the file while it comes in: written to the pack as it comes, or gathered as a window that is placed
 * when it is whole. Zeros are held back until something else shows that the piece is not a hole. */
struct piece {
        uint64_t size;
        bool is_window;
        uint64_t first_block; /* where it will lie if it is written */
        uint64_t seen;        /* bytes so far */
        bool is_written;
};

static int piece_write(struct zp_content *c, const struct piece *piece, uint64_t at, const uint8_t *data, uint64_t size,
                       struct zp_error *err) {
        if (!piece->is_window)
                return data ? zp_pack_writer_append(c->pack, data, (size_t) size, err)
                            : zp_pack_writer_append_zeros(c->pack, size, err);
        if (data)
                memcpy(c->window + at, data, (size_t) size);
        else
                memset(c->window + at, 0, (size_t) size);
        return 0;
}

static int piece_update(struct zp_content *c, struct piece *piece, const uint8_t *data, uint64_t size,
                        struct zp_error *err) {
        uint64_t at = piece->seen;
        piece->seen += size;
        if (!piece->is_written) {
                if (!data || zp_is_zero(data, (size_t) size))
                        return 0;
                piece->is_written = true;
                int r = piece_write(c, piece, 0, NULL, at, err);
                if (r < 0)
                        return r;
        }
        return piece_write(c, piece, at, data, size, err);
}

static int piece_end(struct zp_content *c, struct piece *piece, struct zp_error *err) {
        uint64_t blocks = blocks_of(piece->seen);
        int r = 0;
        if (piece->is_written && piece->is_window)
                r = zp_placing_window(c->placing, c->window, piece->seen, err);
        else if (piece->seen > 0)
                r = zp_placing_own(c->placing, piece->is_written ? piece->first_block : ZP_HOLE, blocks, err);
        if (r == 0 && piece->is_written && !piece->is_window)
                r = zp_pack_writer_append_zeros(c->pack, blocks * ZP_BLOCK_SIZE - piece->seen, err);
        piece->first_block = zp_pack_writer_offset(c->pack) / ZP_BLOCK_SIZE;
        piece->seen = 0;
        piece->is_written = false;
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

static int stream_content(struct zp_content *c, struct piece *piece, struct zp_tar *tar, uint64_t size,
                          struct zp_error *err) {
        const uint8_t *data = NULL;
        uint64_t have = 0, data_size = 0;
        for (int r; have < size; have += data_size) {
                if ((r = zp_tar_data(tar, &data, &data_size, err)) <= 0)
                        return r < 0 ? r : zp_error_set(err, EBADMSG, "its data ends early");
                hash_piece(c, data, data_size);
                for (uint64_t done = 0, part; done < data_size; done += part) {
                        part = zp_min_u64(data_size - done, piece->size - piece->seen);
                        r = piece_update(c, piece, data ? data + done : NULL, part, err);
                        if (r == 0 && piece->seen == piece->size)
                                r = piece_end(c, piece, err);
                        if (r < 0)
                                return r;
                }
        }
        return piece_end(c, piece, err);
}

static int begin_large(struct zp_content *c, const char *path, uint64_t size, struct piece *out, struct zp_error *err) {
        uint64_t window = zp_placing_begin(c->placing, path, size, false);
        *out = (struct piece){ .size = window ? window : ZP_HOLE_SIZE,
                               .is_window = window > 0,
                               .first_block = zp_pack_writer_offset(c->pack) / ZP_BLOCK_SIZE };
        if (window <= c->window_room)
                return 0;
        free(c->window);
        c->window = malloc((size_t) window);
        c->window_room = c->window ? window : 0;
        return c->window ? 0 : zp_error_errno(err, ENOMEM, "layer content");
}

static int stream_large(struct zp_content *c, const char *path, struct zp_tar *tar, struct zp_tree *tree,
                        struct zp_inode *inode, bool may_be_known, struct zp_error *err) {
        struct piece piece;
        int r = begin_large(c, path, inode->size, &piece, err);
        if (r == 0 && may_be_known)
                r = zp_placing_mark(c->placing, err);
        zp_dedup_hash_begin(c->dedup);
        if (r < 0 || (r = stream_content(c, &piece, tar, inode->size, err)) < 0)
                return r;
        struct zp_content_key key;
        zp_dedup_hash_end(c->dedup, inode->size, &key);
        const struct zp_inode *known = zp_dedup_find(c->dedup, &key);
        if (known) {
                r = zp_placing_rollback(c->placing, err);
                return r < 0 ? r : share_extents(inode, known);
        }
        r = zp_placing_keep(c->placing, tree, inode, err);
        return r < 0 ? r : zp_dedup_add(c->dedup, &key, inode, err);
}

static int store_large(struct zp_content *c, const char *path, struct zp_tar *tar, struct zp_tree *tree,
                       struct zp_inode *inode, struct zp_error *err) {
        bool may_be_known = zp_dedup_knows_size(c->dedup, inode->size);
        int r = stream_large(c, path, tar, tree, inode, may_be_known, err);
        if (r == 0 && may_be_known)
                zp_placing_unmark(c->placing);
        return r;
}

int zp_content_store(void *context, const char *path, struct zp_tar *tar, struct zp_tree *tree, struct zp_inode *inode,
                     struct zp_error *err) {
        struct zp_content *c = context;
        if (inode->size > GATHER_MAX)
                return store_large(c, path, tar, tree, inode, err);
        const uint8_t *data = NULL;
        int r = gather(c, tar, inode->size, &data, err);
        if (r < 0)
                return r;
        return inode->size <= ZP_INLINE_FILE_MAX ? store_inline(tree, inode, data, err)
                                                 : store_small(c, path, tree, inode, data, err);
}
