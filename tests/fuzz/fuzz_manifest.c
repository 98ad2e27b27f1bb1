/* SPDX-License-Identifier: Apache-2.0
 *
 * The same bytes as an index, a manifest and a config. No document may pass for both of the first two.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int as_index(const char *body, size_t size) {
        struct zp_platform platform = { .os = "linux", .architecture = "arm64" };
        struct zp_descriptor descriptor;
        struct zp_error err = { 0 };
        int r = zp_index_select(body, size, &platform, &descriptor, &err);
        if (r == 0)
                free(descriptor.media_type);
        return r;
}

static int as_manifest(const char *body, size_t size) {
        struct zp_descriptor config, *layers;
        struct zp_error err = { 0 };
        uint16_t count;
        int r = zp_manifest_parse(body, size, &config, &layers, &count, &err);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < count; i++)
                free(layers[i].media_type);
        free(layers);
        free(config.media_type);
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *body = (const char *) data;
        struct zp_error err = { 0 };
        struct zp_platform platform;
        struct zp_digest *diff_ids;
        uint16_t count;
        enum zp_document_kind kind;
        zp_document_kind(body, size, NULL, &kind, &err);
        assert(as_index(body, size) != 0 || as_manifest(body, size) != 0);
        if (zp_config_parse(body, size, &platform, &diff_ids, &count, &err) == 0)
                free(diff_ids);
        return 0;
}
