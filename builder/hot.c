/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/hot.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/file.h"
#include "layer/tree.h"

#define COPY_SIZE (UINT64_C(1) << 20)

/* A run of blocks of one rank. */
struct piece {
        uint64_t block, blocks; /* in the waiting file */
        uint64_t place;         /* among all, once they are in order */
        uint32_t rank;
};

struct zp_hot {
        int fd;
        uint64_t blocks;
        struct piece *pieces; /* by block */
        size_t count, room;
};

int zp_hot_new(int fd, struct zp_hot **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "hot content");
        (*out)->fd = fd;
        return 0;
}

void zp_hot_free(struct zp_hot *hot) {
        if (!hot)
                return;
        free(hot->pieces);
        free(hot);
}

static int add_piece(struct zp_hot *hot, uint64_t blocks, uint32_t rank, bool *continues, struct zp_error *err) {
        struct piece *last = hot->count ? &hot->pieces[hot->count - 1] : NULL;
        *continues = last && last->rank == rank;
        if (*continues) {
                last->blocks += blocks;
                return 0;
        }
        if (hot->count == hot->room) {
                size_t room = hot->room ? hot->room * 2 : 64;
                struct piece *grown = realloc(hot->pieces, room * sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "hot content");
                hot->pieces = grown;
                hot->room = room;
        }
        hot->pieces[hot->count++] = (struct piece){ .block = hot->blocks, .blocks = blocks, .rank = rank };
        return 0;
}

int zp_hot_keep(struct zp_hot *hot, const void *data, uint64_t size, uint32_t rank, uint64_t *block, bool *continues,
                struct zp_error *err) {
        static const uint8_t zeros[ZP_BLOCK_SIZE];
        uint64_t blocks = zp_round_up(size, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE, at = hot->blocks * ZP_BLOCK_SIZE;
        int r = zp_pwrite_all(hot->fd, data, (size_t) size, at, "hot content", err);
        if (r == 0)
                r = zp_pwrite_all(hot->fd, zeros, (size_t) (blocks * ZP_BLOCK_SIZE - size), at + size, "hot content",
                                  err);
        if (r == 0)
                r = add_piece(hot, blocks, rank, continues, err);
        if (r < 0)
                return r;
        *block = hot->blocks;
        hot->blocks += blocks;
        return 0;
}

uint64_t zp_hot_blocks(const struct zp_hot *hot) {
        return hot->blocks;
}

void zp_hot_rollback(struct zp_hot *hot, uint64_t blocks) {
        while (hot->count > 0 && hot->pieces[hot->count - 1].block >= blocks)
                hot->count--;
        if (hot->count > 0)
                hot->pieces[hot->count - 1].blocks = blocks - hot->pieces[hot->count - 1].block;
        hot->blocks = blocks;
}

static int compare_rank(const void *a, const void *b) {
        const struct piece *x = *(struct piece *const *) a, *y = *(struct piece *const *) b;
        if (x->rank != y->rank)
                return x->rank < y->rank ? -1 : 1;
        return (x->block > y->block) - (x->block < y->block);
}

static int write_piece(const struct zp_hot *hot, const struct piece *piece, struct zp_pack_writer *pack, void *buffer,
                       struct zp_error *err) {
        uint64_t end = (piece->block + piece->blocks) * ZP_BLOCK_SIZE;
        for (uint64_t at = piece->block * ZP_BLOCK_SIZE, part; at < end; at += part) {
                part = zp_min_u64(COPY_SIZE, end - at);
                int r = zp_pread_all(hot->fd, buffer, (size_t) part, at, "hot content", err);
                if (r == 0)
                        r = zp_pack_writer_append(pack, buffer, (size_t) part, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int zp_hot_write(struct zp_hot *hot, struct zp_pack_writer *pack, struct zp_error *err) {
        zp_autofree struct piece **order = malloc((hot->count + 1) * sizeof(struct piece *));
        zp_autofree void *buffer = malloc(COPY_SIZE);
        if (!order || !buffer)
                return zp_error_errno(err, ENOMEM, "hot content");
        for (size_t i = 0; i < hot->count; i++)
                order[i] = &hot->pieces[i];
        qsort(order, hot->count, sizeof *order, compare_rank);
        uint64_t place = 0;
        for (size_t i = 0; i < hot->count; i++) {
                int r = write_piece(hot, order[i], pack, buffer, err);
                if (r < 0)
                        return r;
                order[i]->place = place;
                place += order[i]->blocks;
        }
        return 0;
}

uint64_t zp_hot_place(const struct zp_hot *hot, uint64_t block) {
        size_t low = 0, high = hot->count;
        while (high - low > 1) {
                size_t middle = low + (high - low) / 2;
                if (hot->pieces[middle].block <= block)
                        low = middle;
                else
                        high = middle;
        }
        return hot->pieces[low].place + (block - hot->pieces[low].block);
}
