/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/frames.h"

#include "base/bytes.h"

static void next_frame(struct zp_frames *frames) {
        frames->left = 0;
        if (frames->number < frames->index->frame_count)
                frames->left = zp_pack_index_frame(frames->index, frames->number).packed_size;
}

int zp_frames_begin(struct zp_frames *frames, const struct zp_pack_index *index, struct zp_error *err) {
        *frames = (struct zp_frames){ .index = index, .hash = zp_sha256_new() };
        next_frame(frames);
        return frames->hash ? 0 : zp_error_errno(err, ENOMEM, "device.zst");
}

void zp_frames_skip(struct zp_frames *frames, uint32_t number) {
        frames->number = number;
        next_frame(frames);
}

void zp_frames_clear(struct zp_frames *frames) {
        if (frames->hash)
                zp_sha256_free(frames->hash);
}

static int end_frame(struct zp_frames *frames, struct zp_error *err) {
        struct zp_pack_frame frame = zp_pack_index_frame(frames->index, frames->number);
        struct zp_digest digest;
        zp_sha256_finish(frames->hash, &digest);
        if (!zp_digest_equal(&digest, &frame.digest))
                return zp_error_set(err, EBADMSG, "device.zst: damaged at byte %ju: a digest of its index differs",
                                    (uintmax_t) frame.packed_offset);
        frames->number++;
        next_frame(frames);
        return 0;
}

int zp_frames_take(struct zp_frames *frames, const void *data, size_t size, struct zp_error *err) {
        const uint8_t *bytes = data;
        while (size > 0 && !zp_frames_complete(frames)) {
                size_t part = (size_t) zp_min_u64(size, frames->left);
                zp_sha256_update(frames->hash, bytes, part);
                bytes += part;
                size -= part;
                frames->left -= part;
                int r = frames->left == 0 ? end_frame(frames, err) : 0;
                if (r < 0)
                        return r;
        }
        return 0; /* the seek table tells nothing that the index does not */
}

bool zp_frames_complete(const struct zp_frames *frames) {
        return frames->number == frames->index->frame_count;
}
