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

static size_t next_size(const struct zp_arena_block *block) {
        size_t size = block ? block->size * 2 : BLOCK_SIZE_MIN;
        return size < BLOCK_SIZE_MAX ? size : BLOCK_SIZE_MAX;
}

void *zp_arena_alloc(struct zp_arena *arena, size_t size) {
        if (size > SIZE_MAX / 2)
                return NULL;
        size = (size + ALIGNMENT - 1) & ~(size_t) (ALIGNMENT - 1);
        struct zp_arena_block *block = arena->blocks;
        if (!block || block->size - block->used < size) {
                size_t next = next_size(block);
                size_t wanted = size > next / 4 ? size : next;
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
