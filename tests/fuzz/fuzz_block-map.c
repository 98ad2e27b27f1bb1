/* SPDX-License-Identifier: Apache-2.0
 *
 * A block map from outside: eight bytes say how large its device is said to be, then the map. What is accepted is put
 * into a table, and every run of it must be found.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "pack/block-table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t copy[1 << 20];

/* The sum at the end is made right, so that what is behind it is reached. */
static bool make_sum_right(const uint8_t *data, size_t size) {
        struct zp_digest sum;
        if (size < ZP_SHA256_SIZE || size > sizeof copy)
                return false;
        memcpy(copy, data, size);
        zp_digest_of(copy, size - ZP_SHA256_SIZE, &sum);
        memcpy(copy + size - ZP_SHA256_SIZE, sum.bytes, ZP_SHA256_SIZE);
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 8)
                return 0;
        struct zp_digest device = { { 0 } };
        if (size >= 8 + 16 + ZP_SHA256_SIZE)
                memcpy(device.bytes, data + 8 + 16, ZP_SHA256_SIZE);
        struct zp_block_map map;
        struct zp_block_table *table = NULL;
        if (!make_sum_right(data + 8, size - 8) ||
            zp_block_map_parse(copy, size - 8, &device, zp_get_le64(data), "fuzz", &map, NULL) < 0)
                return 0;
        if (zp_block_table_new(&map, 1, &table, NULL) < 0)
                abort();
        for (uint32_t i = 0; i < map.blocks; i++) {
                uint32_t count = 1 + i % (map.blocks - i);
                struct zp_block_run run = { 0, i };
                bool found = zp_block_table_find(table, &map.hashes[i], count, &run, &run);
                bool is_zero = zp_is_zero(&map.hashes[i], count * sizeof map.hashes[0]);
                assert(found == !is_zero);
                found = zp_block_table_find(table, &map.hashes[i], 1, NULL, &run);
                assert(found == !zp_block_hash_is_zero(&map.hashes[i]));
                assert(!found || zp_block_hash_equal(&map.hashes[run.block], &map.hashes[i]));
        }
        zp_block_table_free(table);
        return 0;
}
