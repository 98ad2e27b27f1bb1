/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/metadata.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <zstd.h>

#include "base/file.h"
#include "erofs/reader.h"

/* Metadata is small and read by every start: worth a better level than data. */
#define LEVEL 9
#define PIECE_SIZE (UINT32_C(256) << 10)

static inline void free_context(ZSTD_DCtx *context) {
        ZSTD_freeDCtx(context);
}
ZP_DEFINE_AUTO(ZSTD_DCtx, free_context);

int zp_metadata_compress(const void *data, size_t size, uint8_t **out, size_t *out_size, struct zp_error *err) {
        size_t room = ZSTD_compressBound(size);
        zp_autofree uint8_t *packed = malloc(room);
        if (!packed)
                return zp_error_errno(err, ENOMEM, "compress metadata");
        size_t n = ZSTD_compress(packed, room, data, size, LEVEL);
        if (ZSTD_isError(n))
                return zp_error_set(err, EIO, "compress metadata: %s", ZSTD_getErrorName(n));
        *out = zp_steal(&packed);
        *out_size = n;
        return 0;
}

/* ---- unpacking ---- */

static int bad(const char *name, const char *what, struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "%s: %s", name, what);
}

static int unpack_frame(ZSTD_DCtx *context, ZSTD_inBuffer *in, uint64_t size, struct zp_sha256 *hash, int fd,
                        const char *name, struct zp_error *err) {
        zp_autofree uint8_t *piece = malloc(PIECE_SIZE);
        if (!piece)
                return zp_error_errno(err, ENOMEM, "%s", name);
        uint64_t written = 0;
        for (size_t more = 1; more > 0;) {
                ZSTD_outBuffer out = { piece, PIECE_SIZE, 0 };
                more = ZSTD_decompressStream(context, &out, in);
                if (ZSTD_isError(more))
                        return bad(name, ZSTD_getErrorName(more), err);
                if ((more > 0 && out.pos == 0 && in->pos == in->size) || out.pos > size - written)
                        return bad(name, "it is not of the size that the artifact says", err);
                written += out.pos;
                zp_sha256_update(hash, piece, out.pos);
                int r = zp_write_all(fd, piece, out.pos, name, err);
                if (r < 0)
                        return r;
                /* on its way to the disk while the next piece is unpacked: whoever syncs has less to wait for */
                (void) sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        }
        return written == size ? 0 : bad(name, "it is not of the size that the artifact says", err);
}

int zp_metadata_unpack(const void *blob, size_t blob_size, const struct zp_artifact_metadata *metadata, int fd,
                       const char *name, struct zp_error *err) {
        zp_auto(free_context) ZSTD_DCtx *context = ZSTD_createDCtx();
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        if (!context || !hash)
                return zp_error_errno(err, ENOMEM, "%s", name);
        /* a frame that does not tell the artifact's size, or is followed by anything, is not worth unpacking */
        if (ZSTD_getFrameContentSize(blob, blob_size) != metadata->size ||
            ZSTD_findFrameCompressedSize(blob, blob_size) != blob_size)
                return bad(name, "it is not one zstd frame of the size that the artifact says", err);
        ZSTD_inBuffer in = { blob, blob_size, 0 };
        int r = unpack_frame(context, &in, metadata->size, hash, fd, name, err);
        struct zp_digest digest;
        zp_sha256_finish(hash, &digest);
        if (r == 0 && !zp_digest_equal(&digest, &metadata->digest))
                r = bad(name, "its digest is not the one that the artifact says", err);
        return r;
}

/* ---- what it says of its devices ---- */

static int load_devices(int fd, const char *name, uint64_t size, struct zp_erofs_device **devices, uint16_t *count,
                        struct zp_error *err) {
        void *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (file == MAP_FAILED)
                return zp_error_errno(err, errno, "%s: map", name);
        int r = zp_erofs_check(file, size, devices, count, err);
        munmap(file, size);
        return r < 0 ? zp_error_wrap(err, "%s", name) : 0;
}

static int check_devices(int fd, const char *name, uint64_t size, const struct zp_artifact *artifact,
                         struct zp_erofs_device **devices, uint16_t *count, struct zp_error *err) {
        int r = load_devices(fd, name, size, devices, count, err);
        for (uint16_t i = 0; r == 0 && i < *count; i++) {
                const struct zp_artifact_device *known = zp_artifact_find_device(artifact, &(*devices)[i].digest);
                if (!known || known->device_size / ZP_BLOCK_SIZE != (*devices)[i].blocks)
                        r = bad(name, "its devices are not the artifact's", err);
        }
        return r;
}

int zp_metadata_check_layer(int fd, const struct zp_artifact *artifact, const struct zp_artifact_layer *layer,
                            struct zp_layer_record *record, struct zp_error *err) {
        zp_autofree struct zp_erofs_device *devices = NULL;
        uint16_t count = 0;
        int r = check_devices(fd, "layer.erofs", layer->metadata.size, artifact, &devices, &count, err);
        if (r == 0 && count > ZP_LIMIT_LAYER_DEVICES)
                r = bad("layer.erofs", "it has too many devices", err);
        for (uint16_t i = 0; r == 0 && i < count; i++)
                record->devices[record->device_count++] = devices[i].digest;
        return r;
}

int zp_metadata_check_snapshot(int fd, const struct zp_artifact *artifact, struct zp_error *err) {
        zp_autofree struct zp_erofs_device *devices = NULL;
        uint16_t count = 0;
        return check_devices(fd, "snapshot.erofs", artifact->snapshot.size, artifact, &devices, &count, err);
}
