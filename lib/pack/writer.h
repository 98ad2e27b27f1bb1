/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes a pack: a device as independent zstd frames of a fixed uncompressed size with the seek table of
 * zstd's seekable format 0.1.0 behind them (`zstd -d` restores the device), and beside it an index with
 * each frame's offset and SHA-256. Frames are compressed in parallel, and the bytes do not depend on how
 * many threads there are. Format: docs/pack-format.md.
 */
#ifndef ZP_PACK_WRITER_H
#define ZP_PACK_WRITER_H

#include "base/digest.h"
#include "base/cleanup.h"
#include "base/pool.h"

#define ZP_PACK_DEFAULT_FRAME_SIZE (UINT32_C(512) << 10)
/* The default is based on this zstd level but has parameters of its own: faster, a little larger. */
#define ZP_PACK_DEFAULT_LEVEL 3

struct zp_pack_options {
        uint32_t frame_size; /* uncompressed bytes per frame; a multiple of 4096; 0: the default */
        int level;           /* just this zstd level; 0: the default */
};

struct zp_pack_info {
        uint64_t device_size; /* uncompressed bytes */
        uint64_t pack_size;
        uint32_t frames;
        struct zp_digest index_digest; /* SHA-256 of the index file: covers every frame */
        uint64_t index_size;
        bool has_map; /* one was wanted, and the device is not too large for it */
};

struct zp_pack_writer;

/* `pool` outlives the writer and may serve several. The writer keeps a bounded number of frames under
 * way (2 + twice the pool's size). `pack_fd` is empty, seekable and stays the caller's. `options` may be
 * NULL. One thread at a time may use a writer, and not one of the pool's: it waits for them. */
int zp_pack_writer_new(int pack_fd, const char *name, const struct zp_pack_options *options, struct zp_pool *pool,
                       struct zp_pack_writer **out, struct zp_error *err);
/* Bytes appended so far. */
uint64_t zp_pack_writer_offset(const struct zp_pack_writer *w);
/* Appends; waits while too many frames are under way. An error of a worker shows at a later call. */
int zp_pack_writer_append(struct zp_pack_writer *w, const void *data, size_t size, struct zp_error *err);
int zp_pack_writer_append_zeros(struct zp_pack_writer *w, uint64_t size, struct zp_error *err);
/* Remembers this position (one at a time; a new mark replaces the last). Costs next to nothing, so a
 * mark per file is fine. */
int zp_pack_writer_mark(struct zp_pack_writer *w, struct zp_error *err);
/* Takes back all that was appended since the mark, which stays. */
int zp_pack_writer_rollback(struct zp_pack_writer *w, struct zp_error *err);
/* Forgets the mark: what was appended stays. */
void zp_pack_writer_unmark(struct zp_pack_writer *w);
/* Has `grown` called whenever more of the pack is final: the first `size` bytes of the file have been written and will
 * not be taken back. From any thread, several at once, so that a call may come after one with a larger size; never
 * after the writer was freed. What finish writes is not told. */
void zp_pack_writer_watch(struct zp_pack_writer *w, void (*grown)(void *context, uint64_t size), void *context);
/* Has the device's block map made, each frame's part by the worker that has its bytes at hand anyway: `map_fd` is
 * empty, for reading and writing, and stays the caller's. Before anything is appended. */
void zp_pack_writer_map(struct zp_pack_writer *w, int map_fd);
/* Appends zeros up to the end of the frame; nothing when a frame has just begun. */
int zp_pack_writer_pad_frame(struct zp_pack_writer *w, struct zp_error *err);
/* Appends all that `from` was given, as the frames it has made, padded to a whole block. `w` is at the end of a frame
 *, of the same frame size, and with a block map if `w` has one. Afterwards `w` can only be finished, and `from` only
 *freed. */
int zp_pack_writer_splice(struct zp_pack_writer *w, struct zp_pack_writer *from, struct zp_error *err);
/* Completes the pack and writes the index to `index_fd`, and the block map. The device is padded with zeros to a whole
 * number of 4 KiB blocks. Does not sync. */
int zp_pack_writer_finish(struct zp_pack_writer *w, int index_fd, const char *index_name, struct zp_pack_info *info,
                          struct zp_error *err);
/* Also valid before finish: waits for the frames under way and drops everything. */
void zp_pack_writer_free(struct zp_pack_writer *w);
ZP_DEFINE_AUTO(struct zp_pack_writer, zp_pack_writer_free);

#endif
