/* SPDX-License-Identifier: Apache-2.0
 *
 * A hostile index over hostile bytes: the input is two bytes of index size, the index, then the pack. No
 * digest is asked for, and the digests inside are made right, so that the decoder is reached.
 */
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/pool.h"
#include "pack/index.h"
#include "pack/reader.h"

/* Enough for a frame of the largest size. */
#define READ_MAX (5 << 20)

static struct zp_pool *pool;
static int pack_fd, out_fd;
static uint8_t *buffer;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        (void) argc;
        (void) argv;
        pack_fd = memfd_create("pack", MFD_CLOEXEC);
        out_fd = memfd_create("out", MFD_CLOEXEC);
        buffer = malloc(READ_MAX);
        if (pack_fd < 0 || out_fd < 0 || !buffer || zp_pool_new(2, &pool, NULL) < 0)
                abort();
        return 0;
}

/* Each frame's digest, as the bytes at hand have it. */
static void make_digests_right(uint8_t *index_bytes, const struct zp_pack_index *index, const uint8_t *pack,
                               size_t pack_size) {
        for (uint32_t i = 0; i < index->frame_count; i++) {
                struct zp_pack_frame frame = zp_pack_index_frame(index, i);
                assert(frame.size > 0 && frame.size <= index->frame_size && frame.packed_size > 0);
                assert(frame.packed_size <= zp_pack_packed_size_max(index->frame_size));
                struct zp_digest digest;
                if (frame.packed_offset > pack_size || frame.packed_size > pack_size - frame.packed_offset)
                        continue;
                zp_digest_of(pack + frame.packed_offset, frame.packed_size, &digest);
                memcpy(index_bytes + 32 + 40 * (size_t) i + 8, digest.bytes, sizeof digest.bytes);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 2 || size - 2 < zp_get_le16(data))
                return 0;
        size_t index_size = zp_get_le16(data), pack_size = size - 2 - index_size;
        const uint8_t *pack_bytes = data + 2 + index_size;
        uint8_t *index_bytes = malloc(index_size + 1);
        memcpy(index_bytes, data + 2, index_size);
        struct zp_pack_index index;
        struct zp_pack *pack = NULL;
        if (zp_pack_index_parse(index_bytes, index_size, NULL, "fuzz", &index, NULL) == 0) {
                make_digests_right(index_bytes, &index, pack_bytes, pack_size);
                if (ftruncate(pack_fd, 0) < 0 || pwrite(pack_fd, pack_bytes, pack_size, 0) != (ssize_t) pack_size)
                        abort();
                if (zp_pack_open(pack_fd, "fuzz", index_bytes, index_size, NULL, &pack, NULL) < 0)
                        abort();
                uint64_t read_size = zp_min_u64(index.device_size, READ_MAX);
                int whole = zp_pack_read(pack, 0, buffer, read_size, NULL);
                int part = zp_pack_read(pack, read_size / 2, buffer, read_size - read_size / 2, NULL);
                assert(whole < 0 || part == 0);
                if (index.device_size <= READ_MAX) {
                        int verified = zp_pack_verify(pack, pool, NULL, NULL, NULL, NULL);
                        assert(verified < 0 || whole == 0);
                        if (ftruncate(out_fd, 0) < 0)
                                abort();
                        int extracted = zp_pack_extract(pack, out_fd, "out", 0, pool, NULL, NULL, NULL, NULL);
                        assert((extracted == 0) == (whole == 0));
                }
                zp_pack_close(pack);
        }
        free(index_bytes);
        return 0;
}
