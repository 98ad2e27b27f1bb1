/* SPDX-License-Identifier: Apache-2.0
 *
 * The manifest of a snapshot artifact.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pack/block-map.h"
#include "ship/artifact.h"

static struct zp_digest digest(uint8_t fill) {
        struct zp_digest d;
        memset(d.bytes, fill, sizeof d.bytes);
        return d;
}

static struct zp_artifact_metadata metadata(uint8_t fill) {
        return (struct zp_artifact_metadata){ digest(fill), 8192u + fill, digest((uint8_t) (fill + 1)), 4000u + fill };
}

struct parts {
        struct zp_artifact_layer layers[2];
        struct zp_artifact_device devices[2];
};

static void make(struct zp_artifact *a, struct parts *parts) {
        *parts = (struct parts){
                .layers = { { .diff_id = digest(10), .tar_size = 10240, .entries = 7, .metadata = metadata(11) },
                            { .diff_id = digest(20),
                              .metadata = metadata(21),
                              .recipe = "{\"base\":[\"sha256:1\"]}" } },
                .devices = { { .digest = digest(13),
                               .index_size = 112,
                               .device_size = 1 << 20,
                               .pack_digest = digest(14),
                               .pack_size = 54321,
                               .level = 19,
                               .map_digest = digest(15),
                               .map_size = zp_block_map_size(1 << 20) },
                             { .digest = digest(23),
                               .index_size = 72,
                               .device_size = 4096,
                               .pack_digest = digest(24),
                               .pack_size = 17 } },
        };
        *a = (struct zp_artifact){ .subject_media_type = (char *) "application/vnd.oci.image.manifest.v1+json",
                                   .subject_digest = digest(1),
                                   .subject_size = 500,
                                   .snapshot = metadata(2),
                                   .prefetch_digest = digest(4),
                                   .prefetch_size = 77,
                                   .bundle_digest = digest(5),
                                   .bundle_size = 4002 + 77 + 4011 + 4021 + 112 + 72,
                                   .layer_count = 2,
                                   .layers = parts->layers,
                                   .device_count = 2,
                                   .devices = parts->devices };
}

static void what_is_written_is_read_back(void **state) {
        (void) state;
        struct parts parts;
        struct zp_artifact in, out;
        make(&in, &parts);
        char *text;
        size_t size;
        struct zp_error err = { 0 };
        assert_int_equal(zp_artifact_format(&in, &text, &size, &err), 0);
        assert_int_equal(zp_artifact_parse(text, size, &out, &err), 0);
        assert_string_equal(out.subject_media_type, in.subject_media_type);
        assert_true(zp_digest_equal(&out.subject_digest, &in.subject_digest));
        assert_int_equal(out.subject_size, 500);
        assert_memory_equal(&out.snapshot, &in.snapshot, sizeof in.snapshot);
        assert_true(zp_digest_equal(&out.prefetch_digest, &in.prefetch_digest));
        assert_int_equal(out.prefetch_size, 77);
        assert_true(zp_digest_equal(&out.bundle_digest, &in.bundle_digest));
        assert_int_equal(out.bundle_size, in.bundle_size);
        assert_int_equal(out.layer_count, 2);
        for (int i = 0; i < 2; i++) {
                assert_true(zp_digest_equal(&out.layers[i].diff_id, &parts.layers[i].diff_id));
                assert_memory_equal(&out.layers[i].metadata, &parts.layers[i].metadata,
                                    sizeof parts.layers[i].metadata);
                assert_string_equal(out.layers[i].recipe, parts.layers[i].recipe);
        }
        assert_int_equal(out.device_count, 2);
        assert_memory_equal(out.devices, parts.devices, sizeof parts.devices);
        char *again;
        size_t again_size;
        assert_int_equal(zp_artifact_format(&out, &again, &again_size, &err), 0);
        assert_string_equal(again, text);
        free(again);
        struct zp_digest second = digest(20), device = digest(23), none = digest(99);
        assert_ptr_equal(zp_artifact_find_layer(&out, &second), &out.layers[1]);
        assert_ptr_equal(zp_artifact_find_device(&out, &device), &out.devices[1]);
        assert_null(zp_artifact_find_layer(&out, &none));
        assert_null(zp_artifact_find_device(&out, &none));
        zp_artifact_clear(&out);
        free(text);
}

static void the_manifest_is_an_oci_artifact(void **state) {
        (void) state;
        struct parts parts;
        struct zp_artifact in;
        make(&in, &parts);
        char *text;
        size_t size;
        assert_int_equal(zp_artifact_format(&in, &text, &size, NULL), 0);
        /* image-spec 1.1, "Guidelines for Artifact Usage": the empty config, artifactType, subject */
        assert_ptr_equal(strstr(text,
                                "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
                                "\"artifactType\":\"application/vnd.zeropull.snapshot.v1\","
                                "\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":"
                                "\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\","
                                "\"size\":2,\"data\":\"e30=\"},\"layers\":["),
                         text);
        assert_non_null(strstr(text,
                               "\"subject\":{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":"
                               "\"sha256:0101"));
        free(text);
}

