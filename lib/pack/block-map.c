/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/block-map.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "pack/pack-internal.h"

#define MAP_MAGIC UINT32_C(0x504d505a) /* "ZPMP" */
#define MAP_VERSION 1
#define MAP_AT_MAGIC 0
#define MAP_AT_VERSION 4
#define MAP_AT_BLOCKS 8
#define MAP_AT_DEVICE 16
#define MAP_HEADER_SIZE (MAP_AT_DEVICE + ZP_SHA256_SIZE)

static_assert(sizeof(struct zp_block_hash) == 16, "an entry of the map file");

void zp_block_hash(struct zp_sha256 *hash, const uint8_t *block, struct zp_block_hash *out) {
        struct zp_digest digest;
        memset(out->bytes, 0, sizeof out->bytes);
        if (zp_is_zero(block, ZP_PACK_BLOCK_SIZE))
                return;
        zp_sha256_update(hash, block, ZP_PACK_BLOCK_SIZE);
        zp_sha256_finish(hash, &digest);
        memcpy(out->bytes, digest.bytes, sizeof out->bytes);
}

bool zp_block_hash_is_zero(const struct zp_block_hash *hash) {
        return zp_is_zero(hash->bytes, sizeof hash->bytes);
}

uint64_t zp_block_map_size(uint64_t device_size) {
        return MAP_HEADER_SIZE + device_size / ZP_PACK_BLOCK_SIZE * sizeof(struct zp_block_hash) + ZP_SHA256_SIZE;
}

static int hash_blocks(const uint8_t *data, size_t size, struct zp_block_hash *out, struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        if (!hash)
                return zp_error_errno(err, ENOMEM, "block map");
        for (size_t at = 0; at < size; at += ZP_PACK_BLOCK_SIZE)
                zp_block_hash(hash, data + at, out++);
        return 0;
}

/* Runs on the pool. */
static int hash_frame(void *context, uint64_t device_offset, const uint8_t *data, size_t size, struct zp_error *err) {
        return hash_blocks(data, size, (struct zp_block_hash *) context + device_offset / ZP_PACK_BLOCK_SIZE, err);
}

static void fill_header(uint8_t header[MAP_HEADER_SIZE], const struct zp_digest *device, uint64_t blocks) {
        zp_put_le32(header + MAP_AT_MAGIC, MAP_MAGIC);
        zp_put_le32(header + MAP_AT_VERSION, MAP_VERSION);
        zp_put_le64(header + MAP_AT_BLOCKS, blocks);
        memcpy(header + MAP_AT_DEVICE, device->bytes, ZP_SHA256_SIZE);
}

static int say_too_large(struct zp_error *err) {
        return zp_error_set(err, EFBIG, "block map: a device of more than %u blocks", ZP_LIMIT_BASE_BLOCKS);
}

int zp_block_map_make(struct zp_pack *pack, const struct zp_digest *device, struct zp_pool *pool,
                      const struct zp_cancel *cancel, uint8_t **out, size_t *size, struct zp_error *err) {
        uint64_t device_size = zp_pack_device_size(pack), blocks = device_size / ZP_PACK_BLOCK_SIZE;
        if (blocks > ZP_LIMIT_BASE_BLOCKS)
                return say_too_large(err);
        *size = (size_t) zp_block_map_size(device_size);
        struct zp_digest sum;
        zp_autofree uint8_t *map = malloc(*size);
        if (!map)
                return zp_error_errno(err, ENOMEM, "block map");
        fill_header(map, device, blocks);
        int r = zp_pack_visit_frames(pack, pool, cancel, hash_frame, map + MAP_HEADER_SIZE, err);
        if (r < 0)
                return r;
        zp_digest_of(map, *size - ZP_SHA256_SIZE, &sum);
        memcpy(map + *size - ZP_SHA256_SIZE, sum.bytes, ZP_SHA256_SIZE);
        *out = zp_steal(&map);
        return 0;
}

/* ---- while the device is packed ---- */

#define PART_BLOCKS 256u

static uint64_t place_of(uint64_t block) {
        return MAP_HEADER_SIZE + block * sizeof(struct zp_block_hash);
}

int zp_block_map_put(int fd, const char *name, uint64_t device_offset, const uint8_t *data, size_t size,
                     struct zp_error *err) {
        struct zp_block_hash hashes[PART_BLOCKS];
        uint64_t block = device_offset / ZP_PACK_BLOCK_SIZE, end = block + size / ZP_PACK_BLOCK_SIZE;
        int r = 0;
        for (uint64_t count; r == 0 && block < end && block < ZP_LIMIT_BASE_BLOCKS; block += count) {
                count = zp_min_u64(PART_BLOCKS, end - block);
                r = hash_blocks(data, (size_t) count * ZP_PACK_BLOCK_SIZE, hashes, err);
                if (r == 0)
                        r = zp_pwrite_all(fd, hashes, (size_t) count * sizeof *hashes, place_of(block), name, err);
                data += count * ZP_PACK_BLOCK_SIZE;
        }
        return r;
}

