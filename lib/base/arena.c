/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

/* The first is small: most arenas die young. */
#define BLOCK_SIZE_MIN (4 * 1024)
#define BLOCK_SIZE_MAX (256 * 1024)
#define ALIGNMENT 16

struct zp_arena_block {
        struct zp_arena_block *previous;
        size_t used, size;
        _Alignas(ALIGNMENT) char data[];
};

/* Of the block that is begun for a piece; the piece's own when it is large. */
static size_t block_size(const struct zp_arena_block *last, size_t piece) {
        size_t size = last ? last->size * 2 : BLOCK_SIZE_MIN;
        while (size < piece * 4 && size < BLOCK_SIZE_MAX)
                size *= 2;
        if (size > BLOCK_SIZE_MAX)
                size = BLOCK_SIZE_MAX;
        return piece > size / 4 ? piece : size;
}

void *zp_arena_alloc(struct zp_arena *arena, size_t size) {
        if (size > SIZE_MAX / 2)
                return NULL;
        size = (size + ALIGNMENT - 1) & ~(size_t) (ALIGNMENT - 1);
        struct zp_arena_block *block = arena->blocks;
        if (!block || block->size - block->used < size) {
                size_t wanted = block_size(block, size);
                struct zp_arena_block *fresh = calloc(1, sizeof *fresh + wanted);
                if (!fresh)
                        return NULL;
                fresh->size = wanted;
                if (block && wanted == size) {
                        /* a large piece has a block of its own, behind the one still being filled */
                        fresh->previous = block->previous;
                        block->previous = fresh;
                } else {
                        fresh->previous = block;
                        arena->blocks = fresh;
                }
                block = fresh;
        }
        void *p = block->data + block->used;
        block->used += size;
        arena->used_bytes += size;
        return p;
}

char *zp_arena_copy(struct zp_arena *arena, const void *data, size_t size) {
        if (size == SIZE_MAX)
                return NULL;
        char *copy = zp_arena_alloc(arena, size + 1);
        if (copy && size > 0)
                memcpy(copy, data, size);
        return copy;
}

void zp_arena_clear(struct zp_arena *arena) {
        for (struct zp_arena_block *block = arena->blocks, *previous; block; block = previous) {
                previous = block->previous;
                free(block);
        }
        *arena = (struct zp_arena){ 0 };
}
