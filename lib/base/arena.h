/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for many little things that die together.
 */
#ifndef ZP_BASE_ARENA_H
#define ZP_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct zp_arena_block;
struct zp_arena {
        struct zp_arena_block *blocks;
        uint64_t used_bytes; /* handed out so far: for limits */
};

/* Zero-filled memory aligned for any type, NULL when exhausted. A zeroed struct zp_arena is ready. */
void *zp_arena_alloc(struct zp_arena *arena, size_t size);
/* A copy of `size` bytes with a NUL behind them. */
char *zp_arena_copy(struct zp_arena *arena, const void *data, size_t size);
void zp_arena_clear(struct zp_arena *arena);

#endif
