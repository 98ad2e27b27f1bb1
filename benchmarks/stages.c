/* SPDX-License-Identifier: Apache-2.0
 *
 * The floor of a build: the CPU seconds of each stage of the pipe on one gzip layer, measured alone and one after
 * the other in one thread, with nothing between them. Prints one JSON object.
 *
 *   stages LAYER.tar.gz
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "builder/dedup.h"
#include "layer/decompress.h"
#include "pack/writer.h"

#define TAR_MAX (UINT64_C(2) << 30)

struct output {
        uint8_t *data;
        size_t used;
};

static double cpu_seconds(void) {
        struct timespec t;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static int take(void *context, size_t used, int is_last, uint8_t **data, size_t *size, struct zp_error *err) {
        struct output *output = context;
        output->used += used;
        if (is_last)
                return 0;
        if (output->used + (1 << 20) > TAR_MAX)
                return zp_error_set(err, EFBIG, "the layer is too large for this benchmark");
        *data = output->data + output->used;
        *size = 1 << 18;
        return 0;
}

static int inflate_all(const char *blob, size_t size, struct output *output, struct zp_error *err) {
        struct zp_decompress *d;
        int r = zp_decompress_new(take, output, &d, err);
        if (r == 0)
                r = zp_decompress_push(d, blob, size, err);
        if (r == 0)
                r = zp_decompress_finish(d, err);
        zp_decompress_free(d);
        return r;
}

static double time_sha256(const void *data, size_t size) {
        double start = cpu_seconds();
        struct zp_digest digest;
        zp_digest_of(data, size, &digest);
        return cpu_seconds() - start;
}

static double time_content_hash(const void *data, size_t size) {
        struct zp_dedup *dedup;
        struct zp_content_key key;
        if (zp_dedup_new(&dedup, NULL) < 0)
                return 0;
        double start = cpu_seconds();
        zp_dedup_hash_begin(dedup);
        zp_dedup_hash_update(dedup, data, size);
        zp_dedup_hash_end(dedup, size, &key);
        double seconds = cpu_seconds() - start;
        zp_dedup_free(dedup);
        return seconds;
}

/* Compresses, digests and writes every frame as a build does, into memory and on one thread. */
static double time_frames(const uint8_t *data, size_t size, uint64_t *bytes) {
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *writer;
        struct zp_pack_info info = { 0 };
        zp_autoclose int pack = memfd_create("pack", MFD_CLOEXEC), index = memfd_create("index", MFD_CLOEXEC);
        if (zp_pool_new(1, &pool, &err) < 0 || zp_pack_writer_new(pack, "pack", NULL, pool, &writer, &err) < 0)
                exit(1);
        double start = cpu_seconds();
        int r = zp_pack_writer_append(writer, data, size, &err);
        if (r == 0)
                r = zp_pack_writer_finish(writer, index, "index", &info, &err);
        double seconds = cpu_seconds() - start;
        zp_pack_writer_free(writer);
        zp_pool_free(pool);
        if (r < 0)
                exit(1);
        *bytes = info.pack_size;
        return seconds;
}

int main(int argc, char **argv) {
        struct zp_error err = { 0 };
        char *blob;
        size_t blob_size;
        struct output output = { .data = malloc(TAR_MAX) };
        if (argc != 2 || !output.data) {
                fprintf(stderr, "usage: stages LAYER.tar.gz\n");
                return 2;
        }
        if (zp_read_file(-100, argv[1], TAR_MAX, &blob, &blob_size, &err) < 0) {
                fprintf(stderr, "stages: %s\n", err.message);
                return 1;
        }
        /* once without the clock: the pages of the output are touched, as the builder's few buffers soon are */
        int r = inflate_all(blob, blob_size, &output, &err);
        output.used = 0;
        double start = cpu_seconds();
        if (r == 0)
                r = inflate_all(blob, blob_size, &output, &err);
        double inflate = cpu_seconds() - start;
        if (r < 0) {
                fprintf(stderr, "stages: %s\n", err.message);
                return 1;
        }
        uint64_t packed = 0;
        double frames = time_frames(output.data, output.used, &packed);
        double blob_sha = time_sha256(blob, blob_size), tar_sha = time_sha256(output.data, output.used);
        double content = time_content_hash(output.data, output.used);
        printf("{\"blob_bytes\": %zu, \"tar_bytes\": %zu, \"pack_bytes\": %llu, \"inflate\": %.3f, "
               "\"blob_sha256\": %.3f, \"tar_sha256\": %.3f, \"content_hash\": %.3f, \"frames\": %.3f, \"sum\": "
               "%.3f}\n",
               blob_size, output.used, (unsigned long long) packed, inflate, blob_sha, tar_sha, content, frames,
               inflate + blob_sha + tar_sha + content + frames);
        free(blob);
        free(output.data);
        return 0;
}
