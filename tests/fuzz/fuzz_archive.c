/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an archive of images, in both forms: the image is resolved and its layers are read. Digests stay as
 * they are, so a layer is only read to its end where no mutation has touched it; in a docker archive nothing but the
 * layers has one.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/source.h"
#include "tar-checksums.h"

static char path[] = "/tmp/zp-fuzz-archive-XXXXXX";
static int fd = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void remove_file(void) {
        unlink(path);
}

/* A real file: sources resolve their paths, and a memfd has none. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
        (void) argc;
        (void) argv;
        fd = mkstemp(path);
        if (fd < 0 || atexit(remove_file) != 0)
                abort();
        return 0;
}

static int count_bytes(void *context, const void *data, size_t size, struct zp_error *err) {
        uint64_t *total = context;
        (void) data;
        (void) err;
        assert(size > 0);
        *total += size;
        return 0;
}

static void check_image(struct zp_source *source, const struct zp_image *image) {
        struct zp_digest digest;
        zp_digest_of(image->manifest, image->manifest_size, &digest);
        assert(zp_digest_equal(&digest, &image->manifest_digest));
        zp_digest_of(image->config, image->config_size, &digest);
        assert(zp_digest_equal(&digest, &image->config_digest));
        for (unsigned i = 0; i < image->layer_count; i++) {
                struct zp_error err = { 0 };
                uint64_t total = 0;
                int r = zp_source_read_blob(source, &image->layers[i], NULL, count_bytes, &total, &err);
                assert(r == 0 ? total == image->layers[i].size : err.code == -r && err.message[0]);
        }
}

static void resolve(const char *prefix) {
        char name[64] = "";
        struct zp_platform platform = { .os = "linux", .architecture = "amd64" };
        struct zp_source *source;
        struct zp_image image;
        struct zp_error err = { 0 };
        strcat(strcat(name, prefix), path);
        int r = zp_source_open(name, NULL, &source, &err);
        if (r == 0) {
                r = zp_source_resolve(source, &platform, &image, &err);
                if (r == 0) {
                        check_image(source, &image);
                        zp_image_clear(&image);
                }
                zp_source_close(source);
        }
        assert(r == 0 || (err.code == -r && err.message[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, data, size);
        fix_checksums(copy, size);
        if (ftruncate(fd, 0) < 0 || pwrite(fd, copy, size, 0) != (ssize_t) size)
                abort();
        free(copy);
        resolve("oci-archive:");
        resolve("docker-archive:");
        return 0;
}
