/* SPDX-License-Identifier: Apache-2.0
 *
 * The block map of a device: a hash of each of its 4 KiB blocks. The next version of an image is compared with it, so
 * that the device itself need not be at hand. Format: docs/pack-format.md.
 */
#ifndef ZP_PACK_BLOCK_MAP_H
#define ZP_PACK_BLOCK_MAP_H

#include <string.h>

#include "pack/reader.h"

/* The first half of the block's SHA-256; all zero for a block of zeros. */
struct zp_block_hash {
        uint8_t bytes[16];
};

/* A checked view of a map file's bytes, which stay the caller's and outlive it. */
struct zp_block_map {
        uint32_t blocks;
        const struct zp_block_hash *hashes;
};

/* Hashes a block of 4096 bytes. `hash` is nobody else's meanwhile. */
void zp_block_hash(struct zp_sha256 *hash, const uint8_t *block, struct zp_block_hash *out);
static inline bool zp_block_hash_equal(const struct zp_block_hash *a, const struct zp_block_hash *b) {
        return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
bool zp_block_hash_is_zero(const struct zp_block_hash *hash);

/* The size in bytes of the map of such a device; it has at most ZP_LIMIT_BASE_BLOCKS blocks. */
uint64_t zp_block_map_size(uint64_t device_size);
/* Makes the map file of a device by reading all of its pack on `pool`. `device` is the device's digest. *out is
 * malloc'ed and the caller's. -EFBIG: the device has too many blocks to be compared with. */
int zp_block_map_make(struct zp_pack *pack, const struct zp_digest *device, struct zp_pool *pool,
                      const struct zp_cancel *cancel, uint8_t **out, size_t *size, struct zp_error *err);
/* The same while the device is being packed, into a file of its own, empty at first and readable: the frames' parts in
 * any order and from any thread, a part that is put again taking the first one's place; what lies behind the largest
 * device that has a map is left out. */
int zp_block_map_put(int fd, const char *name, uint64_t device_offset, const uint8_t *data, size_t size,
                     struct zp_error *err);
/* Puts the parts of the first `size` bytes of another device, which is appended to this one, from its file. */
int zp_block_map_put_from(int fd, const char *name, uint64_t device_offset, int from, uint64_t size,
                          struct zp_error *err);
/* Makes it a map file once all of the device has been put. -EFBIG as above. */
int zp_block_map_finish(int fd, const char *name, const struct zp_digest *device, uint64_t device_size,
                        struct zp_error *err);
/* Checks every field against the device that the map must be of. -EBADMSG: malformed or another's. Whether
 * the hashes are those of the device's blocks is not seen here. */
int zp_block_map_parse(const void *data, size_t size, const struct zp_digest *device, uint64_t device_size,
                       const char *name, struct zp_block_map *out, struct zp_error *err);

#endif
