/* SPDX-License-Identifier: Apache-2.0
 *
 * The same bytes as a snapshot's manifest, and as a metadata blob. A manifest that is accepted, written again, means
 * the same; a blob gives a file of the size that was asked for, or nothing that passes for one.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "ship/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_manifest(const char *body, size_t size) {
        struct zp_artifact artifact, again;
        struct zp_error err = { 0 };
        char *text;
        size_t text_size;
        if (zp_artifact_parse(body, size, &artifact, &err) < 0)
                return;
        assert(zp_artifact_format(&artifact, &text, &text_size, &err) == 0);
        assert(zp_artifact_parse(text, text_size, &again, &err) == 0);
        assert(artifact.layer_count == again.layer_count);
        assert(memcmp(artifact.layers, again.layers, artifact.layer_count * sizeof *again.layers) == 0);
        assert(artifact.device_count == again.device_count);
        assert(memcmp(artifact.devices, again.devices, artifact.device_count * sizeof *again.devices) == 0);
        assert(artifact.bundle_size == again.bundle_size);
        assert(memcmp(&artifact.snapshot, &again.snapshot, sizeof again.snapshot) == 0);
        zp_artifact_clear(&artifact);
        zp_artifact_clear(&again);
        free(text);
}

static void as_blob(const uint8_t *blob, size_t size) {
        unsigned long long told = ZSTD_getFrameContentSize(blob, size);
        if (told == 0 || told > (1 << 20))
                return;
        struct zp_artifact_metadata metadata = { .size = told };
        struct zp_error err = { 0 };
        struct stat st;
        int fd = memfd_create("metadata", MFD_CLOEXEC);
        /* no input has the digest of zero bits */
        assert(zp_metadata_unpack(blob, size, &metadata, fd, "file", &err) < 0);
        assert(fstat(fd, &st) == 0 && (uint64_t) st.st_size <= told);
        close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        as_manifest((const char *) data, size);
        as_blob(data, size);
        return 0;
}
