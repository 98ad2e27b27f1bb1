/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks a pack against its index while its bytes stream by: every frame's digest, before anybody keeps the pack.
 */
#ifndef ZP_SHIP_FRAMES_H
#define ZP_SHIP_FRAMES_H

#include "pack/index.h"

struct zp_frames {
        const struct zp_pack_index *index;
        struct zp_sha256 *hash;
        uint32_t number; /* of the frame whose bytes come next; frame_count: the seek table's */
        uint64_t left;   /* bytes of it still to come */
};

/* The index stays the caller's and outlives it. */
int zp_frames_begin(struct zp_frames *frames, const struct zp_pack_index *index, struct zp_error *err);
/* The first `number` frames need not come: they are known to be right. Before any bytes are taken. */
void zp_frames_skip(struct zp_frames *frames, uint32_t number);
void zp_frames_clear(struct zp_frames *frames);
/* The next bytes of the pack. -EBADMSG: a frame's digest is not the index's; the message says where it lies. */
int zp_frames_take(struct zp_frames *frames, const void *data, size_t size, struct zp_error *err);
/* Whether all frames have come. */
bool zp_frames_complete(const struct zp_frames *frames);

#endif
