/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a pack through its index. Nothing that was not checked against the index's SHA-256 is ever
 * decompressed. Format: docs/pack-format.md.
 */
#ifndef ZP_PACK_READER_H
#define ZP_PACK_READER_H

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/pool.h"

struct zp_pack;

/* `index` (the index file's bytes, copied) is checked in every field and, when `index_digest` is given,
 * against that. `pack_fd` stays the caller's and open as long as the pack. -EBADMSG: malformed or
 * digest differs. */
int zp_pack_open(int pack_fd, const char *name, const void *index, size_t index_size,
                 const struct zp_digest *index_digest, struct zp_pack **out, struct zp_error *err);
void zp_pack_close(struct zp_pack *pack);
ZP_DEFINE_AUTO(struct zp_pack, zp_pack_close);

uint64_t zp_pack_device_size(const struct zp_pack *pack);

/* Reads `size` bytes at `offset` of the uncompressed device into `buf`.
 *
 * Every frame touched is checked against the index's SHA-256 before it is decompressed; nothing
 * unchecked is ever written to `buf`. offset and size are bytes and need no alignment.
 *
 * Returns 0, or -EBADMSG (digest differs), -ERANGE (past the end), or the file's own error.
 * Thread-safe: one zp_pack may be read from many threads at once. */
int zp_pack_read(struct zp_pack *pack, uint64_t offset, void *buf, size_t size, struct zp_error *err);

/* Writes the whole device to `out_fd` from `out_offset` on, in parallel on `pool` (from a thread that is
 * not one of the pool's); blocks of zeros are left as holes, so that range must be empty before. A file
 * is made long enough, never shorter. `progress` (may be NULL) is called now and then with the number of
 * bytes done since its last call, from the calling thread. */
int zp_pack_extract(struct zp_pack *pack, int out_fd, const char *out_name, uint64_t out_offset, struct zp_pool *pool,
                    const struct zp_cancel *cancel, void (*progress)(void *context, uint64_t bytes), void *context,
                    struct zp_error *err);

/* Is given a frame's checked bytes, on a thread of the pool: several at once, in any order. */
typedef int (*zp_pack_visit)(void *context, uint64_t device_offset, const uint8_t *data, size_t size,
                             struct zp_error *err);
/* Calls `visit` with every frame; the first error ends the pass. From a thread that is not one of the pool's. */
int zp_pack_visit_frames(struct zp_pack *pack, struct zp_pool *pool, const struct zp_cancel *cancel,
                         zp_pack_visit visit, void *context, struct zp_error *err);

/* Checks all: every frame's digest, that each decompresses to its size, the seek table against the
 * index, nothing before, between or after. */
int zp_pack_verify(struct zp_pack *pack, struct zp_pool *pool, const struct zp_cancel *cancel,
                   void (*progress)(void *context, uint64_t bytes), void *context, struct zp_error *err);

#endif