int zp_block_map_put_from(int fd, const char *name, uint64_t device_offset, int from, uint64_t size,
                          struct zp_error *err) {
        struct zp_block_hash hashes[PART_BLOCKS];
        uint64_t first = device_offset / ZP_PACK_BLOCK_SIZE, blocks = size / ZP_PACK_BLOCK_SIZE, done = 0;
        int r = 0;
        for (uint64_t count; r == 0 && done < blocks && first + done < ZP_LIMIT_BASE_BLOCKS; done += count) {
                count = zp_min_u64(PART_BLOCKS, blocks - done);
                r = zp_pread_all(from, hashes, (size_t) count * sizeof *hashes, place_of(done), name, err);
                if (r == 0)
                        r = zp_pwrite_all(fd, hashes, (size_t) count * sizeof *hashes, place_of(first + done), name,
                                          err);
        }
        return r;
}

static int digest_file(int fd, const char *name, uint64_t size, struct zp_digest *out, struct zp_error *err) {
        uint8_t piece[16384];
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        int r = hash ? 0 : zp_error_errno(err, ENOMEM, "block map");
        for (uint64_t at = 0, part; r == 0 && at < size; at += part) {
                part = zp_min_u64(sizeof piece, size - at);
                r = zp_pread_all(fd, piece, (size_t) part, at, name, err);
                if (r == 0)
                        zp_sha256_update(hash, piece, (size_t) part);
        }
        if (r == 0)
                zp_sha256_finish(hash, out);
        return r;
}

int zp_block_map_finish(int fd, const char *name, const struct zp_digest *device, uint64_t device_size,
                        struct zp_error *err) {
        uint64_t blocks = device_size / ZP_PACK_BLOCK_SIZE, end = place_of(blocks);
        uint8_t header[MAP_HEADER_SIZE];
        struct zp_digest sum;
        if (blocks > ZP_LIMIT_BASE_BLOCKS)
                return say_too_large(err);
        /* what was put of something that was taken back */
        if (ftruncate(fd, (off_t) end) < 0)
                return zp_error_errno(err, errno, "truncate '%s'", name);
        fill_header(header, device, blocks);
        int r = zp_pwrite_all(fd, header, sizeof header, 0, name, err);
        if (r == 0)
                r = digest_file(fd, name, end, &sum, err);
        return r < 0 ? r : zp_pwrite_all(fd, sum.bytes, ZP_SHA256_SIZE, end, name, err);
}

/* ---- the file ---- */

static int bad(const char *name, const char *what, struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "block map of '%s': %s", name, what);
}

int zp_block_map_parse(const void *data, size_t size, const struct zp_digest *device, uint64_t device_size,
                       const char *name, struct zp_block_map *out, struct zp_error *err) {
        struct zp_reader r = zp_reader(data, size);
        uint32_t magic = zp_read_le32(&r), version = zp_read_le32(&r);
        uint64_t blocks = zp_read_le64(&r);
        const uint8_t *digest = zp_read_bytes(&r, ZP_SHA256_SIZE);
        if (r.failed || magic != MAP_MAGIC)
                return bad(name, "not a block map", err);
        if (version != MAP_VERSION)
                return zp_error_set(err, EBADMSG, "block map of '%s': unknown version %u", name, version);
        if (memcmp(digest, device->bytes, ZP_SHA256_SIZE) != 0)
                return bad(name, "it is another device's", err);
        if (blocks > ZP_LIMIT_BASE_BLOCKS || blocks * ZP_PACK_BLOCK_SIZE != device_size)
                return bad(name, "its number of blocks is not the device's", err);
        if (size != zp_block_map_size(device_size))
                return bad(name, "its size does not fit its number of blocks", err);
        struct zp_digest sum;
        zp_digest_of(data, size - ZP_SHA256_SIZE, &sum);
        if (memcmp((const uint8_t *) data + size - ZP_SHA256_SIZE, sum.bytes, ZP_SHA256_SIZE) != 0)
                return bad(name, "damaged", err);
        *out = (struct zp_block_map){ .blocks = (uint32_t) blocks, .hashes = (const struct zp_block_hash *) r.next };
        return 0;
}