/* Replaces the first `from` by `to` and expects the result to be refused. */
static void assert_refused(const char *text, const char *from, const char *to) {
        const char *at = strstr(text, from);
        assert_non_null(at);
        size_t size = strlen(text) + strlen(to) + 1;
        char *changed = malloc(size);
        snprintf(changed, size, "%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
        struct zp_artifact out;
        struct zp_error err = { 0 };
        if (zp_artifact_parse(changed, strlen(changed), &out, &err) >= 0)
                fail_msg("accepted with '%s' for '%s'", to, from);
        assert_true(err.message[0] != '\0');
        free(changed);
}

static void anything_else_is_refused(void **state) {
        (void) state;
        struct parts parts;
        struct zp_artifact in;
        make(&in, &parts);
        char *text;
        size_t size;
        assert_int_equal(zp_artifact_format(&in, &text, &size, NULL), 0);
        assert_refused(text, "zeropull.snapshot.v1", "other.v1");
        assert_refused(text, "snapshot.metadata", "layer.metadata");
        assert_refused(text, "device.index.v1", "device.strange.v1");
        assert_refused(text, "device.index.v1", "device.pack.v1+zstd");
        assert_refused(text, "\"size\":112", "\"size\":-1");
        assert_refused(text, "\"size\":112", "\"size\":0");
        assert_refused(text, "\"size\":112", "\"size\":\"112\"");
        assert_refused(text, "device-size\":\"1048576\"", "device-size\":\"1048577\"");
        assert_refused(text, "device-size\":\"1048576\"", "device-size\":\"0x100000\"");
        assert_refused(text, "device-size\":\"1048576\"", "device-size\":\"18446744073709551616\"");
        assert_refused(text, "device-size\":\"1048576\"", "device-size\":\"99999999999999999\"");
        assert_refused(text, "level\":\"19\"", "level\":\"23\"");
        assert_refused(text, "level\":\"19\"", "depth\":\"19\"");
        assert_refused(text, "\"size\":54321", "\"size\":99999999999999999");
        assert_refused(text, "\"size\":4002", "\"size\":12002"); /* more than what it holds can take */
        assert_refused(text, "zeropull.device\":\"sha256:0d", "zeropull.device\":\"sha256:0e");
        assert_refused(text, "device-size\":\"4096\"", "device-size\":\"0\"");
        assert_refused(text, "recipe\":\"{", "recipe\":\"\\n{");
        assert_refused(text, "\"size\":4176", "\"size\":4177"); /* the block map of 256 blocks */
        assert_refused(text, "device.map.v1", "device.index.v1");
        assert_refused(text, "device.pack.v1+zstd", "device.map.v1");
        assert_refused(text, "\"size\":77", "\"size\":0");
        assert_refused(text, "\"size\":77", "\"size\":9999999999");
        assert_refused(text, "layer.metadata.v1+zstd", "snapshot.prefetch.v1+json");
        assert_refused(text, "\"size\":12295", "\"size\":12294"); /* the bundle's parts */
        assert_refused(text, "\"size\":12295", "\"size\":0");
        assert_refused(text, "layer.metadata.v1+zstd", "snapshot.bundle.v1");
        assert_refused(text, "\"subject\"", "\"object\"");
        assert_refused(text, "sha256:0101", "sha256:01X1");
        for (size_t cut = 0; cut < size; cut += 7) {
                struct zp_artifact out;
                assert_true(zp_artifact_parse(text, cut, &out, NULL) < 0);
        }
        free(text);
}

static void a_device_twice_is_refused(void **state) {
        (void) state;
        struct parts parts;
        struct zp_artifact in, out;
        make(&in, &parts);
        parts.devices[1].digest = parts.devices[0].digest;
        char *text;
        size_t size;
        assert_int_equal(zp_artifact_format(&in, &text, &size, NULL), 0);
        assert_int_equal(zp_artifact_parse(text, size, &out, NULL), -EBADMSG);
        free(text);
}

static void a_layer_twice_is_refused(void **state) {
        (void) state;
        struct parts parts;
        struct zp_artifact in, out;
        make(&in, &parts);
        parts.layers[1].diff_id = parts.layers[0].diff_id;
        char *text;
        size_t size;
        assert_int_equal(zp_artifact_format(&in, &text, &size, NULL), 0);
        assert_int_equal(zp_artifact_parse(text, size, &out, NULL), -EBADMSG);
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_written_is_read_back), cmocka_unit_test(the_manifest_is_an_oci_artifact),
                cmocka_unit_test(anything_else_is_refused),     cmocka_unit_test(a_layer_twice_is_refused),
                cmocka_unit_test(a_device_twice_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
