/* SPDX-License-Identifier: Apache-2.0
 *
 * All blocks of all devices are numbered through; the table holds those numbers by open addressing on a keyed hash of
 * the block's hash, which whoever makes an image can choose.
 */
#include "pack/block-table.h"

#include <stdlib.h>

#include "base/siphash.h"

struct zp_block_table {
        struct zp_block_map maps[ZP_LIMIT_BASE_DEVICES];
        uint32_t first[ZP_LIMIT_BASE_DEVICES]; /* number of the device's first block */
        uint16_t count;
        struct zp_siphash_key key;
        uint32_t *slots; /* 1 + number of a block; 0: empty */
        uint64_t size;   /* a power of two */
};

static struct zp_block_run run_of(const struct zp_block_table *table, uint32_t number) {
        uint16_t device = table->count - 1;
        while (table->first[device] > number)
                device--;
        return (struct zp_block_run){ device, number - table->first[device] };
}

/* The slot of the first block with that hash, or an empty one. */
static uint32_t *find_slot(const struct zp_block_table *table, const struct zp_block_hash *hash) {
        for (uint64_t i = zp_siphash(table->key, hash->bytes, sizeof hash->bytes);; i++) {
                uint32_t *slot = &table->slots[i & (table->size - 1)];
                if (*slot == 0)
                        return slot;
                struct zp_block_run run = run_of(table, *slot - 1);
                if (zp_block_hash_equal(&table->maps[run.device].hashes[run.block], hash))
                        return slot;
        }
}

static void fill(struct zp_block_table *table) {
        for (uint16_t device = 0; device < table->count; device++) {
                const struct zp_block_map *map = &table->maps[device];
                for (uint32_t i = 0; i < map->blocks; i++) {
                        if (zp_block_hash_is_zero(&map->hashes[i]))
                                continue;
                        uint32_t *slot = find_slot(table, &map->hashes[i]);
                        if (*slot == 0)
                                *slot = table->first[device] + i + 1;
                }
        }
}

int zp_block_table_new(const struct zp_block_map *maps, uint16_t count, struct zp_block_table **out,
                       struct zp_error *err) {
        uint64_t total = 0;
        if (count > ZP_LIMIT_BASE_DEVICES)
                return zp_error_set(err, EFBIG, "more than %d devices to compare with", ZP_LIMIT_BASE_DEVICES);
        zp_auto(zp_block_table_free) struct zp_block_table *table = calloc(1, sizeof *table);
        if (!table)
                return zp_error_errno(err, ENOMEM, "block table");
        for (uint16_t i = 0; i < count; i++) {
                table->maps[i] = maps[i];
                table->first[i] = (uint32_t) total;
                total += maps[i].blocks;
                if (total > ZP_LIMIT_BASE_BLOCKS)
                        return zp_error_set(err, EFBIG, "more than %u blocks to compare with", ZP_LIMIT_BASE_BLOCKS);
        }
        table->count = count;
        table->key = zp_siphash_process_key();
        for (table->size = 16; table->size < total + total / 2;)
                table->size *= 2;
        table->slots = calloc(table->size, sizeof *table->slots);
        if (!table->slots)
                return zp_error_errno(err, ENOMEM, "block table");
        fill(table);
        *out = zp_steal(&table);
        return 0;
}

void zp_block_table_free(struct zp_block_table *table) {
        if (!table)
                return;
        free(table->slots);
        free(table);
}

static bool is_run(const struct zp_block_table *table, const struct zp_block_hash *hashes, uint32_t count,
                   const struct zp_block_run *run) {
        const struct zp_block_map *map = &table->maps[run->device];
        return run->block <= map->blocks && count <= map->blocks - run->block &&
               memcmp(&map->hashes[run->block], hashes, count * sizeof *hashes) == 0;
}

bool zp_block_table_find(const struct zp_block_table *table, const struct zp_block_hash *hashes, uint32_t count,
                         const struct zp_block_run *prefer, struct zp_block_run *out) {
        uint32_t first = 0; /* of the blocks that hold something */
        while (first < count && zp_block_hash_is_zero(&hashes[first]))
                first++;
        if (first == count || table->count == 0)
                return false;
        if (prefer && is_run(table, hashes, count, prefer)) {
                *out = *prefer;
                return true;
        }
        /* the same block may lie in several places: each block of the run gives a place to look at */
        for (uint32_t i = first; i < count; i++) {
                if (zp_block_hash_is_zero(&hashes[i]))
                        continue;
                uint32_t slot = *find_slot(table, &hashes[i]);
                if (slot == 0)
                        return false;
                struct zp_block_run run = run_of(table, slot - 1);
                if (run.block < i)
                        continue;
                run.block -= i;
                if (is_run(table, hashes, count, &run)) {
                        *out = run;
                        return true;
                }
        }
        return false;
}
